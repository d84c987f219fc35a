"""What is heard on the road: motors, tyres, footsteps, and who touches whom.

in    the traffic, and, step by step, where the driven car and its front camera are
out   float32 2 s at 48 kHz since the last step, as heard from the front camera
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.driving_traffic import STEP, Traffic
from armillary.worlds.motors import HEEL_SPEED, PERSON_SOURCE, Motor, Soundscape, Source, heels, row_seconds

Array = NDArray[np.float64]
MOTORS = {
    "car": Motor(idle_hz=38, rise_hz=7, loud=0.12), "van": Motor(idle_hz=34, rise_hz=6, loud=0.15),
    "truck": Motor(idle_hz=27, rise_hz=4.5, loud=0.25), "bus": Motor(idle_hz=29, rise_hz=4.5, loud=0.25),
}  # fmt: skip
OWN = Motor(idle_hz=42, rise_hz=7, loud=0.03)  # from inside


class DrivingSound:
    """Listens to one drive."""

    def __init__(self, traffic: Traffic, *, seed: int) -> None:
        self._traffic, self._touched = traffic, set[int]()
        sources = [Source(coat="steel", width=1.8, wheels="asphalt", motor=OWN)]
        sources += [Source(coat="steel", width=1.8, wheels="asphalt", motor=None if v.parked else MOTORS[v.kind])
                    for v in traffic.vehicles]  # fmt: skip
        sources += [PERSON_SOURCE] * len(traffic.walkers)
        self._heard = Soundscape(sources, "asphalt", seed=seed)

    def collect(self, car: Array, speed: float, touched: Sequence[bool], ear: Array) -> NDArray[np.float32]:
        """The sound of the step that ends now. ``car``: x, y, heading; ``touched``: vehicles, then people."""
        traffic, now = self._traffic, self._traffic.seconds
        for number, walker in enumerate(traffic.walkers, 1 + len(traffic.vehicles)):
            first, last = walker.row(now - STEP), walker.row(now)
            begin = now if walker.begin is None else walker.begin
            for row, side in heels(walker.gait.planted, first, last):
                when = min(max(row_seconds(row, now, now - begin), now - STEP), now)
                self._heard.strike(number, when, HEEL_SPEED, walker.gait.feet[side][row])
        places = [v.place(now) for v in traffic.vehicles] + [w.place(now) for w in traffic.walkers]
        speeds = [v.speed for v in traffic.vehicles] + [0.0] * len(traffic.walkers)
        for number, (place, hit) in enumerate(zip(places, touched, strict=True), 1):
            if hit and number not in self._touched:
                self._touched.add(number)
                middle = np.array([*(place[:2] + car[:2]) / 2, 0.6])
                self._heard.strike(0, now, max(abs(speed), speeds[number - 1]), middle, number)
        heights = np.array([[x, y, 0.6] for x, y, _ in [car, *places]])
        return self._heard.collect(STEP, heights, np.array([speed, *speeds]), ear)
