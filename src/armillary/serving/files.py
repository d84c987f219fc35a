"""Where films, pictures and uploads lie: a folder or any fsspec URL; a file appears whole or not at all.

Keys are made by the server (``JOB/ATTEMPT/NAME``); nothing that a client says becomes a path.
"""

import errno
import re
import uuid
from typing import Any

import fsspec

from armillary.errors import ConfigError, DataError

REMOVALS = 5  # times that a folder in which somebody writes is removed
_KEY = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_]+)*(?:\.[a-z0-9]+)?")


class Files:
    """A flat store of bytes by key. ``DataError`` for a key that is not there, or none of ours."""

    def __init__(self, url: str) -> None:
        try:
            self._system, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as unknown:
            raise ConfigError(f"files={url!r} cannot be used ({unknown}): give a folder or an fsspec URL.") from unknown
        self._root = root.rstrip("/")
        self._local = self._system.protocol == "file" or "file" in self._system.protocol
        self._system.makedirs(self._root, exist_ok=True)

    def write(self, key: str, data: bytes) -> None:
        """Keep ``data``; readers see the old file or the whole new one."""
        place = self._place(key)
        if not self._local:
            self._system.pipe_file(place, data)
            return
        self._system.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
        draft = f"{place}.{uuid.uuid4().hex}.tmp"
        with self._system.open(draft, "wb") as file:
            file.write(data)
        self._system.mv(draft, place)

    def read(self, key: str) -> bytes:
        """The bytes of a key."""
        try:
            return self._system.cat_file(self._place(key))
        except FileNotFoundError as gone:
            raise DataError(f"{key} is not there any more: it was deleted, or its time was over.") from gone

    def remove(self, prefix: str) -> None:
        """Forget everything under a prefix; nothing happens if there is nothing.

        Who still writes there may be in the way: it is tried again, and what comes after that is swept up later.
        """
        place = self._place(prefix)
        for _ in range(REMOVALS):
            try:
                if self._system.exists(place):
                    self._system.rm(place, recursive=True)
            except OSError as moved:
                if not isinstance(moved, FileNotFoundError) and moved.errno != errno.ENOTEMPTY:
                    raise
            else:
                return

    def tops(self) -> dict[str, float]:
        """The first part of every key, with the time of its last change in seconds since 1970."""
        found: dict[str, float] = {}
        for entry in self._system.ls(self._root, detail=True, refresh=True) if self._local else []:
            found[entry["name"].rsplit("/", 1)[-1]] = float(_changed(entry))
        return found

    def _place(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise DataError(f"{key!r} is no key of ours: letters, digits and lines between slashes.")
        return f"{self._root}/{key}"


def _changed(entry: dict[str, Any]) -> float:
    return entry.get("mtime") or entry.get("created") or 0.0
