"""The furniture of ``spatial``: twelve kinds of things, told apart by their outline, and a figure that looks.

    KINDS        noun -> smallest and largest half size in metres
    Thing        one of them: name, colour, coat, where it stands and which way it faces
    add_thing    adds it to an ``MjSpec``: it never moves

A thing's front is its own -y side: a chair's back stands at its +y side, and a figure looks along -y.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.camera import mujoco
from armillary.worlds.items import Number, Triple, turned
from armillary.worlds.materials import COLOURS, MATERIALS, add_material

KINDS: dict[str, tuple[Triple, Triple]] = {
    "chair": ((0.24, 0.24, 0.42), (0.3, 0.3, 0.52)), "table": ((0.45, 0.35, 0.32), (0.65, 0.45, 0.42)),
    "sofa": ((0.65, 0.36, 0.36), (0.85, 0.42, 0.44)), "stool": ((0.2, 0.2, 0.22), (0.26, 0.26, 0.32)),
    "lamp": ((0.2, 0.2, 0.65), (0.28, 0.28, 0.85)), "plant": ((0.25, 0.25, 0.4), (0.36, 0.36, 0.65)),
    "shelf": ((0.4, 0.18, 0.6), (0.55, 0.22, 0.85)), "box": ((0.18, 0.18, 0.16), (0.36, 0.36, 0.34)),
    "ball": ((0.14, 0.14, 0.14), (0.32, 0.32, 0.32)), "vase": ((0.14, 0.14, 0.25), (0.2, 0.2, 0.42)),
    "bin": ((0.18, 0.18, 0.24), (0.24, 0.24, 0.36)), "cushion": ((0.24, 0.24, 0.09), (0.34, 0.34, 0.14)),
}  # fmt: skip
SEATS = ("chair", "sofa", "stool")
FIGURE: Triple = (0.19, 0.19, 0.72)
_COATS = {"sofa": "wool", "cushion": "wool", "plant": "clay", "vase": "lacquer", "ball": "rubber", "bin": "plastic",
          "figure": "wool"}  # fmt: skip
_SECOND = {"lamp": ("steel", None), "plant": ("grass", None), "figure": ("clay", (0.85, 0.66, 0.53)),
           "chair": ("walnut", None), "table": ("walnut", None), "stool": ("walnut", None)}  # fmt: skip
Part = tuple[Any, list[Number], Triple, bool]  # kind, MuJoCo's sizes, place in the thing, in its own colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One thing: ``place`` is its middle, metres; ``yaw`` its turn about the vertical, radians."""

    name: str
    noun: str
    half: Triple
    colour: str
    place: Triple
    yaw: float

    @property
    def coat(self) -> str:
        """What it is made of, in its own colour."""
        return _COATS.get(self.noun, "painted wood")

    @property
    def front(self) -> NDArray[np.float64]:
        """The direction it faces, a unit vector on the floor: x, y."""
        return np.array([np.sin(self.yaw), -np.cos(self.yaw)])


def add_thing(spec: Any, thing: Thing, rng: np.random.Generator) -> None:
    """Add its body, shapes and materials; it is fixed where it stands."""
    add_material(spec, thing.name, MATERIALS[thing.coat], rng, rgb=COLOURS[thing.colour])
    second, shade = _SECOND.get(thing.noun, ("steel", None))
    add_material(spec, f"{thing.name} second", MATERIALS[second], rng, rgb=shade)
    body = spec.worldbody.add_body(name=thing.name, pos=thing.place, quat=turned((0, 0, 1), thing.yaw))
    for number, (kind, size, place, own) in enumerate(parts(thing.noun, thing.half)):
        body.add_geom(name=f"{thing.name} {number}", type=kind, size=[*size, 0, 0][:3], pos=place,
                      material=thing.name if own else f"{thing.name} second", contype=0, conaffinity=0)  # fmt: skip


def parts(noun: str, half: Triple) -> list[Part]:
    """The shapes that make a thing of that half size."""
    a, b, c = half
    box, rod, ball = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE
    made: dict[str, list[Part]] = {
        "chair": [(box, [a, b, 0.04], (0, 0, 0), True), (box, [a, 0.04, 0.5 * c], (0, b - 0.04, 0.5 * c), True)],
        "table": [(box, [a, b, 0.04], (0, 0, c - 0.04), True)],
        "sofa": [(box, [a, b, 0.5 * c], (0, 0, -0.5 * c), True), (box, [a, 0.1, 0.5 * c], (0, b - 0.1, 0.5 * c), True),
                 (box, [0.1, b, 0.25 * c], (-a + 0.1, 0, 0.25 * c), True),
                 (box, [0.1, b, 0.25 * c], (a - 0.1, 0, 0.25 * c), True)],
        "stool": [(rod, [a, 0.05], (0, 0, c - 0.05), True)],
        "lamp": [(rod, [0.6 * a, 0.03], (0, 0, 0.03 - c), False), (rod, [0.03, 0.9 * c], (0, 0, 0), False),
                 (rod, [a, 0.25 * c], (0, 0, 0.75 * c), True)],
        "plant": [(rod, [0.6 * a, 0.35 * c], (0, 0, -0.65 * c), True), (ball, [0.6 * c], (0, 0, 0.4 * c), False)],
        "shelf": [(box, [0.03, b, c], (-a + 0.03, 0, 0), True), (box, [0.03, b, c], (a - 0.03, 0, 0), True),
                  (box, [a, 0.02, c], (0, b - 0.02, 0), True)]
        + [(box, [a, b, 0.025], (0, 0, level * (c - 0.025)), True) for level in (-1, -0.33, 0.33, 1)],
        "ball": [(ball, [a], (0, 0, 0), True)],
        "vase": [(rod, [0.75 * a, 0.12 * c], (0, 0, -0.88 * c), True), (ball, [a], (0, 0, a - 0.9 * c), True),
                 (rod, [0.45 * a, 0.6 * c], (0, 0, 0.4 * c), True)],
        "bin": [(rod, [a, c], (0, 0, 0), True)],
        "figure": [(rod, [a, 0.42 * c], (0, 0, -0.02 * c), True), (rod, [0.75 * a, 0.3 * c], (0, 0, -0.7 * c), False),
                   (ball, [0.85 * a], (0, 0, c - 0.85 * a), False),
                   (box, [0.1, 0.09, 0.05], (0, -0.95 * a, c - 0.85 * a), True)],
    }  # fmt: skip
    if noun in ("chair", "table", "stool"):
        reach, top = (0.75, c) if noun == "stool" else (0.88, c if noun == "table" else 0)
        made[noun] += [(box, [0.035, 0.035, (top + c) / 2], (x * reach * a, y * reach * b, (top - c) / 2), False)
                       for x in (-1, 1) for y in (-1, 1)]  # fmt: skip
    return made.get(noun, [(box, [a, b, c], (0, 0, 0), True)])
