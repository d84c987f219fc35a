"""Lives of others' environments as episodes, and two controllers that every environment can have.

record_gym(world, policies, seed, kind)    a life under one of the policies
Noisy(policy, seed, share)                 somebody with shaking hands         Uniform(width, seed)   chance
"""

from collections.abc import Mapping

import numpy as np

from armillary.errors import RequestError
from armillary.records import Array, Episode, Moment, Policy, World
from armillary.worlds.record import LEAST_STEPS, live
from armillary.worlds.stacked import stacked


class Noisy:
    """A policy whose actions, between -1 and 1, drift off by a slow error of standard deviation ``share``."""

    def __init__(self, policy: Policy, seed: int, share: float) -> None:
        self._policy, self._seed, self._share = policy, seed, share
        self.reset()

    def reset(self) -> None:
        self._policy.reset()
        self._rng = np.random.default_rng([self._seed, 89])
        self._drift: Array | None = None

    def __call__(self, moment: Moment) -> Array:
        action = np.asarray(self._policy(moment), np.float64)
        drift = np.zeros(action.shape) if self._drift is None else self._drift
        self._drift = 0.9 * drift + self._rng.normal(0, 0.44 * self._share, action.shape)
        return np.clip(action + self._drift, -1, 1)


class Uniform:
    """Chance: goes on with each draw for a few steps, so that something comes of it."""

    def __init__(self, width: int, seed: int) -> None:
        self._width, self._seed = width, seed
        self.reset()

    def reset(self) -> None:
        self._rng = np.random.default_rng([self._seed, 97])
        self._left, self._action = 0, np.zeros(self._width)

    def __call__(self, moment: Moment) -> Array:
        if self._left == 0:
            self._left, self._action = int(self._rng.integers(2, 8)), self._rng.uniform(-1, 1, self._width)
        self._left -= 1
        return self._action.copy()


def record_gym(world: World, policies: Mapping[str, Policy], seed: int, kind: str) -> Episode:
    """One life with what the environment tells: pictures, states, instruction, success. ``RequestError`` for an unknown
    ``kind`` of controller.
    """
    if kind not in policies:
        raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(policies)}.")
    spec = world.spec
    lived = list(live(world, policies[kind], seed, max_steps=spec.max_steps, least_steps=LEAST_STEPS))
    moments = [moment for moment, _ in lived]
    done = [number for number, moment in enumerate(moments) if moment.success]
    parameters = vars(world).get("parameters") or {}
    return Episode(
        world=spec.name, seed=seed, fps=spec.fps, embodiment=spec.embodiment,
        **stacked(moments, [action for _, action in lived[1:]]), captions={"short": moments[0].instruction},
        events=[(done[0] / spec.fps, done[0] / spec.fps, "success")] if done else [], success=bool(done),
        recipe={"world": spec.name, "seed": seed, "controller": kind, "size": list(spec.size),
                "parameters": dict(parameters)},
    )  # fmt: skip
