"""Whether answers about ``humans`` are true, judged from segmentation, depth and joints alone.

    wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question
    names(episode)             whom its questions may name

What somebody does is read off the way of the joints: who goes, whose hips come down and stay, whose hand is above
the shoulder.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from benchmarks.answers_seen import NUMBERS, Seen, clock, judged, same

from armillary.records import Episode, Question

CAMERAS = ("main",)  # which a check needs


class Facts(Seen):
    """What an episode's numbers say, by name of person."""

    def __init__(self, episode: Episode) -> None:
        super().__init__(episode, CAMERAS[0], names(episode))

    def joint(self, name: str, part: str) -> np.ndarray:
        """t 3, metres."""
        number = self.episode.recipe["joints"].index(part)
        return np.asarray(self.episode.states["joints"][:, self.names.index(name), number])

    def gone(self, name: str) -> np.ndarray:
        """How far the pelvis is along the floor from where it began, t, metres."""
        pelvis = self.joint(name, "pelvis")
        return np.linalg.norm((pelvis - pelvis[0])[:, :2], axis=1)

    def raised(self, name: str) -> dict[str, np.ndarray]:
        """How much higher than its shoulder each hand is, t, metres."""
        return {side: (self.joint(name, f"{side} hand") - self.joint(name, f"{side} shoulder"))[:, 2]
                for side in ("left", "right")}  # fmt: skip

    def does(self, name: str) -> str:
        """What the joints say that it does."""
        pelvis, head = self.joint(name, "pelvis"), self.joint(name, "head")
        if self.gone(name).max() > 0.8:
            hands = [self.joint(name, f"{side} hand") for side in ("left", "right")]
            apart = np.ptp(hands[0][:, 2] - hands[1][:, 2]) + np.ptp(np.linalg.norm(hands[0] - hands[1], axis=1))
            high = np.mean(hands[0][:, 2] - pelvis[:, 2])
            return "carries a box" if high > 0 and apart < 0.1 else "walks"
        if pelvis[:, 2].max() - pelvis[-1, 2] > 0.25:
            return "sits down"
        if max(rise.max() for rise in self.raised(name).values()) > 0.1:
            return "waves"
        return "bends down and straightens up" if np.ptp(head[:, 2]) > 0.25 else "stands"

    def begins(self, name: str) -> float:
        """Seconds when joints first leave, by more than breathing does, where they were at the beginning."""
        parts = ["left ankle", "right ankle", "left hand", "right hand", "pelvis", "head"]
        way = np.max([np.linalg.norm(self.joint(name, p) - self.joint(name, p)[0], axis=1) for p in parts], axis=0)
        return float(np.flatnonzero(way > 0.03)[0]) / self.episode.fps

    def upright(self, name: str, frame: int) -> str:
        """``upright`` if legs and back are, ``not upright`` if clearly one of them is not, else ``between``."""
        pelvis, head = self.joint(name, "pelvis")[frame], self.joint(name, "head")[frame]
        height = self.episode.recipe["parameters"]["people"][self.names.index(name)]["height"]
        lean = np.degrees(np.arctan2(np.linalg.norm((head - pelvis)[:2]), (head - pelvis)[2]))
        if lean < 20 and pelvis[2] > 0.48 * height:
            return "upright"
        return "not upright" if lean > 30 or pelvis[2] < 0.42 * height else "between"


@lru_cache(maxsize=1)
def facts_of(episode: Episode) -> Facts:
    """The facts of an episode, kept until the next comes."""
    return Facts(episode)


def names(episode: Episode) -> list[str]:
    """Whom its questions may name."""
    return [person["name"] for person in episode.recipe["parameters"]["people"]]


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    return judged(CHECKS, facts_of(episode), question)


def _box(facts: Facts, question: Question, name: str) -> str | None:
    return same(question, facts.box(name, question.frames[0]))


def _count(facts: Facts, question: Question) -> str | None:
    return same(question, NUMBERS[len(facts.glimpsed(question.frames[0]))])


def _trousers(facts: Facts, question: Question, name: str) -> str | None:
    """As drawn, if there is somebody to be seen."""
    drawn = facts.episode.recipe["parameters"]["people"][facts.names.index(name)]["trousers"]
    if drawn != question.answer:
        return str(drawn)
    shown = facts.pixels(name, question.frames[0]) >= facts.least()
    return None if shown else "nobody sees it"


def _upright(facts: Facts, question: Question, name: str) -> str | None:
    return same(question, facts.upright(name, question.frames[0]))


def _lefter(facts: Facts, question: Question) -> str | None:
    seen = facts.seen(question.frames[0])
    left = min(seen, key=lambda name: facts.columns(facts.names.index(name) + 1, question.frames[0]).mean())
    return same(question, f"the {left}") if len(seen) > 1 else "only one is seen"


def _nearer(facts: Facts, question: Question) -> str | None:
    seen = facts.seen(question.frames[0])
    return same(question, f"the {min(seen, key=lambda name: facts.metres(name, question.frames[0]))}")


def _does(facts: Facts, question: Question, name: str) -> str | None:
    return same(question, facts.does(name))


def _begins(facts: Facts, question: Question, words: str) -> str | None:
    name = next(name for name in facts.names if words.startswith(f"the {name} "))
    seconds, told = facts.begins(name), clock(question.answer)
    if words != f"the {name} {facts.does(name)}":
        return facts.does(name)
    return None if abs(seconds - told) <= 0.41 else f"{seconds:.1f}"


def _hand(facts: Facts, question: Question, name: str) -> str | None:
    rises = {side: float(rise.max()) for side, rise in facts.raised(name).items()}
    return same(question, max(rises, key=lambda side: rises[side])) if facts.does(name) == "waves" else "no hand"


CHECKS: dict[str, Callable[..., str | None]] = {
    r"Where is the (.+)\?": _box, r"How many people can be seen\?": _count,
    r"What colour are the trousers of the (.+)\?": _trousers,
    r"Is the (.+) upright or not upright\?": _upright, r"Who is further to the left\?": _lefter,
    r"Who is nearer to the camera\?": _nearer, r"What does the (.+) do\?": _does,
    r"When does this begin: (.+)\?": _begins,
    r"Which hand does the (.+) wave with, the left or the right one\?": _hand,
}  # fmt: skip
