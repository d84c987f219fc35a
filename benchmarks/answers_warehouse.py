"""Whether answers about ``warehouse`` are true, judged from segmentation, places and speeds alone.

    wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question
    names(episode)             whom and what its questions may name

Near-misses and collisions are found again from outlines and speeds: a gap below 0.3 m, or contact within a second.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
from benchmarks.answers_seen import NUMBERS, Seen, clock, corners, judged, rectangle_gap, same

from armillary.records import Episode, Question

SIZES = {"fork-lift": (3.2, 1.25), "robot": (0.95, 0.75), "person": (0.5, 0.5)}  # metres, as the page says
SHELVES = (-6.6, -2.2, 2.2, 6.6)  # metres to the right of the hall's middle
ROBOT, PUDDLE = 1000, 1001
CAMERAS = ("hall",)  # which a check needs


class Facts(Seen):
    """What an episode's numbers say, by name of mover or thing."""

    def __init__(self, episode: Episode) -> None:
        super().__init__(episode, CAMERAS[0], names(episode))
        known = episode.recipe["parameters"]
        self.kinds = {mover["name"]: mover["kind"] for mover in known["movers"]}
        self.robot, self.movers = np.asarray(episode.states["robot"]), np.asarray(episode.states["movers"])
        self.known, self.last = known, len(episode.actions)

    def place(self, name: str, frame: int) -> np.ndarray:
        """x, y of a mover."""
        return np.asarray(self.movers[frame, list(self.kinds).index(name), :2])

    def away(self, name: str, frame: int) -> float:
        """Metres from the driven robot's middle to a mover's."""
        return float(np.linalg.norm(self.place(name, frame) - self.robot[frame, :2]))

    @cached_property
    def pairs(self) -> np.ndarray:
        """t 2: the smallest gap of any pair in which something drives, and the fewest seconds to contact."""
        return np.array([self._nearest_pair(frame) for frame in range(self.last + 1)])

    def _nearest_pair(self, frame: int) -> tuple[float, float]:
        x, y, yaw, speed = self.robot[frame]
        all_of = [("robot", np.array([x, y, yaw]), speed * np.array([np.cos(yaw), np.sin(yaw)]))]
        all_of += [(kind, row[:3], row[3:5]) for kind, row in zip(self.kinds.values(), self.movers[frame], strict=True)]
        least, soonest = 99.0, 99.0
        for (a, here, va), (b, there, vb) in combinations(all_of, 2):
            reach = (np.hypot(*SIZES[a]) + np.hypot(*SIZES[b])) / 2
            closing = float(np.linalg.norm(va - vb))
            if a == b == "person" or np.linalg.norm(here[:2] - there[:2]) > reach + max(0.4, 1.2 * closing):
                continue
            one, other = corners(here, *SIZES[a]), corners(there, *SIZES[b])
            gap = rectangle_gap(one, other)
            least = min(least, gap)
            if gap < 1.2 * closing and closing > 0.05:
                steps = (k / 10 for k in range(1, 13) if rectangle_gap(one + (va - vb) * k / 10, other) <= 0)
                soonest = min(soonest, next(steps, 99.0))
        return least, soonest

    def near_miss(self, slack: float) -> np.ndarray:
        """Frames, with thresholds wider by ``slack`` (metres; seconds twice that)."""
        gap, soon = self.pairs.T
        return np.flatnonzero((gap > 0) & ((gap < 0.3 + slack) | (soon < 1.0 + 2 * slack)))

    def collision(self) -> np.ndarray:
        """Frames in which two outlines overlap."""
        return np.flatnonzero(self.pairs[:, 0] <= 0)

    def thing(self, name: str) -> np.ndarray:
        """t 3, metres; a thing that falls is the last."""
        order = [one["name"] for one in self.known["things"]]
        return np.asarray(self.episode.states["things"][:, order.index(name) if name in order else -1])

    def begins(self, words: str) -> tuple[float, float]:
        """(earliest, latest) second at which that may be said to begin."""
        fps = self.episode.fps
        if words in ("a near-miss", "a collision"):
            wide = self.near_miss(0.06) if words == "a near-miss" else self.collision()
            strict = self.near_miss(-0.06) if words == "a near-miss" else wide
            return [*wide, self.last][0] / fps, [*strict, self.last][0] / fps
        if words == "a box falls from a shelf":
            moved = np.flatnonzero(np.abs(np.diff(self.thing("falling box"), axis=0)).max(axis=1) > 1e-6)
            return moved[0] / fps, (moved[0] + 1) / fps
        if words == "a barrel tips over and leaks":
            wet = np.flatnonzero(np.asarray(self.episode.states["puddle"])[:, 0] > 0)
            begins = [*wet, self.last][0]  # a life may end before the floor is wet
            return begins / fps - 0.5, begins / fps
        goal = np.asarray(self.episode.states["goal"])[:, 2]
        there = np.flatnonzero((goal < 0.45) & (np.abs(self.robot[:, 3]) < 0.35))
        return there[0] / fps, there[0] / fps


@lru_cache(maxsize=1)
def facts_of(episode: Episode) -> Facts:
    """The facts of an episode, kept until the next comes."""
    return Facts(episode)


def names(episode: Episode) -> list[str]:
    """Whom and what its questions may name."""
    known = episode.recipe["parameters"]
    told = [mover["name"] for mover in known["movers"]] + [thing["name"] for thing in known["things"]]
    return told + ["falling box"] * (episode.states["things"].shape[1] - len(known["things"]))


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    return judged(CHECKS, facts_of(episode), question)


def _box(facts: Facts, question: Question, name: str) -> str | None:
    return same(question, facts.box(name, question.frames[0]))


def _count(facts: Facts, question: Question) -> str | None:
    seen = [name for name in facts.glimpsed(question.frames[0]) if facts.kinds.get(name) == "person"]
    return same(question, NUMBERS[len(seen)])


def _robot_seen(facts: Facts, frame: int) -> bool:
    return len(facts.columns(ROBOT, frame)) >= facts.least()


def _nearest(facts: Facts, question: Question) -> str | None:
    """By outlines: who stands nearest, whatever its length."""
    frame, told = question.frames[0], question.answer.removeprefix("the ")
    mine = corners(facts.robot[frame, :3], *SIZES["robot"])
    gaps = {name: rectangle_gap(mine, corners(facts.movers[frame, k, :3], *SIZES[kind]))
            for k, (name, kind) in enumerate(facts.kinds.items()) if name in facts.seen(frame)}  # fmt: skip
    if not _robot_seen(facts, frame):
        return "the robot is not seen"
    return None if told in gaps and gaps[told] <= min(gaps.values()) + 1e-6 else str(gaps)


def _side(facts: Facts, question: Question, name: str) -> str | None:
    """By columns of the picture."""
    frame = question.frames[0]
    if not _robot_seen(facts, frame):
        return "the robot is not seen"
    right = facts.middle(facts.names.index(name) + 1, frame) - facts.middle(ROBOT, frame)
    return same(question, "right" if right > 0 else "left")


def _metres(facts: Facts, question: Question, name: str) -> str | None:
    away = facts.away(name, question.frames[0])
    if not _robot_seen(facts, question.frames[0]):
        return "the robot is not seen"
    return None if abs(away - NUMBERS.index(question.answer)) <= 0.31 else f"{away:.2f} m"


def _shelf(facts: Facts, question: Question, name: str) -> str | None:
    x, y = facts.place(name, question.frames[0])
    away = [float(np.hypot(max(abs(x - shelf) - 0.65, 0), max(2.0 - y, y - 8.6, 0))) for shelf in SHELVES]
    return same(question, f"the {facts.known['shelves'][int(np.argmin(away))]} one")


def _puddle(facts: Facts, question: Question) -> str | None:
    return same(question, "yes" if len(facts.columns(PUDDLE, question.frames[0])) >= facts.least() else "no")


def _incident(facts: Facts, question: Question) -> str | None:
    found = []
    for slack in (0.06, -0.06):
        signs = {
            "collision": len(facts.collision()) > 0,
            "near-miss": len(facts.near_miss(slack)) > 0,
            "spill": bool(facts.episode.states["puddle"][-1, 0] > 0),
            "dropped box": "falling box" in facts.names and float(np.ptp(facts.thing("falling box")[:, 2])) > 0.3,
            "blocked aisle": facts.known["blocked"] is not None,
        }
        found.append([name for name, sign in signs.items() if sign] or ["calm"])
    return None if any(names == [question.answer] for names in found) else str(found)


def _when(facts: Facts, question: Question, words: str) -> str | None:
    earliest, latest = facts.begins(words)
    told = clock(question.answer)
    return None if earliest - 0.06 <= told <= latest + 0.06 else f"{earliest:.1f} to {latest:.1f}"


def _blocked(facts: Facts, question: Question) -> str | None:
    middle = np.mean([facts.thing(one["name"])[0, 0] for one in facts.known["things"] if "blocking" in one["name"]])
    k = sum(middle > shelf for shelf in SHELVES)
    colours = facts.known["shelves"]
    return same(question, f"the aisle between the {colours[k - 1]} and the {colours[k]} shelf")


def _way(facts: Facts, question: Question) -> str | None:
    return same(question, "to the right" if facts.robot[-1, 0] > facts.robot[0, 0] else "to the left")


CHECKS: dict[str, Callable[..., str | None]] = {
    r"Where is the (.+)\?": _box, r"How many people can be seen\?": _count,
    r"Who is nearest to the white robot\?": _nearest,
    r"Is the (.+) to the left or to the right of the white robot\?": _side,
    r"How many metres are there between the middles of the (.+) and the white robot\?": _metres,
    r"Which shelf is the (.+) nearest to, from left to right\?": _shelf,
    r"Is there a puddle on the floor\?": _puddle,
    r"What is out of the ordinary\?": _incident, r"When does this begin: (.+)\?": _when,
    r"Which aisle can nobody drive through\?": _blocked, r"Which way does the white robot go, all in all\?": _way,
}  # fmt: skip
