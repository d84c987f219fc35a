"""Whether answers about ``drawer`` are true, judged from segmentation, depth, colours and places alone.

    wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question
    names(episode)             whom and what its questions may name

How far the drawer is out is read off its handle's place, what lies in it off the depth of what is seen there.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from benchmarks.answers_seen import clock, judged, same
from benchmarks.answers_tabletop import ABOUT_TABLE, Table

from armillary.records import Episode, Question

CAMERAS = ("front",)  # which a check needs
SHUT, OPEN, ALL_OUT = 0.012, 0.095, 0.109  # metres; a shut drawer's handle is so far from the table's middle
CLEAR, ROW = 0.025, 0.1


class Facts(Table):
    """What an episode's numbers say, by name of object; the drawer is the last name."""

    def __init__(self, episode: Episode) -> None:
        super().__init__(episode, names(episode))
        self.handle = np.asarray(episode.states["handle"])
        self.way = 1.0 if self.middle(len(self.names), 0) < self.marks(0).shape[1] / 2 else -1.0
        self.out = ALL_OUT + self.way * self.handle[:, 0]

    def surface(self, name: str, frame: int) -> np.ndarray:
        """n 3: where in the world the pixels of something are, by depth."""
        known = self.episode.cameras[self.camera]
        numbers, pose = np.array(known["intrinsics"]), np.array(known["camera_to_world"])
        rows, columns = np.nonzero(self.marks(frame) == self.names.index(name) + 1)
        far = np.asarray(self.episode.depth[self.camera][frame])[rows, columns]
        local = [(columns + 0.5 - numbers[0, 2]) / numbers[0, 0] * far,
                 (rows + 0.5 - numbers[1, 2]) / numbers[1, 1] * far, far]  # fmt: skip
        return np.stack(local, axis=1) @ pose[:3, :3].T + pose[:3, 3]

    def inside(self, name: str, frame: int) -> bool:
        """Whether what is seen of it is above the drawer's floor and below a hand's width."""
        x, y, z = np.median(self.surface(name, frame), axis=0)
        back = self.way * (self.handle[frame, 0] - x)
        return bool(0.046 < back < 0.18 and abs(y - ROW) < 0.058 and z < 0.085)


@lru_cache(maxsize=1)
def facts_of(episode: Episode) -> Facts:
    """The facts of an episode, kept until the next comes."""
    return Facts(episode)


def names(episode: Episode) -> list[str]:
    """Whom and what its questions may name."""
    return [thing["name"] for thing in episode.recipe["parameters"]["objects"]] + ["drawer"]


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    return judged(CHECKS, facts_of(episode), question)


def _held(facts: Facts, question: Question) -> str | None:
    frame = question.frames[0]
    near = [n for n in facts.all if np.linalg.norm(facts.place(n, frame) - facts.tip[frame]) < 0.045]
    if question.answer == "nothing":
        return "the handle" if np.linalg.norm(facts.handle[frame] - facts.tip[frame]) < 0.02 else None
    return None if question.answer.removeprefix("the ") in near else str(near)


def _by_handle(facts: Facts, question: Question) -> str | None:
    frame = question.frames[0]
    gaps = {name: float(np.linalg.norm((place - facts.handle[frame])[:2])) for name, place in
            facts.things(frame).items() if not facts.inside(name, frame)}  # fmt: skip
    return same(question, f"the {min(gaps, key=lambda name: gaps[name])}")


def _side(facts: Facts, question: Question) -> str | None:
    return same(question, "left" if facts.way > 0 else "right")


def _state(facts: Facts, question: Question) -> str | None:
    out = facts.out[question.frames[0]]
    return same(question, "open" if out > OPEN else "closed" if out < SHUT else f"{out:.3f} m out")


def _within(facts: Facts, question: Question) -> str | None:
    found = [name for name in facts.things(question.frames[0]) if facts.inside(name, question.frames[0])]
    told = [name for name in facts.all if name in question.answer]
    return None if facts.out[question.frames[0]] > OPEN and sorted(found) == sorted(told) else str(found)


def _fate(facts: Facts, question: Question) -> str | None:
    first, last = facts.out[0], facts.out[-1]
    if np.ptp(facts.out) < SHUT:
        return same(question, "it stays as it is")
    if first < SHUT and last > OPEN:
        return same(question, "it is opened")
    return same(question, "it is closed" if first > OPEN and last < SHUT else f"from {first:.3f} to {last:.3f} m")


def _when(facts: Facts, question: Question, words: str) -> str | None:
    if words.startswith("the drawer is "):
        does = facts.out > OPEN if words.endswith("open") else facts.out < SHUT
    else:
        place = facts.objects[:, facts.names.index(words.removeprefix("the ").removesuffix(" lies in the drawer"))]
        back = facts.way * (facts.handle[:, 0] - place[:, 0])
        held = np.linalg.norm(place - facts.tip, axis=1) < 0.015
        does = (back > 0.045) & (back < 0.165) & (np.abs(place[:, 1] - ROW) < 0.052) & (place[:, 2] < 0.047) & ~held
    begins = (np.flatnonzero(does[1:] & ~does[:-1]) + 1) / facts.episode.fps
    return None if len(begins) and np.abs(begins - clock(question.answer)).min() <= 0.21 else str(begins)


CHECKS: dict[str, Callable[..., str | None]] = ABOUT_TABLE | {
    r"What is the gripper holding\?": _held,
    r"Which object outside the drawer is nearest to its handle\?": _by_handle,
    r"On which side does the cabinet stand\?": _side, r"Is the drawer open or closed\?": _state,
    r"What lies in the drawer\?": _within, r"What happens to the drawer\?": _fate,
    r"When do we first see this: (.+)\?": _when,
}  # fmt: skip
