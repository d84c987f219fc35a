"""Others' worlds keep our laws: the same seed is the same life, experts do what is asked, chance seldom does."""

import importlib.util

import numpy as np
import pytest

from armillary.errors import RequestError
from armillary.records import check_episode
from armillary.worlds.catalogue import ENTRIES, found

NEEDED = {"highway": "highway_env", "metaworld": "metaworld"}


@pytest.fixture(params=NEEDED)
def world(request):
    if importlib.util.find_spec(NEEDED[request.param]) is None:
        pytest.skip(f"the package {NEEDED[request.param]} is not installed: nothing to record")
    return request.param


def test_an_expert_s_life_is_whole_and_the_same_again(world):
    record = found(ENTRIES[world].record)
    one, again = (check_episode(record(3, "expert", size=(32, 64))) for _ in range(2))
    assert one.success and one.instruction
    assert np.array_equal(one.actions, again.actions)
    for camera, film in one.frames.items():
        assert film.shape[1:] == (32, 64, 3) and film.std() > 5
        assert np.array_equal(film, again.frames[camera])
    assert np.abs(one.actions).max() <= 1 and set(ENTRIES[world].alike) <= set(one.states)


def test_an_unknown_controller_is_named(world):
    with pytest.raises(RequestError, match="expert"):
        found(ENTRIES[world].record)(0, "nobody")
