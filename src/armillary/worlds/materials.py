"""What things are made of: how they look, how heavy and slippery they are, how high they bounce, how they sound.

    MATERIALS        28 of them; ``SURFACES`` are for floors, walls and furniture, ``COATS`` take any colour
    COLOURS          ten colours that can be told apart and named
    add_material     puts a material's picture into a world that is being built
    add_lights       a key light with soft shadows and a fill light, varied by a generator

Pictures are made here, from smooth patterns: details wider than an eighth of the picture survive a small film.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.camera import mujoco

CONTACT_RATE = 250.0  # radians per second: a bounce lasts 12 ms

Field = NDArray[np.float64]
Rgb = tuple[float, float, float]

COLOURS: dict[str, Rgb] = {
    "red": (0.8, 0.11, 0.1), "orange": (0.95, 0.47, 0.06), "yellow": (0.93, 0.8, 0.12), "green": (0.13, 0.58, 0.17),
    "cyan": (0.1, 0.72, 0.76), "blue": (0.12, 0.27, 0.82), "purple": (0.5, 0.15, 0.66), "pink": (0.95, 0.5, 0.68),
    "white": (0.92, 0.92, 0.9), "black": (0.11, 0.11, 0.12),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """One material: its pattern, its own colour (None takes any), and its physics.

    ``density`` kg/m3, ``friction`` sliding, ``restitution`` the share of speed that a bounce keeps,
    ``ring_hz`` the tone of a 20 cm piece when struck and ``fade`` how fast it dies away, per second.
    """

    name: str
    pattern: str
    rgb: Rgb | None
    contrast: float
    shine: float
    density: float
    friction: float
    restitution: float
    ring_hz: float
    fade: float


def _m(name: str, pattern: str, rgb: Rgb | None, contrast: float, shine: float, *physics: float) -> Material:
    density, friction, restitution, ring_hz, fade = physics
    return Material(name=name, pattern=pattern, rgb=rgb, contrast=contrast, shine=shine, density=density,
                    friction=friction, restitution=restitution, ring_hz=ring_hz, fade=fade)  # fmt: skip


MATERIALS: dict[str, Material] = {
    material.name: material
    for material in (
        # what rooms are made of                                    density friction bounce  ring  fade
        _m("oak", "planks", (0.66, 0.5, 0.33), 0.1, 0.1, 700, 0.6, 0.5, 310, 38),
        _m("walnut", "planks", (0.42, 0.28, 0.19), 0.12, 0.15, 650, 0.6, 0.5, 290, 40),
        _m("pine", "grain", (0.78, 0.63, 0.42), 0.09, 0.05, 500, 0.65, 0.45, 340, 42),
        _m("bamboo", "stripes", (0.75, 0.68, 0.45), 0.06, 0.1, 600, 0.55, 0.5, 380, 36),
        _m("parquet", "check", (0.6, 0.45, 0.3), 0.07, 0.15, 700, 0.6, 0.5, 320, 38),
        _m("marble", "veins", (0.8, 0.8, 0.79), 0.08, 0.4, 2700, 0.4, 0.6, 900, 26),
        _m("granite", "clouds", (0.5, 0.48, 0.48), 0.14, 0.3, 2650, 0.5, 0.6, 860, 28),
        _m("slate", "clouds", (0.34, 0.37, 0.4), 0.12, 0.1, 2800, 0.6, 0.55, 820, 30),
        _m("concrete", "clouds", (0.6, 0.6, 0.58), 0.08, 0.0, 2400, 0.75, 0.5, 700, 45),
        _m("asphalt", "clouds", (0.3, 0.3, 0.31), 0.1, 0.0, 2300, 0.85, 0.45, 500, 60),
        _m("brick", "bricks", (0.62, 0.36, 0.29), 0.16, 0.0, 1900, 0.75, 0.45, 600, 50),
        _m("tiles", "tiles", (0.72, 0.76, 0.77), 0.1, 0.3, 2000, 0.45, 0.55, 950, 28),
        _m("terracotta", "tiles", (0.72, 0.45, 0.32), 0.12, 0.05, 1900, 0.6, 0.5, 640, 34),
        _m("sand", "waves", (0.8, 0.71, 0.52), 0.06, 0.0, 1600, 0.8, 0.15, 140, 90),
        _m("carpet", "weave", (0.5, 0.45, 0.56), 0.1, 0.0, 300, 0.9, 0.25, 120, 95),
        _m("felt", "clouds", (0.12, 0.4, 0.28), 0.05, 0.0, 300, 0.35, 0.35, 130, 90),
        _m("linen", "weave", (0.77, 0.74, 0.66), 0.07, 0.0, 300, 0.8, 0.25, 120, 95),
        _m("plaster", "clouds", (0.8, 0.77, 0.72), 0.04, 0.0, 1300, 0.7, 0.4, 420, 60),
        _m("cork", "dots", (0.71, 0.55, 0.38), 0.1, 0.0, 240, 0.75, 0.4, 180, 70),
        _m("grass", "clouds", (0.36, 0.55, 0.27), 0.14, 0.0, 400, 0.85, 0.3, 100, 95),
        _m("steel", "brushed", (0.62, 0.64, 0.67), 0.08, 0.6, 7800, 0.35, 0.7, 1300, 9),
        _m("brass", "brushed", (0.72, 0.58, 0.28), 0.1, 0.6, 8500, 0.35, 0.65, 1100, 10),
        # what takes any colour: the things in the rooms
        _m("painted wood", "grain", None, 0.1, 0.1, 600, 0.5, 0.55, 420, 36),
        _m("rubber", "halves", None, 0.16, 0.05, 1100, 0.9, 0.78, 170, 55),
        _m("plastic", "stripes", None, 0.14, 0.3, 950, 0.4, 0.65, 560, 44),
        _m("lacquer", "halves", None, 0.13, 0.6, 1700, 0.25, 0.8, 1500, 30),
        _m("wool", "weave", None, 0.12, 0.0, 250, 0.85, 0.3, 130, 90),
        _m("clay", "dots", None, 0.12, 0.05, 1800, 0.65, 0.35, 520, 60),
    )
}
SURFACES = tuple(name for name, material in MATERIALS.items() if material.rgb is not None)
COATS = tuple(name for name, material in MATERIALS.items() if material.rgb is None)
FLOORS = ("oak", "walnut", "parquet", "bamboo", "marble", "slate", "concrete", "tiles", "terracotta", "carpet", "cork",
          "linen", "granite")  # fmt: skip
WALLS = ("plaster", "brick", "linen", "concrete", "pine", "tiles", "bamboo")


def paint(material: Material, rng: np.random.Generator, rgb: Rgb | None = None, *, side: int = 64) -> NDArray[np.uint8]:
    """The material's picture, uint8 side side 3, in its own colour or in ``rgb`` (0 to 1)."""
    base = np.array(rgb or material.rgb or COLOURS["white"])
    field = _PATTERNS[material.pattern](side, rng)
    lit = base * (1 + material.contrast * field[..., None])
    if base.max() < 0.3:
        lit = lit + 0.35 * material.contrast * field[..., None]  # a pattern shows on black too
    return np.round(255 * np.clip(lit, 0, 1)).astype(np.uint8)


def add_material(
    spec: Any, name: str, material: Material, rng: np.random.Generator, *, rgb: Rgb | None = None,
    around: bool = True, repeat: tuple[float, float] = (1.0, 1.0),
) -> str:  # fmt: skip
    """Add ``material`` to an ``MjSpec`` under ``name``; gives the name back.

    ``around``: wrapped about a body (a cube of six pictures); without it laid flat, ``repeat`` times each way, for
    planes, floors and walls.
    """
    picture, cube = paint(material, rng, rgb), mujoco.mjtTexture.mjTEXTURE_CUBE
    side = picture.shape[0]
    texture = spec.add_texture(
        name=name, type=cube if around else mujoco.mjtTexture.mjTEXTURE_2D, width=side,
        height=6 * side if around else side, nchannel=3,
    )  # fmt: skip
    texture.data = np.concatenate([picture] * 6).tobytes() if around else picture.tobytes()
    made = spec.add_material(name=name, specular=0.4 * material.shine, shininess=0.2 + 0.5 * material.shine)
    made.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = name
    made.texrepeat = repeat
    return name


def add_lights(
    spec: Any, rng: np.random.Generator, *, middle: tuple[float, float, float] = (0, 0, 0), height: float = 4.0
) -> dict[str, Any]:
    """A key light that casts shadows and a fill light that does not, above ``middle``; gives what was drawn.

    Shadows are soft by contrast: the headlight and the fill light reach into them. ``height`` in metres.
    """
    turn, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6) * height
    warmth = rng.uniform(-0.06, 0.06)
    key = np.array([lean * np.cos(turn), lean * np.sin(turn), height])
    fill = np.array([-lean * np.cos(turn), -lean * np.sin(turn), 0.8 * height])
    bright, dim = rng.uniform(0.3, 0.38), rng.uniform(0.16, 0.24)
    for name, place, strength, casts in (("key", key, bright, True), ("fill", fill, dim, False)):
        tint = strength * np.array([1 + warmth, 1.0, 1 - warmth])
        spec.worldbody.add_light(
            name=name, pos=np.array(middle) + place, dir=-place, diffuse=tint, specular=tint * 0.4, castshadow=casts,
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        )  # fmt: skip
    return {"key_light": (np.array(middle) + key).tolist(), "key_strength": float(bright),
            "fill_strength": float(dim), "warmth": float(warmth)}  # fmt: skip


def set_looks(spec: Any, *, extent: float, largest: int = 1024) -> None:
    """Settings of the picture that all such worlds share: soft shadows, no multisampling, ``extent`` metres wide.

    ``largest``: the longer side of the largest picture, in pixels. A surface that is too large costs time.
    """
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 512
    spec.visual.quality.numslices, spec.visual.quality.numstacks, spec.visual.quality.numquads = 20, 12, 2
    spec.visual.headlight.ambient = [0.5, 0.5, 0.5]
    spec.visual.headlight.diffuse = [0.16, 0.16, 0.16]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.visual.map.shadowclip = 2.5  # too small a reach makes stripes on far floors
    spec.visual.map.shadowscale = 0.8
    spec.visual.map.znear = 0.02
    spec.visual.map.zfar = 12
    spec.visual.global_.offwidth = 2 * largest
    spec.visual.global_.offheight = 2 * largest
    spec.stat.extent = extent
    spec.stat.center = [0, 0, 0]


def bounce(restitution: float) -> tuple[float, float]:
    """MuJoCo's ``solref`` (direct form) for a contact that gives back this share of speed, 0.05 to 0.93.

    Damping ratios and what they give back were measured on falling balls (1.2 to 2 m, time step 2 ms). Between two
    things that both say so, the duller one decides; give movable things a higher ``priority`` than the room.
    """
    given_back = (0.05, 0.115, 0.216, 0.284, 0.392, 0.513, 0.614, 0.727, 0.775, 0.849, 0.926)
    damping = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02)
    ratio = float(np.interp(restitution, given_back, damping))
    return -(CONTACT_RATE**2), -2 * ratio * CONTACT_RATE


def ring(material: Material, metres: float) -> tuple[float, float]:
    """Tone (Hz) and fading (1/s) of a piece ``metres`` wide: smaller things sound higher and shorter."""
    smaller = 0.2 / max(metres, 0.02)
    return float(np.clip(material.ring_hz * smaller**0.6, 60, 6000)), float(material.fade * smaller**0.3)


def _grid(side: int) -> tuple[Field, Field]:
    steps = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(steps, steps)
    return x, y


def _clouds(side: int, rng: np.random.Generator) -> Field:
    """Smooth noise that repeats without a seam: a few slow waves in every direction."""
    x, y = _grid(side)
    total = np.zeros((side, side))
    for _ in range(10):
        a, b = rng.integers(-3, 4, 2)
        total += rng.uniform(0.4, 1) * np.cos(2 * np.pi * (a * x + b * y + rng.random()))
    return np.clip(total / 3.0, -1, 1)


def _grain(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    bend = 0.05 * np.sin(2 * np.pi * (x + rng.random()))
    return 0.6 * np.sin(2 * np.pi * (4 * (y + bend) + rng.random())) + 0.4 * np.sin(2 * np.pi * (7 * y + rng.random()))


def _planks(side: int, rng: np.random.Generator) -> Field:
    _, y = _grid(side)
    shades = rng.uniform(-0.9, 0.9, 4)
    gap = ((4 * y) % 1) < 4 / side
    return np.where(gap, -1.6, shades[(4 * y).astype(int) % 4] + 0.25 * _grain(side, rng))


def _stripes(side: int, rng: np.random.Generator) -> Field:
    x, _ = _grid(side)
    return np.sin(2 * np.pi * 4 * x + rng.uniform(0, 6)) * 0.9


def _check(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    return np.where(((2 * x).astype(int) + (2 * y).astype(int)) % 2 == 0, 1.0, -1.0) + 0.2 * _clouds(side, rng)


def _veins(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    bend = sum(np.cos(2 * np.pi * (a * x + b * y + rng.random())) for a, b in ((1, 1), (2, -1), (1, 2)))
    return np.asarray(0.8 - 1.8 * np.exp(-((bend / 0.3) ** 2)))


def _bricks(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    row = (4 * y).astype(int)
    along = (2 * x + 0.5 * (row % 2)) % 2
    joint = (((4 * y) % 1) < 0.14) | ((along % 1) < 0.08)
    shades = rng.uniform(-0.6, 0.6, (4, 2))
    return np.where(joint, 1.4, shades[row, along.astype(int) % 2])


def _tiles(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    joint = (((2 * x) % 1) < 0.07) | (((2 * y) % 1) < 0.07)
    return np.where(joint, -1.5, 0.3 * _clouds(side, rng) + 0.2)


def _waves(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    return np.sin(2 * np.pi * (5 * y + 0.25 * np.sin(2 * np.pi * (x + rng.random()))))


def _weave(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    return 0.5 * (np.sin(2 * np.pi * 6 * x) + np.sin(2 * np.pi * 6 * y)) + 0.3 * _clouds(side, rng)


def _dots(side: int, rng: np.random.Generator) -> Field:
    x, y = _grid(side)
    return np.where((np.cos(2 * np.pi * 3 * x) + np.cos(2 * np.pi * 3 * y)) > 0.9, 1.2, -0.3) + 0.1 * _clouds(side, rng)


def _brushed(side: int, rng: np.random.Generator) -> Field:
    _, y = _grid(side)
    return sum(rng.uniform(0.2, 0.5) * np.sin(2 * np.pi * (k * y + rng.random())) for k in (2, 5, 9, 12)) + 0 * y


def _halves(side: int, rng: np.random.Generator) -> Field:
    """A light and a dark half: how a ball turns can be seen."""
    x, _ = _grid(side)
    return np.where(x < 0.5, 1.0, -1.0) + 0.1 * _clouds(side, rng)


_PATTERNS: dict[str, Callable[[int, np.random.Generator], Field]] = {
    "clouds": _clouds, "grain": _grain, "planks": _planks, "stripes": _stripes, "check": _check, "veins": _veins,
    "bricks": _bricks, "tiles": _tiles, "waves": _waves, "weave": _weave, "dots": _dots, "brushed": _brushed,
    "halves": _halves,
}  # fmt: skip
