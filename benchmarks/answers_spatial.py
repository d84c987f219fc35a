"""Whether answers about ``spatial`` are true, judged from segmentation, recorded poses and cameras alone.

wrong(episode, question)   None if the answer holds, else what holds instead; ``KeyError`` for an unknown question
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from armillary.records import Episode, Question

NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
CAMERAS = ("main", "left", "right")


class Facts:
    """What an episode's numbers say, by name of thing."""

    def __init__(self, episode: Episode, question: Question) -> None:
        self.episode, self.frame = episode, question.frames[0]
        self.names = [thing["name"] for thing in episode.recipe["parameters"]["items"]]

    def at(self, name: str) -> np.ndarray:
        return np.asarray(self.episode.states["positions"][self.frame, self.names.index(name)])

    def half(self, name: str) -> np.ndarray:
        return np.asarray(self.episode.states["halves"][self.frame, self.names.index(name)])

    def marks(self, camera: str = "main", frame: int | None = None) -> np.ndarray:
        return np.asarray(self.episode.segmentation[camera][self.frame if frame is None else frame])

    def pixels(self, name: str, camera: str = "main", frame: int | None = None) -> int:
        return int((self.marks(camera, frame) == self.names.index(name) + 1).sum())

    def seen(self, camera: str = "main", frame: int | None = None) -> list[str]:
        h, w = self.marks(camera).shape
        least = max(12, round(40 * h * w / 16384))
        return [name for name in self.names if self.pixels(name, camera, frame) >= least]

    def columns(self, name: str) -> tuple[int, int]:
        columns = np.nonzero(self.marks() == self.names.index(name) + 1)[1]
        return int(columns.min()), int(columns.max()) + 1

    def for_camera(self, name: str, camera: str = "main") -> np.ndarray:
        known = self.episode.cameras[camera]
        pose = np.array(known["poses"][self.frame] if camera == "main" else known["camera_to_world"])
        return np.asarray((np.linalg.inv(pose) @ np.append(self.at(name), 1.0))[:3])

    def turn_for_figure(self, name: str) -> float:
        """Degrees that the figure, who looks along its own -y, would turn to face a thing; left is positive."""
        figure = self.names[0]
        yaw = self.episode.states["yaws"][self.frame, 0]
        away = (self.at(name) - self.at(figure))[:2]
        local = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]) @ away
        return float(np.degrees(np.arctan2(local[0], -local[1])))


def names(episode: Episode) -> list[str]:
    """Whom and what its questions may name."""
    return [thing["name"] for thing in episode.recipe["parameters"]["items"]]


def wrong(episode: Episode, question: Question) -> str | None:
    """What holds instead of the answer given; None if it is true. ``KeyError`` where no check knows the question."""
    for pattern, check in CHECKS.items():
        found = re.fullmatch(pattern, question.words)
        if found:
            return check(Facts(episode, question), question, *found.groups())
    raise KeyError(question.words)


def _same(question: Question, truth: Any) -> str | None:
    return None if question.answer == truth else str(truth)


def _side(facts: Facts, question: Question, camera: str, one: str, other: str) -> str | None:
    at = [facts.for_camera(name, camera)[0] for name in (one, other)]
    both = {one, other} <= set(facts.seen(camera))
    return _same(question, "right" if at[0] > at[1] else "left") if both else "not both are seen"


def _nearer(facts: Facts, question: Question, one: str, other: str) -> str | None:
    return _same(question, f"the {min((one, other), key=lambda name: facts.for_camera(name)[2])}")


def _behind(facts: Facts, question: Question, name: str) -> str | None:
    left, right = facts.columns(name)
    found = []
    for other in facts.seen():
        a, b = facts.columns(other)
        if facts.for_camera(other)[2] > facts.for_camera(name)[2] and min(b, right) - max(a, left) > 0.5 * min(
            b - a, right - left
        ):
            found.append(other)
    far = [n for n in found if facts.for_camera(n)[2] > facts.for_camera(name)[2] + 0.35]
    return _same(question, f"the {far[0]}") if len(far) == 1 else str(far)


def _between(facts: Facts, question: Question, one: str, other: str) -> str | None:
    a, b, found = facts.at(one)[:2], facts.at(other)[:2], []
    for name in facts.names:
        if name not in (one, other):
            away = facts.at(name)[:2] - a
            share = away @ (b - a) / ((b - a) @ (b - a))
            aside = np.linalg.norm(away - share * (b - a))
            if 0 < share < 1 and aside < 0.55:
                found.append(name)
    return _same(question, f"the {found[0]}") if len(found) == 1 else str(found)


def _gap(facts: Facts, question: Question, one: str, other: str) -> str | None:
    return _within(question, float(np.linalg.norm((facts.at(one) - facts.at(other))[:2])))


def _far(facts: Facts, question: Question, name: str) -> str | None:
    return _within(question, float(np.linalg.norm(facts.for_camera(name))))


def _within(question: Question, metres: float) -> str | None:
    told = float(re.search(r"about ([\d.]+) metre", question.answer)[1])  # type: ignore[index]
    return None if abs(told - metres) <= 0.25 else f"{metres:.2f}"


def _taller(facts: Facts, question: Question, one: str, other: str) -> str | None:
    return _same(question, f"the {max((one, other), key=lambda name: facts.half(name)[2])}")


def _most(facts: Facts, question: Question, which: str) -> str | None:
    order = sorted(facts.seen(), key=lambda name: facts.half(name)[2])
    return _same(question, f"the {order[-1] if which == 'tallest' else order[0]}")


def _figure_way(facts: Facts, question: Question, _: str, name: str) -> str | None:
    turn = facts.turn_for_figure(name)
    ahead = "ahead" if abs(turn) < 45 else "behind" if abs(turn) > 135 else None
    return _same(question, ahead or ("to the left" if turn > 0 else "to the right"))


def _figure_walk(facts: Facts, question: Question, figure: str, name: str) -> str | None:
    turn, told = facts.turn_for_figure(name), re.search(r"urn (left|right) by about (\d+)", question.answer)
    said = 0.0 if told is None else float(told[2]) * (1 if told[1] == "left" else -1)
    off = abs((turn - said + 180) % 360 - 180)
    return _gap(facts, question, figure, name) if off <= 15.5 else f"{turn:.0f} degrees"


def _box(facts: Facts, question: Question, name: str) -> str | None:
    rows, columns = np.nonzero(facts.marks() == facts.names.index(name) + 1)
    h, w = facts.marks().shape
    ends = (columns.min() / w, rows.min() / h, (columns.max() + 1) / w, (rows.max() + 1) / h)
    a, b, c, d = (min(99, round(100 * float(end))) for end in ends)
    return _same(question, f"<|box_start|>({a},{b}),({c},{d})<|box_end|>")


def _describe(facts: Facts, question: Question, name: str) -> str | None:
    left, right = facts.columns(name)
    middle = (left + right) / 2 / facts.marks().shape[1]
    where = "on the left" if middle < 0.36 else "on the right" if middle > 0.64 else "in the middle"
    tall = float(re.search(r"about (\d+) centimetres", question.answer)[1])  # type: ignore[index]
    right_size = abs(tall - 200 * facts.half(name)[2]) <= 5.01
    return None if where in question.answer and name in question.answer.lower() and right_size else f"{where}, {tall}"


def _colour(facts: Facts, question: Question, noun: str) -> str | None:
    names = [name for name in facts.names if name.endswith(f" {noun}")]
    return _same(question, names[0].split(" ")[0]) if len(names) == 1 and names[0] in facts.seen() else str(names)


def _count(facts: Facts, question: Question, nouns: str) -> str | None:
    noun = {"boxes": "box", "shelves": "shelf"}.get(nouns, nouns.removesuffix("s"))
    return _same(question, NUMBERS[sum(name.endswith(f" {noun}") for name in facts.seen())])


def _coloured(facts: Facts, question: Question, colour: str) -> str | None:
    return _same(question, NUMBERS[sum(name.startswith(f"{colour} ") for name in facts.seen())])


def _cannot_see(facts: Facts, question: Question, name: str) -> str | None:
    blind = [camera for camera in CAMERAS if not facts.pixels(name, camera)]
    return _same(question, blind[0]) if len(blind) == 1 else str(blind)


def _alone_sees(facts: Facts, question: Question, name: str) -> str | None:
    sees = [camera for camera in CAMERAS if facts.pixels(name, camera)]
    return _same(question, sees[0]) if len(sees) == 1 else str(sees)


def _missed(facts: Facts, question: Question, camera: str) -> str | None:
    missed = [name for name in facts.names if not facts.pixels(name, camera)]
    seen_elsewhere = any(facts.pixels(missed[0], other) for other in CAMERAS) if missed else False
    return _same(question, f"the {missed[0]}") if len(missed) == 1 and seen_elsewhere else str(missed)


def _goes(facts: Facts, question: Question) -> str | None:
    poses = np.array(facts.episode.cameras["main"]["poses"])
    right, _, ahead = poses[0][:3, :3].T @ (poses[-1][:3, 3] - poses[0][:3, 3])
    ways = {"left": -right, "right": right, "forward": ahead, "backward": -ahead}
    return _same(question, max(ways, key=lambda way: ways[way]))


def _stands(facts: Facts, question: Question) -> str | None:
    moved = np.ptp(np.array(facts.episode.cameras["main"]["poses"]), axis=0).max()
    return None if moved < 1e-9 and question.answer == "it stands still" else f"moved {moved}"


def _appears(facts: Facts, question: Question, name: str) -> str | None:
    told = float(question.answer.split(":")[1])
    frame = round(told * facts.episode.fps)
    new = name in facts.seen(frame=frame) and not facts.pixels(name, frame=0)
    return None if new and not any(name in facts.seen(frame=k) for k in range(frame)) else f"not at {told}"


def _next(facts: Facts, question: Question) -> str | None:
    unseen = [name for name in facts.names if not facts.pixels(name, frame=0)]
    for frame in range(len(facts.episode.actions) + 1):
        new = [name for name in unseen if name in facts.seen(frame=frame)]
        if new:
            return _same(question, f"the {new[0]}") if len(new) == 1 else str(new)
    return "nothing"


def _sit(facts: Facts, question: Question, options: str) -> str | None:
    seats = [name for name in options.split("; ") if name.split(" ")[1] in ("chair", "sofa", "stool")]
    return _same(question, seats[0]) if len(seats) == 1 else str(seats)


def _hangs(facts: Facts, question: Question) -> str | None:
    loose = [name for name in facts.names if facts.at(name)[2] - facts.half(name)[2] > 0.05]
    return _same(question, f"the {loose[0]}" if loose else "nothing")


def _listed(facts: Facts, question: Question) -> str | None:
    told = [name for name in facts.names if re.search(rf"\b{name}\b", question.answer.lower())]
    return None if set(told) == set(facts.seen()) else str(facts.seen())


def _in_order(facts: Facts, question: Question) -> str | None:
    order = sorted(facts.seen(), key=lambda name: question.answer.lower().find(name))
    left = [facts.columns(name)[0] for name in order]
    return None if left == sorted(left) and not _listed(facts, question) else str(order)


CHECKS: dict[str, Callable[..., str | None]] = {
    r"Is the (.+) left or right of the (.+)\?": lambda f, q, a, b: _side(f, q, "main", a, b),
    r"Seen from the (\w+) camera, is the (.+) left or right of the (.+)\?": _side,
    r"Which is nearer, the (.+) or the (.+)\?": _nearer, r"What stands behind the (.+)\?": _behind,
    r"What stands between the (.+) and the (.+)\?": _between,
    r"How far apart are the middles of the (.+) and the (.+), along the floor\?": _gap,
    r"How far is the (.+) from the camera\?": _far, r"Which is taller, the (.+) or the (.+)\?": _taller,
    r"Which thing in view is the (tallest|lowest)\?": _most, r"For the (.+), which way is the (.+)\?": _figure_way,
    r"How does the (.+) get to the (.+)\?": _figure_walk, r"Where is the (.+)\?": _box,
    r"Describe the (.+)\.": _describe,
    r"What colour is the (\w+)\?": _colour, r"How many things are (\w+)\?": _coloured,
    r"How many (\w+) are there\?": _count, r"Which camera cannot see the (.+)\?": _cannot_see,
    r"Which camera alone sees the (.+)\?": _alone_sees, r"What can the (\w+) camera not see\?": _missed,
    r"Which way does the camera go\?": _goes, r"What does the camera do\?": _stands,
    r"When does the (.+) come into view\?": _appears, r"What comes into view next\?": _next,
    r"On which of these would one sit: (.+)\?": _sit,
    r"What hangs in the air with nothing to hold it\?": _hangs, r"What is in the room\?": _listed,
    r"Name the things in view, from left to right\.": _in_order,
}  # fmt: skip
