"""How the road looks: streets, houses, trees, vehicles, traffic lights, the sky, the weather and the hour.

    in    a drawn scene and a generator
    out   a MuJoCo world being built (``MjSpec``), and what was drawn

Things whose silhouettes matter are a few smooth shapes each. Shadows are soft dark patches under things, drawn in a
group of their own (``SHADE_GROUP``) that depth and segmentation leave out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.camera import mujoco
from armillary.worlds.driving_map import GROUND, PAVEMENT, REACH, Streets, painted
from armillary.worlds.driving_scenarios import Scene
from armillary.worlds.driving_traffic import EGO_LENGTH, EGO_WIDTH, REAR, SIZES, Vehicle
from armillary.worlds.humans_body import add_person
from armillary.worlds.labels import Views
from armillary.worlds.materials import COLOURS, MATERIALS, Rgb, add_material

SHADE_GROUP = 4
WEATHERS = ("clear", "overcast", "rain", "fog", "snow")
HOURS = ("day", "dusk", "night")
_SKIES: dict[str, tuple[Rgb, Rgb]] = {  # above, at the horizon
    "clear": ((0.42, 0.62, 0.9), (0.82, 0.88, 0.94)), "overcast": ((0.62, 0.66, 0.7), (0.8, 0.82, 0.83)),
    "rain": ((0.45, 0.48, 0.53), (0.6, 0.63, 0.66)), "fog": ((0.72, 0.74, 0.76), (0.76, 0.77, 0.78)),
    "snow": ((0.75, 0.78, 0.82), (0.86, 0.88, 0.9)),
}  # fmt: skip
_LIGHTS = {
    "clear": (0.42, 0.4),
    "overcast": (0.14, 0.56),
    "rain": (0.1, 0.46),
    "fog": (0.08, 0.56),
    "snow": (0.16, 0.54),
}
_PROFILES = {  # side views from the rear bumper on: lower body and glass, (metres ahead of the middle, height)
    "car": (((-2.2, 0.3), (-2.2, 0.85), (-1.9, 0.95), (1.0, 0.95), (2.1, 0.78), (2.2, 0.3)),
            ((-1.8, 0.93), (-1.25, 1.45), (0.2, 1.45), (1.05, 0.93))),
    "van": (((-2.6, 0.35), (-2.6, 2.2), (1.3, 2.2), (2.0, 1.2), (2.6, 1.0), (2.6, 0.35)),
            ((0.6, 1.25), (0.6, 2.0), (1.42, 2.03), (2.02, 1.22))),
    "truck": (((-4.1, 0.45), (-4.1, 3.1), (1.9, 3.1), (1.9, 0.45)), ((3.0, 1.4), (3.0, 2.2), (4.02, 2.2), (4.13, 1.4))),
    "bus": (((-5.5, 0.35), (-5.5, 3.0), (5.3, 3.0), (5.5, 1.4), (5.5, 0.35)),
            ((-5.2, 1.4), (-5.2, 2.4), (5.35, 2.4), (5.46, 1.4))),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Weather (``WEATHERS``) and hour (``HOURS``)."""

    weather: str
    hour: str


class RoadViews(Views):
    """``Views`` with fog where there is fog, and without the painted shadows in depth and segmentation."""

    def __init__(self, model: Any, size: tuple[int, int], labels: dict[int, int], *, fog: bool) -> None:
        super().__init__(model, size, labels)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = fog
        self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._last: tuple[Any, str] | None = None

    def _update(self, data: Any, camera: str) -> None:
        self._options.geomgroup[SHADE_GROUP] = 1
        self._last = (data, camera)
        super()._update(data, camera)

    def _marks(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        assert self._last is not None
        self._options.geomgroup[SHADE_GROUP] = 0
        super()._update(*self._last)
        return super()._marks()


def build(scene: Scene, sky: Conditions, rng: np.random.Generator) -> Any:
    """The whole place as an ``MjSpec``; bodies are named after vehicles and people, ``signal k`` after its arm."""
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name("driving.xml")))
    dark = {"day": 1.0, "dusk": 0.62, "night": 0.5}[sky.hour]
    _sky(spec, sky, dark)
    _ground(spec, scene.streets, sky, rng)
    _houses(spec, scene.streets, rng, lit=sky.hour != "day")
    _ego(spec, rng)
    for vehicle in scene.traffic.vehicles:
        _vehicle(spec, vehicle, rng)
    for walker in scene.traffic.walkers:
        add_person(spec, walker.name, walker.look, rng)
        shade = mujoco.mjtGeom.mjGEOM_ELLIPSOID
        spec.body(walker.name).add_geom(type=shade, size=[0.4, 0.4, 0.01], pos=[0, 0, -0.9], material="shade",
                                        group=SHADE_GROUP, contype=0, conaffinity=0)  # fmt: skip
    if scene.traffic.signals is not None:
        _signals(spec, scene.streets)
    return spec


def _sky(spec: Any, sky: Conditions, dark: float) -> None:
    above, low = (np.array(tone) * dark for tone in _SKIES[sky.weather])
    if sky.hour == "dusk":
        low = low * (1.15, 0.85, 0.7)
    if sky.hour == "night":
        above, low = above * (0.2, 0.23, 0.34), low * (0.24, 0.27, 0.36)
    heaven = spec.texture("sky")
    heaven.rgb1, heaven.rgb2 = above, low
    sun, flat = _LIGHTS[sky.weather]
    tint = (
        np.array([1.0, 0.86, 0.7])
        if sky.hour == "dusk"
        else np.array([0.75, 0.85, 1.0])
        if sky.hour == "night"
        else np.ones(3)
    )
    spec.light("sun").diffuse = sun * dark * tint
    spec.light("sky").diffuse = 0.16 * dark * np.ones(3)
    spec.visual.headlight.ambient = flat * dark * tint
    spec.visual.headlight.diffuse = 0.1 * dark * np.ones(3)
    spec.visual.rgba.fog = [*np.clip(low, 0, 1), 1]
    spec.visual.map.fogstart, spec.visual.map.fogend = {"fog": (0.06, 0.62), "snow": (0.15, 1.6)}.get(
        sky.weather, (0.3, 2.4)
    )
    for beam in ("left beam", "right beam"):
        spec.light(beam).diffuse = (0.0 if sky.hour == "day" else 0.6) * np.array([1, 0.95, 0.85])


def _ground(spec: Any, streets: Streets, sky: Conditions, rng: np.random.Generator) -> None:
    picture = painted(streets, rng, snow=sky.weather == "snow", wet=sky.weather == "rain")
    side = picture.shape[0]
    texture = spec.add_texture(name="ground", type=mujoco.mjtTexture.mjTEXTURE_2D, width=side, height=side, nchannel=3)
    texture.data = np.ascontiguousarray(picture).tobytes()
    spec.add_material(name="ground").textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = "ground"
    far = add_material(spec, "far", MATERIALS["grass"], rng, around=False, repeat=(12, 12),
                       rgb=tuple(picture[:8, :8].mean((0, 1)) / 255))  # fmt: skip
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(name="ground", type=plane, size=[GROUND, GROUND, 1], material="ground")
    spec.worldbody.add_geom(name="far", type=plane, size=[250, 250, 5], pos=[0, 0, -0.05], material=far)


def _houses(spec: Any, streets: Streets, rng: np.random.Generator, *, lit: bool) -> None:
    """Houses and trees along the arms, none nearer to another arm than to its own pavement's edge."""
    walls = [_facade(spec, f"wall {k}", rng, lit=lit) for k in range(4)]
    leaves = [add_material(spec, f"leaves {k}", MATERIALS["grass"], rng,
                           rgb=(0.2 + 0.08 * k, 0.38 + 0.06 * k, 0.16)) for k in range(2)]  # fmt: skip
    kinds = mujoco.mjtGeom
    edge = streets.half + PAVEMENT
    for arm in streets.arms:
        for sign in (-1, 1):
            along = float(rng.uniform(2, 8))
            while along < REACH - 5:
                house = rng.random() < 0.6
                wide = float(rng.uniform(9, 15)) if house else float(rng.uniform(5, 9))
                deep = float(rng.uniform(4, 6)) if house else 1.5
                where = arm.at(along + wide / 2)
                side = sign * np.array([-np.sin(where[2]), np.cos(where[2])])
                place = where[:2] + side * (edge + deep + float(rng.uniform(1.0, 3.0)))
                room = edge + deep + 0.6
                if all(abs(other.nearest(place)[1]) > room for other in streets.arms) and np.hypot(*place) > room:
                    turn = [np.cos(where[2] / 2), 0, 0, np.sin(where[2] / 2)]
                    if house:
                        tall = float(rng.uniform(3, 8))
                        spec.worldbody.add_geom(
                            type=kinds.mjGEOM_BOX, size=[wide / 2 - 0.6, deep, tall], pos=[*place, tall], quat=turn,
                            material=walls[rng.integers(4)],
                        )  # fmt: skip
                    else:
                        tall = float(rng.uniform(2.2, 3.4))
                        spec.worldbody.add_geom(type=kinds.mjGEOM_CYLINDER, size=[0.22, tall / 2, 0],
                                                pos=[*place, tall / 2], material="bark")  # fmt: skip
                        spec.worldbody.add_geom(type=kinds.mjGEOM_ELLIPSOID, size=[1.8, 1.8, 1.9],
                                                pos=[*place, tall + 1.0], material=leaves[rng.integers(2)])  # fmt: skip
                along += wide + float(rng.uniform(0.5, 5))


def _facade(spec: Any, name: str, rng: np.random.Generator, *, lit: bool) -> str:
    """A wall with two rows of windows."""
    tones = ((0.76, 0.68, 0.58), (0.66, 0.42, 0.34), (0.8, 0.78, 0.74), (0.58, 0.62, 0.66), (0.78, 0.6, 0.4))
    wall = 255 * np.array(tones[rng.integers(len(tones))])
    picture = np.tile(wall, (48, 64, 1))
    for row in (8, 28):
        for column in range(5, 60, 15):
            bright = lit and rng.random() < 0.6
            picture[row : row + 12, column : column + 8] = (255, 214, 130) if bright else (70, 84, 98)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    blank = np.tile(wall, (64, 64, 1)).astype(np.uint8)
    front = np.ascontiguousarray(np.repeat(picture, 2, axis=0)[:64])
    faces = [front, front, blank, blank, front, front]
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_CUBE, width=64, height=384, nchannel=3)
    texture.data = np.concatenate(faces).tobytes()
    made = spec.add_material(name=name, emission=0.25 if lit else 0.0)
    made.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = name
    return name


def _hull(spec: Any, name: str, profile: tuple[tuple[float, float], ...], half: float, top: float) -> str:
    """A mesh: the side view, as wide as ``half`` says at its foot and ``top`` of that at its highest."""
    heights = [z for _, z in profile]
    low, high = min(heights), max(heights)
    points = []
    for x, z in profile:
        wide = half * (1 - (1 - top) * (z - low) / (high - low))
        points += [x, wide, z, x, -wide, z]
    mesh = spec.add_mesh(name=name)
    mesh.uservert = points
    return name


def _vehicle(spec: Any, vehicle: Vehicle, rng: np.random.Generator) -> None:
    body = spec.worldbody.add_body(name=vehicle.name)
    body.add_freejoint(name=f"{vehicle.name}/root")
    coat = add_material(spec, vehicle.name, MATERIALS["lacquer"], rng, rgb=COLOURS[vehicle.colour])
    _coachwork(spec, body, (vehicle.name, vehicle.kind, coat), 0.0)


def _coachwork(spec: Any, body: Any, what: tuple[str, str, str], ahead: float) -> None:
    """Lower body, glass, wheels, lamps and the shadow of a vehicle whose middle is ``ahead`` of its body's origin."""
    name, kind, coat = what
    length, width, _ = SIZES[kind]
    kinds, flat = mujoco.mjtGeom, {"contype": 0, "conaffinity": 0}
    lower, glass = _PROFILES[kind]
    for part, profile, top, material in (("hull", lower, 0.96, coat), ("glass", glass, 0.8, "glass")):
        half = width / 2 * (1.0 if part == "hull" or kind == "car" else 1.01)
        _hull(spec, f"{name} {part}", profile, half, 0.98 if kind != "car" else top)
        body.add_geom(type=kinds.mjGEOM_MESH, meshname=f"{name} {part}", material=material, pos=[ahead, 0, 0], **flat)
    if kind == "car":
        body.add_geom(
            type=kinds.mjGEOM_BOX, size=[0.68, 0.66, 0.03], pos=[ahead - 0.52, 0, 1.45], material=coat, **flat
        )
    if kind == "truck":
        body.add_geom(type=kinds.mjGEOM_BOX, size=[1.0, width / 2 * 0.95, 0.95], pos=[ahead + 3.08, 0, 1.35],
                      material=coat, **flat)  # fmt: skip
    for x in (length / 2 - 0.85, -length / 2 + 0.85):
        for y in (-width / 2 + 0.1, width / 2 - 0.1):
            body.add_geom(type=kinds.mjGEOM_CYLINDER, size=[0.34, 0.12, 0], pos=[ahead + x, y, 0.34],
                          quat=[0.7071, 0.7071, 0, 0], material="tyre", **flat)  # fmt: skip
    lamp = 0.72 if kind == "car" else 0.95
    for y in (-width / 2 + 0.3, width / 2 - 0.3):
        body.add_geom(name=f"{name}/tail {y:.1f}", type=kinds.mjGEOM_BOX, size=[0.05, 0.2, 0.09],
                      pos=[ahead - length / 2, y, lamp], material="lamp", rgba=[0.45, 0.04, 0.04, 1],
                      **flat)  # fmt: skip
        body.add_geom(type=kinds.mjGEOM_BOX, size=[0.05, 0.18, 0.08], pos=[ahead + length / 2 - 0.02, y, 0.62],
                      material="lamp", **flat)  # fmt: skip
    for grow in (0.15, 0.4):
        body.add_geom(type=kinds.mjGEOM_ELLIPSOID, size=[length * 0.56 + grow, width * 0.56 + grow, 0.01],
                      pos=[ahead, 0, 0.02], material="shade", group=SHADE_GROUP, **flat)  # fmt: skip


def _ego(spec: Any, rng: np.random.Generator) -> None:
    coat = add_material(spec, "ego coat", MATERIALS["lacquer"], rng, rgb=(0.75, 0.77, 0.8))
    assert SIZES["car"][:2] == (EGO_LENGTH, EGO_WIDTH)
    _coachwork(spec, spec.body("ego"), ("ego", "car", coat), REAR)


def _signals(spec: Any, streets: Streets) -> None:
    """A traffic light to the right of each stop line: pole, box, red and green lamp."""
    kinds = mujoco.mjtGeom
    for number, arm in enumerate(streets.arms):
        where = arm.at(4.6)
        side = np.array([-np.sin(where[2]), np.cos(where[2])])
        place = where[:2] + side * (streets.half + 0.9)
        turn = [np.cos(where[2] / 2), 0, 0, np.sin(where[2] / 2)]
        body = spec.worldbody.add_body(name=f"signal {number}", pos=[*place, 0], quat=turn)
        body.add_geom(type=kinds.mjGEOM_CYLINDER, size=[0.09, 1.4, 0], pos=[0, 0, 1.4], material="pole")
        body.add_geom(type=kinds.mjGEOM_BOX, size=[0.18, 0.42, 0.75], pos=[0, 0, 3.3], material="tyre")
        for lamp, height, tone in (("red", 3.65, (0.25, 0.03, 0.03, 1)), ("green", 2.95, (0.03, 0.2, 0.05, 1))):
            body.add_geom(name=f"signal {number}/{lamp}", type=kinds.mjGEOM_SPHERE, size=[0.29, 0, 0],
                          pos=[0.12, 0, height], material="lamp", rgba=tone)  # fmt: skip
