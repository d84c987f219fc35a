"""Who else is on the road: vehicles that keep their distance, people on foot, traffic lights, and how near things are.

    in    the time, and where the driven car is
    out   everybody's place, heading and speed, one step of 0.1 s after the other

All move along lines in metres and seconds. A vehicle brakes for what is in its way; what a scenario makes it do
against that (cut in, brake hard) and whom it sends across the road stands in ``driving_scenarios.py``.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.driving_map import Line, Streets
from armillary.worlds.humans_body import Look
from armillary.worlds.humans_gait import GAIT_HZ, Gait

Array = NDArray[np.float64]
STEP = 0.1
SIZES = {"car": (4.4, 1.8, 1.45), "van": (5.2, 2.0, 2.2), "truck": (8.2, 2.4, 3.1), "bus": (11.0, 2.5, 3.0)}  # metres
EGO_LENGTH, EGO_WIDTH, REAR = 4.4, 1.8, 1.3  # the driven car; its rear axle lies so far behind its middle
PERSON = 0.5  # width of somebody on foot
GENTLE, HARD, SPACE, PUSH = 4.0, 8.0, 2.5, 1.8  # braking m/s2, metres kept free, speeding up m/s2


@dataclass(kw_only=True, eq=False)
class Vehicle:
    """A vehicle on a line. ``left`` is how far beside it, ``wish`` the speed it likes, m/s.

    ``shift``: (begin, seconds, metres to the left) of a lane change; ``brake``: (begin, seconds until it lets go) of an
    emergency stop, both in world time, or None until a scenario sets them off.
    """

    name: str
    kind: str
    colour: str
    line: Line
    along: float
    speed: float
    wish: float
    left: float = 0.0
    parked: bool = False
    stop_at: float | None = None  # where along the line its traffic light stands
    arm: int = 0
    shift: tuple[float, float, float] | None = None
    brake: tuple[float, float] | None = None
    braking: bool = False
    blind: bool = False  # for the driven car; a cut-in does not look

    @property
    def length(self) -> float:
        return SIZES[self.kind][0]

    def left_at(self, seconds: float) -> float:
        """How far beside the line, lane change included."""
        if self.shift is None:
            return self.left
        share = min(max((seconds - self.shift[0]) / self.shift[1], 0.0), 1.0)
        return self.left + self.shift[2] * share * share * (3 - 2 * share)

    def place(self, seconds: float) -> Array:
        """x, y, heading of its middle."""
        where, left = self.line.at(self.along), self.left_at(seconds)
        drift = np.arctan2(self.left_at(seconds + STEP) - left, max(self.speed, 1.0) * STEP)
        side = np.array([-np.sin(where[2]), np.cos(where[2])])
        return np.array([*(where[:2] + left * side), where[2] + drift])


@dataclass(kw_only=True, eq=False)
class Walker:
    """Somebody on foot with a gait made beforehand; ``begin`` is when it starts, None until a scenario says so."""

    name: str
    look: Look
    gait: Gait
    rows: Array  # t q, the body's numbers at ``GAIT_HZ``
    begin: float | None = None
    trigger: float | None = None  # sets off when the driven car is so many seconds from ``mark``
    mark: float = 0.0  # metres along the route

    def row(self, seconds: float) -> int:
        since = 0.0 if self.begin is None else max(0.0, seconds - self.begin)
        return min(round(since * GAIT_HZ), len(self.rows) - 1)

    def place(self, seconds: float) -> Array:
        """x, y, heading."""
        row = self.row(seconds)
        return np.array([*self.gait.pelvis[row, :2], self.gait.yaw[row]])

    def velocity(self, seconds: float) -> Array:
        """m/s, x and y, over the last quarter second."""
        a, b = self.row(seconds - 0.25), self.row(seconds)
        moved: Array = (self.gait.pelvis[b, :2] - self.gait.pelvis[a, :2]) / 0.25
        return moved


@dataclass(kw_only=True, eq=False)
class Signals:
    """Traffic lights, one for each arm, one arm green at a time: ``turns`` are (until seconds, arm or -1 for none)."""

    turns: tuple[tuple[float, int], ...]

    def green(self, arm: int, seconds: float) -> bool:
        """Whether this arm may go now."""
        return next((who for until, who in self.turns if seconds < until), self.turns[-1][1]) == arm


@dataclass(kw_only=True, eq=False)
class Traffic:
    """Everybody but the driven car."""

    streets: Streets
    vehicles: list[Vehicle] = field(default_factory=list)
    walkers: list[Walker] = field(default_factory=list)
    signals: Signals | None = None
    seconds: float = 0.0

    def step(self, ego: Array, ego_speed: float, ego_along: float) -> None:
        """0.1 s. ``ego``: x, y, heading of the driven car's middle; ``ego_along``: metres along its route."""
        self._set_off(ego_speed, ego_along)
        bodies = self._bodies(ego, ego_speed)
        plans = [self._next_speed(v, i, bodies) for i, v in enumerate(self.vehicles)]
        for vehicle, speed in zip(self.vehicles, plans, strict=True):
            vehicle.braking = speed < vehicle.speed - 0.12 or (speed == 0 and not vehicle.parked)
            vehicle.along += (vehicle.speed + speed) / 2 * STEP
            vehicle.speed = speed
        self.seconds = round(self.seconds + STEP, 6)

    def _set_off(self, ego_speed: float, ego_along: float) -> None:
        for walker in self.walkers:
            if walker.begin is None and walker.trigger is not None:
                away = walker.mark - ego_along
                if 0 < away < walker.trigger * max(ego_speed, 3.0):
                    walker.begin = self.seconds

    def _bodies(self, ego: Array, ego_speed: float) -> list[tuple[Array, float, float, float]]:
        """(place, half length, half width, speed along its heading) of all: vehicles, people, the driven car last."""
        now = self.seconds
        found = [(v.place(now), v.length / 2, SIZES[v.kind][1] / 2, v.speed) for v in self.vehicles]
        found += [(w.place(now), PERSON / 2, PERSON / 2, 0.0) for w in self.walkers]
        return [*found, (ego, EGO_LENGTH / 2, EGO_WIDTH / 2, ego_speed)]

    def _next_speed(self, me: Vehicle, number: int, bodies: list[tuple[Array, float, float, float]]) -> float:
        if me.parked:
            return 0.0
        if me.brake is not None and me.brake[0] <= self.seconds < me.brake[0] + me.brake[1]:
            return max(0.0, me.speed - HARD * STEP)
        limit, mine = min(me.wish, me.speed + PUSH * STEP), bodies[number][0]
        for k, (place, half, wide, speed) in enumerate(bodies):
            ahead = (place[0] - mine[0]) * math.cos(mine[2]) + (place[1] - mine[1]) * math.sin(mine[2])
            if k == number or (me.blind and k == len(bodies) - 1) or not -15 < ahead < 45:
                continue
            along, left = me.line.nearest(place)
            gap = along - me.along - me.length / 2 - half
            if along > me.along and abs(left - me.left_at(self.seconds)) < wide + SIZES[me.kind][1] / 2 + 0.4:
                towards = speed * math.cos(place[2] - me.line.at(along)[2])
                limit = min(limit, safe_speed(gap, max(towards, 0.0)))
        room = None if me.stop_at is None else me.stop_at - me.along - me.length / 2  # to the stop line
        red = self.signals is not None and not self.signals.green(me.arm, self.seconds)
        if room is not None and red and room > -0.5:
            limit = min(limit, safe_speed(room + SPACE - 0.7, 0.0))
        return max(limit, 0.0, me.speed - HARD * STEP)


def safe_speed(gap: float, ahead: float) -> float:
    """The speed from which gentle braking still ends ``SPACE`` metres behind what is ``gap`` metres ahead."""
    room = gap - SPACE
    if room <= 0:
        return min(ahead, max(0.0, ahead + room))
    return math.sqrt(2 * GENTLE * room + ahead**2)


def _rim() -> Array:
    t, one = np.linspace(-1, 1, 6)[:-1], np.ones(5)
    return np.concatenate([np.stack(p, axis=1) for p in ((t, one), (one, -t), (-t, -one), (-one, t))])


_RIM = _rim()  # twenty points around the square from -1 to 1


def rectangle(place: Array, length: float, width: float) -> Array:
    """Twenty points around a rectangle, 20 2; ``place`` is x, y, heading of its middle."""
    c, s = np.cos(place[2]), np.sin(place[2])
    return np.asarray(place[:2] + _RIM * (length / 2, width / 2) @ np.array([[c, s], [-s, c]]))


def gap_between(one: Array, size: tuple[float, float], other: Array, other_size: tuple[float, float]) -> float:
    """Metres between two rectangles on the ground, 0 if they touch; a little less than that from 15 m on.

    Places are x, y, heading of the middles; sizes are length, width.
    """
    reach = (math.hypot(*size) + math.hypot(*other_size)) / 2
    away = math.hypot(one[0] - other[0], one[1] - other[1])
    if away > reach + 15:
        return away - reach
    best = np.inf
    for rim, place, (length, width) in (
        (rectangle(one, *size), other, other_size), (rectangle(other, *other_size), one, size)
    ):  # fmt: skip
        c, s = np.cos(place[2]), np.sin(place[2])
        near = np.abs((rim - place[:2]) @ np.array([[c, -s], [s, c]]))
        outside = np.maximum(near - (length / 2, width / 2), 0)
        best = min(best, float(np.hypot(outside[:, 0], outside[:, 1]).min()))
    return best
