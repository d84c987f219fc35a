"""Spatial: a furnished room, a figure in it, and three cameras, of which one is carried about.

    in    a seed; then 9 numbers a step that carry the main camera (embodiment ``camera_pose``)
    out   moments: three cameras, depth and segmentation on request, where everything stands and faces, in metres

``spatial.xml`` says what is always there; the seed draws room, things, materials, light and cameras, all kept in
``parameters``. The task is to look about: success is to have seen every thing with the main camera. There is no sound.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.records import Moment, WorldSpec
from armillary.worlds.camera import mujoco
from armillary.worlds.filmed import Carried
from armillary.worlds.labels import Look, Views, boxes, pose_after, pose_looking, quaternion_of
from armillary.worlds.materials import COLOURS, FLOORS, MATERIALS, WALLS, add_lights, add_material, set_looks
from armillary.worlds.spatial_things import FIGURE, KINDS, Thing, add_thing

SPEC = WorldSpec(
    name="spatial", embodiment="camera_pose", action_size=9, step_seconds=0.1, cameras=("main", "left", "right"),
    size=(128, 128), max_steps=24,
)  # fmt: skip
INSTRUCTION = "Look about the room."
HANGING = 0.15  # share of rooms in which one thing hangs in the air, which cannot be


class Spatial(Carried):
    """The world. ``views``: which cameras are drawn; ``extras``: of depth, segmentation; nothing is heard here."""

    spec = SPEC

    def __init__(
        self,
        *,
        size: tuple[int, int] = SPEC.size,
        views: tuple[str, ...] = SPEC.cameras,
        extras: tuple[str, ...] = (),
    ) -> None:
        self._size, self._drawn, self._extras = size, views, extras
        self.parameters: dict[str, Any] = {}

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """A room drawn by ``seed``; ``RequestError`` for an instruction other than to look about."""
        if instruction is not None and instruction.strip().rstrip(".").lower() != "look about the room":
            raise RequestError(f"instruction {instruction!r} cannot be carried out here: say {INSTRUCTION!r}")
        self.close()
        rng = np.random.default_rng([seed, 31])
        self.half_room = (float(rng.uniform(2.3, 2.9)), float(rng.uniform(2.3, 2.8)))
        self.things = furnish(rng, self.half_room)
        self.names = [thing.name for thing in self.things]
        spec, self._pose = self._build(rng)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        owners = {self._model.body(name).id: 1 + number for number, name in enumerate(self.names)}
        labels = {g: owners[b] for g, b in enumerate(self._model.geom_bodyid.tolist()) if b in owners}
        self._eyes = Views(self._model, self._size, labels) if self._drawn else None
        self._steps, self._found = 0, set[str]()
        self._kept = dict[str, Look]()
        return self._moment()

    def step(self, action: NDArray[Any]) -> Moment:
        """One tenth of a second. ``action``: 9 numbers that carry the main camera, not checked here."""
        moved, (x, y) = pose_after(self._pose, action), self.half_room
        moved[:3, 3] = np.clip(moved[:3, 3], (0.2 - x, -y - 2.2, 0.5), (x - 0.2, y - 0.3, 2.6))
        self._pose = moved
        self._steps += 1
        return self._moment()

    def _build(self, rng: np.random.Generator) -> tuple[Any, NDArray[np.float64]]:
        spec, (x, y) = mujoco.MjSpec.from_file(str(Path(__file__).with_suffix(".xml"))), self.half_room
        set_looks(spec, extent=4.0, largest=max(self._size))
        lights = add_lights(spec, rng, height=4.0)
        floor, wall = FLOORS[int(rng.integers(len(FLOORS)))], WALLS[int(rng.integers(len(WALLS)))]
        spec.geom("floor").material = add_material(spec, "floor", MATERIALS[floor], rng, around=False, repeat=(4, 4))
        add_material(spec, "wall", MATERIALS[wall], rng, around=False, repeat=(4, 1.4))
        spec.geom("floor").size = (x, y, 0.1)
        for side, at, width in (("far", (0.0, y), x), ("left", (-x, 0.0), y), ("right", (x, 0.0), y)):
            geom = spec.geom(f"{side} wall")
            geom.pos, geom.size, geom.material = (*at, 1.4), (width, 1.4, 0.1), "wall"
        for thing in self.things:
            add_thing(spec, thing, rng)
        aim = (rng.uniform(-0.3, 0.3), 0.1, 0.35)
        pose = pose_looking((rng.uniform(-0.8, 0.8), -y - rng.uniform(1.3, 1.8), rng.uniform(1.7, 2.3)), aim)
        others = {"left": (-x + 0.1, -y + rng.uniform(0.1, 1.2), rng.uniform(1.9, 2.4)),
                  "right": (x - 0.1, y - rng.uniform(0.1, 1.2), rng.uniform(1.9, 2.4))}  # fmt: skip
        for name, place in others.items():
            looks = pose_looking(place, (0, 0, 0.3))
            camera = spec.camera(name)
            camera.pos, camera.quat = looks[:3, 3], quaternion_of(looks)
        self.parameters.clear()
        self.parameters |= {"floor": floor, "wall": wall, "half_room": list(self.half_room), **lights}
        self.parameters["items"] = [asdict(thing) | {"coat": thing.coat, "fixed": True} for thing in self.things]
        self.parameters |= {"main_camera": pose.tolist(), "hanging": [t.name for t in self.things if hangs(t)]}
        return spec, pose

    def _moment(self) -> Moment:
        self._data.mocap_pos[0], self._data.mocap_quat[0] = self._pose[:3, 3], quaternion_of(self._pose)
        mujoco.mj_forward(self._model, self._data)
        looks: dict[str, Look] = {}
        frames = {}
        for view in self._drawn:
            assert self._eyes is not None
            looks[view] = self._kept.get(view) or self._eyes.look(self._data, view)
            if view != "main":
                self._kept[view] = looks[view]  # nothing moves but the main camera: the others see the same for ever
            frames[view] = looks[view].frame
        if "main" in looks:
            self._found |= set(boxes(looks["main"].segmentation, self.names))
        reward, extras = len(self._found) / len(self.names), self._extras
        state = {
            "positions": np.array([thing.place for thing in self.things], np.float64),
            "yaws": np.array([thing.yaw for thing in self.things]),
            "halves": np.array([thing.half for thing in self.things], np.float64),
            "camera": np.concatenate([self._pose[:3, 3], self._pose[:3, 0], self._pose[:3, 1]]),
        }
        return Moment(
            frames=frames, state=state, instruction=INSTRUCTION, reward=reward, success=reward == 1.0, over=False,
            depth={view: look.depth for view, look in looks.items()} if "depth" in extras else None,
            segmentation={v: look.segmentation for v, look in looks.items()} if "segmentation" in extras else None,
        )  # fmt: skip


def hangs(thing: Thing) -> bool:
    """Whether a thing hangs in the air."""
    return thing.place[2] - thing.half[2] > 0.05


def furnish(rng: np.random.Generator, half_room: tuple[float, float]) -> list[Thing]:
    """Five to eight things and a figure, none too near to another; no two are of one colour and kind."""
    count, nouns, colours = int(rng.integers(5, 9)), list(KINDS), [c for c in COLOURS if c != "white"]
    some = [nouns[i] for i in rng.permutation(len(nouns))[: int(rng.integers(3, 6))]]  # so that some come twice
    chosen = ["figure", *(some[int(rng.integers(len(some)))] for _ in range(count))]
    things: list[Thing] = []
    for noun in chosen:
        thing = _placed(noun, things, rng, half_room, colours) or _placed("ball", things, rng, half_room, colours)
        if thing is not None:  # where nothing more fits, the room stays as it is
            things.append(thing)
    if rng.random() < HANGING:
        number = int(rng.integers(1, len(things)))
        x, y, z = things[number].place
        lifted = asdict(things[number]) | {"place": (x, y, z + float(rng.uniform(0.7, 1.0)))}
        things[number] = Thing(**lifted)
    return things


def _placed(
    noun: str, things: list[Thing], rng: np.random.Generator, half_room: tuple[float, float], colours: list[str]
) -> Thing | None:
    """A thing where there is room for it, or None after forty tries."""
    low, high = (FIGURE, FIGURE) if noun == "figure" else KINDS[noun]
    share = float(rng.random())
    a, b, c = (float(p + share * (q - p)) for p, q in zip(low, high, strict=True))
    taken = {thing.name for thing in things}
    free = [colour for colour in colours if f"{colour} {noun}" not in taken]
    colour, reach = free[int(rng.integers(len(free)))], float(np.hypot(a, b))
    for _ in range(40):
        x, y = (float(rng.uniform(-half + reach + 0.1, half - reach - 0.1)) for half in half_room)
        if all(
            np.hypot(x - t.place[0], y - t.place[1]) > reach + np.hypot(t.half[0], t.half[1]) + 0.12 for t in things
        ):
            name = f"{colour} {noun}"
            yaw = float(rng.uniform(-np.pi, np.pi))
            return Thing(name=name, noun=noun, half=(a, b, c), colour=colour, place=(x, y, c), yaw=yaw)
    return None
