"""Intervals say what they promise: against closed forms and against repeated draws."""

import numpy as np
import pytest

from armillary.errors import DataError
from armillary.evaluation.bootstrap import difference, mean, mean_over_kinds, r_squared


def test_the_value_is_the_mean_and_lies_in_its_interval():
    values = np.random.default_rng(0).normal(3, 1, 200)
    figure = mean(values, list(range(200)))
    assert figure.value == pytest.approx(values.mean())
    assert figure.low < figure.value < figure.high
    assert (figure.n, figure.episodes) == (200, 200)


def test_independent_samples_have_the_interval_of_the_textbook():
    values = np.random.default_rng(1).normal(0, 1, 400)
    figure = mean(values, list(range(400)))
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_samples_of_one_episode_count_as_one():
    once = np.random.default_rng(2).normal(0, 1, 50)
    ten_times, groups = np.repeat(once, 10), np.repeat(np.arange(50), 10)
    alone, repeated = mean(once, list(range(50))), mean(ten_times, groups.tolist())
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        centres = rng.normal(0, 1, 40)
        values = (centres[:, None] + rng.normal(0, 0.3, (40, 3))).ravel()
        figure = mean(values, np.repeat(np.arange(40), 3).tolist())
        covered += figure.low <= 0 <= figure.high
    assert 85 <= covered <= 100


def test_the_same_seed_gives_the_same_interval():
    values, groups = np.arange(20.0), list(range(20))
    assert mean(values, groups, seed=4) == mean(values, groups, seed=4)
    assert mean(values, groups, seed=4) != mean(values, groups, seed=5)


def test_r_squared_is_one_for_the_truth_and_zero_for_each_channels_mean():
    truth = np.random.default_rng(5).normal((1.0, -2.0, 5.0), (1, 2, 3), (30, 16, 3))
    groups = list(range(30))
    assert r_squared(truth, truth, groups).value == pytest.approx(1)
    average = np.broadcast_to(truth.mean(axis=(0, 1)), truth.shape)
    assert r_squared(truth, average, groups).value == pytest.approx(0, abs=1e-9)


def test_r_squared_falls_with_the_noise_as_it_must():
    rng = np.random.default_rng(6)
    truth = rng.normal(0, 1, (200, 16, 3))
    found = truth + rng.normal(0, 0.5, truth.shape)
    assert r_squared(truth, found, list(range(200))).value == pytest.approx(0.75, abs=0.02)


def test_nothing_measured_is_no_figure():
    with pytest.raises(DataError, match="at least one row"):
        mean([], [])


def test_a_difference_of_the_same_episodes_is_surer_than_either():
    rng = np.random.default_rng(6)
    hard, groups = rng.normal(0, 3, 100), list(range(100))
    one, other = mean(hard + 0.4, groups), mean(hard + rng.normal(0, 0.1, 100), groups)
    less = difference(one, other)
    assert less.value == pytest.approx(0.4, abs=0.05) and less.high - less.low < 0.06 < one.high - one.low
    with pytest.raises(DataError, match="cannot be paired"):
        difference(one, mean(hard[:50], groups[:50]))


def test_every_kind_counts_alike_however_often_it_comes():
    figure = mean_over_kinds([1] * 90 + [0] * 10, ["often"] * 90 + ["seldom"] * 10, list(range(100)))
    assert figure.value == pytest.approx(0.5) and (figure.low, figure.high) == pytest.approx((0.5, 0.5))
    assert figure.n == 100


def test_samples_that_are_all_alike_leave_room_for_others():
    none, every = mean([False] * 20, list(range(20))), mean([True] * 20, list(range(20)))
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(0.1684, abs=1e-4))  # Clopper and Pearson, 0 of 20
    assert (every.value, every.low, every.high) == (1, pytest.approx(0.8316, abs=1e-4), 1)
    twice = mean([False] * 40, [i // 2 for i in range(40)])
    assert twice.high == none.high  # of one episode both count as one
    some = mean([True] + [False] * 19, list(range(20)))
    assert 0 < some.value < some.high < 0.2 and some.low == 0
    still = mean([0.0] * 20, list(range(20)))
    assert still.low == still.high == 0  # a measure, not a share
