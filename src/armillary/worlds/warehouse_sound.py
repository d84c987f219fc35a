"""What is heard in the warehouse: motors, wheels, footsteps, the falling box, the barrel, and who runs into whom.

in    the hall, the fixed camera's pose, and, step by step, where the driven robot is
out   float32 2 s at 48 kHz since the last step, as heard from the fixed camera
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.driving_traffic import gap_between
from armillary.worlds.motors import HEEL_SPEED, PERSON_SOURCE, Motor, Soundscape, Source, heels, row_seconds
from armillary.worlds.warehouse_scene import SIZES, STEP, Hall, Mover

Array = NDArray[np.float64]
SOURCES = {
    "fork-lift": Source(coat="steel", width=1.2, wheels="concrete", motor=Motor(idle_hz=52, rise_hz=26, loud=0.1)),
    "robot": Source(coat="plastic", width=0.7, wheels="plastic", motor=Motor(idle_hz=150, rise_hz=110, loud=0.03)),
    "person": PERSON_SOURCE,
}
TIPS_SECONDS = 0.5  # from standing to lying, as the barrel is drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class Now:
    """The end of a step. ``bumped``: m/s at which the robot ran into what stands, else 0; ``clocks`` before it."""

    seconds: float
    robot: Array
    speed: float
    bumped: float
    clocks: list[float]


class WarehouseSound:
    """Listens to one shift."""

    def __init__(self, hall: Hall, ear: Array, *, seed: int) -> None:
        self._hall, self._ear, self._touched = hall, ear, set[tuple[int, int]]()
        sources = [SOURCES["robot"], *(SOURCES[mover.kind] for mover in hall.movers)]
        self._thing = len(sources)  # whatever falls: a box, or a barrel
        sources.append(Source(coat="steel" if hall.incident == "spill" else "cork", width=0.6))
        self._heard = Soundscape(sources, "concrete", seed=seed)

    def collect(self, now: Now) -> NDArray[np.float32]:
        """The sound of the step that ends now."""
        movers = self._hall.movers
        for number, (mover, clock) in enumerate(zip(movers, now.clocks, strict=True), 1):
            self._steps(number, mover, clock, now.seconds)
        self._meetings(now)
        for seconds, speed, place in self._falls():
            if now.seconds - STEP < seconds <= now.seconds:
                self._heard.strike(self._thing, seconds, speed, place)
        places = [np.array([*now.robot[:2], 0.5]), *(np.array([*m.place()[:2], 0.6]) for m in movers), np.zeros(3)]
        speeds = [now.speed, *(float(np.hypot(*mover.velocity())) for mover in movers), 0.0]
        return self._heard.collect(STEP, np.array(places), np.array(speeds), self._ear)

    def _steps(self, number: int, mover: Mover, before: float, now: float) -> None:
        if mover.gait is None:
            return
        first = mover.row(before - mover.clock)
        for row, side in heels(mover.gait.planted, first, mover.row()):
            when = min(max(row_seconds(row, now, mover.clock), now - STEP), now)
            self._heard.strike(number, when, HEEL_SPEED, mover.gait.feet[side][row])

    def _meetings(self, now: Now) -> None:
        """Who touches whom since this step; the robot, whom a wall or a shelf stops, is number 0."""
        rest = np.array([*now.robot[:2], 0.4])
        if now.bumped:
            self._heard.strike(0, now.seconds, now.bumped, rest)
        movers, size = self._hall.movers, SIZES["robot"][:2]
        bodies = [(now.robot, size), *((mover.place(), mover.size) for mover in movers)]
        for (a, (one, here)), (b, (other, there)) in combinations(enumerate(bodies), 2):
            if gap_between(one, here, other, there) <= 0 and (a, b) not in self._touched:
                self._touched.add((a, b))
                paces = [abs(now.speed) if k == 0 else movers[k - 1].speed for k in (a, b)]
                place = np.array([*(one[:2] + other[:2]) / 2, 0.6])
                self._heard.strike(a, now.seconds, max(paces), place, b)

    def _falls(self) -> list[tuple[float, float, Array]]:
        """(seconds, m/s, place) of what lands."""
        hall = self._hall
        if hall.falling is not None:
            flight = math.sqrt(2 * (hall.falling.place[2] - hall.falling.half[2]) / 9.81)
            return [(hall.happens + flight, 9.81 * flight, np.array([*hall.fall_to, 0.0]))]
        if hall.incident == "spill":
            barrel = next(box for box in hall.floor if box.name == "leaking barrel")
            speed = math.pi / 2 / TIPS_SECONDS * 2 * barrel.half[2]  # of the rim, turning evenly
            return [(hall.happens + TIPS_SECONDS, speed, np.array([barrel.place[0], barrel.place[1] + 0.45, 0.0]))]
        return []
