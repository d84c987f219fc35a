"""Any Gymnasium environment as a world, and any world as a Gymnasium environment.

    GymWorld    gymnasium.Env -> World           so that foreign environments are recorded like ours
    WorldEnv    World -> gymnasium.Env           so that foreign agents act in ours

A world knows one ``over``; Gymnasium knows two ends. ``terminated`` is the world's ``over``, ``truncated`` is the
driver's time limit, which a world does not have. Seeds pass through unchanged: a life is reproduced from
(environment, seed, actions).
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

from armillary.errors import ConfigError, DataError, RequestError
from armillary.records import Array, Moment, World, WorldSpec

States = Callable[[Any, Mapping[str, Any]], Mapping[str, Array]]
Pictures = Callable[[Any], Mapping[str, Array]]


class GymWorld:
    """A Gymnasium environment as a ``World``.

    ``states(observation, info)`` names the environment's state; without it numeric observations of one axis are
    kept under their own names (``observation`` where they have none). ``pictures(observation)`` gives uint8 h w 3 by
    camera; without it ``env.render()`` is the only camera's picture. Pictures of another size are resized to
    ``spec.size``. Success is ``info["is_success"]`` or ``info["success"]``. ``goes_on``: the environment may be
    stepped after its end (Gymnasium leaves open what happens then, so it is refused otherwise).
    """

    def __init__(
        self,
        env: gymnasium.Env,
        spec: WorldSpec,
        *,
        instruction: str = "",
        states: States | None = None,
        pictures: Pictures | None = None,
        goes_on: bool = False,
    ) -> None:
        if pictures is None and env.render_mode != "rgb_array":
            raise ConfigError(
                f"the environment of world {spec.name!r} renders {env.render_mode!r}: pictures need "
                'render_mode="rgb_array" when it is made, or a function `pictures` that finds them in the observation.'
            )
        _check_width(env.action_space, spec)
        self.spec = spec
        self.env = env
        self._words = self._instruction = instruction
        self._states = states or plain_states
        self._pictures = pictures
        self._goes_on = goes_on
        self._ready = False

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """The first moment of the life that ``seed`` determines. ``instruction`` changes the words, not the task."""
        self._instruction = self._words if instruction is None else instruction
        observation, info = self.env.reset(seed=seed)
        return self._moment(observation, info, reward=0.0, over=False)

    def step(self, action: Array) -> Moment:
        """One step under ``action`` (a numbers, clipped to the environment's bounds); ``RequestError`` once over."""
        if not self._ready:
            raise RequestError(
                f"world {self.spec.name!r} has not begun or is over: call reset(seed) before the next step."
            )
        observation, reward, terminated, truncated, info = self.env.step(self._native(action))
        return self._moment(observation, info, reward=float(reward), over=bool(terminated or truncated))

    def close(self) -> None:
        self.env.close()

    def __enter__(self) -> "GymWorld":
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def _native(self, action: Array) -> Any:
        space = self.env.action_space
        numbers = np.asarray(action, dtype=np.float64).reshape(-1)
        if numbers.size != self.spec.action_size or not np.isfinite(numbers).all():
            raise DataError(
                f"action {np.array2string(numbers, precision=3)} came: world {self.spec.name!r} takes "
                f"{self.spec.action_size} finite numbers."
            )
        if isinstance(space, spaces.Discrete):
            return int(np.clip(round(numbers[0]), space.start, space.start + space.n - 1))
        assert isinstance(space, spaces.Box)
        return np.clip(numbers.reshape(space.shape), space.low, space.high).astype(space.dtype)

    def _moment(self, observation: Any, info: Mapping[str, Any], *, reward: float, over: bool) -> Moment:
        self._ready = self._goes_on or not over
        if self._pictures is None:
            pictures: Mapping[str, Array] = {self.spec.cameras[0]: np.asarray(self.env.render())}
        else:
            pictures = self._pictures(observation)
        return Moment(
            frames={camera: fitted(picture, self.spec.size) for camera, picture in pictures.items()},
            state={name: np.array(value) for name, value in self._states(observation, info).items()},
            instruction=self._instruction,
            reward=reward,
            success=bool(info.get("is_success", info.get("success", False))),
            over=over,
        )


def gym_world(
    env: gymnasium.Env, *, name: str, embodiment: str, instruction: str = "", max_steps: int = 1000
) -> GymWorld:
    """``env`` as a world with everything asked of the environment itself: rate, action width, picture size.

    The rate is ``metadata["render_fps"]``; ``ConfigError`` where the environment does not state one, because a wrong
    rate makes every learnt motion wrong.
    """
    fps = env.metadata.get("render_fps")
    if not fps:
        raise ConfigError(f"environment {name!r} states no render_fps: make the WorldSpec yourself, with step_seconds.")
    env.reset(seed=0)
    picture = np.asarray(env.render())
    if picture.ndim != 3:
        raise ConfigError(
            f"environment {name!r} renders an array of shape {picture.shape}: make it with "
            'render_mode="rgb_array", so that it renders h w 3.'
        )
    spec = WorldSpec(
        name=name,
        embodiment=embodiment,
        action_size=action_width(env.action_space),
        step_seconds=1.0 / float(fps),
        cameras=("main",),
        size=(picture.shape[0], picture.shape[1]),
        max_steps=max_steps,
    )
    return GymWorld(env, spec, instruction=instruction)


class WorldEnv(gymnasium.Env):
    """A ``World`` as a Gymnasium environment, in LeRobot's words.

    Observation: ``pixels`` (camera -> uint8 h w 3) and ``state`` (name -> float64). ``info`` holds ``is_success`` and
    ``instruction``. After ``max_steps`` (``spec.max_steps`` if not given) the life is ``truncated``. ``limits`` are
    the lowest and highest action, a numbers each; without them the action space is unbounded.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(
        self, world: World, *, max_steps: int | None = None, limits: tuple[Array, Array] | None = None
    ) -> None:
        spec = world.spec
        self.world = world
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": spec.fps}
        self.render_mode = "rgb_array"
        self.max_steps = spec.max_steps if max_steps is None else max_steps
        low, high = (
            limits if limits is not None else (np.full(spec.action_size, -np.inf), np.full(spec.action_size, np.inf))
        )
        self.action_space = spaces.Box(np.float32(low), np.float32(high), (spec.action_size,), np.float32)
        first = world.reset(0)
        self.observation_space = spaces.Dict(
            {
                "pixels": spaces.Dict({c: spaces.Box(0, 255, f.shape, np.uint8) for c, f in first.frames.items()}),
                "state": spaces.Dict(
                    {n: spaces.Box(-np.inf, np.inf, np.shape(v), np.float64) for n, v in first.state.items()}
                ),
            }
        )
        self.task = spec.name
        self.task_description = first.instruction
        self._moment = first
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a life. Without a seed the next one is drawn from the environment's own generator."""
        super().reset(seed=seed)
        words = None if options is None else options.get("instruction")
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        self._steps = 0
        self._moment = self.world.reset(seed, words)
        self.task_description = self._moment.instruction
        return self._observed()

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._moment = self.world.step(np.asarray(action, dtype=np.float64))
        self._steps += 1
        observation, info = self._observed()
        return observation, self._moment.reward, self._moment.over, self._steps >= self.max_steps, info

    def render(self) -> Array:
        """The first camera's picture, uint8 h w 3."""
        return self._moment.frames[self.world.spec.cameras[0]]

    def close(self) -> None:
        self.world.close()

    def _observed(self) -> tuple[Any, dict[str, Any]]:
        moment = self._moment
        pixels = dict(moment.frames)
        state = {name: np.asarray(value, dtype=np.float64) for name, value in moment.state.items()}
        return {"pixels": pixels, "state": state}, {"is_success": moment.success, "instruction": moment.instruction}


def plain_states(observation: Any, info: Mapping[str, Any]) -> dict[str, Array]:
    """The numbers in an observation by name: everything of at most one axis; pictures are left out."""
    named = observation if isinstance(observation, Mapping) else {"observation": observation}
    arrays = {name: np.asarray(value) for name, value in named.items()}
    return {n: v.astype(np.float64) for n, v in arrays.items() if v.ndim <= 1 and v.dtype.kind in "fiub"}


def action_width(space: spaces.Space) -> int:
    """How many numbers an action of ``space`` has (Box or Discrete); ``ConfigError`` for other kinds."""
    if isinstance(space, spaces.Discrete):
        return 1
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    raise ConfigError(
        f"action space {space} came: an action must be a Box of numbers or one Discrete choice. "
        "Wrap the environment in a gymnasium.ActionWrapper that flattens it."
    )


def fitted(picture: Array, size: tuple[int, int]) -> Array:
    """``picture`` uint8 h w 3 at ``size`` (height, width); resized with antialiasing only if it differs."""
    if picture.shape[:2] == size:
        return np.ascontiguousarray(picture)
    image = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=None)
    return np.asarray(image)


def _check_width(space: spaces.Space, spec: WorldSpec) -> None:
    width = action_width(space)
    if width != spec.action_size:
        raise ConfigError(
            f"world {spec.name!r} states {spec.action_size} action numbers and its environment takes {width}: "
            f"write action_size={width}."
        )
