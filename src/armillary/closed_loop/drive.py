"""Drives a world with a policy: moments come out until it is over or the steps run out.

    drive            one world, one policy, an action at a time
    drive_together   many worlds and one planner, so that a model plans for all of them in one batch

A world may be physics or the model's imagination (``imagined.py``): the same loop scores a policy in either.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from armillary.closed_loop.imagined import foreseeing
from armillary.errors import ConfigError
from armillary.records import Array, Moment, Policy, World


@runtime_checkable
class Planner(Protocol):
    """Plans for several moments at once: of each the next actions, k a in physical units, k at least 1.

    ``seeds``: one for each moment, where the planner needs chance. Equal moments and seeds give equal plans.
    """

    def __call__(self, moments: Sequence[Moment], seeds: Sequence[int]) -> Sequence[Array]: ...


def drive(world: World, policy: Policy, *, seed: int, max_steps: int) -> Iterator[Moment]:
    """Yield each moment, the first included, until the world is over or ``max_steps`` are done."""
    moment = world.reset(seed)
    policy.reset()
    yield moment
    for _ in range(max_steps):
        if moment.over:
            return
        moment = world.step(policy(moment))
        yield moment


def drive_together(
    worlds: Sequence[World],
    planner: Planner,
    *,
    seeds: Sequence[int],
    max_steps: int,
    told: Sequence[str] | None = None,
) -> Iterator[tuple[int, Moment]]:
    """Drive world i from ``seeds[i]``, all side by side; yield (i, moment), the first moments included.

    A world is planned for whenever its last plan is used up; imagined worlds foresee their plans together.
    ``told``: what the planner hears in each world in place of the world's own instruction; what counts as success
    stays the world's. Raises ``ConfigError`` if there are not as many seeds (and words) as worlds.
    """
    if len(seeds) != len(worlds) or (told is not None and len(told) != len(worlds)):
        counts = f"{len(worlds)} worlds, {len(seeds)} seeds" + (f", {len(told)} instructions" if told else "")
        raise ConfigError(f"{counts}: there must be one of each for every world.")
    moments = [world.reset(seed) for world, seed in zip(worlds, seeds, strict=True)]
    yield from enumerate(moments)
    plans: list[deque[Array]] = [deque() for _ in worlds]
    for step in range(max_steps):
        alive = [i for i, moment in enumerate(moments) if not moment.over]
        if not alive:
            return
        hungry = [i for i in alive if not plans[i]]
        if hungry:
            heard = [moments[i] if told is None else replace(moments[i], instruction=told[i]) for i in hungry]
            chance = [int(np.random.default_rng([seeds[i], step]).integers(2**31)) for i in hungry]
            planned = planner(heard, chance)
            for i, plan in zip(hungry, planned, strict=True):
                plans[i].extend(plan)
            foreseeing([worlds[i] for i in hungry], planned)
        for i in alive:
            moments[i] = worlds[i].step(plans[i].popleft())
            yield i, moments[i]
