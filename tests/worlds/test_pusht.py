"""Laws of PushT: the same seed is the same life, the planner knows the physics, and its words are true."""

import itertools

import numpy as np
import pytest

from armillary.errors import ArmillaryError
from armillary.worlds.pusht import GOAL, SPEC, PushT, pusht_controller
from armillary.worlds.pusht_planner import RADIUS, Roads, clearance, compose, library, off_target, pushed, rotation
from armillary.worlds.pusht_record import captions, questions, record_pusht


@pytest.fixture
def world():
    with PushT() as made:
        yield made


def live(world, policy, seed, steps):
    policy.reset()
    moments = [world.reset(seed)]
    for _ in range(steps):
        if moments[-1].over:
            break
        moments.append(world.step(policy(moments[-1])))
    return moments


@pytest.mark.parametrize("kind", ["expert", "clumsy", "random"])
def test_the_same_seed_is_the_same_life(world, kind):
    policy = pusht_controller(kind, seed=3)
    first, second = live(world, policy, 3, 25), live(world, policy, 3, 25)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(a.state[name], b.state[name]) for name in a.state)
        assert np.array_equal(a.frames["top"], b.frames["top"])


def test_another_seed_is_another_life(world):
    assert not np.array_equal(world.reset(1).state["block"], world.reset(2).state["block"])


def test_a_moment_has_the_size_that_the_spec_states():
    for size in (96, 128, 256):
        with PushT(size) as world:
            assert world.reset(0).frames["top"].shape == (size, size, 3)
            assert world.spec.size == (size, size)


def test_the_picture_does_not_show_the_action(world):
    """From one state the disc is told to go to two places; the picture differs only by where the disc then is."""
    shown = []
    for target in ([100.0, 100.0], [400.0, 400.0]):
        moment = world.reset(5)
        for _ in range(3):
            moment = world.step(np.array(target))
        shown.append(moment)
    red = [(m.frames["top"].astype(int) @ [2, -1, -1] > 200).sum() for m in shown]
    assert red == [0, 0]


def test_the_expert_covers_the_target(world):
    done = [live(world, pusht_controller("expert", seed), seed, SPEC.max_steps)[-1] for seed in (101, 102, 103)]
    assert np.mean([m.state["covered"][0] for m in done]) > 0.9
    assert sum(m.success for m in done) >= 2


def test_the_random_controller_does_not_solve_the_task(world):
    assert not any(live(world, pusht_controller("random", s), s, 80)[-1].success for s in (1, 2))


def test_an_unknown_controller_is_named_with_the_known_ones():
    with pytest.raises(ArmillaryError, match=r"'exprt' of world 'pusht' is unknown.*expert, clumsy, random"):
        pusht_controller("exprt", 0)


def test_the_planner_foresees_what_the_physics_does(world):
    """A stroke of the library, carried out in gym-pusht, moves the T as the library says."""
    lib = library()
    straight = np.flatnonzero((lib.lengths == 22) & (np.abs(lib.ways).max(1) > 0.999))
    for index in straight[:: max(1, len(straight) // 6)]:
        world.reset(0)
        env = world.env
        env.block.position, env.block.angle = (250.0, 230.0), 0.4
        before = np.array([*env.block.position, env.block.angle])
        turn = rotation(before[2])
        start = turn @ lib.starts[index] + before[:2]
        way = turn @ lib.ways[index]
        env.agent.position, env.agent.velocity = tuple(start - 6 * way), (0.0, 0.0)
        env.space.reindex_shapes_for_body(env.block)
        env.space.reindex_shapes_for_body(env.agent)
        for share in [*np.linspace(0, 1, 6), 1, 1, 1, 1, 1, 1]:
            moment = world.step(start + share * 22 * way)
        foreseen = compose(before, lib.motions[index])
        assert off_target(moment.state["block"], foreseen) < 1.0
        assert off_target(before, foreseen) > 5


def test_a_disc_that_does_not_touch_moves_nothing():
    pose = np.array([[250.0, 250.0, 0.3]])
    far = pose[:, :2] + rotation(0.3) @ np.array([0.0, -RADIUS - 1.0])
    assert np.array_equal(pushed(pose, far), pose)
    near = pose[:, :2] + rotation(0.3) @ np.array([0.0, -RADIUS + 2.0])
    assert not np.array_equal(pushed(pose, near), pose)


def test_a_road_keeps_off_the_block():
    pose = np.array([256.0, 200.0, 0.0])
    road = Roads(pose, np.array([60.0, 215.0])).to(np.array([450.0, 215.0]))
    assert road is not None
    points = np.concatenate([a + np.linspace(0, 1, 50)[:, None] * (b - a) for a, b in itertools.pairwise(road)])
    assert clearance((points - pose[:2]) @ rotation(0.0))[0].min() > RADIUS - 2


def test_a_recorded_episode_can_be_made_again_from_its_recipe():
    episode = record_pusht(7, "random", max_steps=20)
    with PushT() as world:
        frames = [world.reset(episode.seed).frames["top"]]
        frames += [world.step(action).frames["top"] for action in episode.actions]
    assert np.array_equal(np.stack(frames), episode.frames["top"])
    assert len(episode.actions) == len(frames) - 1


def test_words_are_true_of_the_state(world):
    moment = world.reset(11)
    answers = {q.task: q for q in questions(moment, 0)}
    assert all(q.answer in q.choices and q.answer not in ("yes", "no") for q in answers.values())
    mirrored = dict(moment.state)
    mirrored["disc"] = 2 * np.array([256.0, 256.0]) - moment.state["disc"]
    if "disc" in answers:
        other = type(moment)(**{**vars(moment), "state": mirrored})
        asked = {q.task: q for q in questions(other, 0)}
        opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
        expected = " ".join(opposite.get(word, word) for word in answers["disc"].answer.split())
        assert asked["disc"].answer == expected


def test_a_block_on_its_target_needs_no_turn(world):
    moment = world.reset(4)
    there = type(moment)(**{**vars(moment), "state": {**moment.state, "block": GOAL.copy()}})
    asked = {q.task: q.answer for q in questions(there, 0)}
    assert asked["turn"] == "not at all"
    assert "way" not in asked
    assert "leaves the grey T where it is" in captions([moment, moment])["short"]
