"""Items: the named things of a world, with shape, size, material and motion, put into MuJoCo's description.

    Item       one thing: ``red ball``, half sizes in metres, where it is and how it moves at first
    add_item   adds its body, shapes and material to an ``MjSpec``
    inside     which points lie inside an item: for checks that know nothing of the physics engine

Axes: x right, y away from the first camera, z up. A half size is (x, y, z) before turning; a ball's is its radius
three times, a cylinder's radius, radius, half height.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.camera import mujoco
from armillary.worlds.materials import COLOURS, MATERIALS, add_material, bounce

Number = float | int
Triple = tuple[Number, Number, Number]
ROUND = ("ball",)
UPRIGHT = ("cylinder", "pin", "can")  # round about their own z axis


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing. SI units; ``spin`` in radians per second about the world's axes; ``fixed`` things never move."""

    name: str
    shape: str
    half: Triple
    colour: str = ""  # of COLOURS; empty where the material has its own
    coat: str = "painted wood"
    place: Triple = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    velocity: Triple = (0.0, 0.0, 0.0)
    spin: Triple = (0.0, 0.0, 0.0)
    mass: float = 1.0
    friction: float = 0.5
    restitution: float = 0.5
    fixed: bool = False


def volume(shape: str, half: Triple) -> float:
    """Cubic metres."""
    a, b, c = half
    if shape in ROUND:
        return float(4 / 3 * np.pi * a**3)
    if shape in UPRIGHT:
        return float(2 * np.pi * a * b * c)
    return 8 * a * b * c


def turned(axis: Any, radians: float) -> tuple[float, float, float, float]:
    """The quaternion (w, x, y, z) of a turn about an axis."""
    unit = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    w, (x, y, z) = np.cos(radians / 2), np.sin(radians / 2) * unit
    return float(w), float(x), float(y), float(z)


def matrix(quaternion: Any) -> NDArray[np.float64]:
    """The rotation 3 3 of a quaternion (w, x, y, z)."""
    out = np.zeros(9)
    mujoco.mju_quat2Mat(out, np.asarray(quaternion, np.float64))
    return out.reshape(3, 3)


def add_item(spec: Any, item: Item, rng: np.random.Generator) -> None:
    """Add body, shapes and material. Movable things get a free joint and a priority above the room's."""
    shade = None
    if item.colour:
        shade = tuple(np.clip(np.array(COLOURS[item.colour]) + rng.uniform(-0.03, 0.03, 3), 0, 1).tolist())
    add_material(spec, item.name, MATERIALS[item.coat], rng, rgb=shade)
    if item.shape == "pin":
        add_material(spec, f"{item.name} body", MATERIALS["lacquer"], rng, rgb=COLOURS["white"])
    body = spec.worldbody.add_body(name=item.name, pos=item.place, quat=item.quaternion)
    if not item.fixed:
        body.add_freejoint(name=item.name)
    parts = _parts(item)
    for number, (kind, size, place, share, painted) in enumerate(parts):
        body.add_geom(
            name=f"{item.name} {number}", type=kind, size=size, pos=place, mass=item.mass * share,
            material=item.name if painted else f"{item.name} body", condim=6 if item.shape in ROUND else 4,
            friction=(item.friction, 0.005, 0.0015), solref=bounce(item.restitution),
            solimp=(0.95, 0.95, 0.001, 0.5, 2), priority=0 if item.fixed else 1,
        )  # fmt: skip


def inside(item: Item, points: NDArray[np.float64], *, share: float = 1.0) -> NDArray[np.bool_]:
    """Which of n 3 points, in the item's own axes, lie inside it when it is shrunk to ``share``."""
    x, y, z = (points / (np.array(item.half) * share)).T
    if item.shape in ROUND:
        return np.asarray(x**2 + y**2 + z**2 < 1)
    if item.shape in UPRIGHT:
        return np.asarray((x**2 + y**2 < 1) & (np.abs(z) < 1))
    return np.asarray((np.abs(x) < 1) & (np.abs(y) < 1) & (np.abs(z) < 1))


def _parts(item: Item) -> list[tuple[Any, list[float], Triple, float, bool]]:
    """Shapes of an item: kind, MuJoCo's sizes, place in the item, share of its mass, and whether in its own colour."""
    kinds, (a, b, c) = mujoco.mjtGeom, item.half
    if item.shape in ROUND:
        return [(kinds.mjGEOM_SPHERE, [a, 0, 0], (0, 0, 0), 1, True)]
    if item.shape == "pin":
        head = c - 0.75 * a
        foot = (0.3 * c + head) / (0.45 * c)  # as heavy as keeps the middle of mass in the middle
        return [
            (kinds.mjGEOM_CYLINDER, [a, 0.55 * c, 0], (0, 0, -0.45 * c), foot / (2 + foot), False),
            (kinds.mjGEOM_CYLINDER, [0.65 * a, 0.2 * c, 0], (0, 0, 0.3 * c), 1 / (2 + foot), True),
            (kinds.mjGEOM_SPHERE, [0.75 * a, 0, 0], (0, 0, head), 1 / (2 + foot), False),
        ]
    if item.shape in UPRIGHT:
        return [(kinds.mjGEOM_CYLINDER, [a, c, 0], (0, 0, 0), 1, True)]
    return [(kinds.mjGEOM_BOX, [a, b, c], (0, 0, 0), 1, True)]
