"""Steps: the same life told as places and as steps is the same life, in recordings and in the world."""

from dataclasses import replace

import numpy as np
import pytest

from armillary.closed_loop.drive import drive
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.steps import Stepped, acting_in, body_in, in_steps
from armillary.worlds.pusht import PushT
from armillary.worlds.pusht_record import record_pusht

PLACES, STEPS = load_embodiment("pusht"), load_embodiment("pusht_steps")


@pytest.fixture(scope="module")
def life():
    return record_pusht(5, "clumsy", max_steps=40)


class Replayed:
    """Does the actions of a list, one after the other."""

    def __init__(self, actions):
        self._actions = actions

    def reset(self):
        self._left = list(self._actions)

    def __call__(self, moment):
        return self._left.pop(0)


def test_a_life_in_steps_is_lived_again_from_them(life):
    told = in_steps(life, STEPS)
    assert told.embodiment == "pusht_steps" and told.frames is life.frames
    np.testing.assert_allclose(told.actions + life.states["disc"][:-1], life.actions, atol=1e-3)
    assert np.abs(told.actions).max() < 120 < np.abs(life.actions).max()
    with PushT() as board:
        moments = list(drive(Stepped(board, STEPS), Replayed(told.actions), seed=5, max_steps=40))
    np.testing.assert_allclose(np.stack([m.state["disc"] for m in moments]), life.states["disc"], atol=0.01)
    np.testing.assert_array_equal(moments[0].frames["top"], life.frames["top"][0])


def test_only_a_body_that_stands_for_the_episode_s_own_changes_it(life):
    assert in_steps(life, PLACES) is life and in_steps(in_steps(life, STEPS), STEPS).embodiment == "pusht_steps"
    assert in_steps(replace(life, embodiment="tabletop"), STEPS).actions is life.actions
    with pytest.raises(DataError, match="keeps block: pusht_steps is told from 'disc'"):
        in_steps(replace(life, states={"block": life.states["block"]}), STEPS)


def test_a_step_off_the_board_ends_at_its_edge():
    with PushT() as board:
        world = Stepped(board, STEPS)
        world.reset(3)
        places = [world.step(np.array([400.0, 0.0])).state["disc"] for _ in range(12)]
    assert world.spec.embodiment == "pusht_steps" and places[-1][0] <= 512.5 and places[-1][0] > 480


def test_a_checkpoint_acts_by_the_body_that_it_knows():
    assert body_in("pusht", {"pusht": PLACES, "pusht_steps": STEPS}) is STEPS
    assert body_in("pusht", {"pusht": PLACES}) is PLACES and body_in("tabletop", {"pusht": PLACES}) is None
    with PushT() as board:
        assert acting_in(board, {"pusht": PLACES}) is board and acting_in(board, {}) is board
        assert isinstance(acting_in(board, {"pusht_steps": STEPS}), Stepped)
        with pytest.raises(ConfigError, match="pusht does not stand for pusht"):
            Stepped(board, PLACES)
