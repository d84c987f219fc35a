"""Where the hand is seen at the table, and what place lies below it, from the recorded states.

    in    tabletop episodes of one camera: the gripper's tip (metres) and how far it is open
    out   ``Hands``: frames with, for each, the tip and the place on the table below it, as shares of the picture

The place below is where a thing lies that the gripper is above: in the picture itself, height and distance look alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.datasets.raw import load_raw
from armillary.errors import DataError
from armillary.worlds.usual_view import RESTING, on_picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Hands:
    """Frames n h w 3; where the ``tip`` is and what lies ``below`` it n 2 (x, y as shares of the picture, perhaps
    outside it); how far the gripper is ``open`` n, 0 to 1.
    """

    frames: NDArray[np.uint8]
    tip: NDArray[np.float32]
    below: NDArray[np.float32]
    open: NDArray[np.float32]


def hands_of(paths: Iterable[Path], *, camera: str = "front", every: int = 3) -> Hands:
    """Every so many frames of raw episodes; those of other worlds are passed over. ``DataError`` if none is left."""
    found: list[tuple[NDArray[Any], ...]] = []
    for path in paths:
        episode = load_raw(path)
        if episode.world != "tabletop":
            continue
        frames, tip = episode.frames[camera][::every], episode.states["tip"][::every]
        size = frames.shape[1], frames.shape[2]
        below = np.concatenate([tip[:, :2], np.full((len(tip), 1), RESTING)], axis=1)
        places = [(on_picture(one, camera, size) / size[::-1]).astype(np.float32) for one in (tip, below)]
        found.append((frames, *places, episode.states["openness"][::every, 0].astype(np.float32)))
    if not found:
        raise DataError("no tabletop episode among these: the hand is learnt from the table, for example `pico-data`.")
    frames, tip, below, opened = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Hands(frames=frames, tip=tip, below=below, open=opened)
