"""Hearing: who touches whom, step by step, and the stereo sound of it: impacts ring, rolling rumbles.

    Contacts.look     the contacts that began in this physics step, as ``Hit``s
    Hearing.listen    notes hits and rolling of one physics step
    Hearing.collect   float32 2 s at 48 kHz since the last call, as heard from a camera

An impact rings three damped tones of each partner's material (modal synthesis; van den Doel and Pai 1998), from the
very sample of its contact; a thing that rolls or slides is noise about its material's tone, as loud as it is fast.
The balance follows the direction seen from the camera, loudness the distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import SOUND_HZ
from armillary.worlds.materials import Material, ring

RING_SECONDS, ROOM = 0.3, -1
HEARD_SPEED = 0.06  # metres per second: slower contacts are not heard


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A contact that begins: ``one`` is the faster item, ``other`` the slower or the room (-1); m/s and metres."""

    seconds: float
    one: int
    other: int
    speed: float
    place: tuple[float, float, float]


class Contacts:
    """Who touches whom among ``bodies`` of a model; everything else is the room."""

    def __init__(self, model: Any, bodies: Sequence[int]) -> None:
        self._owner = np.full(model.ngeom, ROOM)
        for number, body in enumerate(bodies):
            self._owner[model.geom_bodyid == body] = number
        joints = [int(model.body_jntadr[body]) for body in bodies]
        dofs = np.array([model.jnt_dofadr[joint] if joint >= 0 else -1 for joint in joints], int)
        self._movable = np.flatnonzero(dofs >= 0)
        self._dofs = dofs[self._movable, None] + np.arange(3)
        self._pairs: set[tuple[int, int]] = set()
        self._first = True
        self.touching = np.zeros(len(bodies), bool)

    def velocities(self, data: Any) -> NDArray[np.float64]:
        """Linear velocities n 3 of the items, m/s; fixed ones stand still. The last row is the room's."""
        out = np.zeros((len(self.touching) + 1, 3))
        out[self._movable] = data.qvel[self._dofs]
        return out

    @property
    def pairs(self) -> frozenset[tuple[int, int]]:
        """Pairs that touch now, the smaller number first."""
        return frozenset(self._pairs)

    def look(self, data: Any) -> list[Hit]:
        """The contacts that began in this step; those there at the very first look are not counted."""
        self.touching[:] = False
        owners = self._owner[data.contact.geom] if data.ncon else np.zeros((0, 2), int)
        meeting = owners[:, 0] != owners[:, 1]
        met = owners[meeting].ravel()
        self.touching[met[met >= 0]] = True
        couples = list(zip(owners.min(axis=1).tolist(), owners.max(axis=1).tolist(), strict=True))
        now = {pair for pair in couples if pair[0] != pair[1]}
        begun, new = [], set() if self._first else now - self._pairs
        velocity = self.velocities(data) if new else np.zeros((0, 3))
        for i, pair in enumerate(couples) if new else ():
            if pair in new:
                a, b = owners[i].tolist()
                contact = data.contact[i]
                speed = abs(float((velocity[a] - velocity[b]) @ contact.frame[:3]))
                fast, slow = (pair[1], pair[0]) if pair[0] < 0 else sorted(pair, key=lambda n: -_pace(velocity, n))
                x, y, z = contact.pos.tolist()
                begun.append(Hit(seconds=float(data.time), one=fast, other=slow, speed=speed, place=(x, y, z)))
        self._pairs, self._first = now, False
        return begun


class Hearing:
    """The sound of items made of ``stuff``, about ``widths`` metres wide, on a floor of ``floor``."""

    def __init__(self, stuff: Sequence[Material], widths: Sequence[float], floor: Material, *, seed: int) -> None:
        self._rings = [ring(material, width) for material, width in zip(stuff, widths, strict=True)]
        self._rings.append(ring(floor, 0.5))  # the room's number is -1
        rng = np.random.default_rng([seed, 41])
        self._noise = [_rumble(tone, rng) for tone, _ in self._rings[:-1]]
        self._hits: list[Hit] = []
        self._rolls: list[NDArray[np.float64]] = []
        self._gains: dict[int, NDArray[np.float64]] = {}  # of what rolled in the last step, left and right
        self._begun = 0
        self._tail = np.zeros((2, round(RING_SECONDS * SOUND_HZ)), np.float32)

    def listen(self, hits: Sequence[Hit], speeds: NDArray[np.float64] | None = None) -> None:
        """One physics step: the hits that began, and n speeds (m/s) of items that move while touching, else 0.

        Without speeds only the hits are noted.
        """
        self._hits += [hit for hit in hits if hit.speed > HEARD_SPEED]
        if speeds is not None:
            self._rolls.append(np.asarray(speeds, np.float64).copy())

    def collect(self, seconds: float, places: NDArray[np.float64], ear: NDArray[np.float64]) -> NDArray[np.float32]:
        """What is heard in the last ``seconds``, float32 2 s. ``places`` n 3 of the items, ``ear`` 4 4 the camera."""
        count, length = round(seconds * SOUND_HZ), self._tail.shape[1]
        heard = np.zeros((2, count + length), np.float32)
        heard[:, :length] += self._tail
        start, gains = self._begun / SOUND_HZ, dict[int, NDArray[np.float64]]()
        for hit in self._hits:
            begin = min(count - 1, max(0, round((hit.seconds - start) * SOUND_HZ)))
            loud = min(0.5, 0.11 * np.sqrt(hit.speed))
            tones = sum(_tones(*self._rings[number], length) for number in (hit.one, hit.other))
            heard[:, begin : begin + length] += loud * np.outer(ears(np.array(hit.place), ear), tones)
        if self._rolls:
            speeds = np.array(self._rolls)
            clock = np.linspace(0, len(speeds) - 1, count)
            samples, share = (self._begun + np.arange(count)) % SOUND_HZ, np.arange(count) / count
            for number in np.flatnonzero(speeds.max(axis=0) > HEARD_SPEED):
                loud = 0.02 * np.sqrt(np.interp(clock, np.arange(len(speeds)), speeds[:, number]))
                gain = gains[int(number)] = ears(places[number], ear)  # from the last step's to this without a jump
                between = np.outer(self._gains.get(int(number), gain), 1 - share) + np.outer(gain, share)
                heard[:, :count] += between * (loud * self._noise[number][samples])
        self._hits, self._rolls, self._begun, self._gains = [], [], self._begun + count, gains
        self._tail = heard[:, count:].copy()
        return np.clip(heard[:, :count], -1, 1)


def _pace(velocity: NDArray[np.float64], number: int) -> float:
    return float(np.linalg.norm(velocity[number]))


def ears(place: NDArray[np.float64], ear: NDArray[np.float64]) -> NDArray[np.float64]:
    """How loud a place is heard left and right: equal power by direction, weaker with distance."""
    right, _, ahead = (place - ear[:3, 3]) @ ear[:3, :3]
    share = float(np.clip(0.5 + np.arctan2(right, max(float(ahead), 0.1)) / 1.1, 0.04, 0.96))
    near = 1 / (1 + float(np.linalg.norm(place - ear[:3, 3])) / 5)
    return near * np.sqrt([1 - share, share])


@lru_cache(maxsize=64)
def _tones(hz: float, fade: float, length: int) -> NDArray[np.float64]:
    clock = np.arange(length) / SOUND_HZ
    out = np.zeros(length)
    for k, ratio in ((1, 1.0), (2, 2.76), (3, 5.4)):
        if hz * ratio < SOUND_HZ / 2.5:
            out += np.exp(-clock * fade * (0.6 + 0.4 * k)) * np.sin(2 * np.pi * hz * ratio * clock + 0.5) / k
    return out * np.minimum(1, (length - np.arange(length)) / 480)


def _rumble(hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """One second of noise about a tone, which repeats without a seam."""
    pitch = np.fft.rfftfreq(SOUND_HZ, 1 / SOUND_HZ)
    weight = np.exp(-(((pitch - 0.6 * hz) / (0.35 * hz)) ** 2))
    waves = np.fft.irfft(weight * np.exp(2j * np.pi * rng.random(len(pitch))), SOUND_HZ)
    return waves / np.abs(waves).max()
