"""Whether answers about ``physics`` are true, judged from segmentation, poses and speeds alone.

    wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question

Nothing is taken from the code that made the words: places come from the recorded poses and camera, what is seen from
the segmentation, what touched what from the recorded contacts of each step.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from armillary.records import Episode, Question
from armillary.worlds.physics_laws import broken

CAMERAS = ("main", "high")
COLOUR_WORDS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")


class Facts:
    """What an episode's numbers say, by name of thing."""

    def __init__(self, episode: Episode) -> None:
        self.episode, self.things = episode, episode.recipe["parameters"]["items"]
        self.names = [thing["name"] for thing in self.things]
        self.fixed = {thing["name"] for thing in self.things if thing["fixed"]}

    def state(self, what: str, frame: int, name: str) -> Any:
        return self.episode.states[what][frame, self.names.index(name)]

    def pixels(self, name: str, frame: int, camera: str = "main") -> int:
        return int((self.episode.segmentation[camera][frame] == self.names.index(name) + 1).sum())

    def seen(self, frame: int) -> list[str]:
        h, w = self.episode.segmentation["main"].shape[1:]
        least = max(12, round(40 * h * w / 16384))
        return [n for n in self.names if n not in self.fixed and self.pixels(n, frame) >= least]

    def from_camera(self, name: str, frame: int, at: int | None = None) -> np.ndarray:
        """Right, down, ahead of the main camera as it stood at ``frame``; the thing as it is at ``at``."""
        pose = np.array(self.episode.cameras["main"]["poses"][frame])
        place = np.append(self.state("positions", frame if at is None else at, name), 1.0)
        return (np.linalg.inv(pose) @ place)[:3]

    def box(self, name: str, frame: int) -> str:
        marks = self.episode.segmentation["main"][frame] == self.names.index(name) + 1
        rows, columns = np.nonzero(marks)
        h, w = marks.shape
        ends = (columns.min() / w, rows.min() / h, (columns.max() + 1) / w, (rows.max() + 1) / h)
        a, b, c, d = (min(99, round(100 * float(end))) for end in ends)
        return f"<|box_start|>({a},{b}),({c},{d})<|box_end|>"

    def size(self, name: str) -> float:
        a, b, c = self.episode.states["halves"][0, self.names.index(name)]
        shape = self.things[self.names.index(name)]["shape"]
        return {"ball": np.pi / 6, "box": 1.0}.get(shape, np.pi / 4) * 8 * a * b * c

    def moves(self, name: str, frame: int, after: int) -> dict[str, float]:
        change = self.from_camera(name, frame, at=after) - self.from_camera(name, frame)
        rise = self.state("positions", after, name)[2] - self.state("positions", frame, name)[2]
        return {"left": -change[0], "right": change[0], "up": rise, "down": -rise,
                "towards the camera": -change[2], "away from the camera": change[2]}  # fmt: skip

    def happens(self, words: str, seconds: float) -> bool:
        """Whether the states of that tenth of a second allow it: both touched something, and they were close."""
        frame = min(int(seconds * self.episode.fps + 1e-6) + 1, len(self.episode.states["positions"]) - 1)
        if fallen := re.fullmatch(r"the (.+) has fallen over", words):
            frame = round(seconds * self.episode.fps)
            return self.tilt(fallen[1], frame) < 0.5 <= self.tilt(fallen[1], frame - 1)
        hit = re.fullmatch(r"the (.+) hits the (.+)", words)
        if not hit:
            return True  # what cannot be is judged by the laws
        one, other = hit.groups()
        if other == "floor":
            return bool(self.state("touched", frame, one))
        if not (self.state("touched", frame, one) and self.state("touched", frame, other)):
            return False
        gaps = [np.linalg.norm(self.state("positions", k, one) - self.state("positions", k, other))
                for k in (frame - 1, frame)]  # fmt: skip
        moved = sum(np.linalg.norm(self.state("velocities", k, n)) for k in (frame - 1, frame) for n in (one, other))
        reach = sum(np.linalg.norm(self.state("halves", frame, n)) for n in (one, other))
        return bool(min(gaps) < reach + 0.1 * moved)

    def tilt(self, name: str, frame: int) -> float:
        _, x, y, _ = self.state("quaternions", frame, name)
        return float(1 - 2 * (x * x + y * y))

    def when(self, words: str) -> float:
        return next(start for start, _, said in self.episode.events if said == words)


def names(episode: Episode) -> list[str]:
    """Whom and what its questions may name."""
    return [thing["name"] for thing in episode.recipe["parameters"]["items"]]


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    facts = Facts(episode)
    for pattern, check in CHECKS.items():
        found = re.fullmatch(pattern, question.words)
        if found:
            return check(facts, question, *found.groups())
    raise KeyError(question.words)


def _same(question: Question, truth: str) -> str | None:
    return None if question.answer == truth else truth


def _box(facts: Facts, question: Question, name: str) -> str | None:
    return _same(question, facts.box(name, question.frames[0]))


def _colour(facts: Facts, question: Question, noun: str) -> str | None:
    name = next(n for n in facts.names if n.endswith(f" {noun}"))
    rgb = facts.state("rgb", question.frames[0], name)
    known = {n.split(" ")[0]: facts.state("rgb", 0, n) for n in facts.names if n.split(" ")[0] in COLOUR_WORDS}
    return _same(question, min(known, key=lambda colour: np.abs(known[colour] - rgb).sum()))


def _describe(facts: Facts, question: Question, name: str) -> str | None:
    frame, words = question.frames[0], question.answer
    columns = np.nonzero(facts.episode.segmentation["main"][frame] == facts.names.index(name) + 1)[1]
    middle = (columns.min() + columns.max() + 1) / 2 / facts.episode.segmentation["main"].shape[2]
    where = "on the left" if middle < 0.36 else "on the right" if middle > 0.64 else "in the middle"
    if where not in words or name not in words:
        return where
    ways = facts.moves(name, frame, min(frame + 4, len(facts.episode.actions)))
    way = max(ways, key=lambda one: ways[one])
    still = ways[way] < 0.04
    return None if ("stays" in words) == still and (still or way in words) else way


def _relation(facts: Facts, question: Question, one: str, other: str) -> str | None:
    right, _, away = facts.from_camera(one, question.frames[0]) - facts.from_camera(other, question.frames[0])
    ways = {"left": -right, "right": right, "nearer": -away, "further": away}
    return _same(question, max(ways, key=lambda way: ways[way]))


def _larger(facts: Facts, question: Question, one: str, other: str) -> str | None:
    return _same(question, f"the {one if facts.size(one) > facts.size(other) else other}")


def _nearest(facts: Facts, question: Question) -> str | None:
    seen = facts.seen(question.frames[0])
    return _same(question, f"the {min(seen, key=lambda n: facts.from_camera(n, question.frames[0])[2])}")


def _moves(facts: Facts, question: Question, name: str) -> str | None:
    ways = facts.moves(name, question.frames[0], question.frames[1])
    return _same(question, max(ways, key=lambda way: ways[way]))


def _fastest(facts: Facts, question: Question) -> str | None:
    frame = question.frames[0]
    speed = {n: float(np.linalg.norm(facts.state("velocities", frame, n))) for n in facts.seen(frame)}
    return _same(question, f"the {max(speed, key=lambda n: speed[n])}")


def _count(facts: Facts, question: Question, nouns: str) -> str | None:
    noun = {"dominoes": "domino"}.get(nouns, nouns.removesuffix("s"))
    numbers = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    return _same(question, numbers[sum(n.endswith(f" {noun}") for n in facts.seen(0))])


def _time(facts: Facts, question: Question, words: str) -> str | None:
    for asks, says in ((r"does (.+) hit (.+)", r"\1 hits \2"), (r"has (.+) fallen over", r"\1 has fallen over")):
        words = re.sub(f"^{asks}$", says, words)
    for asks, says in ((r"^does (.+) vanish$", r"\1 vanishes"), (r"^does (.+?) (turn|float|pass)(.*)$", None)):
        found = re.match(asks, words)
        if found:
            words = (
                re.sub(asks, says, words)
                if says
                else f"{found[1]} {found[2]}{'es' if found[2] == 'pass' else 's'}{found[3]}"
            )
    seconds = facts.when(words)
    told = int(question.answer.split(":")[0]) * 60 + float(question.answer.split(":")[1])
    return None if abs(told - seconds) <= 0.0501 and facts.happens(words, seconds) else f"{words} at {seconds}"


def _first_of(facts: Facts, question: Question, options: str) -> str | None:
    times = {words: facts.when(words) for words in options.split("; ")}
    after = question.frames[0] / facts.episode.fps if len(question.frames) == 1 else -1.0
    left = {words: when for words, when in times.items() if when >= after - 1e-6}
    first = min(left, key=lambda words: left[words])
    return _same(question, first) or (None if facts.happens(first, times[first]) else "it does not happen then")


def _cannot(facts: Facts, question: Question, options: str) -> str | None:
    laws = ("vanishes", "goes through the floor", "rises to the ceiling by itself")
    return _same(question, next(words for words in options.split("; ") if words.endswith(laws)))


def _struck(facts: Facts, question: Question, name: str) -> str | None:
    hits = [said for _, _, said in sorted(facts.episode.events) if said.endswith(f"hits the {name}")]
    return _same(question, re.sub(r" hits the .*", "", hits[0]))


def _plan(facts: Facts, question: Question, name: str) -> str | None:
    steps = re.findall(r"the ([a-z ]+?) hits the ([a-z ]+?)(?=[,.])", question.answer.replace("; ", ", "))
    happened = {said for _, _, said in facts.episode.events}
    told = [f"the {a} hits the {b}" for a, b in steps]
    return None if steps and steps[-1][1] == name and set(told) <= happened else str(told)


def _impossible(facts: Facts, question: Question) -> str | None:
    twin = facts.episode.recipe["twin"]
    if twin is None:
        return _same(question, "nothing impossible happens") or (
            str(broken(facts.episode)) if broken(facts.episode) else None
        )
    laws = {law for _, name, law in broken(facts.episode) if name == twin["item"]}
    return None if question.answer.removeprefix("something ") in laws else str(laws)


def _family(facts: Facts, question: Question) -> str | None:
    return _same(question, facts.episode.instruction)


def _listed(facts: Facts, question: Question) -> str | None:
    told = [n for n in facts.names if re.search(rf"\b{n}\b", question.answer.lower())]
    return None if set(told) == set(facts.seen(0)) else str(facts.seen(0))


def _hidden(facts: Facts, question: Question) -> str | None:
    frame = question.frames[1]
    hidden = [n for n in facts.seen(0) if n.endswith("ball") and not facts.pixels(n, frame)]
    named = [n for n in hidden if facts.pixels(n, frame, "high")]
    told = [n for n in facts.names if n in question.answer]
    return None if set(told) == set(named) == set(hidden) else str(named)


CHECKS: dict[str, Callable[..., str | None]] = {
    r"Where is the (.+)\?": _box, r"What colour is the (\w+)\?": _colour, r"Describe the (.+)\.": _describe,
    r"Seen from the camera, where is the (.+): left or right of the (.+), nearer or further\?": _relation,
    r"Which is larger, the (.+) or the (.+)\?": _larger, r"Which thing is nearest to the camera\?": _nearest,
    r"Which way does the (.+) move\?": _moves, r"Which thing is moving fastest\?": _fastest,
    r"How many (\w+) are there\?": _count, r"At what time (.+)\?": _time,
    r"Which of these happens next: (.+)\?": _first_of, r"Which of these happens first: (.+)\?": _first_of,
    r"Which of these cannot happen: (.+)\?": _cannot, r"What hits the (.+) first\?": _struck,
    r"How can the (.+) be set in motion without touching it\?": _plan,
    r"What impossible thing happens here\?": _impossible, r"What happens here\?": _family,
    r"What is there to see at first\?": _listed, r"Which of the balls that were there is hidden now\?": _hidden,
}  # fmt: skip
