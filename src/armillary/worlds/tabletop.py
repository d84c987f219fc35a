"""Tabletop: an arm with a gripper, coloured objects, three trays, and an instruction.

    in    a seed and, if wanted, an instruction; then 10 numbers a step (embodiment ``tabletop``)
    out   moments: two cameras, depth and segmentation on request, states in metres, contact sounds

``tabletop.xml`` says what is always there; the seed draws objects, textures, light and camera, all kept in
``parameters``. An action moves the *commanded* gripper pose, which the arm follows with its servos.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, WorldSpec
from armillary.worlds.arm import apply_action, joints_for, pose_of, tip_and_turn
from armillary.worlds.camera import Camera, calibration, mujoco
from armillary.worlds.sounds import ContactSounds
from armillary.worlds.tabletop_tasks import COLOURS, SHAPES, Task, Thing, done, draw_task, parse

SPEC = WorldSpec(
    name="tabletop", embodiment="tabletop", action_size=10, step_seconds=0.1, cameras=("front", "side"),
    size=(128, 128), max_steps=60,
)  # fmt: skip
FINGER_METRES = 0.044
HOME = np.array([0.0, 0.06, 0.2])


class Tabletop:
    """The world. ``views``: which cameras are drawn; ``extras``: of depth, segmentation, sound."""

    spec = SPEC

    def __init__(
        self,
        *,
        size: tuple[int, int] = SPEC.size,
        views: tuple[str, ...] = SPEC.cameras,
        extras: tuple[str, ...] = (),
    ) -> None:
        self._size, self._views, self._extras = size, views, extras
        self._camera: Camera | None = None
        self.things: list[Thing] = []
        self.parameters: dict[str, Any] = {}

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """A scene drawn by ``seed``. The instruction, if any, replaces the drawn one; the picture stays."""
        self.close()
        rng = np.random.default_rng([seed, 7])
        spec = mujoco.MjSpec.from_file(str(Path(__file__).with_suffix(".xml")))
        self.things, places = _furnish(spec, rng, self.parameters)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self.names = [thing.name for thing in self.things]
        self._bodies = [self._model.body(name).id for name in self.names]
        drawn = draw_task(self.things, places, rng)
        self.task: Task = parse(instruction, self.names) if instruction else drawn
        self._pose = pose_of(HOME + rng.uniform((-0.12, -0.1, -0.05), (0.12, 0.05, 0.04)), 0.0)
        self._openness = 1.0
        labels = {g: 1 + i for i, b in enumerate(self._bodies) for g in _geoms(self._model, b)}
        labels |= {g: 100 for g in range(self._model.ngeom) if self._model.body(self._model.geom_bodyid[g]).name
                   in ("hand", "left finger", "right finger")}  # fmt: skip
        self._camera = Camera(self._model, self._size, labels) if self._views else None
        self._sounds = ContactSounds(self._model, self._bodies) if "sound" in self._extras else None
        self._settle()
        self._start = self._state()["objects"].copy()
        return self._moment(None)

    def step(self, action: NDArray[Any]) -> Moment:
        """One tenth of a second. ``action``: 10 numbers of the embodiment, not checked here."""
        self._pose = apply_action(self._pose, np.asarray(action, np.float64))
        self._openness = float(np.clip(action[9], 0.0, 1.0))
        before, after = self._data.ctrl.copy(), self._controls()
        substeps = round(SPEC.step_seconds / self._model.opt.timestep)
        for i in range(substeps):
            share = min(1.0, 2 * (i + 1) / substeps)  # reach the command in half the time, then follow
            self._data.ctrl[:5] = before[:5] + share * (after[:5] - before[:5])
            self._data.ctrl[5:] = after[5:]
            mujoco.mj_step(self._model, self._data)
            if self._sounds:
                self._sounds.listen(self._data)
        sound = self._sounds.collect(SPEC.step_seconds) if self._sounds else None
        return self._moment(sound)

    @property
    def pose(self) -> NDArray[np.float64]:
        """The commanded gripper pose, 4 4."""
        return self._pose.copy()

    def calibrations(self) -> dict[str, Any]:
        """Every camera's intrinsics and pose."""
        return {name: calibration(self._model, self._data, name, self._size) for name in SPEC.cameras}

    def close(self) -> None:
        """Free the renderer; the world may be reset again."""
        if self._camera:
            self._camera.close()
        self._camera = None

    def _controls(self) -> NDArray[np.float64]:
        finger = FINGER_METRES * self._openness
        return np.concatenate([joints_for(*tip_and_turn(self._pose)), [finger, finger]])

    def _settle(self) -> None:
        controls = self._controls()
        for name, value in zip(("yaw", "shoulder", "elbow", "wrist", "roll", "left finger", "right finger"),
                               controls, strict=True):  # fmt: skip
            self._data.joint(name).qpos[0] = value
        self._data.ctrl[:] = controls
        for _ in range(120):
            mujoco.mj_step(self._model, self._data)

    def _held(self) -> NDArray[np.float64]:
        """1 for each object that both fingers touch."""
        fingers = {self._model.body(side).id: bit for bit, side in enumerate(("left finger", "right finger"))}
        touched = np.zeros((len(self._bodies), 2))
        for contact in self._data.contact:
            pair = [int(self._model.geom_bodyid[g]) for g in contact.geom]
            for one, other in (pair, pair[::-1]):
                if one in fingers and other in self._bodies:
                    touched[self._bodies.index(other), fingers[one]] = 1
        return touched.min(axis=1)

    def _state(self) -> dict[str, NDArray[Any]]:
        site = self._data.site("tip")
        across = site.xmat.reshape(3, 3) @ np.array([1.0, 0, 0])
        opening = self._data.joint("left finger").qpos[0] + self._data.joint("right finger").qpos[0]
        return {
            "tip": site.xpos.copy(),
            "turn": np.array([np.arctan2(across[1], across[0])]),
            "openness": np.array([opening / 2 / FINGER_METRES]),
            "objects": self._data.xpos[self._bodies].copy(),
            "quaternions": self._data.xquat[self._bodies].copy(),
            "halves": np.array([thing.half for thing in self.things]),
            "held": self._held(),
        }

    def _moment(self, sound: NDArray[np.float32] | None) -> Moment:
        state = self._state()
        camera, data = self._camera, self._data
        frames = {view: camera.colour(data, view) for view in self._views} if camera else {}
        depth, marks = None, None
        if camera and {"depth", "segmentation"} & set(self._extras):
            both = {view: camera.marks(data, view) for view in self._views}
            depth = {view: metres for view, (metres, _) in both.items()} if "depth" in self._extras else None
            marks = {view: labels for view, (_, labels) in both.items()} if "segmentation" in self._extras else None
        success = bool(done(self.task, state, self.names, self._start))
        return Moment(
            frames=frames, state=state, instruction=self.task.words, reward=float(success), success=success,
            over=success, depth=depth, segmentation=marks, sound=sound,
        )  # fmt: skip


def _geoms(model: "mujoco.MjModel", body: int) -> list[int]:
    first = int(model.body_geomadr[body])
    return list(range(first, first + int(model.body_geomnum[body])))


def _furnish(
    spec: Any, rng: np.random.Generator, parameters: dict[str, Any]
) -> tuple[list[Thing], NDArray[np.float64]]:
    """Add the seed's objects; vary textures, light and camera. Everything drawn goes into ``parameters``."""
    count = int(rng.integers(3, 6))
    colours = list(rng.permutation(list(COLOURS))[:count])
    if rng.random() < 0.15:
        colours[-1] = colours[0]  # two objects of one colour: then only the shape tells them apart
    shapes = list(rng.choice(SHAPES, count))
    if colours[-1] == colours[0] and shapes[-1] == shapes[0]:
        shapes[-1] = SHAPES[(SHAPES.index(shapes[0]) + 1) % 4]
    places = _scatter(rng, count)
    things = [Thing(colour=str(c), shape=str(s), half=float(rng.uniform(0.0265, 0.0295)))
              for c, s in zip(colours, shapes, strict=True)]  # fmt: skip
    parameters.clear()
    parameters["objects"] = []
    for thing, place in zip(things, places, strict=True):
        rgb = np.clip(np.array(COLOURS[thing.colour]) + rng.uniform(-0.05, 0.05, 3), 0, 1)
        turn, mass, friction = rng.uniform(-0.2, 0.2), rng.uniform(0.04, 0.1), rng.uniform(0.8, 1.2)
        _add_object(spec, thing, rgb=rgb, place=place, turn=turn, mass=mass, friction=friction)
        parameters["objects"].append({"name": thing.name, "half": thing.half, "rgb": rgb.tolist(), "turn": turn,
                                      "mass": mass, "friction": friction, "place": place.tolist()})  # fmt: skip
    tone = rng.uniform(0.75, 1.1, 3).clip(max=1.15) * rng.uniform(0.85, 1.1)
    table = spec.texture("table")
    table.rgb1 = np.clip(np.array(table.rgb1) * tone, 0, 1)
    table.markrgb = np.clip(np.array(table.markrgb) * tone, 0, 1)
    key, front = spec.light("key"), spec.camera("front")
    key.pos = np.array(key.pos) + rng.uniform(-0.25, 0.25, 3) * (1, 1, 0.4)
    key.diffuse = np.array(key.diffuse) * rng.uniform(0.85, 1.1)
    front.pos = np.array(front.pos) + rng.uniform(-0.012, 0.012, 3)
    parameters |= {"table_tone": tone.tolist(), "key_light": key.pos.tolist(), "key_diffuse": key.diffuse.tolist(),
                   "front_camera": front.pos.tolist()}  # fmt: skip
    return things, places


def _scatter(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Places n 3 on the front half of the table, no two nearer than 9 cm."""
    while True:
        places = rng.uniform((-0.18, -0.17), (0.18, 0.05), (count, 2))
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(count)
        if gaps.min() > 0.092:
            return np.concatenate([places, np.full((count, 1), 0.03)], axis=1)


def _add_object(spec: Any, thing: Thing, *, rgb: Any, place: Any, turn: float, mass: float, friction: float) -> None:
    half = thing.half
    texture = spec.add_texture(
        name=thing.name, type=mujoco.mjtTexture.mjTEXTURE_CUBE, builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        mark=mujoco.mjtMark.mjMARK_RANDOM, rgb1=rgb, rgb2=rgb, markrgb=np.clip(np.array(rgb) * 0.93, 0, 1), random=0.15,
        width=32, height=32,
    )  # fmt: skip
    material = spec.add_material(name=thing.name)
    material.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = texture.name
    body = spec.worldbody.add_body(name=thing.name, pos=place, quat=(np.cos(turn / 2), 0, 0, np.sin(turn / 2)))
    body.add_freejoint()
    kinds = mujoco.mjtGeom
    sizes: dict[str, list[tuple[Any, tuple[float, float, float]]]] = {
        "cube": [(kinds.mjGEOM_BOX, (half, half, half))],
        "ball": [(kinds.mjGEOM_SPHERE, (half, 0, 0))],
        "cylinder": [(kinds.mjGEOM_CYLINDER, (half * 0.95, half, 0))],
        "cross": [
            (kinds.mjGEOM_BOX, (half * 1.25, half * 0.45, half)),
            (kinds.mjGEOM_BOX, (half * 0.45, half * 1.25, half)),
        ],
    }
    parts = sizes[thing.shape]
    for kind, size in parts:
        body.add_geom(
            type=kind, size=size, material=thing.name, mass=mass / len(parts), condim=6,
            friction=(friction, 0.02, 0.004), solref=(0.01, 1),
        )  # fmt: skip
