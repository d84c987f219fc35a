"""Streets: where lanes run, how they meet, and the picture of the ground they are painted on.

    in    a kind of place (``PLACES``), lanes each way, and a generator
    out   ``Streets``: lanes as lines, the ways through a junction, crossings; ``painted`` gives the ground's picture

x is east, y north, metres; the middle of the junction, or of the street, is the origin. Traffic keeps to the right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float64]
PLACES = ("straight", "bend", "crossroads", "t-junction")
LANE, PAVEMENT, REACH, GROUND = 3.5, 3.2, 75.0, 80.0  # lane width, pavement width, arms' length, half of the ground
TURNS = ("straight on", "left", "right")


class Line:
    """A line to drive or walk along: points n 2, and how far along it each lies (metres)."""

    def __init__(self, points: Array | Sequence[tuple[float, float]]) -> None:
        self.points = np.asarray(points, np.float64)
        self.way = np.diff(self.points, axis=0)
        self._sizes = np.maximum(np.hypot(self.way[:, 0], self.way[:, 1]), 1e-9)
        self.along = np.concatenate([[0.0], np.cumsum(self._sizes)])
        self.length = float(self.along[-1])

    def at(self, metres: float) -> Array:
        """x, y and heading so far along the line; beyond its ends it goes straight on."""
        k = max(0, min(int(self.along.searchsorted(metres, side="right")) - 1, len(self.way) - 1))
        (x, y), (dx, dy) = self.points[k], self.way[k]
        share = (metres - self.along[k]) / self._sizes[k]
        return np.array([x + share * dx, y + share * dy, math.atan2(dy, dx)])

    def nearest(self, place: Array) -> tuple[float, float]:
        """How far along the line the nearest point lies, and how far to its left ``place`` is, metres."""
        x, y = place[0] - self.points[:-1, 0], place[1] - self.points[:-1, 1]
        share = (x * self.way[:, 0] + y * self.way[:, 1]) / self._sizes**2
        share = np.minimum(np.maximum(share, 0), 1)
        x, y = x - share * self.way[:, 0], y - share * self.way[:, 1]
        k = int((x * x + y * y).argmin())
        left = self.way[k, 0] * y[k] - self.way[k, 1] * x[k]
        return float(self.along[k] + share[k] * self._sizes[k]), math.copysign(math.hypot(x[k], y[k]), left)

    def shifted(self, left: float) -> "Line":
        """The line beside this one."""
        way = np.gradient(self.points, axis=0)
        way /= np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)[:, None]
        return Line(self.points + left * np.stack([-way[:, 1], way[:, 0]], axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Streets:
    """A place: its arms (middle lines, outwards from the junction), lanes each way, crossings, the junction's reach.

    ``arms`` of a street without a junction are its two halves. ``crossings`` are lines from pavement to pavement.
    """

    kind: str
    lanes: int
    arms: tuple[Line, ...]
    box: float  # metres from the middle to where the arms begin; 0 without a junction
    crossings: tuple[Line, ...]

    @property
    def half(self) -> float:
        """From the middle line to the kerb."""
        return self.lanes * LANE

    def inbound(self, arm: int, lane: int) -> Line:
        """A lane towards the junction; lane 0 is next to the middle line."""
        line = self.arms[arm].shifted((lane + 0.5) * LANE)
        return Line(line.points[::-1])

    def outbound(self, arm: int, lane: int) -> Line:
        """A lane away from the junction."""
        return self.arms[arm].shifted(-(lane + 0.5) * LANE)

    def through(self, start: int, end: int, lane: int, exit_lane: int | None = None) -> Line:
        """The way from arm ``start`` to arm ``end``: lane, curve, lane."""
        before, after = self.inbound(start, lane), self.outbound(end, lane if exit_lane is None else exit_lane)
        if self.box == 0:
            return Line(np.concatenate([before.points[:-1], after.points[1:]]))
        a, b = before.at(before.length), after.at(0.0)
        pull = 0.4 * float(np.hypot(*(b - a)[:2]))
        t = np.linspace(0, 1, 16)[1:-1, None]
        c = a[:2] + pull * np.array([np.cos(a[2]), np.sin(a[2])])
        d = b[:2] - pull * np.array([np.cos(b[2]), np.sin(b[2])])
        curve = (1 - t) ** 3 * a[:2] + 3 * t * (1 - t) ** 2 * c + 3 * t**2 * (1 - t) * d + t**3 * b[:2]
        return Line(np.concatenate([before.points, curve, after.points]))

    def turn(self, start: int, end: int) -> str:
        """What going from arm ``start`` to arm ``end`` is called."""
        a, b = self.arms[start].at(0)[2] + np.pi, self.arms[end].at(0)[2]
        bend = (b - a + np.pi) % (2 * np.pi) - np.pi
        return "left" if bend > 0.7 else "right" if bend < -0.7 else "straight on"


def draw_streets(kind: str, lanes: int, rng: np.random.Generator) -> Streets:
    """A place of one of ``PLACES`` with ``lanes`` each way."""
    facing = rng.uniform(0, 2 * np.pi)
    steps = np.arange(0, REACH + 1, 1.0)
    half = lanes * LANE
    if kind in ("straight", "bend"):
        curve = 0.0 if kind == "straight" else float(rng.choice([-1, 1]) * rng.uniform(1 / 90, 1 / 60))
        arms = []
        for sign in (1, -1):
            headings = facing + (0 if sign == 1 else np.pi) + curve * sign * steps
            way = np.stack([np.cos(headings), np.sin(headings)], axis=1)
            arms.append(Line(np.concatenate([[[0.0, 0.0]], np.cumsum(way[:-1], axis=0)])))
        where = arms[0].at(float(rng.uniform(6, 14)))
        return Streets(kind=kind, lanes=lanes, arms=tuple(arms), box=0.0, crossings=(_across(where, half),))
    box = half + 4.0
    turns = [0, np.pi / 2, np.pi, 3 * np.pi / 2][: 4 if kind == "crossroads" else 3]
    if kind == "t-junction":
        turns = [turns[i] for i in range(3)]
    found = []
    for turn in turns:
        heading = facing + turn + rng.uniform(-0.09, 0.09)
        found.append(Line((box + steps[:, None]) * np.array([np.cos(heading), np.sin(heading)])))
    crossings = tuple(_across(arm.at(2.0), half) for arm in found)
    return Streets(kind=kind, lanes=lanes, arms=tuple(found), box=box, crossings=crossings)


def _across(where: Array, half: float) -> Line:
    side = np.array([-np.sin(where[2]), np.cos(where[2])])
    return Line(where[:2] + np.outer([half + 2.0, -half - 2.0], side))


def painted(
    streets: Streets, rng: np.random.Generator, *, snow: bool, wet: bool, side: int = 1024
) -> NDArray[np.uint8]:
    """The ground from above, uint8 side side 3: row 0 is north. Meadow, pavements, asphalt, markings."""
    tones: dict[str, tuple[int, ...]] = {
        "meadow": (104, 128, 80),
        "pavement": (158, 154, 148),
        "kerb": (190, 188, 184),
        "asphalt": (82, 83, 87),
    }
    if wet:
        tones = {name: tuple(int(v * 0.8) for v in tone) for name, tone in tones.items()}
    if snow:
        tones |= {"meadow": (226, 229, 234), "pavement": (205, 208, 214), "asphalt": (126, 129, 135)}
    plane = Image.new("RGB", (side, side), tones["meadow"])
    draw = ImageDraw.Draw(plane)
    scale = side / (2 * GROUND)

    def dots(points: Array) -> list[tuple[float, float]]:
        return [((x + GROUND) * scale, (GROUND - y) * scale) for x, y in points]

    def strip(line: Line, left: float, right: float, tone: tuple[int, ...]) -> None:
        a, b = line.shifted(left).points, line.shifted(right).points
        draw.polygon(dots(np.concatenate([a, b[::-1]])), fill=tone)

    def everywhere(wide: float, tone: tuple[int, ...]) -> None:
        for arm in streets.arms:
            strip(arm, wide, -wide, tone)
        if streets.box:
            corners = [arm.shifted(s * wide).points[0] for arm in streets.arms for s in (-1, 1)]
            corners.sort(key=lambda p: float(np.arctan2(p[1], p[0])))
            draw.polygon(dots(np.array(corners)), fill=tone)

    everywhere(streets.half + 0.3 + PAVEMENT, tones["pavement"])
    everywhere(streets.half + 0.3, tones["kerb"])
    everywhere(streets.half, tones["asphalt"])
    white, yellow = (222, 222, 216), (214, 178, 70)
    _mark(draw, dots, streets, (white, yellow))
    lit = np.asarray(plane, np.uint16) * _clouds(side, rng)[..., None] >> 7
    return np.minimum(lit, 255).astype(np.uint8)


def _mark(draw: ImageDraw.ImageDraw, dots: object, streets: Streets, tones: tuple[tuple[int, ...], ...]) -> None:
    """Markings: yellow in the middle, white dashes between lanes, stop lines, zebra crossings."""
    assert callable(dots)
    white, yellow = tones

    def bar(line: Line, begin: float, end: float, wide: float, tone: tuple[int, ...]) -> None:
        points = np.array([line.at(s)[:2] for s in np.linspace(begin, end, max(2, int((end - begin) / 2)))])
        short = Line(points)
        edge = np.concatenate([short.shifted(wide / 2).points, short.shifted(-wide / 2).points[::-1]])
        draw.polygon(dots(edge), fill=tone)

    zebra = 5.0 if streets.box else 0.0
    for arm in streets.arms:
        bar(arm, zebra, arm.length, 0.22, yellow)
        for lane in range(1, streets.lanes):
            for offset in (lane * LANE, -lane * LANE):
                beside = arm.shifted(offset)
                for start in np.arange(zebra + 1.5, beside.length - 3, 6.0):
                    bar(beside, start, start + 3.0, 0.2, white)
        for offset in (streets.half - 0.25, -streets.half + 0.25):
            bar(arm.shifted(offset), zebra, arm.length, 0.15, white)
        if streets.box:
            place = arm.at(zebra)
            side = np.array([-np.sin(place[2]), np.cos(place[2])])
            stop = Line(place[:2] + np.outer([0.2, streets.half], side))
            bar(stop, 0, stop.length, 0.5, white)
    for crossing in streets.crossings:
        for start in np.arange(2.4, crossing.length - 2.4, 1.2):
            bar(crossing, start, start + 0.6, 2.6, white)


def _clouds(side: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Smooth patches about 10 m wide, as brightness in 128ths: 7 of a hundred brighter or darker."""
    small = Image.fromarray(np.clip(128 + 9 * rng.normal(0, 1, (18, 18)), 100, 156).astype(np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.uint16)
