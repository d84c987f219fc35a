"""Who acts in the worlds: an expert, a clumsy one, one that ignores the words, and chance.

    in    a world (the controllers here may see its state, a policy may not) and a seed
    out   a ``Policy``: a moment in, an action in physical units out

The expert plans again at every step from the state, so it recovers from whatever came before.
"""

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.records import Moment
from armillary.worlds.arm import HIGH, LOW, pose_of, step_action, tip_and_turn
from armillary.worlds.tabletop import Tabletop
from armillary.worlds.tabletop_tasks import TRAY_ROW, TRAYS, Task, draw_task

KINDS = ("expert", "clumsy", "random", "wordless")
STEP_METRES, HOVER, CARRY, GRASP = 0.04, 0.115, 0.15, 0.024
Array = NDArray[np.float64]


class Expert:
    """Carries the instruction out: above, down, close, lift, over, down, open, up.

    ``detour``: so many first steps go somewhere else, for recordings that show more than one way.
    """

    def __init__(self, world: Tabletop, *, seed: int = 0, wordless: bool = False, detour: int = 0) -> None:
        self._world, self._wordless, self._detour, self._seed = world, wordless, detour, seed
        self.reset()

    def reset(self) -> None:
        self._rng = np.random.default_rng([self._seed, 11])
        self._task: Task | None = None
        self._phase, self._wait, self._age = "seek", 0, 0
        self._goal = self._rng.uniform(LOW + (0, 0, 0.05), HIGH)

    def __call__(self, moment: Moment) -> Array:
        world = self._world
        if self._task is None:
            self._task = world.task
            if self._wordless:  # asks for something of its own choice, whatever was said
                self._task = draw_task(world.things, moment.state["objects"], self._rng)
            self._start = moment.state["objects"].copy()
        self._age += 1
        if self._age <= self._detour:
            return self._towards(self._goal, 1.0)
        number = world.names.index(self._task.target)
        place = moment.state["objects"][number]
        if self._task.kind == "touch":
            return self._touch(place + (0, 0, world.things[number].half))
        if self._task.kind == "push":
            return self._push(place, self._start[number])
        return self._carry(moment, number, place)

    def _towards(self, goal: Array, openness: float, *, speed: float = STEP_METRES) -> Array:
        pose = self._world.pose
        tip, turn = tip_and_turn(pose)
        way = goal - tip
        length = float(np.linalg.norm(way))
        tip = tip + way * min(1.0, speed / max(length, 1e-9))
        return step_action(pose, pose_of(tip, turn * 0.5), openness)

    def _over(self, goal: Array, height: float, openness: float) -> Array | None:
        """Move above ``goal`` at ``height``; None once there. Rises first when low and far."""
        tip, _ = tip_and_turn(self._world.pose)
        away = float(np.hypot(*(goal - tip)[:2]))
        if away < 0.006:
            return None
        if away > 0.03 and tip[2] < height - 0.03:
            return self._towards(np.array([tip[0], tip[1], height]), openness)
        return self._towards(np.array([goal[0], goal[1], max(height, min(tip[2], height + 0.02))]), openness)

    def _touch(self, top: Array) -> Array:
        action = self._over(top, HOVER, 0.0)
        return action if action is not None else self._towards(top + (0, 0, 0.004), 0.0, speed=0.03)

    def _push(self, place: Array, start: Array) -> Array:
        assert self._task is not None
        sign = -1.0 if self._task.place == "left" else 1.0
        tip, _ = tip_and_turn(self._world.pose)
        if self._phase == "seek":
            behind = np.array([start[0] - sign * 0.062, place[1], GRASP])
            action = self._over(behind, HOVER, 0.0)
            if action is not None:
                return action
            if tip[2] > GRASP + 0.008:
                return self._towards(behind, 0.0)
            self._phase = "push"
        if sign * (place[0] - start[0]) > 0.075 or sign * (tip[0] - start[0]) > 0.1:
            return self._towards(np.array([tip[0] - sign * 0.02, tip[1], HOVER]), 0.0)
        return self._towards(np.array([tip[0] + sign * 0.03, place[1], GRASP]), 0.0, speed=0.03)

    def _carry(self, moment: Moment, number: int, place: Array) -> Array:
        tip, _ = tip_and_turn(self._world.pose)
        held = bool(moment.state["held"][number])
        if self._phase == "seek":
            action = self._over(place, HOVER, 1.0)
            if action is not None:
                return action
            if tip[2] > GRASP + 0.006:
                return self._towards(np.array([place[0], place[1], GRASP]), 1.0)
            self._phase, self._wait = "close", 0
        if self._phase == "close":
            self._wait += 1
            if self._wait > 3:
                self._phase = "move" if held else "seek"
            return self._towards(tip, 0.0)
        if self._phase == "move":
            if not held and tip[2] > 0.06:
                self._phase = "seek"
                return self._towards(tip, 1.0)
            return self._place(moment, place, tip)
        self._wait += 1  # released: up and away
        if self._wait > 12:
            self._phase = "seek"
        return self._towards(tip if self._wait <= 1 else np.array([tip[0], tip[1], CARRY]), 1.0)

    def _place(self, moment: Moment, place: Array, tip: Array) -> Array:
        task = self._task
        assert task is not None
        if task.kind == "lift":
            return self._towards(np.array([tip[0], tip[1], CARRY + 0.02]), 0.0)
        slip = place - tip
        if task.kind == "put":
            goal, low = np.array([TRAYS[task.place], TRAY_ROW, 0.0]), GRASP + 0.008
        else:
            below = moment.state["objects"][self._world.names.index(task.place)]
            goal, low = np.array([below[0] - slip[0], below[1] - slip[1], 0.0]), below[2] + 0.058
        action = self._over(goal, CARRY, 0.0)
        if action is not None:
            return action
        if tip[2] > low + 0.006:
            return self._towards(np.array([goal[0], goal[1], low]), 0.0, speed=0.04)
        self._phase, self._wait = "release", 0
        return self._towards(tip, 1.0)


class Clumsy:
    """The expert with shaking hands: aims beside things and opens or closes at the wrong moment."""

    def __init__(self, world: Tabletop, *, seed: int) -> None:
        self._world, self._seed = world, seed
        self._expert = Expert(world, seed=seed)
        self.reset()

    def reset(self) -> None:
        self._expert.reset()
        self._rng = np.random.default_rng([self._seed, 13])
        self._drift = self._rng.normal(0, 0.012, 3)

    def __call__(self, moment: Moment) -> Array:
        action = self._expert(moment)
        self._drift = 0.8 * self._drift + self._rng.normal(0, 0.012, 3)
        action[:3] += self._drift
        if self._rng.random() < 0.08:
            action[9] = 1.0 - action[9]
        return action


class Random:
    """Goes to random places, turns its gripper and opens and closes it by chance."""

    def __init__(self, world: Tabletop, *, seed: int) -> None:
        self._world, self._seed = world, seed
        self.reset()

    def reset(self) -> None:
        self._rng = np.random.default_rng([self._seed, 17])
        self._left, self._openness = 0, 1.0

    def __call__(self, moment: Moment) -> Array:
        tip, turn = tip_and_turn(self._world.pose)
        if self._left == 0:
            self._left = int(self._rng.integers(4, 12))
            self._goal, self._turn = self._rng.uniform(LOW, HIGH), self._rng.uniform(-0.7, 0.7)
            self._speed = self._rng.uniform(0.015, 0.05)
            self._openness = float(self._rng.integers(0, 2))
        self._left -= 1
        way = self._goal - tip
        tip = tip + way * min(1.0, self._speed / max(float(np.linalg.norm(way)), 1e-9))
        turn = turn + float(np.clip(self._turn - turn, -0.12, 0.12))
        return step_action(self._world.pose, pose_of(tip, turn), self._openness)


def tabletop_controller(world: Tabletop, kind: str, *, seed: int = 0, detour: int = 0) -> Expert | Clumsy | Random:
    """A controller for the tabletop; ``RequestError`` names the kinds there are."""
    if kind in ("expert", "wordless"):
        return Expert(world, seed=seed, wordless=kind == "wordless", detour=detour)
    if kind == "clumsy":
        return Clumsy(world, seed=seed)
    if kind == "random":
        return Random(world, seed=seed)
    raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(KINDS)}.")
