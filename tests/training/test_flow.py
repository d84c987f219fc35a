"""The road from data to noise: levels as the specification draws them, given numbers untouched, errors counted once."""

import pytest
import torch

from armillary.training.flow import flow_loss, mix, sample_levels, shifted, waver

WAVER = {0.0: 1.0, 0.1: 0.80257, 0.25: 0.61642, 0.5: 0.5, 0.75: 0.38358, 0.9: 0.19743, 1.0: 0.0}  # cosmos3.md A.2


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_waver_has_the_specified_values():
    found = waver(torch.tensor(list(WAVER), dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(list(WAVER.values()), dtype=torch.float64), atol=1e-5, rtol=0)


def test_waver_falls_everywhere_and_means_a_half():
    values = waver(torch.linspace(0, 1, 10_001, dtype=torch.float64))
    assert (values.diff() < 0).all()
    assert abs(values.mean().item() - 0.5) < 1e-4


@pytest.mark.parametrize(("shift", "films", "pictures", "beyond"), [
    (3.0, 0.7095, 0.714, 0.134), (5.0, 0.7869, 0.794, 0.221), (10.0, 0.8660, 0.877, 0.590),
])  # fmt: skip
def test_levels_have_the_specified_means(shift, films, pictures, beyond):
    drawn = sample_levels(200_000, shift=shift, generator=rng())
    assert abs(drawn.mean().item() - films) < 0.003
    assert abs((drawn > 0.9).float().mean().item() - beyond) < 0.005
    assert abs(sample_levels(200_000, shift=shift, generator=rng(), image=True).mean().item() - pictures) < 0.003
    assert drawn.min() >= 0 and drawn.max() <= 1


def test_shift_keeps_the_ends_and_one_changes_nothing():
    levels = torch.linspace(0, 1, 11)
    assert torch.equal(shifted(torch.tensor([0.0, 1.0]), 5.0), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(shifted(levels, 1.0), levels)
    assert (shifted(levels[1:-1], 3.0) > levels[1:-1]).all()


def test_level_zero_is_the_data_to_the_bit_and_level_one_is_noise():
    data, noise = torch.randn(2, 3, 5, generator=rng()), torch.randn(2, 3, 5, generator=rng(1))
    level = torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    mixed = mix(data, noise, level)
    assert torch.equal(mixed[level == 0], data[level == 0])
    torch.testing.assert_close(mixed[level == 1], noise[level == 1])
    assert torch.equal(mix(data * float("inf"), noise, torch.zeros(2, 3)), data * float("inf"))


def test_velocity_is_the_roads_slope():
    data, noise = torch.randn(1, 4, 3, generator=rng()), torch.randn(1, 4, 3, generator=rng(1))
    near, far = (mix(data, noise, torch.full((1, 4), level)) for level in (0.4, 0.5))
    torch.testing.assert_close((far - near) / 0.1, noise - data, atol=1e-5, rtol=1e-4)


def test_given_numbers_count_below_the_line_only():
    target = torch.ones(1, 4, 2)
    hidden = torch.tensor([[True, True, False, False]])
    assert flow_loss(torch.zeros(1, 4, 2), target, hidden, torch.ones(2)).item() == pytest.approx(0.5)
    assert flow_loss(torch.zeros(1, 4, 2), target, torch.ones_like(hidden), torch.ones(2)).item() == pytest.approx(1.0)


def test_numbers_that_do_not_exist_leave_both_sums():
    velocity = torch.tensor([[[0.0, 123.0]]])
    loss = flow_loss(
        velocity, torch.tensor([[[2.0, 0.0]]]), torch.ones(1, 1, dtype=torch.bool), torch.tensor([1.0, 0.0])
    )
    assert loss.item() == pytest.approx(4.0)


def test_a_sample_counts_the_same_however_many_of_its_numbers_exist():
    target, hidden = torch.ones(2, 1, 4), torch.ones(2, 1, dtype=torch.bool)
    weight = torch.tensor([[[1.0, 1, 1, 1]], [[1.0, 0, 0, 0]]])
    assert flow_loss(torch.zeros(2, 1, 4), target, hidden, weight).item() == pytest.approx(1.0)
