"""The laws of walking from noise to data."""

import itertools
import math

import pytest
import torch

from armillary.errors import RequestError
from armillary.sampling.solver import make_schedule, schedule_through, walk

# cosmos3.md appendix A.1: spacing, steps, shift, first levels, last levels, first and last whole thousandths
VECTORS = [
    ("flow", 35, 10, [0.999999, 0.997070, 0.993982, 0.990722], [0.486771, 0.381447, 0.233377],
     [999, 997, 993, 990, 987], [565, 486, 381, 233]),
    ("native", 35, 10, [0.999900, 0.996965, 0.993871, 0.990605], [0.483598, 0.377109, 0.227092],
     [999, 996, 993, 990, 987], [563, 483, 377, 227]),
    ("native", 30, 10, [0.999900, 0.996461, 0.992802, 0.988902], [0.526039, 0.416406, 0.256213],
     [999, 996, 992, 988, 984], [605, 526, 416, 256]),
    ("flow", 30, 10, [0.999999, 0.996567, 0.992915, 0.989023], [0.528798, 0.420293, 0.262092],
     [999, 996, 992, 989, 984], [607, 528, 420, 262]),
    ("native", 50, 3, [0.999666, 0.992907, 0.985963, 0.978826], [0.160571, 0.111008, 0.057637],
     [999, 992, 985, 978, 971], [206, 160, 111, 57]),
    ("native", 35, 3, [0.999666, 0.989955, 0.979858, 0.969354], [0.219325, 0.153708, 0.081004],
     [999, 989, 979, 969, 958], [278, 219, 153, 81]),
    ("karras", 35, 1, [0.995025, 0.994317, 0.993493, 0.992529], [0.229422, 0.174284, 0.128160],
     [995, 994, 993, 992, 991], [292, 229, 174, 128]),
    ("native", 4, 5, [0.999800, 0.937265, 0.833055, 0.624687], [0.937265, 0.833055, 0.624687],
     [999, 937, 833, 624], [999, 937, 833, 624]),
    ("flow", 4, 5, [0.999999, 0.937578, 0.833611, 0.625936], [0.937578, 0.833611, 0.625936],
     [999, 937, 833, 625], [999, 937, 833, 625]),
]  # fmt: skip


@pytest.mark.parametrize(("spacing", "steps", "shift", "head", "tail", "first", "last"), VECTORS)
def test_published_schedules_are_met(spacing, steps, shift, head, tail, first, last):
    schedule = make_schedule(steps, float(shift), spacing=spacing)
    *levels, end = schedule.levels
    assert end == 0
    assert levels[: len(head)] == pytest.approx(head, abs=6e-7)
    assert levels[-len(tail) :] == pytest.approx(tail, abs=6e-7)
    assert list(schedule.timesteps[: len(first)]) == first
    assert list(schedule.timesteps[-len(last) :]) == last


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 35])
def test_without_velocity_nothing_moves_to_the_bit(solver, steps):
    noise = torch.randn(64, 7, generator=torch.Generator().manual_seed(0))
    end = walk(lambda state, stop: torch.zeros_like(state), noise, make_schedule(steps, 3.0, solver=solver))
    assert torch.equal(end, noise)


@pytest.mark.parametrize("solver", ["unipc", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 7, 30])
def test_field_of_a_single_point_leads_to_it(solver, steps):
    """If all data is one point, the velocity is (x - point) / level, and both solvers are exact."""
    point = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    noise = torch.tensor([0.3, 0.4, -2.0], dtype=torch.float64)
    end = walk(lambda state, stop: (state - point) / stop.level, noise, make_schedule(steps, 5.0, solver=solver))
    torch.testing.assert_close(end, point)


def gaussian_error(solver: str, steps: int) -> float:
    """Distance to the exact end for data from N(0, s^2), started inside (0, 1) where all is smooth."""
    spread, top, low = 0.5, 0.9, 0.3

    def width(level: float) -> float:
        return math.sqrt((1 - level) ** 2 * spread**2 + level**2)

    def velocity(state, stop):
        return state * (stop.level - (1 - stop.level) * spread**2) / width(stop.level) ** 2

    levels = tuple(torch.linspace(top, low, steps + 1, dtype=torch.float64).tolist())
    schedule = schedule_through(levels, solver=solver)
    seen = []
    start = torch.ones(1, dtype=torch.float64)
    walk(lambda state, stop: seen.append(state) or velocity(state, stop), start, schedule)
    return abs(float(seen[-1]) - width(low) / width(top))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("unipc", 3)])
def test_error_falls_with_the_order_of_the_solver(solver, order):
    """Twice the steps, a half or an eighth of the error: the correction lifts UniPC's order from 2 to 3."""
    ratio = gaussian_error(solver, 80) / gaussian_error(solver, 160)
    assert ratio == pytest.approx(2**order, rel=0.15)


def test_unipc_is_better_than_euler_for_the_same_evaluations():
    assert gaussian_error("unipc", 10) < 0.2 * gaussian_error("euler", 10)


def published_unipc(velocity, state: float, levels: tuple[float, ...]) -> float:
    """The formulas of cosmos3.md 5.6, letter by letter, for one number."""

    def snr(level: float) -> float:
        return math.inf if level == 0 else math.log((1 - level) / level)

    steps, found, corrected, order_before = len(levels) - 1, [], None, 0
    for k in range(steps):
        found.append(state - levels[k] * velocity(state, k))
        if k:
            h = snr(levels[k]) - snr(levels[k - 1])
            phi = math.exp(-h) - 1
            base = levels[k] / levels[k - 1] * corrected - (1 - levels[k]) * phi * found[k - 1]
            if order_before == 1:
                state = base - (1 - levels[k]) * phi * 0.5 * (found[k] - found[k - 1])
            else:
                r = (snr(levels[k - 2]) - snr(levels[k - 1])) / h
                wanted = [(phi / -h - 1) / phi, 2 * ((phi / -h - 1) / -h - 0.5) / phi]
                rho = torch.linalg.solve(
                    torch.tensor([[1, 1], [r, 1]], dtype=torch.float64), torch.tensor(wanted, dtype=torch.float64)
                ).tolist()
                bend = rho[0] * (found[k - 2] - found[k - 1]) / r + rho[1] * (found[k] - found[k - 1])
                state = base - (1 - levels[k]) * phi * bend
        corrected = state
        order = min(2, steps - k, k + 1)
        h = snr(levels[k + 1]) - snr(levels[k])
        phi = math.exp(-h) - 1
        state = levels[k + 1] / levels[k] * state - (1 - levels[k + 1]) * phi * found[k]
        if order == 2:
            r = (snr(levels[k - 1]) - snr(levels[k])) / h
            state -= (1 - levels[k + 1]) * phi * 0.5 * (found[k - 1] - found[k]) / r
        order_before = order
    return state


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 35])
@pytest.mark.parametrize("shift", [1.0, 10.0])
def test_unipc_is_the_published_one(steps, shift):
    schedule = make_schedule(steps, shift)

    def velocity(state, level):
        return math.sin(3 * state) - 2 * level

    start = torch.tensor([1.3], dtype=torch.float64)
    ours = walk(lambda state, stop: (3 * state).sin() - 2 * stop.level, start, schedule)
    theirs = published_unipc(lambda state, k: velocity(state, schedule.levels[k]), 1.3, schedule.levels)
    assert float(ours) == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize("steps", [2, 3, 10])
def test_levels_fall(steps):
    for spacing in ("native", "flow", "karras"):
        levels = make_schedule(steps, 10.0, spacing=spacing).levels
        assert all(a > b for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0, "shift": 3.0}, "takes no step"),
        ({"steps": 10, "shift": 0.0}, "positive number"),
        ({"steps": 10, "shift": math.nan}, "positive number"),
        ({"steps": 2000, "shift": 1.0}, "fewer steps"),
        ({"steps": 10, "shift": 3.0, "solver": "heun"}, "choose from unipc, euler"),
    ],
)
def test_a_walk_that_cannot_be_taken_is_refused_with_a_remedy(wrong, words):
    with pytest.raises(RequestError, match=words):
        make_schedule(**wrong)
