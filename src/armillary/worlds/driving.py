"""Driving: a car in town traffic, seen from its windscreen and from above, with words to follow.

    in    a seed and, if wanted, an instruction or a scenario; then 9 numbers a step (embodiment ``av``)
    out   moments: two cameras; depth, segmentation, sound on request; everybody's place and speed in metres

An action is the step of the front camera's pose, seen from that camera (x right, y down, z ahead; then two columns
of the rotation). The car does of it what a car can: it turns about its rear axle, and keeps the limits below.
Touching anybody, or a red light, ends in failure; passing the goal in its lane is success.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, WorldSpec
from armillary.worlds.camera import mujoco
from armillary.worlds.driving_looks import HOURS, WEATHERS, Conditions, RoadViews, build
from armillary.worlds.driving_scenarios import Scene, draw_scene
from armillary.worlds.driving_sound import DrivingSound
from armillary.worlds.driving_traffic import EGO_LENGTH, EGO_WIDTH, PERSON, REAR, SIZES, STEP, gap_between
from armillary.worlds.driving_weather import fall
from armillary.worlds.filmed import Filmed, arc_action, arc_asked, mounted, nine_numbers, on_ground

SPEC = WorldSpec(
    name="driving", embodiment="av", action_size=9, step_seconds=STEP, cameras=("front", "bird"), size=(128, 128),
    max_steps=130,
)  # fmt: skip
FASTEST, FASTER, SLOWER, TIGHTEST = 16.0, 3.0, 9.0, 0.25  # m/s, m/s2, m/s2, 1/m
SIGNAL_LABEL = 1000  # of the traffic light of arm 0 in segmentation pictures; the others follow
GOAL_METRES = 1.3  # so far beside its lane's middle, the car may be when it passes the goal
Array = NDArray[np.float64]


# the front camera as driving.xml has it: 3.2 m ahead of the rear axle, 1.4 m high
MOUNT = mounted((3.2, 0.0, 1.4), (0.06, 0.998))


class Driving(Filmed):
    """The world. ``views``: which cameras are drawn; ``extras``: of depth, segmentation, sound.

    ``scenario``, ``weather``, ``hour`` fix what the seed would draw (``SCENARIOS``, ``WEATHERS``, ``HOURS``).
    """

    spec = SPEC

    def __init__(
        self, *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
        extras: tuple[str, ...] = (), scenario: str | None = None, weather: str | None = None, hour: str | None = None,
    ) -> None:  # fmt: skip
        self._size, self._views, self._extras = size, views, extras
        self._fixed = {"scenario": scenario, "weather": weather, "hour": hour}
        self._sound: DrivingSound | None = None
        self.parameters: dict[str, Any] = {}

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """A scene drawn by ``seed``. The instruction, if any, replaces the drawn one where it can be followed."""
        self.close()
        rng, looks = np.random.default_rng([seed, 31]), np.random.default_rng([seed, 37])
        self.scene: Scene = draw_scene(self._fixed["scenario"], rng)
        weather, hour = str(looks.choice(WEATHERS)), str(looks.choice(HOURS, p=(0.6, 0.2, 0.2)))
        self.sky = Conditions(weather=self._fixed["weather"] or weather, hour=self._fixed["hour"] or hour)
        self.instruction, self.route, self.goal = self.scene.route(instruction)
        self.names = [v.name for v in self.scene.traffic.vehicles] + [w.name for w in self.scene.traffic.walkers]
        self.speed, self._seed, self._steps = self.scene.speed, seed, 0
        start = self.scene.start
        self._rear = np.array([*(start[:2] - REAR * np.array([np.cos(start[2]), np.sin(start[2])])), start[2]])
        self.failed = ""
        self._sound = DrivingSound(self.scene.traffic, seed=seed) if "sound" in self._extras else None
        if self._views:
            self._build(looks)
        self.parameters = {"scenario": self.scene.name, "weather": self.sky.weather, "hour": self.sky.hour,
                           "streets": self.scene.streets.kind, "lanes": self.scene.streets.lanes,
                           "vehicles": [{"name": v.name, "size": SIZES[v.kind]} for v in self.scene.traffic.vehicles],
                           "people": [w.name for w in self.scene.traffic.walkers]}  # fmt: skip
        return self._moment()

    def step(self, action: NDArray[Any]) -> Moment:
        """One tenth of a second. ``DataError`` unless the action is nine finite numbers that hold a rotation."""
        straight, turn = arc_asked(nine_numbers(action, "driving"), MOUNT)
        ahead = straight / max(float(np.cos(turn / 2)), 0.2)
        low, high = self.speed - SLOWER * STEP, self.speed + FASTER * STEP
        ahead = float(np.clip(ahead, max(-2.0, low) * STEP, min(FASTEST, high) * STEP))
        turn = float(np.clip(turn, -abs(ahead) * TIGHTEST, abs(ahead) * TIGHTEST))
        before = self.place()
        self.scene.traffic.step(before, self.speed, self.route.nearest(before)[0])
        along = self._rear[2] + turn / 2
        self._rear = self._rear + np.array([ahead * np.cos(along), ahead * np.sin(along), turn])
        self.speed, self._steps = ahead / STEP, self._steps + 1
        self._judge(before)
        sound = None
        if self._sound:
            touched = [gap <= 0.02 for gap in self.gaps().values()]
            sound = self._sound.collect(self.place(), self.speed, touched, self.camera_pose())
        return self._moment(sound)

    def place(self) -> Array:
        """x, y and heading of the car's middle."""
        return np.array([*(self._rear[:2] + REAR * np.array([np.cos(self._rear[2]), np.sin(self._rear[2])])),
                         self._rear[2]])  # fmt: skip

    def camera_pose(self) -> Array:
        """The front camera's pose 4 4, OpenCV axes, camera to world."""
        return on_ground(self._rear) @ MOUNT

    def action_for(self, ahead: float, turn: float) -> Array:
        """The nine numbers for ``ahead`` metres on an arc that turns by ``turn`` radians, as the rear axle goes."""
        return arc_action(ahead, turn, MOUNT)

    def gaps(self) -> dict[str, float]:
        """Metres from the car to everybody, by name."""
        traffic, me = self.scene.traffic, self.place()
        sizes = [SIZES[v.kind][:2] for v in traffic.vehicles] + [(PERSON, PERSON)] * len(traffic.walkers)
        now = traffic.seconds
        places = [v.place(now) for v in traffic.vehicles] + [w.place(now) for w in traffic.walkers]
        return {name: gap_between(me, (EGO_LENGTH, EGO_WIDTH), place, size)
                for name, place, size in zip(self.names, places, sizes, strict=True)}  # fmt: skip

    def _judge(self, before: Array) -> None:
        if self.failed:
            return
        touched = [name for name, gap in self.gaps().items() if gap <= 0.02]
        scene, now = self.scene, self.scene.traffic.seconds
        if touched:
            self.failed = f"touched the {touched[0]}"
        elif scene.stop_at is not None and scene.traffic.signals is not None:
            passed = [self.route.nearest(place)[0] + EGO_LENGTH / 2 for place in (before, self.place())]
            if passed[0] <= scene.stop_at < passed[1] and not scene.traffic.signals.green(scene.arm, now):
                self.failed = "passed a red light"

    def _build(self, rng: np.random.Generator) -> None:
        self._model = build(self.scene, self.sky, rng).compile()
        self._data = mujoco.MjData(self._model)
        model, labels = self._model, {}
        owner = {model.body(name).id: number for number, name in enumerate(self.names, 1)}
        for geom in range(model.ngeom):
            root = int(model.body_rootid[model.geom_bodyid[geom]])
            name = model.body(model.geom_bodyid[geom]).name
            labels[geom] = SIGNAL_LABEL + int(name.split()[1]) if name.startswith("signal ") else owner.get(root, 0)
        self._qpos = {name: int(model.joint(f"{name}/root").qposadr[0]) for name in ("ego", *self.names)}
        self._tails = {v.name: [g for g in range(model.ngeom) if model.geom(g).name.startswith(f"{v.name}/tail")]
                       for v in self.scene.traffic.vehicles}  # fmt: skip
        self._eyes = RoadViews(model, self._size, labels, fog=True)

    def _put(self) -> None:
        """Carry everybody's place over to the picture."""
        model, data, traffic = self._model, self._data, self.scene.traffic
        places = {"ego": self._rear} | {v.name: v.place(traffic.seconds) for v in traffic.vehicles}
        for name, place in places.items():
            at = self._qpos[name]
            data.qpos[at : at + 7] = [place[0], place[1], 0, np.cos(place[2] / 2), 0, 0, np.sin(place[2] / 2)]
        for walker in traffic.walkers:
            at, row = self._qpos[walker.name], walker.rows[walker.row(traffic.seconds)]
            data.qpos[at : at + len(row)] = row
        for vehicle in traffic.vehicles:
            model.geom_rgba[self._tails[vehicle.name], :3] = (1, 0.1, 0.08) if vehicle.braking else (0.4, 0.04, 0.04)
        if traffic.signals is not None:
            for arm in range(len(self.scene.streets.arms)):
                green = traffic.signals.green(arm, traffic.seconds)
                model.geom(f"signal {arm}/green").rgba[:3] = (0.15, 1, 0.35) if green else (0.03, 0.18, 0.05)
                model.geom(f"signal {arm}/red").rgba[:3] = (0.25, 0.03, 0.03) if green else (1, 0.12, 0.1)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)

    def _state(self) -> dict[str, Array]:
        traffic, now = self.scene.traffic, self.scene.traffic.seconds
        cars = [[*v.place(now), v.speed, float(v.braking)] for v in traffic.vehicles]
        people = [[*w.place(now), float(np.hypot(*w.velocity(now)))] for w in traffic.walkers]
        gaps = self.gaps()
        green = traffic.signals is not None and traffic.signals.green(self.scene.arm, now)
        return {
            "ego": np.array([*self.place(), self.speed]),
            "camera": self.camera_pose(),
            "vehicles": np.array(cars).reshape(-1, 5),
            "people": np.array(people).reshape(-1, 4),
            "nearest": np.array([min(gaps.values(), default=99.0)]),
            "signal": np.array([0.0 if traffic.signals is None else 1.0 if green else -1.0]),
            "progress": np.array([self.goal - self.route.nearest(self.place())[0]]),
        }

    def _moment(self, sound: NDArray[np.float32] | None = None) -> Moment:
        state = self._state()
        if self._eyes is not None:
            self._put()
        looks = self._looks(self._views)
        frames = {view: look.frame for view, look in looks.items()}
        if "front" in frames:
            frames["front"] = fall(frames["front"], self.sky.weather, (self._seed, self._steps), self.speed)
        left = self.route.nearest(self.place())[1]
        success = not self.failed and state["progress"][0] <= 0 and abs(left) < GOAL_METRES
        return Moment(
            frames=frames, state=state, instruction=self.instruction, reward=float(success), success=bool(success),
            over=bool(success or self.failed),
            depth={v: k.depth for v, k in looks.items()} if "depth" in self._extras else None,
            segmentation={v: k.segmentation for v, k in looks.items()} if "segmentation" in self._extras else None,
            sound=sound,
        )  # fmt: skip
