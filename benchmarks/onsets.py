"""Whether what is heard begins when things touch: contacts are noted from the physics, onsets from the sound alone.

touching()              within it, when any two bodies of a world begin to touch, by MuJoCo's own contacts
onsets(sound)           when a sound becomes suddenly much louder
away(heard, touched)    how far each onset is from the nearest contact
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from armillary.records import SOUND_HZ
from armillary.worlds.camera import mujoco

BLOCK, QUIET, LOUDER, LEAST, APART = 48, 10, 4.0, 0.01, 20  # samples; blocks before; times; of full scale; blocks
PARTED_SECONDS = 0.01  # two that part for less only tremble


@dataclass
class Touching:
    """When bodies began to touch in the life that was lived last, by its physics' clock; that clock; one step.

    ``fresh`` are the contacts of two that had not touched for ``PARTED_SECONDS``; ``all`` also those that tremble.
    """

    all: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)
    now: float = 0.0
    step: float = 0.0
    _last: dict[tuple[int, int], float] = field(default_factory=dict)

    def look(self, model: Any, data: Any) -> None:
        """Note the pairs that are new after a step; a clock that has gone back is another life's."""
        if data.time <= self.now:
            for kept in (self.all, self.fresh, self._last):
                kept.clear()
        self.now, self.step = float(data.time), float(model.opt.timestep)
        bodies = np.sort(model.geom_bodyid[data.contact.geom[data.contact.dist <= 0]], axis=1) if data.ncon else ()
        now = {(int(a), int(b)) for a, b in bodies if a != b}
        parted = max((self.now - self._last.get(pair, -1.0) for pair in now), default=0.0)
        if parted > 1.5 * self.step:
            self.all.append(self.now)
        if parted > PARTED_SECONDS:
            self.fresh.append(self.now)
        self._last |= dict.fromkeys(now, self.now)

    def begun(self, sound: NDArray[np.float32]) -> float:
        """When a sound (2 s) that ends now began: things may have settled before."""
        return self.now - sound.shape[1] / SOUND_HZ


@contextmanager
def touching() -> Iterator[Touching]:
    """Within it, every step of MuJoCo's is looked at."""
    found, step = Touching(), mujoco.mj_step

    def stepped(model: Any, data: Any) -> None:
        step(model, data)
        found.look(model, data)

    told: Callable[..., Any] = stepped
    with patch.object(mujoco, "mj_step", told):
        yield found


def onsets(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Seconds at which a sound (2 s) becomes ``LOUDER`` times as loud as in the hundredth of a second before."""
    loud = np.abs(sound).max(axis=0)
    blocks = loud[: len(loud) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    found, last = list[float](), -APART
    for number in range(QUIET + 1, len(blocks)):
        quiet = blocks[number - QUIET - 1 : number - 1].max()
        if number - last >= APART and blocks[number] > max(LEAST, LOUDER * max(quiet, blocks[number - 1])):
            begin = (number - 1) * BLOCK
            first = np.flatnonzero(loud[begin : begin + 2 * BLOCK] > max(LEAST / 3, 1.5 * quiet))[0]
            found.append((begin + int(first)) / SOUND_HZ)
            last = number
    return np.array(found)


def away(heard: NDArray[np.float64], touched: Sequence[float]) -> NDArray[np.float64]:
    """Seconds from the nearest contact to each onset: positive where the sound is late. Endless without a contact."""
    if not len(touched):
        return np.full(len(heard), np.inf)
    gaps = heard[:, None] - np.array(touched)[None]
    nearest = np.abs(gaps).argmin(axis=1)
    return np.asarray(gaps[np.arange(len(heard)), nearest], np.float64)
