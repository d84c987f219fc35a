"""What an episode's pictures alone say about who is seen where: shared by the code that checks answers.

Seen(episode, camera, names)   pixels, columns, boxes and distances by name, from segmentation and depth
rectangle_gap                  metres between two rectangles on the ground, by corners and edges
judged                         the check whose pattern fits a question, or ``KeyError``

Nothing here comes from the code that makes the words.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from armillary.records import Episode, Question

NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


class Seen:
    """One camera's pictures of an episode; number i + 1 in them is ``names[i]``."""

    def __init__(self, episode: Episode, camera: str, names: Sequence[str]) -> None:
        self.episode, self.camera, self.names = episode, camera, list(names)

    def marks(self, frame: int) -> np.ndarray:
        return np.asarray(self.episode.segmentation[self.camera][frame])

    def least(self) -> int:
        h, w = self.marks(0).shape
        return max(12, round(40 * h * w / 16384))

    def pixels(self, name: str, frame: int) -> int:
        return int((self.marks(frame) == self.names.index(name) + 1).sum())

    def seen(self, frame: int) -> list[str]:
        return [name for name in self.names if self.pixels(name, frame) >= self.least()]

    def glimpsed(self, frame: int) -> list[str]:
        return [name for name in self.names if self.pixels(name, frame)]

    def columns(self, label: int, frame: int) -> np.ndarray:
        return np.nonzero(self.marks(frame) == label)[1]

    def middle(self, label: int, frame: int) -> float:
        """The middle of its columns."""
        columns = self.columns(label, frame)
        return float(columns.min() + columns.max() + 1) / 2

    def box(self, name: str, frame: int) -> str:
        """The box as the reasoner writes it, hundredths of the picture."""
        rows, columns = np.nonzero(self.marks(frame) == self.names.index(name) + 1)
        h, w = self.marks(frame).shape
        ends = (columns.min() / w, rows.min() / h, (columns.max() + 1) / w, (rows.max() + 1) / h)
        a, b, c, d = (min(99, round(100 * float(end))) for end in ends)
        return f"<|box_start|>({a},{b}),({c},{d})<|box_end|>"

    def metres(self, name: str, frame: int) -> float:
        """From the eye to the nearest of what is seen of it, by depth (the nearest twentieth left out as edge)."""
        where = self.marks(frame) == self.names.index(name) + 1
        numbers = np.array(self.episode.cameras[self.camera]["intrinsics"])
        rows, columns = np.nonzero(where)
        rays = np.stack([(columns + 0.5 - numbers[0, 2]) / numbers[0, 0], (rows + 0.5 - numbers[1, 2]) / numbers[1, 1],
                         np.ones(len(rows))])  # fmt: skip
        far = np.asarray(self.episode.depth[self.camera][frame])[where] * np.linalg.norm(rays, axis=0)
        return float(np.percentile(far, 5))


def same(question: Question, truth: Any) -> str | None:
    """None if that is the answer, else the truth."""
    return None if question.answer == truth else str(truth)


def judged(checks: Mapping[str, Callable[..., str | None]], facts: Any, question: Question) -> str | None:
    """What the check of this question says; ``KeyError`` where none knows it."""
    for pattern, check in checks.items():
        found = re.fullmatch(pattern, question.words)
        if found:
            return check(facts, question, *found.groups())
    raise KeyError(question.words)


def clock(answer: str) -> float:
    """Seconds of ``M:SS.S``."""
    minutes, seconds = answer.split(":")
    return 60 * int(minutes) + float(seconds)


def corners(place: Any, length: float, width: float) -> np.ndarray:
    """Four corners 4 2 of a rectangle whose middle is x, y and whose heading is the third number."""
    ahead, left = np.array([np.cos(place[2]), np.sin(place[2])]), np.array([-np.sin(place[2]), np.cos(place[2])])
    ends = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    return np.array([place[:2] + a * length / 2 * ahead + b * width / 2 * left for a, b in ends])


def rectangle_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Metres between two convex outlines 4 2: 0 where they overlap (no axis parts them), else corner to edge."""
    parted = False
    for a, b in ((one, other), (other, one)):
        for k in range(4):
            side = a[(k + 1) % 4] - a[k]
            normal = np.array([side[1], -side[0]])
            mine, theirs = a @ normal, b @ normal
            parted |= bool(mine.max() < theirs.min() or theirs.max() < mine.min())
    if not parted:
        return 0.0
    return min(_to_edge(p, b[k], b[(k + 1) % 4]) for a, b in ((one, other), (other, one)) for p in a for k in range(4))


def _to_edge(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    share = np.clip((point - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
    return float(np.linalg.norm(point - a - share * (b - a)))
