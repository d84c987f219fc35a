"""Checkpoints by hub id: ``nvidia/Cosmos3-Edge`` is fetched once, and kept where Hugging Face keeps such things.

    fetch("nvidia/Cosmos3-Edge")          ->  the folder, as any other checkpoint
    fetch("nvidia/Cosmos3-Edge@abc123")   ->  the same at one revision: published folders change, pin them

The network is asked only when a checkpoint is named so, and nothing
that would have to be unpickled is fetched. ``HF_ENDPOINT`` names another hub, ``HF_HUB_OFFLINE=1`` forbids asking.
"""

import os
import re
from pathlib import Path

from armillary.errors import CheckpointError

_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.toml", "*.md")


def is_hub_id(name: str | Path) -> bool:
    """Whether a name has the form of a hub id and could not be a path: its first half is no folder here."""
    return isinstance(name, str) and bool(_ID.fullmatch(name)) and not Path(name).parent.exists()


def fetch(name: str, *, kept_in: Path | None = None) -> Path:
    """The folder of a checkpoint on the hub, fetched if it is not here yet.

    ``kept_in``: where fetched files are kept, by default Hugging Face's own cache. ``CheckpointError`` if the hub
    cannot be reached, has no such checkpoint, or the package that talks to it is not installed.
    """
    found = _ID.fullmatch(name)
    if found is None:
        raise CheckpointError(f"{name!r} is no hub id: write owner/name, or owner/name@revision.")
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as missing:
        raise CheckpointError(
            f"{name!r} is no folder here, and hub ids need huggingface_hub: pip install 'armillary[hf]'."
        ) from missing
    try:
        folder = huggingface_hub.snapshot_download(
            found["name"],
            revision=found["revision"],
            allow_patterns=list(_WANTED),
            endpoint=os.environ.get("HF_ENDPOINT"),
            cache_dir=kept_in,
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as refused:
        said = str(refused).strip().splitlines()[0]
        raise CheckpointError(
            f"{name!r} is no folder here, and the hub gave nothing under that name ({said}): check the name and the "
            "network, or give a folder."
        ) from refused
    return Path(folder)
