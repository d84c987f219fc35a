"""Warehouse: a robot among shelves, fork-lifts and people, seen by a fixed camera and by its own.

    in    a seed and, if wanted, an instruction or an incident; then 9 numbers a step (embodiment ``av``)
    out   moments: two cameras; depth, segmentation, sound on request; everybody's place, gaps and seconds to contact

An action is the step of the robot's camera pose, seen from that camera. The robot turns on the spot and keeps the
limits below. Near-misses (gap below 0.3 m or contact within 1 s) and collisions are computed from the state, of every
pair in which something drives.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, WorldSpec
from armillary.worlds.camera import calibration, mujoco
from armillary.worlds.driving_looks import RoadViews
from armillary.worlds.driving_traffic import gap_between
from armillary.worlds.filmed import Filmed, arc_action, arc_asked, mounted, nine_numbers, on_ground
from armillary.worlds.warehouse_looks import build
from armillary.worlds.warehouse_scene import (
    HALL,
    NEAR_METRES,
    NEAR_SECONDS,
    NEVER,
    SHELF_FROM,
    SHELF_TO,
    SHELF_WIDE,
    SHELF_X,
    SIZES,
    STEP,
    Hall,
    advance,
    contact,
    draw_hall,
    robot_contact,
)
from armillary.worlds.warehouse_sound import Now, WarehouseSound

SPEC = WorldSpec(
    name="warehouse", embodiment="av", action_size=9, step_seconds=STEP, cameras=("hall", "robot"), size=(128, 128),
    max_steps=150,
)  # fmt: skip
FASTEST, FASTER, TURN = 1.6, 0.25, 0.14  # m/s, m/s a step, radians a step
GOAL_METRES, GOAL_SPEED = 0.45, 0.35
ROBOT_LABEL, PUDDLE_LABEL = 1000, 1001  # in segmentation pictures; i + 1 is the i-th of ``names``
Array = NDArray[np.float64]


MOUNT = mounted((0.48, 0.0, 0.95), (0.1, 0.995))  # the camera on the robot, as warehouse.xml has it


class Warehouse(Filmed):
    """The world. ``views``: cameras drawn; ``extras``: of depth, segmentation, sound; ``incident`` fixes the draw."""

    spec = SPEC

    def __init__(
        self, *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
        extras: tuple[str, ...] = (), incident: str | None = None,
    ) -> None:  # fmt: skip
        self._size, self._views, self._extras, self._incident = size, views, extras, incident
        self._sound: WarehouseSound | None = None
        self.parameters: dict[str, Any] = {}

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """A hall drawn by ``seed``. The instruction, if any, replaces the drawn one where it can be followed."""
        self.close()
        self.hall: Hall = draw_hall(self._incident, np.random.default_rng([seed, 61]))
        self.instruction, self.goal = self.hall.goal(instruction)
        hall = self.hall
        self.robot, self.speed, self.seconds, self.failed = hall.start.copy(), 0.0, 0.0, ""
        self.names = [m.name for m in hall.movers] + [b.name for b in hall.floor]
        self.names += [hall.falling.name] if hall.falling else []
        if self._views or "sound" in self._extras:
            self._build(np.random.default_rng([seed, 67]))
        self._sound = None
        if "sound" in self._extras:
            self._put()
            ear = np.array(calibration(self._model, self._data, "hall", self._size)["camera_to_world"])
            self._sound = WarehouseSound(hall, ear, seed=seed)
        self.parameters = {"incident": hall.incident, "shelves": list(hall.colours), "blocked": hall.blocked,
                           "happens": hall.happens, "movers": [{"name": m.name, "kind": m.kind} for m in hall.movers],
                           "things": [{"name": b.name, "half": b.half} for b in hall.floor]}  # fmt: skip
        return self._moment()

    def step(self, action: NDArray[Any]) -> Moment:
        """One tenth of a second. ``DataError`` unless the action is nine finite numbers that hold a rotation."""
        straight, turn = arc_asked(nine_numbers(action, "the robot"), MOUNT)
        turn = float(np.clip(turn, -TURN, TURN))
        speed = straight / max(math.cos(turn / 2), 0.2) / STEP
        speed = float(np.clip(speed, max(self.speed - FASTER, -0.5), min(self.speed + FASTER, FASTEST)))
        before = [mover.clock for mover in self.hall.movers]
        advance(self.hall.movers, self.robot)
        along = self.robot[2] + turn / 2
        moved = self.robot + np.array([math.cos(along) * speed * STEP, math.sin(along) * speed * STEP, turn])
        bumped = 0.0
        if self.touches(moved):
            self.failed = self.failed or "ran into something that stands"
            bumped, moved, speed = abs(speed), self.robot.copy(), 0.0
        self.robot, self.speed = moved, speed
        self.seconds = round(self.seconds + STEP, 6)
        if not self.failed and any(gap <= 0 for gap, _ in self.contacts("robot").values()):
            self.failed = "collided with somebody"
        sound = None
        if self._sound:
            now = Now(seconds=self.seconds, robot=self.robot, speed=self.speed, bumped=bumped, clocks=before)
            sound = self._sound.collect(now)
        return self._moment(sound)

    def action_for(self, ahead: float, turn: float) -> Array:
        """The nine numbers for ``ahead`` metres on an arc that turns by ``turn`` radians."""
        return arc_action(ahead, turn, MOUNT)

    def touches(self, place: Array) -> bool:
        """Whether the robot, standing there, would touch a shelf, a wall or something on the floor."""
        size = SIZES["robot"][:2]
        if abs(place[0]) > HALL[0] - 0.6 or not HALL[1] + 0.4 < place[1] < HALL[2] - 0.6:
            return True
        depth, middle = SHELF_TO - SHELF_FROM + 0.2, (SHELF_FROM + SHELF_TO) / 2
        shelves = [(np.array([x, middle, 0.0]), (SHELF_WIDE, depth)) for x in SHELF_X]
        things = [(np.array([*b.place[:2], 0.0]), (2 * b.half[0], 2 * b.half[1])) for b in self.hall.floor]
        return any(gap_between(place, size, other, there) <= 0 for other, there in shelves + things)

    def contacts(self, name: str) -> dict[str, tuple[float, float]]:
        """(gap in metres, seconds to contact) of ``name`` (a mover's, or ``robot``) with every other mover."""
        movers = {mover.name: mover for mover in self.hall.movers}
        if name == "robot":
            velocity = self.speed * np.array([math.cos(self.robot[2]), math.sin(self.robot[2])])
            return {other: robot_contact(self.robot, velocity, mover) for other, mover in movers.items()}
        return {other: contact(movers[name], mover) for other, mover in movers.items() if other != name}

    def camera_pose(self) -> Array:
        """The robot camera's pose 4 4, OpenCV axes, camera to world."""
        return on_ground(self.robot) @ MOUNT

    def _build(self, rng: np.random.Generator) -> None:
        self._model = build(self.hall, rng).compile()
        self._data = mujoco.MjData(self._model)
        model = self._model
        numbers = {name: number for number, name in enumerate(self.names, 1)}
        numbers |= {"robot": ROBOT_LABEL, "puddle": PUDDLE_LABEL}
        owner = {model.body(name).id: number for name, number in numbers.items()
                 if name != "puddle" or self.hall.incident == "spill"}  # fmt: skip
        labels = {geom: owner.get(int(model.body_rootid[model.geom_bodyid[geom]]), 0) for geom in range(model.ngeom)}
        self._qpos = {name: int(model.joint(f"{name}/root").qposadr[0]) for name in ("robot", *self.names)}
        self._eyes = RoadViews(model, self._size, labels, fog=False) if self._views else None

    def _put(self) -> None:
        """Carry everybody's place over to the picture."""
        data, hall = self._data, self.hall
        for mover in hall.movers:
            if mover.rows is not None:
                at, row = self._qpos[mover.name], mover.rows[mover.row()]
                data.qpos[at : at + len(row)] = row
        places = {"robot": self.robot} | {m.name: m.place() for m in hall.movers if m.rows is None}
        for name, (x, y, yaw) in places.items():
            at = self._qpos[name]
            data.qpos[at : at + 7] = [x, y, 0, math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)]
        if hall.falling is not None:
            at = self._qpos[hall.falling.name]
            data.qpos[at : at + 3] = hall.fallen(self.seconds)
        if hall.incident == "spill":
            barrel = next(b for b in hall.floor if b.name == "leaking barrel")
            wide = self.puddle()
            self._model.geom("puddle").size[0] = max(wide, 0.01)
            self._model.body("puddle").pos[:2] = barrel.place[0], barrel.place[1] + 0.25 + 0.5 * wide
            fell = min(max(0.0, self.seconds - hall.happens) / 0.5, 1.0) * math.pi / 2
            at = self._qpos[barrel.name]
            data.qpos[at + 2] = barrel.half[2] - (barrel.half[2] - barrel.half[0]) * fell * 2 / math.pi
            data.qpos[at + 3 : at + 7] = [math.cos(fell / 2), -math.sin(fell / 2), 0, 0]
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_camlight(self._model, data)

    def puddle(self) -> float:
        """The spill's radius in metres, 0 while there is none."""
        if self.hall.incident != "spill":
            return 0.0
        return 0.95 * (1 - math.exp(-max(0.0, self.seconds - self.hall.happens - 0.3) / 1.5))

    def _state(self) -> dict[str, Array]:
        pairs = [pair for name in ("robot", *(m.name for m in self.hall.movers if m.kind != "person"))
                 for pair in self.contacts(name).values()]  # fmt: skip
        gap, soon = (min((pair[k] for pair in pairs), default=NEVER) for k in (0, 1))
        things = [b.place for b in self.hall.floor]
        things += [tuple(self.hall.fallen(self.seconds))] if self.hall.falling else []
        return {
            "robot": np.array([*self.robot, self.speed]),
            "camera": self.camera_pose(),
            "movers": np.array([[*m.place(), *m.velocity()] for m in self.hall.movers]).reshape(-1, 5),
            "things": np.array(things, np.float64).reshape(-1, 3),
            "gap": np.array([gap]),
            "contact_seconds": np.array([soon]),
            "near_miss": np.array([float(gap > 0 and (gap < NEAR_METRES or soon < NEAR_SECONDS))]),
            "collision": np.array([float(gap <= 0)]),
            "puddle": np.array([self.puddle()]),
            "goal": np.array([*self.goal, math.hypot(*(self.goal - self.robot[:2]))]),
        }

    def _moment(self, sound: NDArray[np.float32] | None = None) -> Moment:
        state = self._state()
        if self._eyes is not None:
            self._put()
        looks = self._looks(self._views)
        success = not self.failed and state["goal"][2] < GOAL_METRES and abs(self.speed) < GOAL_SPEED
        return Moment(
            frames={view: look.frame for view, look in looks.items()}, state=state, instruction=self.instruction,
            reward=float(success), success=bool(success), over=bool(success or self.failed),
            depth={v: k.depth for v, k in looks.items()} if "depth" in self._extras else None,
            segmentation={v: k.segmentation for v, k in looks.items()} if "segmentation" in self._extras else None,
            sound=sound,
        )  # fmt: skip
