"""Clips as plain files of bytes: the quickest form to train and to judge a video tokenizer on.

    frames_00.npy  uint8 n t h w 3    what is seen
    masks_00.npy   uint8 n t h w      optional: 0 is background, any other number an object
    latents_00.npy float16 n c T y x  optional: normalised latents that stand for the clips, as somebody imagined them

The last clips of every file are held out: training takes from ``known``, judging from ``held``. Files are read in
place (memory maps), so a folder may be larger than memory, and may grow between two ``ByteClips``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import DataError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class ByteFile:
    """One file: frames n t h w 3, masks n t h w or None, latents n c T y x or None, and how many of its clips, the
    last, are held out."""

    frames: Bytes
    masks: Bytes | None
    latents: NDArray[np.float16] | None
    held: int

    @property
    def known(self) -> int:
        """How many clips, the first, training may see."""
        return len(self.frames) - self.held


class ByteClips:
    """All clips of a folder. Raises ``DataError`` where there are none, or where a file's shape is wrong."""

    def __init__(self, folder: Path) -> None:
        self.files = [_open(path) for path in sorted(folder.glob("frames*.npy"))]
        if not any(file.known > 0 for file in self.files):
            raise DataError(
                f"no clips in {folder}: it must hold frames_*.npy, uint8 n t h w 3, at least two clips a file."
            )
        shapes = {file.frames.shape[1:] for file in self.files}
        if len(shapes) > 1:
            raise DataError(f"the files of {folder} differ in shape {sorted(shapes)}: all clips must be of one shape.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width of a clip."""
        t, h, w = self.files[0].frames.shape[1:4]
        return t, h, w

    def known(self, count: int) -> Iterator[Bytes]:
        """About ``count`` training clips t h w 3, evenly spread over the files."""
        share = -(-count // len(self.files))
        for file in self.files:
            for index in np.unique(np.linspace(0, file.known - 1, share).astype(int)):
                yield np.array(file.frames[index])

    def held(self, count: int) -> Iterator[tuple[Bytes, Bytes | None]]:
        """About ``count`` clips held out of training, t h w 3, with their masks t h w, evenly over the files."""
        for file, index in _held_of(self.files, count):
            yield np.array(file.frames[index]), None if file.masks is None else np.array(file.masks[index])

    def held_latents(self, count: int) -> Iterator[tuple[Bytes, NDArray[np.float16]]]:
        """As ``held``, of the clips that have latents, with these."""
        for file, index in _held_of([file for file in self.files if file.latents is not None], count):
            assert file.latents is not None
            yield np.array(file.frames[index]), np.array(file.latents[index])


def _held_of(files: Sequence[ByteFile], count: int) -> Iterator[tuple[ByteFile, int]]:
    """About ``count`` held-out clips of these files, evenly: the file and where in it."""
    share = -(-count // max(1, len(files)))
    return ((file, index) for file in files for index in range(file.known, min(len(file.frames), file.known + share)))


def _open(path: Path) -> ByteFile:
    frames = np.load(path, mmap_mode="r")
    if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise DataError(f"{path.name} holds {frames.dtype} {frames.shape}: it must be uint8 n t h w 3.")
    masks, latents = _beside(path, "masks"), _beside(path, "latents")
    if masks is not None and masks.shape != frames.shape[:-1]:
        raise DataError(
            f"masks {masks.shape} do not fit {path.name} {frames.shape}: they must be n t h w, one number a pixel."
        )
    if latents is not None and (latents.ndim != 5 or len(latents) != len(frames) or latents.dtype != np.float16):
        raise DataError(
            f"latents {latents.dtype} {latents.shape} do not fit {path.name} {frames.shape}: they must be float16 "
            "n c T y x, of as many clips."
        )
    return ByteFile(frames=frames, masks=masks, latents=latents, held=max(1, min(10, len(frames) // 10)))


def _beside(path: Path, kind: str) -> NDArray[Any] | None:
    """What else is kept of a file's clips; None if nothing is."""
    beside = path.with_name(path.name.replace("frames", kind, 1))
    return np.load(beside, mmap_mode="r") if beside.exists() else None
