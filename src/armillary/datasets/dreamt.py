"""Tables that nobody drew: what stands where, with questions and answers. Seeing comes later, and is dear.

    dreamt(rng, side)   a table: names, places, the cells of a coarse plane they are in
    asked(table, rng)   what can be asked of it, in the words of the tabletop's questions, by task
    shown(names)        what stands there, in the words of its captions

The answers are true of the table as a picture shows it: left and right along its lines, near and far along its
columns, which a camera that looks down at an angle makes shorter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.prompts import SHORTENED
from armillary.records import Question
from armillary.worlds.captions import NUMBERS, box_words
from armillary.worlds.questions import listed
from armillary.worlds.tabletop_tasks import COLOURS, SHAPES

LEAST, MOST = 3, 5  # things
SAME_COLOUR = 0.2  # how often a thing may have the colour of another one
HALF, CLEAR = 4.0, 0.5  # cells of the eyes: from the middle of a picture to its edge; what can be told apart
EXTREMES = (("furthest to the left", 0, 1), ("furthest to the right", 0, -1), ("nearest to the camera", 1, -1),
            ("furthest from the camera", 1, 1))  # fmt: skip
_BOXED = {  # width and height of the middle of a picture, and how much more of each a picture further down; n 8,442
    "ball": ((0.096, 0.061), (0.096, 0.062)), "cross": ((0.132, 0.087), (0.153, 0.114)),
    "cube": ((0.114, 0.081), (0.141, 0.093)), "cylinder": ((0.099, 0.068), (0.132, 0.081)),
}  # fmt: skip
NAMES = tuple(sorted(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """``names`` of k things ("red cube"); ``places`` k 2, x and y (down) in the eyes' cells from the middle of the
    picture; ``cells`` k, each another one, of a plane of ``side`` x ``side``."""

    names: tuple[str, ...]
    places: NDArray[np.float64]
    cells: NDArray[np.int64]
    side: int


def dreamt(rng: np.random.Generator, side: int = 3) -> Table:
    """Three to five things, no two with the same name, no two in the same of ``side`` x ``side`` cells."""
    count = int(rng.integers(LEAST, MOST + 1))
    names: list[str] = []
    while len(names) < count:
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        alone = all(name.split()[0] != colour for name in names)
        if f"{colour} {shape}" not in names and (alone or rng.random() < SAME_COLOUR):
            names.append(f"{colour} {shape}")
    cells = rng.permutation(side * side)[:count]
    corner = np.stack([cells % side, cells // side], axis=1)
    places = (corner + rng.uniform(0.1, 0.9, (count, 2))) * (2 * HALF / side) - HALF
    return Table(names=tuple(names), places=places, cells=cells, side=side)


def asked(table: Table, rng: np.random.Generator) -> list[Question]:
    """Everything that can be asked of the table; of relations one for each thing."""
    names, places = table.names, table.places
    colours, shapes = zip(*(name.split() for name in names), strict=True)
    found = [_question("count", "How many objects are there?", NUMBERS[len(names)])]
    for colour, shape in zip(colours, shapes, strict=True):
        if colours.count(colour) == 1:
            found.append(_question("shape", f"What shape is the {colour} object?", shape))
        if shapes.count(shape) == 1:
            found.append(_question("colour", f"What colour is the {shape}?", colour))
    for words, axis, sign in EXTREMES:
        first, second = np.argsort(sign * places[:, axis])[:2]
        if abs(places[first, axis] - places[second, axis]) > CLEAR:
            found.append(_question("extreme", f"Which object is {words}?", f"the {names[first]}"))
    for one, name in enumerate(names):
        other = int(rng.integers(len(names)))
        right, away = (places[one] - places[other]) * (1, -SHORTENED)
        if one == other or abs(abs(right) - abs(away)) < CLEAR:
            continue
        along = ("right" if right > 0 else "left") if abs(right) > abs(away) else ("behind" if away > 0 else "in front")
        found.append(_question("relation", f"Seen from the {names[other]}, where is the {name}?", along))
    return found + [_question("box", f"Where is the {name}?", _box(name, place)) for name, place in
                    zip(names, places, strict=True)]  # fmt: skip


def shown(names: Sequence[str]) -> str:
    """What stands on a table, in the words of its captions: "On the table: a red cube and a blue ball."."""
    return f"On the table: {listed(names)}."


def _box(name: str, place: NDArray[np.float64]) -> str:
    """The box of a thing in the middle of its kind's size, as a picture shows it from there."""
    x, y = (place + HALF) / (2 * HALF)
    width, height = (at + more * (y - 0.5) for at, more in _BOXED[name.split()[1]])
    edges = np.clip((x - width / 2, y - height / 2, x + width / 2, y + height / 2), 0, 1)
    left, top, right, bottom = (round(1000 * edge) for edge in edges.tolist())
    return box_words((left, top, right, bottom), (1000, 1000))


def _question(task: str, words: str, answer: str) -> Question:
    return Question(task=task, words=words, answer=answer, frames=(0,))
