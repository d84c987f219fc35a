"""Meta-World: fifty tasks of a Sawyer arm that nobody here wrote, with the scripted experts that come with them.

    in    a seed, which draws one of the tasks and its places, or an instruction that names the task; then 4 numbers
    out   moments: the camera in the corner, the hand, the fingers, the things and the goal in metres

Its package asks for an older MuJoCo than ours:
``pip install --no-deps metaworld``, then ``scipy`` and ``imageio``.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from armillary.errors import ConfigError, RequestError
from armillary.records import Array, Episode, Moment, Policy, WorldSpec
from armillary.worlds.camera import mujoco
from armillary.worlds.gym_adapter import GymWorld
from armillary.worlds.gym_record import Noisy, Uniform, record_gym

SPEC = WorldSpec(
    name="metaworld", embodiment="metaworld", action_size=4, step_seconds=1 / 80, cameras=("corner",), size=(128, 128),
    max_steps=300,
)  # fmt: skip
KINDS = ("expert", "clumsy", "random")


class MetaWorld:
    """The fifty tasks as one world; ``size`` is height and width in pixels."""

    spec = SPEC

    def __init__(self, *, size: tuple[int, int] = SPEC.size) -> None:
        self.spec = replace(SPEC, size=size)
        self.tasks = sorted(_package().ENV_POLICY_MAP)
        self.parameters: dict[str, Any] = {}
        self._world: GymWorld | None = None
        self._renderer: Any = None

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """The life that ``seed`` draws; ``RequestError`` for an instruction that names none of the tasks."""
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

        self.close()
        self.task = self.tasks[int(np.random.default_rng([seed, 83]).integers(len(self.tasks)))]
        if instruction is not None:
            named = instruction.strip().rstrip(".").lower().replace(" ", "-") + "-v3"
            if named not in self.tasks:
                raise RequestError(
                    f"instruction {instruction!r} names no task: say one of {', '.join(map(_words, self.tasks))}"
                )
            self.task = named
        self.parameters = {"task": _words(self.task).rstrip(".").lower()}
        env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{self.task}-goal-observable"](seed=seed, render_mode="rgb_array")
        self._renderer = mujoco.Renderer(env.model, *self.spec.size)
        self._world = GymWorld(env, self.spec, instruction=_words(self.task), states=_states,
                               pictures=lambda _: {"corner": self._picture(env)}, goes_on=True)  # fmt: skip
        return self._told(self._world.reset(seed))

    def step(self, action: Array) -> Moment:
        """One eightieth of a second."""
        if self._world is None:
            raise RequestError("the world has not begun: call reset(seed) before the first step.")
        return self._told(self._world.step(action))

    def close(self) -> None:
        """Free the renderer and the environment; the world may be reset again."""
        if self._world is not None:
            self._world.close()
            self._renderer.close()
        self._world = None

    def __enter__(self) -> "MetaWorld":
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def _picture(self, env: Any) -> Array:
        self._renderer.update_scene(env.data, "corner2")
        return np.ascontiguousarray(self._renderer.render()[::-1, ::-1])  # this camera hangs upside down

    def _told(self, moment: Moment) -> Moment:
        return replace(moment, over=moment.over or moment.success)


class Scripted:
    """Meta-World's own expert for whatever task the world is in."""

    def __init__(self, world: MetaWorld) -> None:
        self._world = world
        self.reset()

    def reset(self) -> None:
        self._task, self._policy = "", None

    def __call__(self, moment: Moment) -> Array:
        if self._task != self._world.task:
            self._task, self._policy = self._world.task, _package().ENV_POLICY_MAP[self._world.task]()
        assert self._policy is not None
        return np.clip(self._policy.get_action(moment.state["observation"]), -1, 1)


def record_metaworld(seed: int, kind: str = "expert", *, size: tuple[int, int] = SPEC.size) -> Episode:
    """One episode. ``RequestError`` for an unknown controller."""
    with MetaWorld(size=size) as world:
        expert = Scripted(world)
        policies: dict[str, Policy] = {
            "expert": expert, "clumsy": Noisy(expert, seed, 0.6), "random": Uniform(SPEC.action_size, seed),
        }  # fmt: skip
        return record_gym(world, policies, seed, kind)


def _package() -> Any:
    try:
        import metaworld.policies
    except ModuleNotFoundError as missing:
        needed = f"world 'metaworld' needs {missing.name}: pip install --no-deps metaworld, then scipy and imageio."
        raise ConfigError(needed) from missing
    return metaworld.policies


def _words(task: str) -> str:
    return task.removesuffix("-v3").replace("-", " ").capitalize() + "."


def _states(observation: Any, info: Any) -> dict[str, Array]:
    o = np.asarray(observation, np.float64)
    return {"hand": o[:3], "fingers": o[3:4], "thing": o[4:7], "other": o[11:14], "goal": o[36:39], "observation": o}
