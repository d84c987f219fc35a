"""Armillary: one model that reads, reasons, imagines and acts.

    omni = armillary.load("pico")
    rollout = omni.imagine("text-to-video", prompt="an arm pushes the red cube to the left")

Importing the package loads nothing heavy; ``load`` brings torch in when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni, load

__version__ = "0.1.0"
__all__ = ["Omni", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """``load`` and ``Omni``, fetched on first use, so that the command line starts without torch."""
    if name in ("load", "Omni"):
        from armillary.sampling import omni

        return {"load": omni.load, "Omni": omni.Omni}[name]
    raise AttributeError(f"module 'armillary' has no attribute {name!r}: it offers {', '.join(__all__)}.")
