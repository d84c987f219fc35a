"""Layers compiled for training: the many small steps between matrix products become a few.

    compile_layers(model, "generate")   the generator's layers      compile_layers(model, "read")   the reasoner's

Norms, rotations, gates and sums take half of a step of a small model on a CPU, each reading and writing every number
again; torch's compiler fuses them. One compiled function serves every layer, every batch and every length. It needs a
C++ compiler and a quarter of a minute of an idle core once.
"""

from typing import Literal

from armillary.errors import ConfigError
from armillary.model import TwoTowers
from armillary.model.compiled import compile_part
from armillary.model.few_tokens import compiler


def compile_layers(model: TwoTowers, part: Literal["generate", "read"]) -> None:
    """Let every layer of ``model`` do ``part`` compiled; ``ConfigError`` where there is no C++ compiler."""
    if compiler() is None:
        raise ConfigError(
            "compile is on, but there is no C++ compiler: install g++ (Debian: apt install g++) or switch it off."
        )
    compile_part(model, part)
