"""What every world must keep. A new world is tested by adding it to ``WORLDS``."""

import numpy as np
import pytest

from armillary.errors import RequestError
from armillary.records import Moment, World
from armillary.worlds import WORLDS, make_world
from armillary.worlds.tabletop import Tabletop


def live(world: World, seed: int, steps: int = 4) -> list[Moment]:
    moments = [world.reset(seed)]
    width = world.spec.action_size
    rng = np.random.default_rng(5)
    for _ in range(steps):
        if width == 10:
            action = np.concatenate([rng.normal(0, 0.02, 3), [1, 0, 0, 0, 1, 0], [1.0]])
        elif width == 9:
            action = np.concatenate([rng.normal(0, 0.02, 3), [1, 0, 0, 0, 1, 0]])
        else:
            action = rng.uniform(150, 350, width)
        moments.append(world.step(action))
    return moments


@pytest.fixture(params=WORLDS)
def world(request):
    made = make_world(request.param)
    yield made
    made.close()


def test_same_seed_same_life(world):
    first, second = live(world, 3), live(world, 3)
    for a, b in zip(first, second, strict=True):
        assert a.instruction == b.instruction and a.reward == b.reward
        for name in a.state:
            assert np.array_equal(a.state[name], b.state[name])
        for name in a.frames:
            assert np.array_equal(a.frames[name], b.frames[name])


def test_other_seed_other_scene(world):
    one, other = world.reset(3), world.reset(4)
    assert any(not np.array_equal(one.frames[name], other.frames[name]) for name in one.frames)


def test_moments_are_what_the_spec_promises(world):
    for moment in live(world, 1, steps=2):
        assert set(moment.frames) == set(world.spec.cameras)
        for frame in moment.frames.values():
            assert frame.shape == (*world.spec.size, 3) and frame.dtype == np.uint8
        assert all(np.isfinite(values).all() for values in moment.state.values())
        assert isinstance(moment.instruction, str) and moment.instruction


def test_states_do_not_share_a_buffer(world):
    first, second = live(world, 2, steps=1)
    before = {name: values.copy() for name, values in first.state.items()}
    for values in second.state.values():
        values += 1
    assert all(np.array_equal(before[name], first.state[name]) for name in before)


def test_a_closed_world_can_be_reset_again(world):
    first = world.reset(6)
    world.close()
    again = world.reset(6)
    assert all(np.array_equal(first.frames[name], again.frames[name]) for name in first.frames)


def test_an_unknown_world_names_the_known_ones():
    with pytest.raises(RequestError, match="tabletop"):
        make_world("tabeltop")


def test_an_impossible_instruction_is_refused():
    world = Tabletop(views=())
    with pytest.raises(RequestError, match="fits no template"):
        world.reset(0, "Dance.")
    with pytest.raises(RequestError, match="is not on the table"):
        world.reset(0, "Lift the red pyramid.")
