"""Impossible twins: the same life as its possible partner, bit for bit, until the moment something cannot be.

    vanishes          a thing is gone from one moment to the next
    changes colour    a thing has another colour from one moment to the next
    floats            a thing rises although nothing lifts it
    passes through    a thing goes through another that should have stopped it

``plan`` looks at the possible life and chooses what happens when; ``Spell.cast`` does it to a running world.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.hearing import Hit
from armillary.worlds.items import Item, inside, matrix
from armillary.worlds.materials import COLOURS

TWINS = ("vanishes", "changes colour", "floats", "passes through")
SUPPORTS = ("table", "lane", "near ramp", "far ramp")
EARLIEST, LATEST, SEEN_AFTER = 3, 22, 3  # steps
PASS_SPEED, RISE = 0.6, 0.7  # metres per second


@dataclass(frozen=True, kw_only=True, eq=False)
class Life:
    """A possible life, looked at beforehand: who is ``seen`` by the camera (t n), where everything is, what it hits."""

    seen: NDArray[np.bool_]
    positions: NDArray[np.float64]
    hits: Sequence[Hit]
    velocities: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spell:
    """What cannot be: its kind, the item by number, the last step that is still possible, and what else it needs."""

    kind: str
    item: int
    step: int
    other: int = -1
    colour: str = ""

    def words(self, items: Sequence[Item]) -> str:
        """The event, as a clause: ``the red ball vanishes``."""
        does = {"vanishes": "vanishes", "changes colour": f"turns {self.colour}", "floats": "floats upwards"}
        through = f"passes through the {items[self.other].name}"
        return f"the {items[self.item].name} {does.get(self.kind, through)}"

    def cast(self, model: Any, data: Any, items: Sequence[Item]) -> None:
        """Do it, at the beginning of the step after ``step``."""
        body = model.body(items[self.item].name)
        geoms = np.flatnonzero(model.geom_bodyid == body.id)
        dof = int(model.jnt_dofadr[body.jntadr[0]])
        if self.kind == "vanishes":
            model.mat_rgba[model.geom_matid[geoms], 3] = 0
            model.geom_rgba[geoms, 3] = 0
            model.geom_contype[geoms] = model.geom_conaffinity[geoms] = 0
            data.qvel[dof : dof + 6] = 0
        elif self.kind == "changes colour":
            painted = [g for g in geoms if model.geom_matid[g] == model.material(items[self.item].name).id]
            model.geom_matid[painted] = model.material("spare").id
        elif self.kind == "floats":
            data.qvel[dof : dof + 3] = (*(0.5 * data.qvel[dof : dof + 2]), RISE)
        else:
            model.geom_contype[geoms] = model.geom_conaffinity[geoms] = 2
            for geom in range(model.ngeom):
                name = model.body(model.geom_bodyid[geom]).name
                supports = (name in SUPPORTS and name != items[self.other].name) or model.geom(geom).name == "floor"
                if supports:
                    model.geom_contype[geom] = model.geom_conaffinity[geom] = 3

    def hold(self, model: Any, data: Any, items: Sequence[Item]) -> None:
        """Keep it up through a step: gravity no longer pulls at what floats or has gone."""
        if self.kind in ("vanishes", "floats"):
            body = model.body(items[self.item].name).id
            data.xfrc_applied[body, 2] = -model.opt.gravity[2] * model.body_mass[body]


def plan(life: Life, items: Sequence[Item], free: Sequence[int], rng: np.random.Generator, kind: str) -> Spell | None:
    """A spell of that kind that fits this life, or None. ``free`` are the items it may be cast on."""
    steps = range(EARLIEST, min(LATEST, len(life.seen) - SEEN_AFTER - 1) + 1)
    fits = [(item, k) for item in free for k in steps if _shown(life, item, k)]
    if kind == "floats":
        fits = [(item, k) for item, k in fits if _clear(life, items, item, k)]
    if kind == "passes through":
        return _passing(life, items, free, rng)
    if not fits:
        return None
    item, step = fits[int(rng.integers(len(fits)))]
    if kind != "changes colour":
        return Spell(kind=kind, item=item, step=step)
    spare = sorted(set(COLOURS) - {one.colour for one in items})
    return Spell(kind=kind, item=item, step=step, colour=spare[int(rng.integers(len(spare)))])


def _passing(life: Life, items: Sequence[Item], free: Sequence[int], rng: np.random.Generator) -> Spell | None:
    fits, met = [], set()
    for hit in life.hits:
        pair = (hit.one, hit.other)
        step = int(hit.seconds / 0.1 - 0.15)  # the last moment before they touch
        first = pair not in met
        met.add(pair)
        if hit.other < 0 or not first or hit.speed < PASS_SPEED or not EARLIEST <= step <= LATEST:
            continue
        fast = max(pair, key=lambda n: float(np.linalg.norm(life.velocities[step, n])))
        slow = pair[0] if fast == pair[1] else pair[1]
        square = _square(life, items, fast, slow, step)
        if square and fast in free and items[slow].name not in SUPPORTS and _shown(life, fast, step):
            fits.append(Spell(kind="passes through", item=fast, step=step, other=slow))
    return fits[int(rng.integers(len(fits)))] if fits else None


def _square(life: Life, items: Sequence[Item], fast: int, slow: int, step: int) -> bool:
    """Whether one would go through the middle of the other, and not just its edge, if both went on as they are."""
    away = life.positions[step, fast] - life.positions[step, slow]
    speed = life.velocities[step, fast] - life.velocities[step, slow]
    if items[slow].fixed:
        path = away + np.linspace(0, 0.4, 60)[:, None] * speed
        path = path[path[:, 2] + life.positions[step, slow, 2] > min(items[fast].half)]  # the floor still stops it
        return bool(inside(items[slow], path @ matrix(items[slow].quaternion), share=0.7).any())
    way = speed / max(float(np.linalg.norm(speed)), 1e-9)
    miss = float(np.linalg.norm(away - (away @ way) * way))
    return miss < 0.45 * (sorted(items[fast].half)[1] + sorted(items[slow].half)[1])


def _clear(life: Life, items: Sequence[Item], item: int, step: int) -> bool:
    """Whether nothing comes near a thing, or is above it, in the half second after ``step``."""
    reach = np.array([np.linalg.norm(one.half) for one in items])
    for frame in range(step, min(step + 6, len(life.positions))):
        away = life.positions[frame] - life.positions[step, item]
        for other in range(len(items)):
            far = np.linalg.norm(away[other, :2] if away[other, 2] > -0.1 else away[other])
            if other != item and items[other].name not in SUPPORTS and far < reach[item] + reach[other] + 0.05:
                return False
    return True


def _shown(life: Life, item: int, step: int) -> bool:
    """Whether the camera saw the item before ``step`` and would see it long enough afterwards."""
    before, after = life.seen[: step + 1, item], life.seen[step + 1 :, item]
    return bool(before.sum() >= 2 and after.sum() >= SEEN_AFTER)
