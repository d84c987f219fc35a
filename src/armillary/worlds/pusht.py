"""PushT: push a grey T onto its green target with a blue disc. The physics is gym-pusht, which nobody here wrote.

    table       512 x 512 pixels, x to the right, y down, as on the screen; seen from above by one camera
    action      where the disc shall be, x and y (absolute, 0..512); 10 a second
    success     the T covers more than 95 % of its target

The state is the disc's place and velocity, the T's pose and the target's (x, y, angle; positive turns clockwise) and
the covered share. The pictures never show the action: gym-pusht's own film marks it with a red cross, which would
make labelling actions from pictures a matter of finding the cross.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from armillary.errors import ConfigError
from armillary.records import Array, Moment, Policy, WorldSpec
from armillary.worlds.gym_adapter import GymWorld
from armillary.worlds.pusht_planner import GOAL, TABLE, Stroke, best_stroke, off_target

INSTRUCTION = "Push the T onto its target."
SPEC = WorldSpec(
    name="pusht",
    embodiment="pusht",
    action_size=2,
    step_seconds=0.1,
    cameras=("top",),
    size=(128, 128),
    max_steps=300,
)
KINDS = ("expert", "clumsy", "random")


class PushT(GymWorld):
    """gym-pusht as a world, at ``size`` pixels a side (96, 128 and 256 are usual)."""

    def __init__(self, size: int = 128) -> None:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            from gym_pusht.envs.pusht import PushTEnv
        except ModuleNotFoundError as missing:
            raise ConfigError(
                f"world 'pusht' needs the package {missing.name}: pip install 'armillary[pusht]'."
            ) from missing
        env = PushTEnv(obs_type="pixels", render_mode="rgb_array", observation_width=size, observation_height=size)
        spec = replace(SPEC, size=(size, size))
        super().__init__(env, spec, instruction=INSTRUCTION, states=_states, pictures=_pictures, goes_on=True)


def pusht_controller(kind: str, seed: int) -> Policy:
    """``expert`` plans its pushes, ``clumsy`` plans them for a wrong target and trembles, ``random`` wanders about."""
    if kind == "expert":
        return Pusher(seed=seed)
    if kind == "clumsy":
        return Pusher(seed=seed, mistake=(70.0, 0.9), tremble=14.0)
    if kind == "random":
        return Wanderer(seed=seed)
    raise ConfigError(f"controller {kind!r} of world 'pusht' is unknown: it must be one of {', '.join(KINDS)}.")


class Pusher:
    """Looks, chooses a stroke, walks to its start, makes it, and looks again.

    ``mistake``: how far off the target it believes to see is (pixels, radians; standard deviations; drawn again once
    it believes to be there). ``tremble``: standard deviation in pixels of a slow error of its hand.
    Reads ``disc`` and ``block``.
    """

    def __init__(self, *, seed: int, mistake: tuple[float, float] = (0.0, 0.0), tremble: float = 0.0) -> None:
        self._seed, self._mistake, self._tremble = seed, mistake, tremble
        self.reset()

    def reset(self) -> None:
        """Forget the life so far; the next one is the same again."""
        self._rng = np.random.default_rng([self._seed, 77])
        self._goal = self._believed()
        self._hand = np.zeros(2)
        self._hurry = self._rng.uniform(0.25, 0.5)
        self._pace = self._rng.uniform(9.0, 13.0)  # pixels a step while pushing
        self._plan: Iterator[Array] | None = None
        self._moment: Moment | None = None

    def __call__(self, moment: Moment) -> Array:
        self._moment = moment
        if self._plan is None:
            self._plan = self._act()
        if moment.success:
            return np.clip(self._disc, 0.0, TABLE)
        target = next(self._plan)
        self._hand += 0.3 * (self._rng.normal(size=2) * self._tremble - self._hand)
        return np.clip(target + self._hand, 0.0, TABLE)

    def _act(self) -> Iterator[Array]:
        """Targets for the disc, one a step, for ever."""
        while True:
            chosen = self._choose()
            if chosen is None:
                yield from self._rest(3)
                continue
            stroke, road = chosen
            yield from self._walk(road)
            yield from self._stroke(stroke)

    def _believed(self) -> Array:
        """Where it takes the target to be."""
        far, turned = self._mistake
        return GOAL + self._rng.normal(size=3) * [far, far, turned]

    def _choose(self) -> tuple[Stroke, Array] | None:
        disc, block = self._disc, self._block
        left = float(off_target(block, self._goal))
        if left < 2 * self._tremble:
            self._goal = self._believed()
        return best_stroke(block, disc, self._goal, hurry=self._hurry * float(np.clip(left / 30, 0.05, 1.0)))

    def _walk(self, road: Array) -> Iterator[Array]:
        """Along the road at some 20 pixels a step; ends near its last point."""
        for corner in road[1:]:
            last = corner is road[-1]
            aim = self._disc
            for _ in range(60):
                gap = corner - aim
                far = float(np.linalg.norm(gap))
                if far > 1e-9:
                    aim = aim + gap * min(1.0, 20.0 / far)
                yield aim
                if np.linalg.norm(corner - self._disc) < (2.5 if last else 12.0):
                    break

    def _stroke(self, stroke: Stroke) -> Iterator[Array]:
        """Push from start to end, then wait until the disc stands there."""
        way = stroke.end - stroke.start
        size = float(np.linalg.norm(way))
        steps = max(1, round(size / self._pace))
        for share in np.arange(1, steps + 1) / steps:
            yield stroke.start + share * way
        for _ in range(8):
            if np.linalg.norm(stroke.end - self._disc) < (0.4 if size < 30 else 2.0):
                return
            yield stroke.end

    def _rest(self, steps: int) -> Iterator[Array]:
        """Where no stroke can be reached: towards the middle, a little aside, and look again."""
        aim = TABLE / 2 + self._rng.uniform(-120, 120, size=2)
        for _ in range(steps):
            yield self._disc + np.clip(aim - self._disc, -20, 20)

    @property
    def _disc(self) -> Array:
        assert self._moment is not None
        return np.asarray(self._moment.state["disc"], dtype=np.float64)

    @property
    def _block(self) -> Array:
        assert self._moment is not None
        return np.asarray(self._moment.state["block"], dtype=np.float64)


class Wanderer:
    """Goes from one random place to the next at a random pace, half of the times to where the T is."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        self._rng = np.random.default_rng([self._seed, 78])
        self._aim: Array | None = None
        self._pace = 0.0

    def __call__(self, moment: Moment) -> Array:
        disc, block = moment.state["disc"], moment.state["block"]
        if self._aim is None or np.linalg.norm(self._aim - disc) < 12 or self._rng.random() < 0.05:
            near_block = self._rng.random() < 0.5
            aim = block[:2] + self._rng.normal(size=2) * 50 if near_block else self._rng.uniform(20, TABLE - 20, size=2)
            self._aim, self._pace = np.clip(aim, 20, TABLE - 20), self._rng.uniform(8, 40)
        gap = self._aim - disc
        return np.clip(disc + gap * min(1.0, self._pace / max(float(np.linalg.norm(gap)), 1e-9)), 0.0, TABLE)


def _states(observation: Any, info: Mapping[str, Any]) -> dict[str, Array]:
    return {
        "disc": np.asarray(info["pos_agent"], dtype=np.float64),
        "disc_velocity": np.asarray(info["vel_agent"], dtype=np.float64),
        "block": np.asarray(info["block_pose"], dtype=np.float64),
        "goal": np.asarray(info["goal_pose"], dtype=np.float64),
        "covered": np.asarray([info.get("coverage", 0.0)], dtype=np.float64),
    }


def _pictures(observation: Any) -> dict[str, Array]:
    return {"top": np.asarray(observation)}
