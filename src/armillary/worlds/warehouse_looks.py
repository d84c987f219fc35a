"""How the warehouse looks: hall, shelves full of boxes, fork-lift, robots, people with helmets, what lies about.

in    a drawn hall and a generator
out   a MuJoCo world being built (``MjSpec``); bodies are named after those who move and what lies about
"""

from pathlib import Path
from typing import Any

import numpy as np

from armillary.worlds.camera import mujoco
from armillary.worlds.driving_looks import SHADE_GROUP
from armillary.worlds.humans_body import add_person
from armillary.worlds.materials import COLOURS, MATERIALS, Rgb, add_material
from armillary.worlds.warehouse_scene import HALL, SHELF_FROM, SHELF_TO, SHELF_WIDE, SHELF_X, SIZES, Box, Hall

CARDBOARD: Rgb = (0.68, 0.52, 0.34)
FLAT: dict[str, Any] = {"contype": 0, "conaffinity": 0}
LEVELS = (0.15, 1.3, 2.45)  # heights of the boards, metres
Kind = mujoco.mjtGeom


def build(hall: Hall, rng: np.random.Generator) -> Any:
    """The whole hall as an ``MjSpec``."""
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name("warehouse.xml")))
    bright = float(rng.uniform(0.85, 1.1))
    spec.visual.headlight.ambient = 0.5 * bright * np.ones(3)
    spec.light("key").diffuse = 0.34 * bright * np.array([1.0, rng.uniform(0.92, 1), rng.uniform(0.85, 1)])
    camera = spec.camera("hall")
    camera.pos = np.array(camera.pos) + rng.uniform((-1.0, -0.5, -0.3), (1.0, 0.3, 0.5))
    for name, shade in (("cardboard", CARDBOARD), ("cardboard dark", (0.56, 0.42, 0.27)), ("pale", (0.75, 0.72, 0.66))):
        add_material(spec, name, MATERIALS["painted wood"], rng, rgb=shade)
    _walls(spec, rng)
    for number, x in enumerate(SHELF_X):
        _shelf(spec, x, COLOURS[hall.colours[number]], rng)
    for box in [*hall.floor, *([hall.falling] if hall.falling else [])]:
        _thing(spec, box, rng)
    if hall.incident == "spill":
        body = spec.worldbody.add_body(name="puddle", pos=[0, 0, 0.012])
        body.add_geom(name="puddle", type=Kind.mjGEOM_CYLINDER, size=[0.01, 0.008, 0], material="puddle", **FLAT)
    _robot(spec, spec.body("robot"), "robot", (0.85, 0.87, 0.9), rng)
    for mover in hall.movers:
        if mover.look is not None:
            add_person(spec, mover.name, mover.look, rng)
            _shade(spec.body(mover.name), (0.4, 0.4), -0.92)
            continue
        body = spec.worldbody.add_body(name=mover.name)
        body.add_freejoint(name=f"{mover.name}/root")
        if mover.kind == "fork-lift":
            _fork_lift(spec, body, mover.name, rng)
        else:
            _robot(spec, body, mover.name, COLOURS[mover.colour], rng)
            body.add_geom(type=Kind.mjGEOM_BOX, size=[0.3, 0.26, 0.22], pos=[0, 0, 0.68], material="cardboard", **FLAT)
    return spec


def _walls(spec: Any, rng: np.random.Generator) -> None:
    wide, front, back = HALL
    floor = str(rng.choice(["concrete", "granite", "slate"]))
    add_material(spec, "floor", MATERIALS[floor], rng, around=False, repeat=(3, 3),
                 rgb=(0.56, 0.57, 0.57) if floor == "slate" else None)  # fmt: skip
    wall = tuple(float(v) for v in rng.uniform((0.62, 0.64, 0.64), (0.78, 0.78, 0.76)))
    add_material(spec, "wall", MATERIALS["plaster"], rng, rgb=(wall[0], wall[1], wall[2]))
    add_material(spec, "line", MATERIALS["painted wood"], rng, rgb=(0.86, 0.74, 0.2))
    world = spec.worldbody
    world.add_geom(name="floor", type=Kind.mjGEOM_PLANE, size=[wide + 6, 16, 1], material="floor")
    for place, size in (((0, back, 2.5), (wide, 0.1, 2.5)), ((-wide, 2.2, 2.5), (0.1, 7.4, 2.5)),
                        ((wide, 2.2, 2.5), (0.1, 7.4, 2.5))):  # fmt: skip
        world.add_geom(type=Kind.mjGEOM_BOX, size=size, pos=place, material="wall", **FLAT)
    for y in (1.7, front + 1.7):
        world.add_geom(type=Kind.mjGEOM_BOX, size=[wide, 0.06, 0.004], pos=[0, y, 0.004], material="line", **FLAT)


def _shelf(spec: Any, x: float, rgb: Rgb, rng: np.random.Generator) -> None:
    """Posts, boards and boxes; the end towards the main aisle carries the shelf's colour."""
    half, depth = SHELF_WIDE / 2, (SHELF_TO - SHELF_FROM) / 2
    middle, world = (SHELF_FROM + SHELF_TO) / 2, spec.worldbody
    sign = add_material(spec, f"sign {x}", MATERIALS["painted wood"], rng, rgb=rgb)
    world.add_geom(
        type=Kind.mjGEOM_BOX, size=[half, 0.05, 1.75], pos=[x, SHELF_FROM - 0.02, 1.75], material=sign, **FLAT
    )
    world.add_geom(type=Kind.mjGEOM_BOX, size=[half, 0.05, 1.75], pos=[x, SHELF_TO, 1.75], material="frame", **FLAT)
    for level in LEVELS:
        world.add_geom(type=Kind.mjGEOM_BOX, size=[half, depth, 0.05], pos=[x, middle, level], material="beam", **FLAT)
    for level in LEVELS:
        y = SHELF_FROM + 0.5
        while y < SHELF_TO - 0.5:
            tall, long = float(rng.uniform(0.28, 0.48)), float(rng.uniform(0.35, 0.6))
            kind = str(rng.choice(["cardboard", "cardboard dark", "pale"], p=(0.5, 0.3, 0.2)))
            if rng.random() < 0.85:
                world.add_geom(type=Kind.mjGEOM_BOX, size=[half - 0.08, long, tall], material=kind,
                               pos=[x, y + long, level + 0.05 + tall], **FLAT)  # fmt: skip
            y += 2 * long + float(rng.uniform(0.15, 0.6))


def _thing(spec: Any, box: Box, rng: np.random.Generator) -> None:
    """A pallet, barrel or box as a free body whose origin is its middle."""
    body = spec.worldbody.add_body(name=box.name, pos=box.place)
    body.add_freejoint(name=f"{box.name}/root")
    x, _, z = box.half
    if box.kind == "barrel":
        coat = add_material(spec, box.name, MATERIALS["plastic"], rng, rgb=COLOURS[box.colour])
        body.add_geom(type=Kind.mjGEOM_CYLINDER, size=[x, z, 0], material=coat, **FLAT)
        body.add_geom(type=Kind.mjGEOM_CYLINDER, size=[x * 1.06, 0.04, 0], material="dark", **FLAT)
    else:
        coat = "cardboard" if box.colour == "cardboard" else add_material(
            spec, box.name, MATERIALS["painted wood"], rng, rgb=COLOURS[box.colour])  # fmt: skip
        body.add_geom(type=Kind.mjGEOM_BOX, size=box.half, material=coat, **FLAT)
        if box.kind == "pallet":
            body.add_geom(type=Kind.mjGEOM_BOX, size=[x * 1.1, box.half[1] * 1.1, 0.07], pos=[0, 0, -z + 0.07],
                          material="pale", **FLAT)  # fmt: skip
    if box.kind != "box":
        _shade(body, (x * 1.2, box.half[1] * 1.2), -z + 0.015)


def _robot(spec: Any, body: Any, name: str, rgb: Rgb, rng: np.random.Generator) -> None:
    """A flat cart with a mast in front that carries its camera."""
    long, wide, tall = SIZES["robot"]
    coat = add_material(spec, f"{name} coat", MATERIALS["lacquer"], rng, rgb=rgb)
    body.add_geom(
        type=Kind.mjGEOM_BOX, size=[long / 2, wide / 2, tall / 2 - 0.06], pos=[0, 0, tall / 2], material=coat, **FLAT
    )
    body.add_geom(
        type=Kind.mjGEOM_BOX, size=[long / 2 - 0.05, wide / 2 + 0.01, 0.06], pos=[0, 0, 0.1], material="dark", **FLAT
    )
    body.add_geom(
        type=Kind.mjGEOM_BOX, size=[0.05, 0.05, 0.26], pos=[long / 2 - 0.08, 0, 0.66], material="dark", **FLAT
    )
    body.add_geom(type=Kind.mjGEOM_BOX, size=[0.06, 0.14, 0.06], pos=[long / 2 - 0.1, 0, 0.95], material=coat, **FLAT)
    _shade(body, (long * 0.62, wide * 0.66), 0.015)


def _fork_lift(spec: Any, body: Any, name: str, rng: np.random.Generator) -> None:
    """Body, roof on posts, mast, forks with a pallet; the forks are the front."""
    coat = add_material(spec, f"{name} coat", MATERIALS["lacquer"], rng, rgb=COLOURS["yellow"])
    seat = add_material(spec, f"{name} seat", MATERIALS["rubber"], rng, rgb=COLOURS["black"])
    parts: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float]], ...] = (
        (coat, (0.8, 0.58, 0.32), (-0.75, 0, 0.55)), (coat, (0.34, 0.56, 0.3), (-1.2, 0, 0.95)),
        (seat, (0.25, 0.3, 0.28), (-0.5, 0, 1.1)), ("dark", (0.62, 0.55, 0.04), (-0.65, 0, 2.05)),
        ("dark", (0.06, 0.5, 0.95), (0.2, 0, 1.05)), ("dark", (0.66, 0.08, 0.04), (0.9, 0.3, 0.12)),
        ("dark", (0.66, 0.08, 0.04), (0.9, -0.3, 0.12)), ("cardboard", (0.52, 0.5, 0.4), (0.95, 0, 0.6)),
        ("pale", (0.55, 0.54, 0.05), (0.95, 0, 0.18)),
    )  # fmt: skip
    for material, size, place in parts:
        body.add_geom(type=Kind.mjGEOM_BOX, size=size, pos=place, material=material, **FLAT)
    for x in (-0.12, -1.18):
        for y in (0.5, -0.5):
            body.add_geom(type=Kind.mjGEOM_BOX, size=[0.04, 0.04, 0.5], pos=[x, y, 1.5], material="dark", **FLAT)
    for x in (-0.15, -1.2):
        for y in (0.55, -0.55):
            body.add_geom(type=Kind.mjGEOM_CYLINDER, size=[0.28, 0.09, 0], pos=[x, y, 0.28],
                          quat=[0.7071, 0.7071, 0, 0], material="dark", **FLAT)  # fmt: skip
    _shade(body, (1.75, 0.75), 0.015)


def _shade(body: Any, half: tuple[float, float], height: float) -> None:
    for grow in (1.0, 1.2):
        body.add_geom(type=Kind.mjGEOM_ELLIPSOID, size=[half[0] * grow, half[1] * grow, 0.008], pos=[0, 0, height],
                      material="shade", group=SHADE_GROUP, **FLAT)  # fmt: skip
