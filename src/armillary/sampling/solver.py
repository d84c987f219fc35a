"""Walking from noise to data: which levels to stop at, and how to step between them.

    state at level 1 (noise) --- velocity ---> next level --- ... ---> state at level 0 (data)

A ``Schedule`` holds every number a walk needs, worked out once in double precision; ``unipc`` and ``euler``
are stateless functions over it. The state is one float32 tensor of any shape, so all modalities of a request
can be walked together. Convention: velocity = noise - data, data = state - level * velocity.

The update is written as a pull towards the predicted data plus differences of predictions. All of them are
exactly zero where the velocity is zero, so a given number stays what it is, to the bit.

Source: cosmos3.md 5.6 (UniPC, bh2, order up to 2; the three schedules of published checkpoints).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor

from armillary.errors import RequestError

_TIMESTEPS = 1000  # the grid on which the model's time embedding was trained to be read
_KARRAS = {"highest": 200.0, "lowest": 0.147, "power": 7.0}  # as in published Nano and Super schedulers


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """One evaluation of the model, and how to leave it.

    ``level``: the exact noise level; ``embedded``: the level told to the model, cut to thousandths.
    ``correct_*``: weights that improve this state with the new prediction (first stop: none).
    ``pull``: how far the state moves towards the predicted data; ``past``: weight of the change of predictions.
    ``next_level``: where the step leads.
    """

    level: float
    embedded: float
    next_level: float
    correct_pull: float
    correct_past: float
    correct_new: float
    pull: float
    past: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A walk from noise to data: its stops, and the solver that takes it."""

    solver: str
    stops: tuple[Stop, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        """The level of each stop, and the 0 at the end."""
        return (*(stop.level for stop in self.stops), 0.0)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The whole thousandths of each level, as told to the model."""
        return tuple(round(stop.embedded * _TIMESTEPS) for stop in self.stops)


Velocity = Callable[[Tensor, Stop], Tensor]
Fresh = Callable[[], Tensor]


def make_schedule(steps: int, shift: float, *, solver: str = "unipc", spacing: str = "native") -> Schedule:
    """The walk of ``steps`` evaluations. A larger ``shift`` stays longer at high noise.

    ``native`` is how the model was made to be sampled; ``flow`` and ``karras`` repeat two schedules of the
    Diffusers scheduler, ``karras`` without regard to ``shift``.
    Raises ``RequestError`` for a walk that the model's thousandths cannot follow.
    """
    if steps < 1:
        raise RequestError(f"steps={steps} takes no step: ask for at least 1.")
    if not (math.isfinite(shift) and shift > 0):
        raise RequestError(f"shift={shift} bends no schedule: it must be a positive number, 1 leaves levels even.")
    if solver not in SOLVERS:
        raise RequestError(f"solver {solver!r} is unknown: choose from {', '.join(SOLVERS)}.")
    levels = _LEVELS[spacing](steps, shift)
    if int(_TIMESTEPS * levels[-1]) == 0:
        raise RequestError(
            f"steps={steps} with shift={shift} ends at level {levels[-1]:.5f}, below the model's finest, 0.001: "
            "take fewer steps or a larger shift."
        )
    return schedule_through(levels, solver=solver)


def schedule_through(levels: tuple[float, ...], *, solver: str = "unipc") -> Schedule:
    """The walk through falling ``levels``, then to 0, with every coefficient worked out."""
    ahead = (*levels, 0.0)
    stops = []
    for k, level in enumerate(levels):
        correct_pull, correct_past, correct_new = _corrector(ahead, k, _order(k - 1, len(levels)))
        pull, past = _predictor(ahead, k, _order(k, len(levels)))
        stops.append(
            Stop(
                level=level,
                embedded=int(_TIMESTEPS * level) / _TIMESTEPS,
                next_level=ahead[k + 1],
                correct_pull=correct_pull,
                correct_past=correct_past,
                correct_new=correct_new,
                pull=pull,
                past=past,
            )
        )
    return Schedule(solver=solver, stops=tuple(stops))


def fixed_schedule(levels: tuple[float, ...], *, stochastic: bool) -> Schedule:
    """The walk of a distilled model through its own ``levels``, told to it as they are, then to 0 (cosmos3.md 5.6).

    ``stochastic``: at each stop noise is drawn anew (``renew``); else straight on (``euler``). ``RequestError`` if the
    levels do not fall from at most 1 towards 0.
    """
    ahead = (*levels, 0.0)
    if not levels or levels[0] > 1 or any(there >= here for here, there in pairwise(ahead)):
        raise RequestError(
            f"the levels {levels} do not fall from at most 1 to above 0: the checkpoint's files are wrong."
        )
    none = {"correct_pull": 0.0, "correct_past": 0.0, "correct_new": 0.0, "pull": 0.0, "past": 0.0}
    stops = tuple(Stop(level=here, embedded=here, next_level=there, **none) for here, there in pairwise(ahead))
    return Schedule(solver="renew" if stochastic else "euler", stops=stops)


def walk(velocity: Velocity, state: Tensor, schedule: Schedule, fresh: Fresh | None = None) -> Tensor:
    """Follow ``velocity(state, stop)`` from noise to data with the schedule's own solver.

    ``fresh`` gives a state at level 1 anew, for the schedules that draw noise on the way.
    """
    if schedule.solver == "renew":
        assert fresh is not None, "a walk that draws noise anew is given the noise"
        return renew(velocity, state, schedule, fresh)
    return SOLVERS[schedule.solver](velocity, state, schedule)


def euler(velocity: Velocity, state: Tensor, schedule: Schedule) -> Tensor:
    """Straight steps along the velocity: first order, one evaluation a step."""
    for stop in schedule.stops:
        state = state.add(velocity(state, stop), alpha=stop.next_level - stop.level)
    return state


def renew(velocity: Velocity, state: Tensor, schedule: Schedule, fresh: Fresh) -> Tensor:
    """Guess the data at each stop and go on from the guess with other noise: how distilled models are walked.

    A given number stays what it is, to the bit, if ``fresh`` has it too.
    """
    for stop in schedule.stops:
        data = state.sub(velocity(state, stop), alpha=stop.level)
        state = data.lerp(fresh(), stop.next_level) if stop.next_level else data
    return state


def unipc(velocity: Velocity, state: Tensor, schedule: Schedule) -> Tensor:
    """Predict, look, correct: second order from one evaluation a step.

    Each new prediction first corrects the state it was made from (and is not made again), then the
    difference to the prediction before bends the next step. First and last steps are first order.
    """
    before = state  # the corrected state of the stop before
    data: Tensor | None = None  # what the stop before took the data to be
    data_before: Tensor | None = None
    for stop in schedule.stops:
        found = state.sub(velocity(state, stop), alpha=stop.level)
        if data is not None:
            state = before.lerp(data, stop.correct_pull).add_(found - data, alpha=stop.correct_new)
            if data_before is not None:
                state.add_(data_before - data, alpha=stop.correct_past)
        before, ahead = state, state.lerp(found, stop.pull)
        if data is not None and stop.past:
            ahead.add_(data - found, alpha=stop.past)
        data_before, data, state = data, found, ahead
    return state


SOLVERS: dict[str, Callable[[Velocity, Tensor, Schedule], Tensor]] = {"unipc": unipc, "euler": euler}


def native_levels(steps: int, shift: float) -> tuple[float, ...]:
    """Even stops from .999 down to just above 0, then shifted: the schedule of native sampling."""
    return _shifted(np.linspace(1 - 1 / _TIMESTEPS, 0.0, steps + 1)[:-1], shift)


def flow_levels(steps: int, shift: float) -> tuple[float, ...]:
    """Even stops from 1 to .001, shifted; the first is moved off 1, where no data shows through."""
    levels = _shifted(np.linspace(1.0, 1 / _TIMESTEPS, steps + 1)[:-1], shift)
    return (levels[0] - 1e-6 if abs(levels[0] - 1) < 1e-6 else levels[0], *levels[1:])


def karras_levels(steps: int, shift: float) -> tuple[float, ...]:
    """Stops even in the seventh root of noise over data; ``shift`` has no say."""
    del shift
    power = _KARRAS["power"]
    high, low = _KARRAS["highest"] ** (1 / power), _KARRAS["lowest"] ** (1 / power)
    ratios = (high + np.linspace(0, 1, steps) * (low - high)) ** power
    return tuple(float(level) for level in ratios / (1 + ratios))


_LEVELS: dict[str, Callable[[int, float], tuple[float, ...]]] = {
    "native": native_levels,
    "flow": flow_levels,
    "karras": karras_levels,
}


def _shifted(even: np.ndarray, shift: float) -> tuple[float, ...]:
    return tuple(float(level) for level in shift * even / (1 + (shift - 1) * even))


def _order(k: int, steps: int) -> int:
    return min(2, steps - k, k + 1)


def _log_snr(level: float) -> float:
    return math.inf if level == 0 else math.log1p(-level) - math.log(level)


def _predictor(levels: tuple[float, ...], k: int, order: int) -> tuple[float, float]:
    """(pull, past): state + pull * (found - state) + past * (found_before - found)."""
    here, there = levels[k], levels[k + 1]
    step = _log_snr(there) - _log_snr(here)
    pull = (1 - there) * -math.expm1(-step)
    if order == 1:
        return pull, 0.0
    ratio = (_log_snr(levels[k - 1]) - _log_snr(here)) / step
    return pull, pull / (2 * ratio)


def _corrector(levels: tuple[float, ...], k: int, order: int) -> tuple[float, float, float]:
    """(pull, past, new): before + pull * (data - before) + past * (data_before - data) + new * (found - data)."""
    if k == 0:
        return 0.0, 0.0, 0.0
    step = _log_snr(levels[k]) - _log_snr(levels[k - 1])
    phi = math.expm1(-step)
    pull = (1 - levels[k]) * -phi
    if order == 1:
        return pull, 0.0, pull / 2
    ratio = (_log_snr(levels[k - 2]) - _log_snr(levels[k - 1])) / step
    first = (phi / -step - 1) / phi
    second = 2 * ((phi / -step - 1) / -step - 0.5) / phi
    rho_past = (second - first) / (ratio - 1)  # of [[1, 1], [ratio, 1]] rho = [first, second]
    return pull, pull * rho_past / ratio, pull * (first - rho_past)
