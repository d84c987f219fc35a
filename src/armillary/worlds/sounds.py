"""Contact sounds: what is heard when things touch, synthesised from the contacts of the physics.

    in    a MuJoCo world's contacts, one physics step at a time
    out   stereo float32 at 48 kHz, 2 s, in time with the contact to one physics step

Each new contact rings three damped tones (modal synthesis; van den Doel and Pai 1998); the impulse sets
the loudness, the object's number its pitch, and the place left or right of the table's middle the balance.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.records import SOUND_HZ
from armillary.worlds.camera import mujoco

RING_SECONDS = 0.12


class ContactSounds:
    """Listens to contacts of ``bodies`` while physics runs; hands out the sound step by step."""

    def __init__(self, model: "mujoco.MjModel", bodies: Sequence[int]) -> None:
        self._model = model
        self._number = np.full(model.nbody, -1)
        self._number[list(bodies)] = np.arange(len(bodies))
        self._touching: set[tuple[int, int]] = set()
        self._start, self._first = 0.0, True
        self._tail = np.zeros((2, 0), np.float32)
        self._hits: list[tuple[float, int, float, float]] = []  # seconds, object, newtons, metres to the right

    def listen(self, data: "mujoco.MjData") -> None:
        """Note the contacts that began in this physics step. The sound begins with the first that is listened to."""
        if self._first:
            self._start = data.time - self._model.opt.timestep  # things have settled before, unheard
        now, force, contact = set(), np.zeros(6), data.contact
        if data.ncon:
            pairs = np.sort(self._model.geom_bodyid[contact.geom], axis=1)
            mine = self._number[pairs]  # the object's number, -1 for everything else
            for i in np.flatnonzero((mine >= 0).any(axis=1) & (contact.dist <= 0)).tolist():
                key = (int(pairs[i, 0]), int(pairs[i, 1]))
                now.add(key)
                if key not in self._touching and not self._first:
                    mujoco.mj_contactForce(self._model, data, i, force)
                    first = int(mine[i, 0] if mine[i, 0] >= 0 else mine[i, 1])
                    self._hits.append((data.time, first, float(abs(force[0])), float(contact.pos[i, 0])))
        self._touching, self._first = now, False

    def collect(self, seconds: float) -> NDArray[np.float32]:
        """The last ``seconds`` as float32 2 s; rings that go on are kept for the next call."""
        count, ring = round(seconds * SOUND_HZ), round(RING_SECONDS * SOUND_HZ)
        heard = np.zeros((2, count + ring), np.float32)
        heard[:, : self._tail.shape[1]] += self._tail
        clock = np.arange(ring) / SOUND_HZ
        for when, number, newtons, right in self._hits:
            begin = min(count - 1, max(0, round((when - self._start) * SOUND_HZ)))
            tones = sum(
                np.exp(-clock * (30 + 25 * k)) * np.sin(2 * np.pi * (420 + 90 * number) * ratio * clock) / k
                for k, ratio in ((1, 1.0), (2, 2.76), (3, 5.4))
            )
            loud = min(0.5, 0.03 * np.sqrt(newtons))
            share = np.clip(0.5 + right / 0.6, 0.05, 0.95)
            heard[:, begin : begin + ring] += (loud * np.outer([np.sqrt(1 - share), np.sqrt(share)], tones)).astype(
                np.float32
            )
        self._hits.clear()
        self._start += seconds
        self._tail = heard[:, count:]
        return np.clip(heard[:, :count], -1, 1)
