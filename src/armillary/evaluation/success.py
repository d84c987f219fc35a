"""Whether a table's instruction has been carried out, judged from pictures alone, as one would who sees no state.

    first picture, the picture two steps ago, the picture now, the instruction   --judge_tabletop-->   done or not
    the same                                                               --progress_tabletop-->   how much of the way

Six colours are found by their hue. The middle of a patch, seen by the front camera, is a place on the table if the
thing lies there; a thing that is lifted looks larger than at that place. What the gripper does is dark pixels that
were not there at first. Success is a list of ranges for each kind of task: those of ``worlds.tabletop_tasks.done``
where pictures show the same quantity, else ranges that successful pictures of training seeds keep to. How often that
agrees with the world's own judgement is measured wherever it is used, kind by kind: no imagination can be judged
better than true pictures are. How much of the way was gone is asked of the same ranges: a blurred picture seldom keeps
to all of them, and still shows who went for the right thing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.evaluation.pixels import HUES, nearest_hue
from armillary.records import Array
from armillary.worlds.tabletop_tasks import PUSHED_METRES, SHAPES, TRAY_HALF, TRAY_ROW, TRAYS, Task, parse
from armillary.worlds.usual_view import RESTING, usual_camera

CAMERA = "front"
BEFORE = 2  # steps back to the picture that tells whether a thing rests
LEAST = 6  # pixels of a colour, below which it is not seen
REACH = 0.11  # of the width, from a colour's middle: what is further away is another thing, or noise
DARK, GREY = 0.47, 0.08  # of the gripper's pixels: the most value, and the most spread between red, green and blue

Range = tuple[float, float]
Floats = NDArray[np.float64]
RULES: Mapping[str, Mapping[str, Range]] = {
    "put": {"off_x": (-TRAY_HALF[0], TRAY_HALF[0]), "off_y": (-TRAY_HALF[1], TRAY_HALF[1]), "moving": (0, 0.01),
            "larger": (-0.9, 0.16)},
    "push": {"way": (PUSHED_METRES, 9), "moving": (0, 0.02), "larger": (-0.9, 0.16)},
    "stack": {"off_x": (-0.03, 0.03), "off_y": (0.05, 0.1), "moving": (0, 0.01), "larger": (-0.1, 0.3),
              "below_larger": (-1.2, -0.25)},
    "lift": {"rise": (0.085, 0.3), "moving": (0, 0.02), "larger": (0.12, 0.6)},
    "touch": {"on_it": (0.1, 1), "beside_it": (0, 0.2), "way": (-0.02, 0.02), "rise": (-0.03, 0.03),
              "larger": (-0.45, -0.13)},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """Where a colour is seen: its middle (column, row), its ends (left, top, right); and what that means.

    ``place``: x y in metres if it lies on the table; ``size``: logarithm of how large it is if it does.
    """

    middle: Floats
    pixels: int
    ends: tuple[int, int, int]
    place: Floats
    size: float


def judge_tabletop(pictures: Sequence[Array], instruction: str) -> bool:
    """Whether the last of the pictures h w 3, the first being the first of all, shows the instruction done."""
    task = task_of(instruction)
    found = look(pictures, task)
    return bool(found) and all(low <= found[name] <= high for name, (low, high) in RULES[task.kind].items())


def progress_tabletop(pictures: Sequence[Array], instruction: str) -> float:
    """How much of the way from the first picture to the instruction done the last one shows, 0 to 1.

    Of every quantity that the first picture shows outside its range, the share of the way into it; their mean. 0 where
    a thing that is meant is hidden, 1 where the first picture already shows it done.
    """
    task = task_of(instruction)
    first, now = look(pictures[:1], task), look(pictures, task)
    if not first or not now:
        return 0.0
    missing = {name: _outside(first[name], ends) for name, ends in RULES[task.kind].items()}
    shares = [
        min(1.0, max(0.0, 1 - _outside(now[name], RULES[task.kind][name]) / far))
        for name, far in missing.items() if far > 0
    ]  # fmt: skip
    return float(np.mean(shares)) if shares else 1.0


def _outside(value: float, ends: Range) -> float:
    """How far a value lies outside a range; 0 inside."""
    return max(ends[0] - value, value - ends[1], 0.0)


def judgeable(instruction: str, names: Sequence[str]) -> bool:
    """Whether colour alone tells the things that are meant from the others on the table."""
    task = task_of(instruction)
    meant = [task.target, *([task.place] if task.kind == "stack" else [])]
    colours = [name.split()[0] for name in names]
    return all(colours.count(name.split()[0]) == 1 for name in meant)


def task_of(instruction: str) -> Task:
    """The task that the words name, whatever is on the table. ``RequestError`` if no template fits."""
    return parse(instruction, re.findall(rf"\w+ (?:{'|'.join(SHAPES)})\b", instruction.lower()))


def look(pictures: Sequence[Array], task: Task) -> dict[str, float]:
    """What the rules ask, metres and shares, as the last picture shows it; nothing if a thing that is meant is hidden.

    ``way`` (towards the side that is named, else right) and ``rise`` since the first picture, ``off_x`` and ``off_y``
    from the tray or the thing below, ``moving`` in two steps, ``larger`` than at first (logarithm), ``below_larger``,
    and the gripper's share of the pixels ``on_it`` and ``beside_it``.
    """
    colour = task.target.split()[0]
    first, now = patch_of(pictures[0], colour), patch_of(pictures[-1], colour)
    if first is None or now is None:
        return {}
    before = patch_of(pictures[max(0, len(pictures) - 1 - BEFORE)], colour) or first
    way = now.place - first.place
    found = {
        "way": float(way[0]) * (-1 if task.place == "left" else 1), "rise": float(way[1]),
        "moving": float(np.linalg.norm(now.place - before.place)), "larger": now.size - first.size,
    }  # fmt: skip
    if task.kind == "touch":
        found |= _touched(pictures[0], pictures[-1], now)
    goal = np.array([TRAYS.get(task.place, 0.0), TRAY_ROW])
    if task.kind == "stack":
        below = [patch_of(pictures[i], task.place.split()[0]) for i in (0, -1)]
        if below[0] is None or below[1] is None:
            return {}
        goal, found["below_larger"] = below[1].place, below[1].size - below[0].size
    off = now.place - goal
    return found | {"off_x": float(off[0]), "off_y": float(off[1])}


def patch_of(picture: Array, colour: str) -> Patch | None:
    """Where a picture h w 3 shows that colour; None if it does not."""
    mask = nearest_hue(picture) == list(HUES).index(colour)
    rows, columns = np.nonzero(mask)
    if len(rows) < LEAST:
        return None
    reach = REACH * mask.shape[1]
    near = (np.abs(columns - np.median(columns)) < reach) & (np.abs(rows - np.median(rows)) < reach)
    rows, columns = rows[near], columns[near]
    if len(rows) < LEAST:
        return None
    middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    place, away = on_table(middle, *mask.shape)
    ends = int(columns.min()), int(rows.min()), int(columns.max())
    share = len(rows) / mask.size
    return Patch(middle=middle, pixels=len(rows), ends=ends, place=place, size=float(np.log(share * away**2)))


def on_table(middle: Floats, height: int, width: int) -> tuple[Floats, float]:
    """Where the middle (column, row) of a thing that lies on the table is, x y in metres; and how far away, metres."""
    intrinsics, pose = usual_camera(CAMERA, (height, width))
    ray = pose[:3, :3] @ np.linalg.solve(intrinsics, np.array([*middle, 1.0]))
    away = (RESTING - pose[2, 3]) / min(ray[2], -1e-6)  # no ray of this camera goes up
    return (pose[:3, 3] + away * ray)[:2], float(away)


def _touched(first: Array, now: Array, patch: Patch) -> dict[str, float]:
    """The gripper's share of the pixels on the thing, and beside it, on the side where there are fewer."""
    new = _dark(now) & ~_dark(first)
    unit = now.shape[1] / 128
    left, _, right = patch.ends
    column, row = patch.middle

    def share(at: tuple[float, float], half: tuple[float, float]) -> float:
        low = [max(0, int(place - unit * reach)) for place, reach in zip(at, half, strict=True)]
        high = [max(0, int(place + unit * reach)) for place, reach in zip(at, half, strict=True)]
        cut = new[low[1] : high[1], low[0] : high[0]]
        return float(cut.mean()) if cut.size else 0.0

    beside = [share((left - 2 * unit, row - 2 * unit), (2, 5)), share((right + 3 * unit, row - 2 * unit), (2, 5))]
    return {"on_it": share((column, row - 3 * unit), (3, 5)), "beside_it": min(beside)}


def _dark(picture: Array) -> NDArray[np.bool_]:
    colour = picture.astype(np.float32) / 255
    high = colour.max(-1)
    return np.asarray((high < DARK) & (high - colour.min(-1) < GREY))
