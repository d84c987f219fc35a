"""A person as a body of hinges: what it looks like, and the angles that put its feet and hands where they belong.

    in    a look (height, colours) and, row by row, where pelvis and ankles are and what back and arms do
    out   bodies and hinges in a world that is being built; numbers ``t q`` for them, q = 7 + number of hinges

x is ahead, y to the left, z up, metres and radians. Feet come first: a planted ankle is a given and the leg's angles
follow from it in closed form (two bones, law of cosines), so that feet do not slide. Every hinge keeps the range of
``HINGES``; ``humans`` test it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.camera import mujoco
from armillary.worlds.materials import COLOURS, MATERIALS, Rgb, add_material

Array = NDArray[np.float64]
SIDES = ("left", "right")
THIGH, SHIN, ANKLE, HIP_OUT = 0.43, 0.43, 0.08, 0.09  # of somebody 1.75 m tall
STANDING = THIGH + SHIN + ANKLE - 0.014  # height of the hips: the knees are never quite straight
SKINS: tuple[Rgb, ...] = ((0.93, 0.76, 0.64), (0.8, 0.6, 0.46), (0.6, 0.42, 0.3), (0.38, 0.26, 0.19))
HAIRS: tuple[Rgb, ...] = ((0.12, 0.09, 0.08), (0.32, 0.2, 0.12), (0.7, 0.56, 0.3), (0.55, 0.55, 0.55))

# (hinge, axis, lowest, highest) in the order in which they turn; positive is forward, outward or to the left
_TRUNK = (
    ("spine side", (1, 0, 0), -0.5, 0.5),
    ("spine bend", (0, 1, 0), -0.4, 1.75),
    ("spine turn", (0, 0, 1), -0.8, 0.8),
)
_HEAD = (("neck turn", (0, 0, 1), -1.3, 1.3), ("neck nod", (0, 1, 0), -0.8, 0.8))
_ARM = (("shoulder flex", (0, -1, 0), -1.0, 3.1), ("shoulder out", (1, 0, 0), -0.5, 3.0),
        ("shoulder twist", (0, 0, 1), -1.8, 1.8), ("elbow", (0, -1, 0), 0.0, 2.6))  # fmt: skip
# fmt: off
_LEG = (("hip turn", (0, 0, 1), -0.9, 0.9), ("hip out", (1, 0, 0), -0.6, 0.9), ("hip flex", (0, -1, 0), -0.8, 2.1),
        ("knee", (0, 1, 0), 0.0, 2.6), ("ankle flex", (0, -1, 0), -0.9, 0.8), ("ankle side", (1, 0, 0), -0.6, 0.9))
# fmt: on
HINGES: dict[str, tuple[float, float]] = {
    name: (low, high)
    for name, low, high in [(n, lo, hi) for n, _, lo, hi in (*_TRUNK, *_HEAD)]
    + [(f"{side} {n}", lo, hi) for side in SIDES for n, _, lo, hi in _ARM]
    + [(f"{side} {n}", lo, hi) for side in SIDES for n, _, lo, hi in _LEG]
}
JOINTS = ("pelvis", "chest", "head", *(f"{side} {part}" for side in SIDES for part in ("shoulder", "elbow", "hand")),
          *(f"{side} {part}" for side in SIDES for part in ("hip", "knee", "ankle")))  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a person looks: height in metres, colours by name for clothes, numbers for skin and hair."""

    height: float
    shirt: str
    trousers: str
    skin: Rgb
    hair: Rgb
    hat: str = ""

    @property
    def scale(self) -> float:
        """Everything below is measured on somebody 1.75 m tall."""
        return self.height / 1.75


def draw_look(rng: np.random.Generator, *, shirts: tuple[str, ...] = tuple(COLOURS), hat: str = "") -> Look:
    """Somebody; ``shirts`` are the colours to choose from."""
    shirt = str(rng.choice(shirts))
    trousers = str(rng.choice([c for c in ("blue", "black", "white", "green", "purple") if c != shirt]))
    return Look(height=float(rng.uniform(1.6, 1.88)), shirt=shirt, trousers=trousers, hat=hat,
                skin=SKINS[rng.integers(len(SKINS))], hair=HAIRS[rng.integers(len(HAIRS))])  # fmt: skip


def add_person(spec: Any, name: str, look: Look, rng: np.random.Generator) -> None:
    """Add a free body called ``name`` with all its hinges (``name``/hinge) and its clothes to an ``MjSpec``."""
    s, cloth = look.scale, {}
    shades = {
        "shirt": ("wool", COLOURS[look.shirt]), "trousers": ("wool", COLOURS[look.trousers]),
        "skin": ("clay", look.skin), "hair": ("wool", look.hair), "shoe": ("rubber", (0.16, 0.14, 0.13)),
    }  # fmt: skip
    if look.hat:
        shades["hat"] = ("plastic", COLOURS[look.hat])
    for part, (kind, rgb) in shades.items():
        cloth[part] = add_material(spec, f"{name} {part}", MATERIALS[kind], rng, rgb=rgb)
    kinds = mujoco.mjtGeom

    def limb(body: Any, part: str, start: tuple[float, ...], end: tuple[float, ...], radius: float) -> None:
        body.add_geom(type=kinds.mjGEOM_CAPSULE, fromto=[s * v for v in (*start, *end)], size=[s * radius, 0, 0],
                      material=cloth[part], contype=0, conaffinity=0)  # fmt: skip

    def block(body: Any, part: str, kind: Any, centre: tuple[float, ...], size: tuple[float, ...]) -> None:
        body.add_geom(type=kind, pos=[s * v for v in centre], size=[s * v for v in size], material=cloth[part],
                      contype=0, conaffinity=0)  # fmt: skip

    def child(parent: Any, part: str, place: tuple[float, ...], hinges: tuple[Any, ...], side: str = "") -> Any:
        body = parent.add_body(name=f"{name}/{part}", pos=[s * v for v in place])
        for hinge, axis, low, high in hinges:
            mirror = -1 if side == "right" and (axis[0] or axis[2]) else 1
            mirror = 1 if hinge in ("hip turn",) else mirror
            body.add_joint(name=f"{name}/{f'{side} ' if side else ''}{hinge}", type=mujoco.mjtJoint.mjJNT_HINGE,
                           axis=[mirror * v for v in axis], range=[low, high])  # fmt: skip
        return body

    pelvis = spec.worldbody.add_body(name=name, pos=[0, 0, s * STANDING])
    pelvis.add_freejoint(name=f"{name}/root")
    limb(pelvis, "trousers", (0, -0.07, 0.02), (0, 0.07, 0.02), 0.115)
    chest = child(pelvis, "chest", (0, 0, 0.1), _TRUNK)
    block(chest, "shirt", kinds.mjGEOM_ELLIPSOID, (0, 0, 0.16), (0.12, 0.175, 0.24))
    limb(chest, "shirt", (0, -0.13, 0.36), (0, 0.13, 0.36), 0.075)
    head = child(chest, "head", (0, 0, 0.46), _HEAD)
    limb(head, "skin", (0, 0, -0.05), (0, 0, 0.06), 0.05)
    block(head, "skin", kinds.mjGEOM_ELLIPSOID, (0.01, 0, 0.15), (0.1, 0.082, 0.125))
    top = "hat" if look.hat else "hair"
    block(head, top, kinds.mjGEOM_ELLIPSOID, (-0.025, 0, 0.19), (0.1, 0.092, 0.105))
    for side, sign in (("left", 1), ("right", -1)):
        upper = child(chest, f"{side} shoulder", (0, sign * 0.205, 0.37), _ARM[:3], side)
        limb(upper, "shirt", (0, 0, 0), (0, 0, -0.27), 0.055)
        lower = child(upper, f"{side} elbow", (0, 0, -0.28), _ARM[3:], side)
        limb(lower, "skin", (0, 0, 0), (0, 0, -0.24), 0.042)
        hand = child(lower, f"{side} hand", (0, 0, -0.29), ())
        block(hand, "skin", kinds.mjGEOM_ELLIPSOID, (0, 0, -0.03), (0.045, 0.03, 0.075))
        thigh = child(pelvis, f"{side} hip", (0, sign * HIP_OUT, 0), _LEG[:3], side)
        limb(thigh, "trousers", (0, 0, -0.02), (0, 0, -THIGH), 0.082)
        shin = child(thigh, f"{side} knee", (0, 0, -THIGH), _LEG[3:4], side)
        limb(shin, "trousers", (0, 0, 0), (0, 0, -SHIN + 0.03), 0.06)
        foot = child(shin, f"{side} ankle", (0, 0, -SHIN), _LEG[4:], side)
        block(foot, "shoe", kinds.mjGEOM_BOX, (0.06, 0, -0.04), (0.135, 0.045, 0.04))


def place_rows(
    pelvis: Array, yaw: Array, feet: Mapping[str, Array], turns: Mapping[str, Array], bends: Mapping[str, Array],
    *, scale: float, pitches: Mapping[str, Array] | None = None,
) -> Array:  # fmt: skip
    """Numbers t q (q = 7 + hinges) of somebody whose ankles are where ``feet`` says.

    ``pelvis`` t 3 (x, y, height of the hips) and ``yaw`` t; per side ``feet`` t 3 (ankle joints) and ``turns`` t (the
    feet's headings); ``bends`` hinge -> t for back, neck and arms, 0 where not named; ``pitches`` t: toes up. What a
    hinge cannot do is cut at its range: the tests keep plans within it.
    """
    count = len(yaw)
    rows = np.zeros((count, 7 + len(HINGES)))
    rows[:, :3] = pelvis
    rows[:, 3], rows[:, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
    angles = {name: np.asarray(values) for name, values in bends.items()}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        pitch = np.zeros(count) if pitches is None else pitches[side]
        angles |= _leg(pelvis, yaw, feet[side], turns[side], (side, sign, scale, pitch))
    for number, (name, (low, high)) in enumerate(HINGES.items()):
        rows[:, 7 + number] = np.clip(angles.get(name, 0.0), low, high)
    return rows


def _leg(
    pelvis: Array, yaw: Array, ankle: Array, turn: Array, how: tuple[str, float, float, Array]
) -> dict[str, Array]:
    """One leg's hinges, t each, so that its ankle is where it must be and its sole lies flat, or toes up by a pitch."""
    side, sign, scale, pitch = how
    out = sign * HIP_OUT * scale
    hip = pelvis + np.stack([-np.sin(yaw) * out, np.cos(yaw) * out, np.zeros_like(yaw)], axis=1)
    way = ankle - hip
    c, s = np.cos(turn), np.sin(turn)
    ahead, left, down = c * way[:, 0] + s * way[:, 1], -s * way[:, 0] + c * way[:, 1], -way[:, 2]
    roll = np.arctan2(left, down)
    drop = np.hypot(left, down)
    thigh, shin = THIGH * scale, SHIN * scale
    reach = np.clip(np.hypot(ahead, drop), abs(thigh - shin) + 1e-6, thigh + shin - 1e-6)
    knee = np.pi - np.arccos(np.clip((thigh**2 + shin**2 - reach**2) / (2 * thigh * shin), -1, 1))
    lift = np.arccos(np.clip((thigh**2 + reach**2 - shin**2) / (2 * thigh * reach), -1, 1))
    flex = np.arctan2(ahead, drop) + lift
    turned = (turn - yaw + np.pi) % (2 * np.pi) - np.pi
    return {f"{side} hip turn": turned, f"{side} hip out": sign * roll, f"{side} hip flex": flex, f"{side} knee": knee,
            f"{side} ankle flex": knee - flex + pitch, f"{side} ankle side": -sign * roll}  # fmt: skip
