"""An episode whose parts do not fit together is refused, in a sentence that says which part."""

from dataclasses import replace

import numpy as np
import pytest

from armillary.errors import DataError
from armillary.records import Episode, WorldSpec, check_episode


def episode(t=4):
    return Episode(
        world="none",
        seed=0,
        fps=10.0,
        frames={"front": np.zeros((t, 8, 8, 3), np.uint8)},
        actions=np.zeros((t - 1, 2)),
        embodiment="pusht",
        states={"finger": np.zeros((t, 2))},
        instruction="push",
    )


def test_a_sound_episode_passes_unchanged():
    whole = episode()
    assert check_episode(whole) is whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": {}}, "at least one camera"),
        ({"frames": {"a": np.zeros((4, 8, 8, 3), np.uint8), "b": np.zeros((3, 8, 8, 3), np.uint8)}}, "same number"),
        ({"actions": np.zeros((4, 2))}, "there must be 3"),
        ({"actions": np.full((3, 2), np.nan)}, "not a finite number"),
        ({"frames": {"front": np.zeros((4, 8, 8, 3), np.float32)}}, "uint8 t h w 3"),
        ({"frames": {"front": np.zeros((4, 3, 8, 8), np.uint8)}}, "uint8 t h w 3"),
        ({"states": {"finger": np.zeros((3, 2))}}, "state 'finger' has 3 rows"),
    ],
)
def test_a_part_that_does_not_fit_is_named(change, words):
    with pytest.raises(DataError, match=words):
        check_episode(replace(episode(), **change))


def test_a_worlds_rate_is_one_over_its_step():
    spec = WorldSpec(
        name="w", embodiment="pusht", action_size=2, step_seconds=0.1, cameras=("top",), size=(8, 8), max_steps=3
    )
    assert spec.fps == pytest.approx(10.0)
