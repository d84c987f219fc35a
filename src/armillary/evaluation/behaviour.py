"""The policy in closed loop: does it do what it is told, and would it have happened anyway?

measure_policy   the model drives the physics: it sees a picture, hears an instruction, plans 16 actions,
                 does as many of them as the checkpoint takes (Pico all) and plans again; success is the world's own
                 judgement, within 60 steps
blind=True       the same model hears an instruction drawn by chance among all that this table allows, while
                 success is still the true one's: a policy as skilled that does not know what was asked
measure_random   chance: a gripper that goes to random places and opens and closes
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from armillary.closed_loop.drive import Planner, drive, drive_together
from armillary.evaluation.bootstrap import Figure, mean
from armillary.worlds.experts import tabletop_controller
from armillary.worlds.tabletop import SPEC, Tabletop
from armillary.worlds.tabletop_tasks import draw_task, parse

TOGETHER = 16  # worlds side by side: the model plans for all of them at once


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One episode. ``told``: what the policy heard; ``instruction``: what counts. ``steps``: done until the end."""

    seed: int
    policy: str
    kind: str  # of task: put, push, stack, lift, touch
    instruction: str
    told: str
    success: bool
    steps: int


def measure_policy(
    planner: Planner,
    seeds: Sequence[int],
    *,
    name: str = "model",
    blind: bool = False,
    max_steps: int = SPEC.max_steps,
    on_done: Callable[[int], None] | None = None,
) -> list[Attempt]:
    """Let the planner act in the tabletop of every seed; ``blind`` tells it an instruction drawn by chance."""
    attempts: list[Attempt] = []
    for first in range(0, len(seeds), TOGETHER):
        batch = seeds[first : first + TOGETHER]
        asked, drawn = zip(*(instructions(seed) for seed in batch), strict=True)
        told = drawn if blind else asked
        success, steps = [False] * len(batch), [-1] * len(batch)  # the first moment comes before any step
        with tables(len(batch)) as worlds:
            for i, moment in drive_together(worlds, planner, seeds=batch, max_steps=max_steps, told=told):
                success[i], steps[i] = moment.success, steps[i] + 1
        attempts += [
            Attempt(seed=seed, policy=name, kind=asked[i].split()[0].lower(), instruction=asked[i], told=told[i],
                    success=success[i], steps=steps[i])
            for i, seed in enumerate(batch)
        ]  # fmt: skip
        if on_done is not None:
            on_done(len(attempts))
    return attempts


def measure_random(seeds: Sequence[int], *, max_steps: int = SPEC.max_steps) -> list[Attempt]:
    """Let chance act in the tabletop of every seed. Nothing is drawn, so it takes a moment."""
    world = Tabletop(views=())
    attempts = []
    for seed in seeds:
        moments = list(drive(world, tabletop_controller(world, "random", seed=seed), seed=seed, max_steps=max_steps))
        attempts.append(Attempt(
            seed=seed, policy="random", kind=world.task.kind, instruction=world.task.words, told="",
            success=moments[-1].success, steps=len(moments) - 1,
        ))  # fmt: skip
    return attempts


def instructions(seed: int) -> tuple[str, str]:
    """What is asked at the table of that seed, and an instruction drawn by chance among all it allows."""
    world = Tabletop(views=())
    moment = world.reset(seed)
    drawn = draw_task(world.things, moment.state["objects"], np.random.default_rng([seed, 43]))
    assert parse(drawn.words, world.names) == drawn
    return moment.instruction, drawn.words


def policy_figures(attempts: Sequence[Attempt], *, seed: int = 0) -> dict[str, Figure]:
    """Success of every policy among the attempts, and of the first one for each kind of task."""
    figures: dict[str, Figure] = {}
    policies = list(dict.fromkeys(attempt.policy for attempt in attempts))
    for policy in policies:
        own = [attempt for attempt in attempts if attempt.policy == policy]
        figures[f"success_{policy}"] = _success(own, seed)
    first = [attempt for attempt in attempts if attempt.policy == policies[0]]
    for kind in sorted({attempt.kind for attempt in first}):
        figures[f"success_{policies[0]}_{kind}"] = _success([a for a in first if a.kind == kind], seed)
    return figures


def _success(attempts: Sequence[Attempt], seed: int) -> Figure:
    return mean([a.success for a in attempts], [a.seed for a in attempts], seed=seed)


@contextmanager
def tables(count: int, extras: tuple[str, ...] = ()) -> Iterator[list[Tabletop]]:
    """So many tabletops that draw the front camera, with ``extras`` of it, closed in the end."""
    with ExitStack() as stack:
        worlds = [Tabletop(views=("front",), extras=extras) for _ in range(count)]
        for world in worlds:
            stack.callback(world.close)
        yield worlds
