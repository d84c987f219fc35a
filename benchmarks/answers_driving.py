"""Whether answers about ``driving`` are true, judged from segmentation, depth, places and speeds alone.

    wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question
    names(episode)             whom its questions may name

Streets (kerbs, arms, headings) are those of the map that the seed draws; all else is the recording.
"""

import re
from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
from benchmarks.answers_seen import NUMBERS, Seen, clock, corners, judged, same

from armillary.records import Episode, Question
from armillary.worlds.driving import Driving
from armillary.worlds.driving_map import Streets

CAR = (4.4, 1.8)
SIGNALS = 1000
CAMERAS = ("front",)  # which a check needs


class Facts(Seen):
    """What an episode's numbers say, by name of vehicle or person."""

    def __init__(self, episode: Episode) -> None:
        super().__init__(episode, CAMERAS[0], names(episode))
        self.cars = {v["name"]: v["size"] for v in episode.recipe["parameters"]["vehicles"]}
        self.ego = np.asarray(episode.states["ego"])

    @cached_property
    def streets(self) -> Streets:
        world = Driving(views=(), **dict(self.episode.recipe["fixed"]))
        world.reset(self.episode.seed)
        return world.scene.streets

    def rows(self, name: str) -> np.ndarray:
        """x, y, heading, speed of each frame."""
        kind, order = ("vehicles", list(self.cars)) if name in self.cars else ("people", self.names[len(self.cars) :])
        return np.asarray(self.episode.states[kind][:, order.index(name), :4])

    def outline(self, name: str, frame: int) -> np.ndarray:
        return corners(self.rows(name)[frame], *(self.cars[name][:2] if name in self.cars else (0.5, 0.5)))

    def local(self, name: str, frame: int) -> np.ndarray:
        """The outline's corners 4 2, metres ahead and to the left of the driven car's middle."""
        turn, off = self.ego[frame, 2], self.outline(name, frame) - self.ego[frame, :2]
        return off @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def beside(self, name: str, frame: int) -> float:
        """Metres to the left of the nearest arm's middle line."""
        place = self.rows(name)[frame, :2]
        found = []
        for arm in self.streets.arms:
            a, b = arm.points[:-1], arm.points[1:]
            way = b - a
            share = np.clip(((place - a) * way).sum(1) / (way**2).sum(1), 0, 1)
            off = place - a - share[:, None] * way
            k = int(np.hypot(*off.T).argmin())
            found.append((float(np.hypot(*off[k])), float(way[k, 0] * off[k, 1] - way[k, 1] * off[k, 0])))
        size, side = min(found)
        return size if side > 0 else -size

    def on_road(self, name: str, frame: int) -> float:
        """How far inside the kerbs somebody is, metres; negative on the pavement."""
        place = self.rows(name)[frame, :2]
        inside = self.streets.half - abs(self.beside(name, frame))
        return max(inside, self.streets.half - float(np.hypot(*place))) if self.streets.box else inside

    def turned(self) -> str:
        """Which way it leaves a junction; ``no way`` if it never comes there, or stays there."""
        away, inside = np.hypot(*self.ego[:, :2].T), self.streets.half + 4
        if away.min() > inside or away[-1] < inside:
            return "no way"
        bend = float(np.unwrap(self.ego[:, 2])[-1] - self.ego[0, 2])
        return "straight on" if abs(bend) < 0.7 else "left" if bend > 0 else "right"

    def second(self, frame: int) -> tuple[float, float, float]:
        """Of the second after a frame: fastest, change of speed in m/s, change of heading in radians."""
        speed, yaw = self.ego[frame : frame + 11, 3], np.unwrap(self.ego[frame : frame + 11, 2])
        return float(speed.max()), float(speed[-1] - speed[0]), float(yaw[-1] - yaw[0])


@lru_cache(maxsize=1)
def facts_of(episode: Episode) -> Facts:
    """The facts of an episode, kept until the next comes."""
    return Facts(episode)


def names(episode: Episode) -> list[str]:
    """Whom its questions may name."""
    known = episode.recipe["parameters"]
    return [vehicle["name"] for vehicle in known["vehicles"]] + list(known["people"])


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    return judged(CHECKS, facts_of(episode), question)


def _box(facts: Facts, question: Question, name: str) -> str | None:
    return same(question, facts.box(name, question.frames[0]))


def _count(facts: Facts, question: Question) -> str | None:
    return same(question, NUMBERS[sum(name in facts.cars for name in facts.glimpsed(question.frames[0]))])


def _colour(facts: Facts, question: Question, kind: str) -> str | None:
    mine = [n for n in facts.glimpsed(question.frames[0]) if n.endswith(f" {kind}")]
    return same(question, mine[0].split(" ")[0]) if len(mine) == 1 else str(mine)


def _clothes(facts: Facts, question: Question) -> str | None:
    people = [n for n in facts.glimpsed(question.frames[0]) if n not in facts.cars]
    return same(question, people[0].removeprefix("pedestrian in ")) if len(people) == 1 else str(people)


def _light(facts: Facts, question: Question) -> str | None:
    """By the lamps: their pixels in the picture, of every traffic light that can be seen."""
    frame = question.frames[0]
    marks, picture = facts.marks(frame), np.asarray(facts.episode.frames["front"][frame], float)
    shown = set()
    for label in np.unique(marks[marks >= SIGNALS]):
        tone = picture[marks == label]
        lit = (tone[:, 0] - tone[:, 1])[np.abs(tone[:, 0] - tone[:, 1]) > 60]
        if len(lit) >= 2:
            shown.add("red" if lit.mean() > 0 else "green")
    signal = "green" if facts.episode.states["signal"][frame, 0] > 0 else "red"
    return same(question, signal) if shown <= {signal} else f"lights show {shown}"


def _nearest(facts: Facts, question: Question) -> str | None:
    far = {name: facts.metres(name, question.frames[0]) for name in facts.seen(question.frames[0])}
    told = question.answer.removeprefix("the ")
    return None if told in far and far[told] <= min(far.values()) + 0.3 else str(far)


def _far(facts: Facts, question: Question, name: str) -> str | None:
    metres = facts.metres(name, question.frames[0])
    return None if abs(metres - float(question.answer.split(" ")[0])) <= 3.5 else f"{metres:.1f} m"


def _viewpoint(facts: Facts, question: Question, name: str) -> str | None:
    frame = question.frames[0]
    away = facts.ego[frame, :2] - facts.rows(name)[frame, :2]
    turn = np.degrees(np.arctan2(away[1], away[0]) - facts.rows(name)[frame, 2]) % 360
    ways = {"in front": 0.0, "left": 90.0, "behind": 180.0, "right": 270.0}
    return same(question, min(ways, key=lambda way: abs((turn - ways[way] + 180) % 360 - 180)))


def _lefter(facts: Facts, question: Question, one: str, other: str) -> str | None:
    at = {name: facts.columns(facts.names.index(name) + 1, question.frames[0]).mean() for name in (one, other)}
    return same(question, f"the {min(at, key=lambda name: at[name])}")


def _turned(facts: Facts, question: Question) -> str | None:
    return same(question, facts.turned())


def _when(facts: Facts, question: Question, words: str) -> str | None:
    """The first frame in which it both happens and can be seen, within two frames."""
    frames = range(len(facts.ego))
    if words == "the car waits":
        does = [facts.ego[k, 3] < 0.3 for k in frames]
    else:
        found = re.fullmatch(r"the (.+) (cuts in|brakes hard|crosses the road)", words)
        if found is None:
            raise KeyError(question.words)
        name, act = found.groups()
        rows, first = facts.rows(name), facts.seen
        if act == "brakes hard":
            does = [k > 0 and rows[k, 3] < rows[k - 1, 3] - 0.5 for k in frames]
        elif act == "cuts in":
            does = [abs(facts.beside(name, k) - facts.beside(name, 0)) > 0.02 for k in frames]
        else:
            does = [facts.on_road(name, k) > 0.1 for k in frames]
        does = [flag and name in first(k) for k, flag in enumerate(does)]
    if not any(does):
        return "it cannot be seen"
    seconds = does.index(True) / facts.episode.fps
    return None if abs(seconds - clock(question.answer)) <= 0.21 else f"{seconds:.1f}"


def _next(facts: Facts, question: Question) -> str | None:
    return None if _did(facts, question.answer, question.frames[0]) else str(facts.second(question.frames[0]))


def _did(facts: Facts, words: str, frame: int) -> bool:
    """Whether the car does that in the second after a frame."""
    fastest, change, bend = facts.second(frame)
    stands = fastest < 0.35
    return {"stands still": stands, "wait": stands, "speeds up": change > 0.75, "speed up": change > 0.75,
            "slows down": change < -0.75, "slow down": change < -0.75, "turn left": bend > 0.35,
            "turn right": bend < -0.35, "keeps its speed": abs(change) < 0.85 and not stands,
            "drive on": abs(change) < 0.85 and not stands}[words]  # fmt: skip


def _why(facts: Facts, question: Question) -> str | None:
    frame = question.frames[0]
    if facts.ego[frame, 3] > 0.25:
        return f"it goes at {facts.ego[frame, 3]:.1f}"
    if question.answer == "the traffic light is red":
        return None if facts.episode.states["signal"][frame, 0] < 0 else "the light is not red"
    told = re.fullmatch(r"the (.+) is (crossing|in the way)", question.answer)
    if told is None or told[1] not in facts.seen(frame):
        return "nobody like that is seen"
    ahead, left = facts.local(told[1], frame).T
    if told[2] == "crossing":
        return None if facts.on_road(told[1], frame) > 0 and 0 < ahead.min() < 20 else f"{ahead.min():.1f} m ahead"
    blocks = left.min() < CAR[1] / 2 and left.max() > -CAR[1] / 2 and CAR[0] / 2 < ahead.min() + 0.5 < 12
    return None if blocks else f"{told[1]} at {ahead.min():.1f} ahead, {left.min():.1f} to {left.max():.1f} left"


def _plan(facts: Facts, question: Question, _: str) -> str | None:
    """The steps told are found one after the other."""
    frame, last = 0, len(facts.ego) - 10
    for step in question.answer.split(", "):
        while frame < last and not _did(facts, step, frame):
            frame += 1
        if frame >= last:
            return f"no {step!r} is left" if last > 0 else None
    return None


CHECKS: dict[str, Callable[..., str | None]] = {
    r"Where is the (.+)\?": _box, r"How many vehicles can be seen\?": _count, r"What colour is the (\w+)\?": _colour,
    r"What colour does the pedestrian wear\?": _clothes, r"What does the traffic light show\?": _light,
    r"Who is nearest to the camera\?": _nearest, r"How far away is the (.+), to the nearest 5 metres\?": _far,
    r"Seen from the (.+), where is the car with the camera\?": _viewpoint,
    r"Which is further to the left, the (.+) or the (.+)\?": _lefter,
    r"Which way does the car go at the junction\?": _turned, r"When do we first see this: (.+)\?": _when,
    r"What does the car do in the next second\?": _next, r"Why does the car stand still\?": _why,
    r"(.+)\. What does the car do, step by step\?": _plan,
}  # fmt: skip
