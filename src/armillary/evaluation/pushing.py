"""Pushing a T: the policy in PushT, beside chance and beside who does nothing, on the same boards.

    a planner, seeds  --pushed_by_model-->  Pushed: how much of the target the T covered, at best and in the end

The section ``policy-pusht`` of the suite (``elsewhere.py``); the boards are of held-out seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from armillary.closed_loop.drive import Planner, drive, drive_together
from armillary.closed_loop.policies import Chunks
from armillary.embodiments import Embodiment, load_embodiment, load_embodiments
from armillary.evaluation.bootstrap import Figure, difference, mean
from armillary.records import Array, Moment, Policy, WorldSpec
from armillary.steps import acting_in, body_in
from armillary.worlds import physics, pusht
from armillary.worlds.pusht import PushT, pusht_controller

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result

SPECS: dict[str, WorldSpec] = {"pusht": pusht.SPEC, "physics": physics.SPEC}
TOGETHER = 16  # boards side by side
RESTING = 20  # steps of who does nothing: what lies on a board lies still long before
MODEL, CHANCE, NOBODY = "model", "random", "still"
UNSEEN = "Where the card names no data of this world, the model has never seen it."


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """One life on a board: the share of the target that was covered, at best and in the end, and ``steps`` done."""

    seed: int
    policy: str
    success: bool
    best: float
    last: float
    steps: int


def policy_pusht(bench: "Bench") -> "Result":
    """The section ``policy-pusht``."""
    count, spec = bench.plan.episodes, SPECS["pusht"]
    seeds = [bench.held.seed_of("policy", i) for i in range(count)]
    body, told = body_of(bench, "pusht"), bench.told("policy in PushT", count)
    planner = Chunks(omni=bench.omni, embodiment=body.name, camera=spec.cameras[0])
    lives = pushed_by_model(planner, seeds, max_steps=spec.max_steps, body=body, on_done=told)
    wanderer, told = partial(pusht_controller, CHANCE), bench.told("random in PushT", count)
    lives += pushed_by(CHANCE, wanderer, seeds, max_steps=spec.max_steps, on_done=told)
    lives += pushed_by(NOBODY, lambda seed: Resting(), seeds, max_steps=RESTING)
    return lives, pushed_figures(lives), [
        f"At most {spec.max_steps} steps from the same boards: the share of the target that the T covers, at best and "
        f"in the end; success: more than 95 %. {UNSEEN}",
        f"random: the scripted wanderer. still: a disc that stays where it is, for {RESTING} steps.",
    ]  # fmt: skip


def body_of(bench: "Bench", world: str) -> Embodiment:
    """The body by which a checkpoint acts in that world; the world's own where it names none."""
    body = SPECS[world].embodiment
    return body_in(body, load_embodiments(bench.omni.parts.folder)) or load_embodiment(body)


def unknown_body(bench: "Bench", world: str) -> str:
    """Why a checkpoint cannot be measured in that world: it was trained with other bodies; empty if it can."""
    body, folder = SPECS[world].embodiment, bench.omni.parts.folder
    inside = load_embodiments(folder)
    if not inside or body_in(body, inside):
        return ""
    return f"Not measured: {folder.name} was not trained with the body {body}, it knows {', '.join(sorted(inside))}."


class Resting:
    """Does the same for ever; without ``action`` it leaves PushT's disc where it stood at first."""

    def __init__(self, action: Array | None = None) -> None:
        self._given, self._action = action, action

    def reset(self) -> None:
        self._action = self._given

    def __call__(self, moment: Moment) -> Array:
        if self._action is None:
            self._action = np.asarray(moment.state["disc"]).copy()
        return self._action


def pushed_by_model(
    planner: Planner, seeds: Sequence[int], *, max_steps: int, body: Embodiment | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Pushed]:  # fmt: skip
    """Let the planner push on the board of every seed, many boards side by side, with actions of ``body``."""
    lives: list[Pushed] = []
    for first in range(0, len(seeds), TOGETHER):
        batch = seeds[first : first + TOGETHER]
        covered: list[list[float]] = [[] for _ in batch]
        success = [False] * len(batch)
        for i, moment in pushing_together(planner, batch, max_steps=max_steps, body=body):
            covered[i].append(float(moment.state["covered"][0]))
            success[i] = moment.success
        lives += [_pushed(seed, MODEL, covered[i], success[i]) for i, seed in enumerate(batch)]
        if on_done is not None:
            on_done(len(lives))
    return lives


def pushing_together(
    planner: Planner, seeds: Sequence[int], *, max_steps: int, body: Embodiment | None = None
) -> Iterator[tuple[int, Moment]]:
    """Each moment on the board of every seed, side by side, as ``drive_together`` yields them."""
    bodies = {} if body is None else {body.name: body}
    with ExitStack() as stack:
        boards = [acting_in(stack.enter_context(closing(PushT())), bodies) for _ in seeds]
        yield from drive_together(boards, planner, seeds=seeds, max_steps=max_steps)


def pushed_by(
    name: str, policy: Callable[[int], Policy], seeds: Sequence[int], *, max_steps: int,
    on_done: Callable[[int], None] | None = None,
) -> list[Pushed]:  # fmt: skip
    """Let ``policy(seed)`` push on the board of every seed."""
    lives: list[Pushed] = []
    with closing(PushT()) as board:
        for seed in seeds:
            moments = drive(board, policy(seed), seed=seed, max_steps=max_steps)
            told = [(float(moment.state["covered"][0]), moment.success) for moment in moments]
            lives.append(_pushed(seed, name, [covered for covered, _ in told], told[-1][1]))
            if on_done is not None:
                on_done(len(lives))
    return lives


def _pushed(seed: int, policy: str, covered: Sequence[float], success: bool) -> Pushed:
    """``covered``: of every moment. Of the first one it is not known: gym-pusht tells it with its first step."""
    later = covered[1:]
    return Pushed(seed=seed, policy=policy, success=success, best=round(max(later), 4), last=round(later[-1], 4),
                  steps=len(later))  # fmt: skip


def pushed_figures(lives: Sequence[Pushed], *, seed: int = 0) -> dict[str, Figure]:
    """Of every policy success and coverage, at best and in the end; and the model's less the others', in pairs."""
    figures: dict[str, Figure] = {}
    policies = list(dict.fromkeys(life.policy for life in lives))
    for policy in policies:
        own = [life for life in lives if life.policy == policy]
        groups = [life.seed for life in own]
        figures[f"success_{policy}"] = mean([life.success for life in own], groups, seed=seed)
        figures[f"coverage_best_{policy}"] = mean([life.best for life in own], groups, seed=seed)
        figures[f"coverage_last_{policy}"] = mean([life.last for life in own], groups, seed=seed)
    for when in ("best", "last"):
        for other in policies[1:]:
            less = difference(figures[f"coverage_{when}_{policies[0]}"], figures[f"coverage_{when}_{other}"])
            figures[f"coverage_{when}_more_than_{other}"] = less
    return figures
