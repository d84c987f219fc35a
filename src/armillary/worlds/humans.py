"""Humans: one person or two who walk, wave, sit down, bend or carry, in a room, seen by an eye that may move.

    in    a seed; then 9 numbers a step (embodiment ``camera_pose``): where the eye goes
    out   moments: two cameras, depth, segmentation, sound on request, all joints in metres, which foot stands

People are not acted upon: what they do is drawn by the seed and worked out beforehand (``humans_acts``). Nothing can
succeed here, so reward is 0 and a moment is never over.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.embodiments import pose_from_rot6d, rot6d_from_pose
from armillary.errors import RequestError
from armillary.records import Moment, WorldSpec
from armillary.worlds.camera import mujoco
from armillary.worlds.driving_looks import SHADE_GROUP, RoadViews
from armillary.worlds.filmed import Filmed, nine_numbers
from armillary.worlds.humans_acts import ACTS, DOING, SEAT_HIPS, Act, make_act
from armillary.worlds.humans_body import HINGES, JOINTS, SIDES, Look, add_person, draw_look
from armillary.worlds.humans_gait import GAIT_HZ
from armillary.worlds.materials import COLOURS, FLOORS, MATERIALS, WALLS, add_material
from armillary.worlds.motors import HEEL_SPEED, PERSON_SOURCE, Soundscape, heels

SPEC = WorldSpec(
    name="humans", embodiment="camera_pose", action_size=9, step_seconds=0.1, cameras=("main", "side"),
    size=(128, 128), max_steps=50,
)  # fmt: skip
STILL = np.array([0.0, 0, 0, 1, 0, 0, 0, 1, 0])  # the action of an eye that stands
FARTHEST = 0.2  # metres that the eye moves in a step
SECONDS = SPEC.max_steps * SPEC.step_seconds
FLAT: dict[str, Any] = {"contype": 0, "conaffinity": 0}
Array = NDArray[np.float64]
Kind = mujoco.mjtGeom


class Humans(Filmed):
    """The world. ``views``: cameras drawn; ``extras``: of depth, segmentation, sound; ``acts`` fix what is drawn."""

    spec = SPEC

    def __init__(
        self, *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
        extras: tuple[str, ...] = (), acts: tuple[str, ...] | None = None,
    ) -> None:  # fmt: skip
        if acts is not None and (not 1 <= len(acts) <= 2 or set(acts) - set(ACTS)):
            raise RequestError(f"acts {acts} came: name one or two of {', '.join(ACTS)}.")
        self._size, self._views, self._extras, self._fixed = size, views, extras, acts
        self._sound: Soundscape | None = None
        self.parameters: dict[str, Any] = {}

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """People and a room drawn by ``seed``. ``instruction`` is only said, nobody follows it."""
        self.close()
        rng = np.random.default_rng([seed, 83])
        names = self._fixed or tuple(str(a) for a in rng.choice(ACTS, 1 if rng.random() < 0.5 else 2))
        self.looks, self.acts = _people(names, rng)
        self.names = [f"person in {look.shirt}" for look in self.looks]
        self.instruction = instruction or "Watch."
        self._model = self._built(np.random.default_rng([seed, 89])).compile()
        self._data = mujoco.MjData(self._model)
        start = np.random.default_rng([seed, 97])
        place = np.array([start.uniform(-0.5, 0.5), -4.1 + start.uniform(-0.25, 0.2), 1.45 + start.uniform(-0.2, 0.3)])
        self.eye = _looking(place, np.array([0.0, 0.1, 0.92]))
        self.steps = 0
        owner = {self._model.body(name).id: k for k, name in enumerate(self.names, 1)}
        owner |= {self._model.body(f"box {k}").id: 100 + k for k, act in enumerate(self.acts) if act.name == "carry"}
        labels = {geom: owner.get(int(self._model.body_rootid[self._model.geom_bodyid[geom]]), 0)
                  for geom in range(self._model.ngeom)}  # fmt: skip
        self._eyes = RoadViews(self._model, self._size, labels, fog=False) if self._views else None
        self._sound = None
        if "sound" in self._extras:
            self._sound = Soundscape([PERSON_SOURCE] * len(self.names), self._floor, seed=seed)
        self.parameters = {"acts": list(names), "people": [
            {"name": name, "height": look.height, "trousers": look.trousers, "hand": act.side, "when": act.when}
            for name, look, act in zip(self.names, self.looks, self.acts, strict=True)]}  # fmt: skip
        return self._moment()

    def step(self, action: NDArray[Any]) -> Moment:
        """One tenth of a second. ``DataError`` unless the action is nine finite numbers that hold a rotation."""
        step = pose_from_rot6d(nine_numbers(action, "the eye"))
        step[:3, 3] *= min(1.0, FARTHEST / max(float(np.linalg.norm(step[:3, 3])), 1e-9))
        self.eye = self.eye @ step
        before, self.steps = self.row(), self.steps + 1
        return self._moment(self._heard(before) if self._sound else None)

    @property
    def physics(self) -> tuple[Any, Any]:
        """The compiled model and its data as they are now."""
        return self._model, self._data

    def row(self) -> int:
        """Which row of the acts is now."""
        return min(round(self.steps * SPEC.step_seconds * GAIT_HZ), len(self.acts[0].rows) - 1)

    def _built(self, rng: np.random.Generator) -> Any:
        spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name("humans.xml")))
        floor, wall = str(rng.choice(FLOORS)), str(rng.choice(WALLS))
        self._floor = floor
        add_material(spec, "floor", MATERIALS[floor], rng, around=False, repeat=(2, 2))
        add_material(spec, "wall", MATERIALS[wall], rng, around=False, repeat=(1, 1))
        spec.worldbody.add_geom(name="floor", type=Kind.mjGEOM_PLANE, size=[5, 5, 1], material="floor", **FLAT)
        for place, turn in (((0, 3.2, 0), (0.7071, 0.7071, 0, 0)), ((-4.2, 0, 0), (0.5, 0.5, 0.5, 0.5))):
            spec.worldbody.add_geom(
                type=Kind.mjGEOM_PLANE, size=[6, 6, 1], pos=place, quat=turn, material="wall", **FLAT
            )
        for number, (name, look, act) in enumerate(zip(self.names, self.looks, self.acts, strict=True)):
            add_person(spec, name, look, rng)
            shade = spec.body(name)
            shade.add_geom(type=Kind.mjGEOM_ELLIPSOID, size=[0.3, 0.34, 0.008], pos=[0, 0, 0.01 - look.scale * 0.92],
                           material="shade", group=SHADE_GROUP, **FLAT)  # fmt: skip
            if act.name == "sit":
                _chair(spec, number, look, act, rng)
            if act.name == "carry":
                coat = add_material(spec, f"box {number}", MATERIALS["painted wood"], rng, rgb=(0.7, 0.52, 0.32))
                box = spec.worldbody.add_body(name=f"box {number}", mocap=True)
                box.add_geom(type=Kind.mjGEOM_BOX, size=[0.15, 0.17, 0.13], material=coat, **FLAT)
        return spec

    def _put(self) -> None:
        """Carry bodies, boxes and the eye over to the model."""
        data, row = self._data, self.row()
        for name, act in zip(self.names, self.acts, strict=True):
            at = int(self._model.joint(f"{name}/root").qposadr[0])
            data.qpos[at : at + act.rows.shape[1]] = act.rows[row]
        eye = self._model.body("eye").mocapid[0]
        data.mocap_pos[eye] = self.eye[:3, 3]
        mujoco.mju_mat2Quat(data.mocap_quat[eye], (self.eye[:3, :3] @ np.diag([1.0, -1.0, -1.0])).ravel())
        mujoco.mj_kinematics(self._model, data)
        for number, (name, act) in enumerate(zip(self.names, self.acts, strict=True)):
            if act.name == "carry":
                hands = [data.body(f"{name}/{side} hand").xpos for side in SIDES]
                yaw = 2 * np.arctan2(act.rows[row, 6], act.rows[row, 3])
                box = self._model.body(f"box {number}").mocapid[0]
                data.mocap_pos[box] = (hands[0] + hands[1]) / 2 + 0.1 * np.array([np.cos(yaw), np.sin(yaw), 0.0])
                data.mocap_quat[box] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_camlight(self._model, data)

    def _heard(self, before: int) -> NDArray[np.float32]:
        """The footfalls since row ``before`` of the acts, float32 2 s, as heard from the eye."""
        assert self._sound is not None
        self._put()
        places = [self._data.body(name).xpos.copy() for name in self.names]
        for number, (name, act) in enumerate(zip(self.names, self.acts, strict=True)):
            for row, side in heels(act.planted, before, self.row()):
                place = self._data.body(f"{name}/{side} ankle").xpos  # it stands where it came down
                self._sound.strike(number, row / GAIT_HZ, HEEL_SPEED, place)
        return self._sound.collect(SPEC.step_seconds, np.array(places), np.zeros(len(places)), self.eye)

    def _moment(self, sound: NDArray[np.float32] | None = None) -> Moment:
        self._put()
        data, row = self._data, self.row()
        joints = [[data.body(name if part == "pelvis" else f"{name}/{part}").xpos.copy() for part in JOINTS]
                  for name in self.names]  # fmt: skip
        state = {
            "eye": self.eye.copy(),
            "camera": rot6d_from_pose(self.eye),
            "joints": np.array(joints),
            "hinges": np.array([act.rows[row, 7 : 7 + len(HINGES)] for act in self.acts]),
            "planted": np.array([[float(act.planted[side][row]) for side in SIDES] for act in self.acts]),
        }
        looks = self._looks(self._views)
        return Moment(
            frames={view: look.frame for view, look in looks.items()}, state=state, instruction=self.instruction,
            reward=0.0, success=False, over=False,
            depth={v: k.depth for v, k in looks.items()} if "depth" in self._extras else None,
            segmentation={v: k.segmentation for v, k in looks.items()} if "segmentation" in self._extras else None,
            sound=sound,
        )  # fmt: skip


def _people(names: tuple[str, ...], rng: np.random.Generator) -> tuple[list[Look], list[Act]]:
    """Who does what where: those who stay stand apart, those who go pass behind them, in lines of their own."""
    looks: list[Look] = []
    acts: list[Act] = []
    sides = rng.permutation([-0.95, 0.95])
    for number, name in enumerate(names):
        shirts = tuple(c for c in COLOURS if c not in {look.shirt for look in looks})
        look = draw_look(rng, shirts=shirts)
        if name in ("walk", "carry"):
            sign = float(rng.choice([-1, 1]))
            place = np.array(
                [-1.55 * sign, 0.2 if len(names) == 1 else 1.25 - 2.0 * number, 0.0 if sign > 0 else np.pi]
            )
        else:
            x = float(rng.uniform(-0.3, 0.3)) if len(names) == 1 else float(sides[number])
            place = np.array([x, 0.0, -np.pi / 2 + float(rng.uniform(-0.5, 0.5))])
            if len(names) == 2 and {"walk", "carry"} & set(names):
                place[1] = 0.2
        looks.append(look)
        acts.append(make_act(name, look, place, SECONDS, rng))
    return looks, acts


def _chair(spec: Any, number: int, look: Look, act: Act, rng: np.random.Generator) -> None:
    """A chair behind the feet, its seat where the hips will come down."""
    s = look.scale
    coat = add_material(spec, f"chair {number}", MATERIALS["oak"], rng)
    turn = act.place[2]
    top = s * (SEAT_HIPS - 0.115)
    middle = act.place[:2] - 0.42 * s * np.array([np.cos(turn), np.sin(turn)])
    body = spec.worldbody.add_body(
        name=f"chair {number}", pos=[*middle, 0], quat=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)]
    )
    body.add_geom(type=Kind.mjGEOM_BOX, size=[0.21, 0.23, 0.025], pos=[0, 0, top - 0.025], material=coat, **FLAT)
    body.add_geom(type=Kind.mjGEOM_BOX, size=[0.02, 0.23, 0.25], pos=[-0.23, 0, top + 0.24], material=coat, **FLAT)
    for x in (-0.19, 0.19):
        for y in (-0.2, 0.2):
            body.add_geom(type=Kind.mjGEOM_BOX, size=[0.02, 0.02, (top - 0.05) / 2], pos=[x, y, (top - 0.05) / 2],
                          material=coat, **FLAT)  # fmt: skip


def _looking(place: Array, at: Array) -> Array:
    """A camera's pose 4 4, OpenCV axes, at ``place`` looking to ``at``."""
    ahead = (at - place) / np.linalg.norm(at - place)
    right = np.cross(ahead, [0.0, 0, 1])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(ahead, right), ahead], axis=1), place
    return pose


def doing(world: Humans) -> list[str]:
    """What everybody does, as words."""
    return [f"the {name} {DOING[act.name]}" for name, act in zip(world.names, world.acts, strict=True)]
