"""A camera gets where it is sent, in equal steps, whichever way it looks; its axes are turned once and rightly."""

import numpy as np
import pytest

from armillary.serving.camera import HERE, Target, moved, pose_of, steps_to
from armillary.serving.problems import Problem


def some_pose(chance):
    return pose_of(chance.uniform(-2, 2, 3).tolist(), chance.normal(size=4).tolist())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 2, 8, 31])
def test_equal_steps_lead_from_anywhere_to_the_target(seed, count):
    chance = np.random.default_rng(seed)
    here, there = some_pose(chance), some_pose(chance)
    rows = steps_to(Target(place=there, count=count), here)
    assert len(rows) == count and all(row == rows[0] for row in rows)
    assert np.allclose(moved(here, rows), there, atol=1e-9)


@pytest.mark.parametrize("turn", [0.0, 1e-9, np.pi - 1e-9, np.pi])
def test_no_turn_at_all_and_half_a_turn_are_no_matter(turn):
    there = pose_of([1, 0, 2], [0, np.sin(turn / 2), 0, np.cos(turn / 2)])
    rows = steps_to(Target(place=there, count=5), HERE)
    assert np.isfinite(rows).all() and np.allclose(moved(HERE, rows), there, atol=1e-6)


def test_up_is_against_down_and_forward_is_ahead():
    still = [0, 0, 0, 1]
    assert moved(HERE, steps_to(Target(place=pose_of([0, 0.4, 0.2], still), count=4), HERE))[:3, 3].tolist() == (
        pytest.approx([0, -0.4, 0.2])
    )
    (row,) = steps_to(Target(place=pose_of([0.1, 0.2, 0.3], still), count=1), HERE)
    assert row == pytest.approx([0.1, -0.2, 0.3, 1, 0, 0, 0, 1, 0])
    right = pose_of([0, 0, 0], [0, np.sin(np.pi / 4), 0, np.cos(np.pi / 4)])  # about up: to the right, seen from above
    assert right[:3, 2] == pytest.approx([1, 0, 0]), "what was to the right lies ahead now"


@pytest.mark.parametrize("rotation", [[0, 0, 0, 0], [1e-9, 0, 0, 0], [1e9, 0, 0, 0]])
def test_what_is_no_quaternion_is_refused(rotation):
    with pytest.raises(Problem, match="no quaternion"):
        pose_of([0, 0, 0], rotation)
