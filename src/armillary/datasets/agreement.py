"""Whether what actions ask for and what changes in pictures or states rise and fall together: one episode is enough.

The doctor's probe needs several episodes and says more; this is what remains where there are one or two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armillary.datasets.findings import Findings
from armillary.embodiments import Embodiment
from armillary.records import Array

CLEARLY, LEAST_STEPS = 0.6, 40  # fewer steps say nothing


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Rank correlation of what actions ask for with what changes between frames.

    ``by_chance``: what 95 % of wrong pairings stay below. ``best_lag``: at which shift it is ``best``; above 0 the
    pictures come later than the actions.
    """

    correlation: float
    by_chance: float
    best_lag: int
    best: float


def agreement(effort: Array, change: Array, *, reach: int = 5) -> Agreement:
    """Whether what is asked for (``effort``, t) and what changes between frames (``change``, t) rise and fall together.

    Chance is judged by shifting one against the other by more than ``reach`` steps: unlike shuffling, that keeps
    how slowly both of them change.
    """
    shifted = [_rank_correlation(np.roll(effort, k), change) for k in range(2 * reach, len(effort) - 2 * reach)]
    lags = range(-reach, reach + 1)
    found = [
        _rank_correlation(effort[max(0, -k) : len(effort) - max(0, k)], change[max(0, k) : len(change) + min(0, k)])
        for k in lags
    ]
    return Agreement(
        correlation=found[reach],
        by_chance=float(np.quantile(np.abs(shifted), 0.95)),
        best_lag=lags[int(np.argmax(found))],
        best=max(found),
    )


def clearest(efforts: Sequence[Array], states: Mapping[str, Array]) -> Agreement | None:
    """The state (t+1 ...) that changes most clearly as one of the efforts (t) asks; None where none does.

    A car at an even pace changes its pictures by what stands beside the road, and its own place by what was asked for.
    A state counts only where it agrees by more than ``CLEARLY`` and more than chance: of many, one often does a little.
    """
    found = []
    for values in states.values():
        change = np.linalg.norm(np.diff(values, axis=0), axis=1)
        if np.ptp(change) > 0 and np.isfinite(change).all():
            found += [agreement(effort, change) for effort in efforts if len(effort) == len(change)]
    clear = [one for one in found if one.best > max(CLEARLY, one.by_chance)]
    return max(clear, key=lambda one: one.best, default=None)


def efforts_of(actions: Array, body: Embodiment) -> list[Array]:
    """How much each action (t a) asks for, a number a step: all together first, then moves and turns where it has them.

    The size of its pose steps, or of its targets' moves. What is steady says nothing and is left out.
    """
    gripper = None if body.gripper is None else body.gripper.channel
    columns = [i for i, channel in enumerate(body.channels) if channel.name != gripper]
    if body.channels[columns[0]].frame == "absolute":
        found = [np.linalg.norm(np.diff(actions[:, columns], axis=0, prepend=actions[:1, columns]), axis=1)]
    elif body.rotation == "none":
        found = [np.linalg.norm(actions[:, columns], axis=1)]
    else:
        moves = np.linalg.norm(actions[:, :3], axis=1)
        turns = np.linalg.norm(actions[:, 3:9] - np.array([1, 0, 0, 0, 1, 0]), axis=1)
        parts = [part for part in (moves, turns) if _varies(part)]
        found = [sum((part / part.std() for part in parts), np.zeros(len(actions))), *parts]
    return [np.asarray(effort) for effort in found if _varies(effort)]


def _varies(effort: Array) -> bool:
    return bool(len(effort) and np.ptp(effort) > max(1e-3 * np.abs(effort).max(), 1e-9))


def note_agreement(findings: Findings, found: Agreement) -> None:
    """Note actions that have no more to do with the pictures than chance, or fit them better some steps off."""
    if found.best <= found.by_chance:
        findings.odd(
            "actions-say-little",
            f"in episode 0 the actions have no more to do with what changes in pictures and states ({found.best:.2f}) "
            f"than chance has ({found.by_chance:.2f}): they may be of another robot, or noise.",
        )
    elif abs(found.best_lag) >= 2 and found.best - found.correlation > 0.1:
        findings.odd(
            "actions-shifted",
            f"in episode 0 the actions fit what changes best {abs(found.best_lag)} frames "
            f"{'later' if found.best_lag > 0 else 'earlier'} ({found.best:.2f} against {found.correlation:.2f} as "
            "recorded): they may be written beside the wrong frames; they are used as recorded.",
        )


def _rank_correlation(one: Array, other: Array) -> float:
    ranks = [np.argsort(np.argsort(x, kind="stable")).astype(float) for x in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
