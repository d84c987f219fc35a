"""True words about the tabletop: captions and questions made from the state, never from a guess.

    in    the world after a step, its moment with segmentation of the front camera
    out   ``Question``s whose answers hold in that very frame, captions in three styles

Only what the front camera sees is asked about: an object counts as seen from 40 pixels on. Comparisons are
asked only where the difference can be seen (2.5 cm). No question has yes or no for an answer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, Question
from armillary.worlds.tabletop import Tabletop
from armillary.worlds.tabletop_tasks import COLOURS, SHAPES, Task

SEEN_PIXELS, CLEAR_METRES = 40, 0.025
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
_DOING = {"put": "puts", "push": "pushes", "stack": "stacks", "lift": "lifts", "touch": "touches"}


def seen_boxes(world: Tabletop, marks: NDArray[np.int32]) -> dict[str, tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom; pixels, right and bottom exclusive) of the objects seen."""
    boxes = {}
    for number, name in enumerate(world.names):
        rows, columns = np.nonzero(marks == number + 1)
        if len(rows) >= SEEN_PIXELS:
            boxes[name] = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return boxes


def box_words(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """A box in hundredths of the picture, as the reasoner writes it."""
    left, top, right, bottom = box
    numbers = (left / size[1], top / size[0], right / size[1], bottom / size[0])
    a, b, c, d = (min(99, round(100 * n)) for n in numbers)
    return f"<|box_start|>({a},{b}),({c},{d})<|box_end|>"


def questions(world: Tabletop, moment: Moment, rng: np.random.Generator, *, frame: int) -> list[Question]:
    """Every question that has one true, visible answer in this moment; ``frame`` is the frame's number."""
    assert moment.segmentation is not None
    boxes = seen_boxes(world, moment.segmentation["front"])
    places = {name: moment.state["objects"][world.names.index(name)] for name in boxes}
    asked = _looks(world, boxes, frame) + _extremes(places, frame) + _relations(places, rng, frame)
    everything = len(boxes) == len(world.names)
    if everything:
        count = NUMBERS[len(boxes)]
        asked.append(_question("count", "How many objects are there?", count, frame, ("three", "four", "five")))
    near = sorted(places, key=lambda name: float(np.linalg.norm(places[name] - moment.state["tip"])))
    held = [world.names[i] for i in np.flatnonzero(moment.state["held"]) if world.names[i] in boxes]
    if held:
        asked.append(_question("held", "What is the gripper holding?", f"the {held[0]}", frame))
    elif not moment.state["held"].any() and rng.random() < 0.25:
        asked.append(_question("held", "What is the gripper holding?", "nothing", frame))
    if len(near) > 1 and everything:
        gaps = [float(np.linalg.norm(places[name] - moment.state["tip"])) for name in near[:2]]
        if gaps[1] - gaps[0] > CLEAR_METRES:
            asked.append(_question("nearest", "Which object is nearest to the gripper?", f"the {near[0]}", frame))
    size = moment.segmentation["front"].shape
    for name, box in boxes.items():
        asked.append(_question("box", f"Where is the {name}?", box_words(box, (size[0], size[1])), frame))
    return asked


def _question(task: str, words: str, answer: str, frame: int, choices: tuple[str, ...] | None = None) -> Question:
    return Question(task=task, words=words, answer=answer, choices=choices, frames=(frame,))


def _looks(world: Tabletop, boxes: dict[str, tuple[int, int, int, int]], frame: int) -> list[Question]:
    asked = []
    for thing in world.things:
        if thing.name not in boxes:
            continue
        if sum(other.colour == thing.colour for other in world.things) == 1:
            words = f"What shape is the {thing.colour} object?"
            asked.append(_question("shape", words, thing.shape, frame, SHAPES))
        if sum(other.shape == thing.shape for other in world.things) == 1:
            asked.append(_question("colour", f"What colour is the {thing.shape}?", thing.colour, frame, tuple(COLOURS)))
    return asked


def _extremes(places: dict[str, NDArray[np.float64]], frame: int) -> list[Question]:
    asked = []
    for words, axis, sign in (("furthest to the left", 0, 1), ("furthest to the right", 0, -1),
                              ("nearest to the camera", 1, 1), ("furthest from the camera", 1, -1)):  # fmt: skip
        order = sorted(places, key=lambda name, axis=axis, sign=sign: sign * places[name][axis])  # type: ignore[misc]
        if len(order) > 1 and abs(places[order[1]][axis] - places[order[0]][axis]) > CLEAR_METRES:
            asked.append(_question("extreme", f"Which object is {words}?", f"the {order[0]}", frame))
    return asked


def _relations(places: dict[str, NDArray[np.float64]], rng: np.random.Generator, frame: int) -> list[Question]:
    """Where one object stands as seen from another, where one direction clearly wins."""
    asked = []
    names = list(places)
    for one in names:
        other = names[int(rng.integers(len(names)))]
        right, away = (places[one] - places[other])[:2]
        if one == other or abs(abs(right) - abs(away)) < CLEAR_METRES:
            continue
        if abs(right) > abs(away):
            answer = "right" if right > 0 else "left"
        else:
            answer = "behind" if away > 0 else "in front"
        words = f"Seen from the {other}, where is the {one}?"
        asked.append(_question("relation", words, answer, frame, ("left", "right", "behind", "in front")))
    return asked


def doing(task: Task) -> str:
    """What the robot does, in one sentence."""
    verb, _, rest = task.words.partition(" ")
    return f"The robot {_DOING[verb.lower()]} {rest}"


def captions(world: Tabletop, names: Sequence[str], *, succeeded: bool) -> dict[str, str]:
    """``scene`` names the objects, ``short`` the deed if it was done, ``dense`` both."""
    listed = [f"a {name}" for name in names]
    scene = (
        "On the table: " + (", ".join(listed[:-1]) + " and " if len(listed) > 1 else "") + (listed or ["nothing"])[-1]
    )
    short = doing(world.task) if succeeded else "The robot moves its arm."
    return {"scene": f"{scene}.", "short": short, "dense": f"{short} {scene}."}


def report(world: Tabletop, moment: Moment) -> str:
    """Everything seen, left to right, each with the middle of its box in hundredths of the picture."""
    assert moment.segmentation is not None
    marks = moment.segmentation["front"]
    boxes = seen_boxes(world, marks)
    parts = []
    for name, (left, top, right, bottom) in sorted(boxes.items(), key=lambda item: item[1]):
        column = min(99, round(50 * (left + right) / marks.shape[1]))
        row = min(99, round(50 * (top + bottom) / marks.shape[0]))
        parts.append(f"a {name} at {column} {row}")
    return ", ".join(parts) + "." if parts else "nothing."
