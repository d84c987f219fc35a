"""Laws of the adapter: Gymnasium's own checker passes, and a life through the adapter is the environment's own."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from armillary.errors import ArmillaryError
from armillary.records import World
from armillary.worlds.gym_adapter import GymWorld, WorldEnv, fitted, gym_world
from armillary.worlds.pusht import SPEC, PushT


class Walk(gymnasium.Env):
    """A dot on a line; over once it reaches the end. Small enough to be understood at a glance."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(self, discrete=False, render_mode="rgb_array"):
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float64)
        box = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3) if discrete else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(0, 1, size=1)
        return self.place.copy(), {}

    def step(self, action):
        self.place = self.place + (float(action) - 1 if np.ndim(action) == 0 else action)
        over = bool(self.place[0] > 3)
        return self.place.copy(), float(over), over, False, {"is_success": over}

    def render(self):
        picture = np.zeros((32, 48, 3), np.uint8)
        picture[:, int(np.clip(self.place[0] * 10, 0, 47))] = 255
        return picture


@pytest.fixture
def world():
    return gym_world(Walk(), name="walk", embodiment="dot", instruction="Go right.", max_steps=20)


@pytest.mark.filterwarnings("ignore:.*WARN")
def test_a_world_as_an_environment_passes_gymnasiums_own_checker(world):
    check_env(WorldEnv(world, max_steps=5, limits=(np.array([-1.0]), np.array([1.0]))), skip_render_check=True)


@pytest.mark.filterwarnings("ignore:.*WARN")
def test_pusht_there_and_back_passes_the_checker():
    env = WorldEnv(PushT(96), limits=(np.zeros(2), np.full(2, 512.0)))
    check_env(env, skip_render_check=True)
    env.close()


def test_an_adapted_environment_is_a_world(world):
    assert isinstance(world, World)
    assert world.spec.fps == 5
    assert world.spec.action_size == 1
    assert world.spec.size == (32, 48)


def test_a_life_through_the_adapter_is_the_environments_own(world):
    plain = Walk()
    observation, _ = plain.reset(seed=9)
    moment = world.reset(9)
    assert np.array_equal(moment.state["observation"], observation)
    for action in (0.5, -0.25, 0.9):
        observation, *_ = plain.step(np.array([action], np.float32))
        moment = world.step(np.array([action]))
        assert np.array_equal(moment.state["observation"], observation)
        assert np.array_equal(moment.frames["main"], plain.render())


def test_the_same_seed_is_the_same_life_and_states_share_no_buffer(world):
    first = [world.reset(3), *(world.step(np.array([0.3])) for _ in range(3))]
    second = [world.reset(3), *(world.step(np.array([0.3])) for _ in range(3))]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.state["observation"], b.state["observation"])
    assert len({float(m.state["observation"][0]) for m in first}) == 4


def test_the_end_is_over_and_the_time_limit_is_truncation(world):
    env = WorldEnv(world, max_steps=3)
    env.reset(seed=0)
    ends = [env.step(np.array([0.1]))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    env = WorldEnv(world, max_steps=10)
    env.reset(seed=0)
    outcomes = [env.step(np.array([1.0])) for _ in range(3)]
    assert outcomes[-1][2:4] == (True, False)
    assert outcomes[-1][4]["is_success"]


def test_a_step_after_the_end_is_refused_with_a_sentence(world):
    world.reset(0)
    while not world.step(np.array([1.0])).over:
        pass
    with pytest.raises(ArmillaryError, match=r"call reset\(seed\)"):
        world.step(np.array([1.0]))


def test_actions_are_clipped_to_what_the_environment_takes(world):
    start = world.reset(1).state["observation"]
    assert world.step(np.array([50.0])).state["observation"] - start == pytest.approx(1.0)


@pytest.mark.parametrize("action", [np.zeros(2), np.array([np.nan])])
def test_an_action_that_cannot_be_is_named(world, action):
    world.reset(0)
    with pytest.raises(ArmillaryError, match="takes 1 finite numbers"):
        world.step(action)


def test_a_discrete_choice_is_one_number():
    world = gym_world(Walk(discrete=True), name="walk", embodiment="dot")
    start = world.reset(0).state["observation"]
    assert world.step(np.array([2.0])).state["observation"] - start == pytest.approx(1.0)


def test_an_environment_that_does_not_draw_is_refused():
    with pytest.raises(ArmillaryError, match="rgb_array"):
        GymWorld(Walk(render_mode=None), SPEC)
    with pytest.raises(ArmillaryError, match="action_size=1"):
        GymWorld(Walk(), SPEC)


def test_resizing_keeps_a_picture_of_the_right_size_untouched():
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(fitted(picture, (4, 6)), picture)
    assert fitted(picture, (8, 12)).shape == (8, 12, 3)
