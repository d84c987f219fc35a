"""Whether answers about ``tabletop`` are true, judged from segmentation, colours and places alone.

wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question
names(episode)             which objects its questions may name
Table, ABOUT_TABLE         the same facts and checks for whoever else has such a table (``answers_drawer``)
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from benchmarks.answers_seen import NUMBERS, Seen, judged, same

from armillary.records import Episode, Question

CAMERAS = ("front",)  # which a check needs
TONES = {"red": (0.82, 0.1, 0.1), "green": (0.12, 0.6, 0.16), "blue": (0.12, 0.25, 0.85), "yellow": (0.93, 0.8, 0.1),
         "purple": (0.52, 0.14, 0.68), "cyan": (0.1, 0.76, 0.8)}  # fmt: skip


class Table(Seen):
    """What an episode's numbers say, by name of object; ``names`` may go on after the objects."""

    def __init__(self, episode: Episode, names: list[str]) -> None:
        super().__init__(episode, CAMERAS[0], names)
        self.objects, self.tip = np.asarray(episode.states["objects"]), np.asarray(episode.states["tip"])
        self.all = self.names[: self.objects.shape[1]]

    def place(self, name: str, frame: int) -> np.ndarray:
        """x, y, z of an object."""
        return np.asarray(self.objects[frame, self.names.index(name)])

    def things(self, frame: int) -> dict[str, np.ndarray]:
        """The objects seen, with their places."""
        return {name: self.place(name, frame) for name in self.seen(frame) if name in self.all}

    def tone(self, name: str, frame: int) -> str:
        """The colour of TONES that its pixels are most like."""
        mine = np.asarray(self.episode.frames[self.camera][frame], float)[
            self.marks(frame) == self.names.index(name) + 1
        ]
        seen = np.median(mine, axis=0) / np.linalg.norm(np.median(mine, axis=0))
        return max(TONES, key=lambda tone: float(seen @ TONES[tone]) / float(np.linalg.norm(TONES[tone])))


@lru_cache(maxsize=1)
def facts_of(episode: Episode) -> Table:
    """The facts of an episode, kept until the next comes."""
    return Table(episode, names(episode))


def names(episode: Episode) -> list[str]:
    """Which objects its questions may name."""
    return [thing["name"] for thing in episode.recipe["parameters"]["objects"]]


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    return judged(ABOUT_TABLE, facts_of(episode), question)


def _box(facts: Table, question: Question, name: str) -> str | None:
    return same(question, facts.box(name, question.frames[0]))


def _count(facts: Table, question: Question) -> str | None:
    return same(question, NUMBERS[len(facts.things(question.frames[0]))])


def _shape(facts: Table, question: Question, colour: str) -> str | None:
    mine = [n for n in facts.things(question.frames[0]) if facts.tone(n, question.frames[0]) == colour]
    return same(question, mine[0].split(" ")[1]) if len(mine) == 1 else str(mine)


def _colour(facts: Table, question: Question, shape: str) -> str | None:
    mine = [n for n in facts.things(question.frames[0]) if n.endswith(f" {shape}")]
    return same(question, facts.tone(mine[0], question.frames[0])) if len(mine) == 1 else str(mine)


def _furthest(facts: Table, question: Question, words: str) -> str | None:
    axis, sign = {"furthest to the left": (0, 1), "furthest to the right": (0, -1), "nearest to the camera": (1, 1),
                  "furthest from the camera": (1, -1)}[words]  # fmt: skip
    along = {name: sign * place[axis] for name, place in facts.things(question.frames[0]).items()}
    return same(question, f"the {min(along, key=lambda name: along[name])}")


def _relation(facts: Table, question: Question, other: str, one: str) -> str | None:
    right, away = (facts.place(one, question.frames[0]) - facts.place(other, question.frames[0]))[:2]
    told = {"left": -right, "right": right, "behind": away, "in front": -away}
    return same(question, max(told, key=lambda word: told[word]))


def _held(facts: Table, question: Question) -> str | None:
    """Whoever is held is between the fingers; of nothing, only that nobody is carried above the table."""
    frame = question.frames[0]
    gaps = {name: float(np.linalg.norm(facts.place(name, frame) - facts.tip[frame])) for name in facts.all}
    if question.answer == "nothing":
        carried = [n for n, gap in gaps.items() if gap < 0.02 and facts.place(n, frame)[2] > 0.09]
        return str(carried) if carried else None
    return None if gaps.get(question.answer.removeprefix("the "), 1.0) < 0.045 else str(gaps)


def _nearest(facts: Table, question: Question) -> str | None:
    gaps = {n: float(np.linalg.norm(p - facts.tip[question.frames[0]])) for n, p in
            facts.things(question.frames[0]).items()}  # fmt: skip
    return same(question, f"the {min(gaps, key=lambda name: gaps[name])}")


ABOUT_TABLE: dict[str, Callable[..., str | None]] = {
    r"Where is the (.+)\?": _box, r"How many objects are there\?": _count, r"What shape is the (\w+) object\?": _shape,
    r"What colour is the (\w+)\?": _colour, r"Which object is nearest to the gripper\?": _nearest,
    r"Which object is (furthest .+|nearest to the camera)\?": _furthest,
    r"Seen from the (.+), where is the (.+)\?": _relation, r"What is the gripper holding\?": _held,
}  # fmt: skip
