"""The sound of worlds whose movers go along lines: motors hum, wheels roll, heels come down, what falls lands.

    Source           what somebody sounds like: struck, rolling, and its motor
    Soundscape       strike() notes a contact, collect() hands out float32 2 s at 48 kHz since the last call
    heels            which rows of a gait bring a foot down

Contacts ring as in ``hearing``, from the very sample of their moment. A motor is a tone and its overtones whose pitch
follows the speed without a jump; everything is panned by direction from the camera and weaker with distance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.records import SOUND_HZ
from armillary.worlds.hearing import ROOM, Hearing, Hit, ears
from armillary.worlds.humans_gait import GAIT_HZ
from armillary.worlds.materials import MATERIALS

Array = NDArray[np.float64]
HEEL_SPEED = 0.5  # m/s: a heel sounds like a shoe let fall with that speed
LOWEST = 1e-4  # fainter motors are left out


@dataclass(frozen=True, kw_only=True, slots=True)
class Motor:
    """A tone of ``idle_hz`` at rest that rises by ``rise_hz`` for each metre per second; ``loud`` at one metre."""

    idle_hz: float
    rise_hz: float
    loud: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Somebody to be heard: what it is struck like (a material, metres), what it rolls like, its motor."""

    coat: str
    width: float
    wheels: str = ""
    motor: Motor | None = None


PERSON_SOURCE = Source(coat="rubber", width=0.28)  # the shoes


class Soundscape:
    """Who is heard, in the order of ``sources``, on a floor of that material. ``seed`` draws noise and phases."""

    def __init__(self, sources: Sequence[Source], floor: str, *, seed: int) -> None:
        self._sources, count = list(sources), len(sources)
        stuff = [MATERIALS[one.coat] for one in sources] + [MATERIALS[one.wheels or one.coat] for one in sources]
        self._hearing = Hearing(stuff, [one.width for one in sources] + [0.2] * count, MATERIALS[floor], seed=seed)
        rolls = np.array([bool(one.wheels) for one in sources])
        self._rolls = np.concatenate([np.zeros(count, bool), rolls])
        self._phases = np.random.default_rng([seed, 43]).uniform(0, 2 * np.pi, count)
        self._before: tuple[Array, Array] | None = None
        self._pan = np.zeros((count, 2))

    def strike(self, one: int, seconds: float, speed: float, place: Array, other: int = ROOM) -> None:
        """Note that ``one`` (a source's number) meets ``other`` or the floor, with ``speed`` m/s."""
        x, y, z = (float(value) for value in place)
        self._hearing.listen([Hit(seconds=seconds, one=one, other=other, speed=speed, place=(x, y, z))])

    def collect(self, seconds: float, places: Array, speeds: Array, ear: Array) -> NDArray[np.float32]:
        """What is heard in the last ``seconds``: ``places`` n 3 and ``speeds`` n (m/s) are those at their end.

        ``ear`` 4 4 is the camera's pose. The first call takes the beginning to be as the end.
        """
        now = (np.asarray(places, np.float64), np.abs(np.asarray(speeds, np.float64)))
        before = self._before or now
        for _, pace in (before, now):
            self._hearing.listen([], self._rolls * np.concatenate([pace, pace]))
        heard = self._hearing.collect(seconds, np.concatenate([now[0], now[0]]), ear)
        heard = heard + self._motors(round(seconds * SOUND_HZ), (before[1], now[1]), now[0], ear)
        self._before = now
        return np.clip(heard, -1, 1).astype(np.float32)

    def _motors(self, count: int, speeds: tuple[Array, Array], places: Array, ear: Array) -> NDArray[np.float32]:
        heard, share = np.zeros((2, count), np.float32), (np.arange(1, count + 1) / count).astype(np.float32)
        for number, source in enumerate(self._sources):
            motor = source.motor
            if motor is None:
                continue
            a, b = (motor.idle_hz + motor.rise_hz * pace[number] for pace in speeds)
            turns = 2 * np.pi * count / SOUND_HZ * (a * share + (b - a) * share**2 / 2)
            phase = (self._phases[number] + turns).astype(np.float32)
            pan = motor.loud * (0.5 + min(1.0, float(speeds[1][number]) / 6)) * ears(places[number], ear)
            old = pan if self._before is None else self._pan[number]
            self._phases[number], self._pan[number] = float(phase[-1]) % (2 * np.pi), pan
            if max(pan.max(), old.max()) > LOWEST:
                sine, cosine = np.sin(phase), np.cos(phase)
                second = 2 * sine * cosine  # the overtones, by the angle sums
                tone = sine + 0.5 * second + 0.33 * (second * cosine + sine * (1 - 2 * sine * sine))
                heard += (np.outer(old, 1 - share) + np.outer(pan, share)).astype(np.float32) * tone
        return heard


def heels(planted: Mapping[str, NDArray[np.bool_]], first: int, last: int) -> list[tuple[int, str]]:
    """(row, side) of each foot that comes down in the rows from ``first`` + 1 to ``last`` of a gait."""
    found = []
    for side, stands in planted.items():
        down = np.flatnonzero(stands[first + 1 : last + 1] & ~stands[first:last])
        found += [(first + 1 + int(k), side) for k in down]
    return sorted(found)


def row_seconds(row: int, now: float, clock: float) -> float:
    """World seconds of a gait's row, if the gait's own ``clock`` stands at world time ``now``."""
    return now - (clock - row / GAIT_HZ)
