"""Physics: things fall, roll, collide and topple in a room, watched by two cameras, and sometimes the impossible.

    in    a seed and, if wanted, a family of scenes; then 9 numbers a step that carry the main camera
    out   moments: two cameras, depth and segmentation on request, every item's pose, velocities and make, stereo sound

``physics.xml`` says what is always there; the seed draws scene, materials, light and cameras, all kept in
``parameters``. With ``twin`` the same seed lives the same life until something happens that cannot (``physics_twins``).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.records import Moment, WorldSpec
from armillary.worlds.camera import calibration, mujoco
from armillary.worlds.filmed import Carried
from armillary.worlds.hearing import Contacts, Hearing, Hit
from armillary.worlds.items import add_item, matrix
from armillary.worlds.labels import Views, pose_after, pose_looking, project, quaternion_of
from armillary.worlds.materials import COLOURS, MATERIALS, add_lights, add_material, set_looks
from armillary.worlds.physics_scenes import FAMILIES, Scene, draw_scene
from armillary.worlds.physics_twins import TWINS, Life, Spell, plan

SPEC = WorldSpec(
    name="physics", embodiment="camera_pose", action_size=9, step_seconds=0.1, cameras=("main", "high"),
    size=(128, 128), max_steps=30,
)  # fmt: skip
STILL = np.array([0.0, 0, 0, 1, 0, 0, 0, 1, 0])  # the action of a camera that stands
MOVED_METRES = 0.08
DEEP_METRES, APART_METRES = 0.02, 1e-4


class Physics(Carried):
    """The world. ``views``: which cameras are drawn; ``extras``: of depth, segmentation, sound.

    ``family`` fixes the family of scenes; ``twin`` is one of ``TWINS``, or ``any`` for one that the seed draws.
    Raises ``RequestError`` for a family or twin that is unknown.
    """

    spec = SPEC

    def __init__(
        self,
        *,
        size: tuple[int, int] = SPEC.size,
        views: tuple[str, ...] = SPEC.cameras,
        extras: tuple[str, ...] = (),
        family: str | None = None,
        twin: str | None = None,
    ) -> None:
        if family is not None and family not in FAMILIES:
            raise RequestError(f"family {family!r} is unknown: it must be one of {', '.join(FAMILIES)}.")
        if twin is not None and twin not in (*TWINS, "any"):
            raise RequestError(f"twin {twin!r} is unknown: it must be one of {', '.join(TWINS)}, or any.")
        self._size, self._drawn, self._extras, self._family, self._twin = size, views, extras, family, twin
        self.parameters: dict[str, Any] = {}

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """A scene drawn by ``seed``. An instruction names a family: ``dominoes``."""
        self.close()
        family = self._family
        if instruction is not None:
            family = instruction.strip().rstrip(".").lower()
            if family not in FAMILIES:
                raise RequestError(f"instruction {instruction!r} names no family: say one of {', '.join(FAMILIES)}.")
        rng = np.random.default_rng([seed, 11])
        self.scene: Scene = draw_scene(rng, family)
        self.items = self.scene.items
        self.names = [item.name for item in self.items]
        spec, self._pose = _build(self.scene, rng, self.parameters, self._size)
        self._compile(spec)
        self._bodies = np.array([self._model.body(name).id for name in self.names])
        self._roped = {name for name, _ in self.scene.ropes}
        self.spell: Spell | None = self._plan(seed) if self._twin else None
        if self.spell and self.spell.colour:
            coat = MATERIALS[self.items[self.spell.item].coat]
            add_material(spec, "spare", coat, np.random.default_rng([seed, 17]), rgb=COLOURS[self.spell.colour])
            self._compile(spec)
        self._start()
        self.parameters["twin"] = None if self.spell is None else {
            "kind": self.spell.kind, "item": self.names[self.spell.item], "step": self.spell.step,
            "other": self.names[self.spell.other] if self.spell.other >= 0 else "", "colour": self.spell.colour,
        }  # fmt: skip
        labels = {
            int(g): 1 + i
            for i, body in enumerate(self._bodies)
            for g in np.flatnonzero(self._model.geom_bodyid == body)
        }
        self._eyes = Views(self._model, self._size, labels) if self._drawn else None
        self._hearing = Hearing(
            [MATERIALS[item.coat] for item in self.items], [2 * max(item.half) for item in self.items],
            MATERIALS[self.scene.floor], seed=seed,
        ) if "sound" in self._extras else None  # fmt: skip
        return self._moment(None)

    def step(self, action: NDArray[Any]) -> Moment:
        """One tenth of a second. ``action``: 9 numbers that carry the main camera, not checked here."""
        moved = pose_after(self._pose, action)
        moved[:3, 3] = np.clip(moved[:3, 3], (-3.5, -7.5, 0.5), (3.5, -2.2, 4.5))
        self._pose = moved
        self._put_camera(self._data)
        if self.spell and self._steps == self.spell.step:
            self.spell.cast(self._model, self._data, self.items)
            self._there[self.spell.item] = self.spell.kind != "vanishes"
            if self.spell.kind == "changes colour":
                self._rgb[self.spell.item] = COLOURS[self.spell.colour]
        self._live(self._data, self._contacts, self._hearing)
        self._steps += 1
        sound = None
        if self._hearing:
            sound = self._hearing.collect(SPEC.step_seconds, self._data.xpos[self._bodies], self._pose)
        return self._moment(sound)

    def _compile(self, spec: Any) -> None:
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)

    def _start(self) -> None:
        """Everything in its first place, with its first velocity."""
        self._set_off(self._data)
        self._contacts = Contacts(self._model, [int(body) for body in self._bodies])
        self._contacts.look(self._data)
        self._touched = self._contacts.touching.copy()
        self._there = np.ones(len(self.items), bool)
        self._rgb = np.array([COLOURS.get(i.colour) or MATERIALS[i.coat].rgb or (0.5, 0.5, 0.5) for i in self.items])
        self.hits: list[Hit] = []
        self._steps = 0

    def _set_off(self, data: Any) -> None:
        mujoco.mj_resetData(self._model, data)
        for item in self.items:
            if not item.fixed:
                data.joint(item.name).qvel[:] = (*item.velocity, *(matrix(item.quaternion).T @ np.array(item.spin)))
        self._put_camera(data)
        mujoco.mj_forward(self._model, data)
        deep = {int(self._model.geom_bodyid[g]) for c in data.contact if c.dist < -DEEP_METRES for g in c.geom}
        if deep:  # things only touch at first; MuJoCo may take that for a third of a metre, and then they explode
            for item in self.items:
                if not item.fixed and self._model.body(item.name).id in deep:
                    data.joint(item.name).qpos[2] += APART_METRES
            mujoco.mj_forward(self._model, data)

    def _put_camera(self, data: Any) -> None:
        data.mocap_pos[0], data.mocap_quat[0] = self._pose[:3, 3], quaternion_of(self._pose)

    def _live(self, data: Any, contacts: Contacts, hearing: Hearing | None) -> None:
        """The physics of one step; contacts are noted in ``hits`` and heard."""
        self._touched[:] = False
        for _ in range(round(SPEC.step_seconds / self._model.opt.timestep)):
            if self.spell and self._steps >= self.spell.step:
                self.spell.hold(self._model, data, self.items)
            mujoco.mj_step(self._model, data)
            begun = contacts.look(data)
            self.hits += begun
            self._touched |= contacts.touching
            if hearing:
                hearing.listen(begun, np.linalg.norm(contacts.velocities(data)[:-1], axis=1) * contacts.touching)
        mujoco.mj_forward(self._model, data)

    def _plan(self, seed: int) -> Spell | None:
        """Live the possible life once, unseen and unheard, and choose what will be impossible in it."""
        self.spell = None
        data = mujoco.MjData(self._model)
        self._set_off(data)
        contacts = Contacts(self._model, [int(body) for body in self._bodies])
        contacts.look(data)
        self.hits, self._steps, self._touched = [], 0, np.zeros(len(self.items), bool)
        seen, positions, velocities = [], [], []
        for k in range(SPEC.max_steps + 1):
            if k:
                self._live(data, contacts, None)
            velocities.append(contacts.velocities(data)[:-1])
            seen.append([self._sees(data, int(body)) for body in self._bodies])
            positions.append(data.xpos[self._bodies].copy())
        life = Life(seen=np.array(seen), positions=np.array(positions), hits=self.hits, velocities=np.array(velocities))
        free = [n for n, item in enumerate(self.items) if not item.fixed and item.name not in self._roped]
        rng = np.random.default_rng([seed, 13])
        kinds = [TWINS[i] for i in rng.permutation(len(TWINS))] if self._twin == "any" else [str(self._twin)]
        for kind in kinds:
            spell = plan(life, self.items, free, rng, kind)
            if spell:
                return spell
        return None

    def _sees(self, data: Any, body: int) -> bool:
        """Whether the main camera's ray to the middle of a body meets it first, inside the picture."""
        place, calibrated = data.xpos[body], calibration(self._model, data, "main", self._size)
        column, row, ahead = project(place, calibrated)[0]
        if ahead < 0.1 or not (4 < column < self._size[1] - 4 and 4 < row < self._size[0] - 4):
            return False
        eye, met = np.array(calibrated["camera_to_world"])[:3, 3], np.zeros(1, np.int32)
        mujoco.mj_ray(self._model, data, eye, place - eye, None, 1, -1, met)
        return bool(met[0] >= 0 and self._model.geom_bodyid[met[0]] == body)

    def _state(self) -> dict[str, NDArray[Any]]:
        data, items = self._data, self.items
        velocities, spins = np.zeros((len(items), 3)), np.zeros((len(items), 3))
        for i, item in enumerate(items):
            if not item.fixed:
                moving = data.joint(item.name).qvel
                velocities[i], spins[i] = moving[:3], data.body(item.name).xmat.reshape(3, 3) @ moving[3:]
        return {
            "positions": data.xpos[self._bodies].copy(), "quaternions": data.xquat[self._bodies].copy(),
            "velocities": velocities, "spins": spins, "halves": np.array([item.half for item in items]),
            "masses": np.array([item.mass for item in items]), "frictions": np.array([item.friction for item in items]),
            "restitutions": np.array([item.restitution for item in items]), "rgb": self._rgb.copy(),
            "there": self._there.astype(np.float64), "touched": self._touched.astype(np.float64),
            "camera": np.concatenate([self._pose[:3, 3], self._pose[:3, 0], self._pose[:3, 1]]),
        }  # fmt: skip

    def _moment(self, sound: NDArray[np.float32] | None) -> Moment:
        state = self._state()
        targets = [self.names.index(name) for name in self.scene.targets]
        if self._steps == 0:
            self._first = state["positions"].copy()
        away = np.linalg.norm(state["positions"][targets] - self._first[targets], axis=1)
        reward = float(np.mean(away > MOVED_METRES))
        extras, looks = self._extras, {}
        full = "depth" in extras or "segmentation" in extras
        frames = {}
        for view in self._drawn:
            assert self._eyes is not None
            if full:
                looks[view] = self._eyes.look(self._data, view)
                frames[view] = looks[view].frame
            else:
                frames[view] = self._eyes.colour(self._data, view)
        return Moment(
            frames=frames, state=state, instruction=self.scene.words, reward=reward, success=reward >= 0.5, over=False,
            depth={view: look.depth for view, look in looks.items()} if "depth" in extras else None,
            segmentation={v: look.segmentation for v, look in looks.items()} if "segmentation" in extras else None,
            sound=sound,
        )  # fmt: skip


def _build(
    scene: Scene, rng: np.random.Generator, parameters: dict[str, Any], size: tuple[int, int]
) -> tuple[Any, NDArray[np.float64]]:
    """The scene as an ``MjSpec``, and the main camera's pose; ``parameters`` receives everything that was drawn."""
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_suffix(".xml")))
    set_looks(spec, extent=4.0, largest=max(size))
    lights = add_lights(spec, rng, height=5.0)
    for name, coat, repeat in (("floor", scene.floor, (7, 7)), ("wall", scene.wall, (7, 2))):
        spec.geom(name).material = add_material(spec, name, MATERIALS[coat], rng, around=False, repeat=repeat)
    spec.geom("wall").pos = (0, 2.6 + rng.uniform(0, 0.6), 3)
    for item in scene.items:
        add_item(spec, item, rng)
    parameters.clear()
    parameters |= {"family": scene.family, "floor": scene.floor, "wall": scene.wall} | lights
    for name, point in scene.ropes:
        spec.body(name).add_site(name="hook")
        spec.worldbody.add_site(name="nail", pos=point)
        rope = spec.add_tendon(name="rope", limited=True, width=0.02, rgba=(0.25, 0.22, 0.2, 1))
        rope.range = (0, float(np.linalg.norm(np.array(point) - spec.body(name).pos)))
        rope.solref_limit = (0.008, 1)
        rope.wrap_site("nail")
        rope.wrap_site("hook")
    far, height, aim = scene.view
    place = (rng.uniform(-0.6, 0.6), rng.uniform(-0.25, 0.25) - far, height + rng.uniform(-0.3, 0.4))
    pose = pose_looking(place, (0, 0.1, aim))
    above = pose_looking((rng.uniform(-0.2, 0.2), rng.uniform(-1.6, -1.0), rng.uniform(4.9, 5.3)), (0, 0.1, 0.2))
    high = spec.camera("high")
    high.pos, high.quat = above[:3, 3], quaternion_of(above)
    parameters |= {"main_camera": pose.tolist(), "high_camera": above.tolist()}
    parameters["items"] = [
        {"name": i.name, "shape": i.shape, "half": list(i.half), "colour": i.colour, "coat": i.coat, "mass": i.mass,
         "friction": i.friction, "restitution": i.restitution, "fixed": i.fixed} for i in scene.items
    ]  # fmt: skip
    parameters["ropes"] = [name for name, _ in scene.ropes]
    return spec, pose
