"""What can be asked of the arm at the table, and when it is done.

    in    a scene's objects, and the state of a moment
    out   an instruction in words, and whether it has been carried out

Five templates: put on a tray, push aside, stack, lift, touch. ``parse`` reads an instruction back,
so that words alone decide what counts as success.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError

COLOURS = {
    "red": (0.82, 0.1, 0.1),
    "green": (0.12, 0.6, 0.16),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.93, 0.8, 0.1),
    "purple": (0.52, 0.14, 0.68),
    "cyan": (0.1, 0.76, 0.8),
}
SHAPES = ("cube", "ball", "cylinder", "cross")
STACKABLE = ("cube", "cylinder", "cross")
TRAYS = {"left": -0.165, "middle": 0.0, "right": 0.165}
TRAY_ROW, TRAY_HALF = 0.155, (0.062, 0.055)
PUSHED_METRES, LIFTED_METRES = 0.06, 0.10


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One object: its colour, shape and half width in metres."""

    colour: str
    shape: str
    half: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One instruction, taken apart: ``target`` is an object, ``place`` a tray, a side or another object."""

    kind: str  # put, push, stack, lift, touch
    target: str
    place: str = ""

    @property
    def words(self) -> str:
        return {
            "put": f"Put the {self.target} on the {self.place} tray.",
            "push": f"Push the {self.target} to the {self.place}.",
            "stack": f"Stack the {self.target} on the {self.place}.",
            "lift": f"Lift the {self.target}.",
            "touch": f"Touch the {self.target}.",
        }[self.kind]


_PATTERNS = {
    "put": r"put the (\w+ \w+) on the (left|middle|right) tray",
    "push": r"push the (\w+ \w+) to the (left|right)",
    "stack": r"stack the (\w+ \w+) on the (\w+ \w+)",
    "lift": r"lift the (\w+ \w+)",
    "touch": r"touch the (\w+ \w+)",
}


def parse(instruction: str, names: Sequence[str]) -> Task:
    """The task an instruction names; ``RequestError`` if no template fits or an object is not there."""
    for kind, pattern in _PATTERNS.items():
        found = re.fullmatch(pattern, instruction.strip().rstrip(".").lower())
        if not found:
            continue
        task = Task(kind=kind, target=found[1], place=found[2] if found.lastindex == 2 else "")
        for name in (task.target, *([task.place] if kind == "stack" else [])):
            if name not in names:
                raise RequestError(f"{name!r} is not on the table: there are {', '.join(names)}.")
        return task
    raise RequestError(
        f"instruction {instruction!r} fits no template: say, for example, 'Put the red cube on the left tray.', "
        "'Push the red cube to the left.', 'Stack the red cube on the blue cylinder.', 'Lift …' or 'Touch …'."
    )


def possible_tasks(things: Sequence[Thing], places: NDArray[Any]) -> list[Task]:
    """Everything that may be asked of this scene; ``places`` n 3 are the objects' first positions."""
    tasks = []
    for thing, place in zip(things, places, strict=True):
        tasks += [Task(kind="put", target=thing.name, place=tray) for tray in TRAYS]
        tasks += [Task(kind=kind, target=thing.name) for kind in ("lift", "touch")]
        tasks += [Task(kind="push", target=thing.name, place=side) for side, sign in (("left", -1), ("right", 1))
                  if abs(place[0] + sign * 0.1) < 0.2]  # fmt: skip
        if thing.shape in STACKABLE:
            tasks += [Task(kind="stack", target=thing.name, place=other.name)
                      for other in things if other is not thing and other.shape in STACKABLE]  # fmt: skip
    return tasks


def draw_task(things: Sequence[Thing], places: NDArray[Any], rng: np.random.Generator) -> Task:
    """One task: the kind first, each kind alike, then which."""
    tasks = possible_tasks(things, places)
    kinds = sorted({task.kind for task in tasks})
    kind = kinds[rng.integers(len(kinds))]
    fitting = [task for task in tasks if task.kind == kind]
    return fitting[rng.integers(len(fitting))]


def done(task: Task, state: Mapping[str, NDArray[Any]], names: Sequence[str], start: NDArray[Any]) -> bool:
    """Whether the state (metres) fulfils the task; ``start`` n 3 is where the objects stood at first."""
    number = names.index(task.target)
    place = state["objects"][number]
    held = bool(state["held"][number])
    if task.kind == "put":
        off = np.abs(place[:2] - (TRAYS[task.place], TRAY_ROW))
        return bool((off < TRAY_HALF).all() and place[2] < 0.06) and not held
    if task.kind == "push":
        sign = -1 if task.place == "left" else 1
        return bool(sign * (place[0] - start[number][0]) > PUSHED_METRES and place[2] < 0.05) and not held
    if task.kind == "stack":
        below = state["objects"][names.index(task.place)]
        return bool(np.hypot(*(place - below)[:2]) < 0.03 and place[2] - below[2] > 0.035) and not held
    if task.kind == "lift":
        return bool(place[2] > LIFTED_METRES) and held
    away = state["tip"] - place - (0, 0, state["halves"][number])
    return bool(np.hypot(*away[:2]) < 0.022 and abs(away[2]) < 0.02 and state["openness"][0] < 0.4)
