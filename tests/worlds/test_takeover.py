"""An expert who takes over: held things are carried on, and plans begin where the life has come to."""

import numpy as np

from armillary.worlds.experts import Expert
from armillary.worlds.record import LEAST_STEPS
from armillary.worlds.tabletop import Tabletop
from armillary.worlds.takeover import Successor, corrected, plans_from

SEED = 300_001


def lived(world, seed, steps, words=None):
    """The first and the last moment of the expert's first steps, and what it did."""
    first = now = world.reset(seed, words)
    expert, done = Expert(world, seed=seed), []
    for _ in range(steps):
        done.append(np.asarray(expert(now), np.float32))
        now = world.step(done[-1])
    return first, now, done


def steps_until_done(world, policy, now):
    for step in range(60):
        if now.over:
            return step
        now = world.step(policy(now))
    return 60


def test_what_is_held_is_carried_on():
    world = Tabletop(views=())
    world.reset(SEED)
    words = f"Put the {world.names[0]} on the left tray."
    steps = next(n for n in range(1, 40) if lived(world, SEED, n, words)[1].state["held"][0])
    first, now, _ = lived(world, SEED, steps + 3, words)
    successor = Successor(world, seed=SEED)
    successor.take_over(first, now)
    taken_over = steps_until_done(world, successor, now)
    _, now, _ = lived(world, SEED, steps + 3, words)
    anew = steps_until_done(world, Expert(world, seed=SEED), now)
    assert taken_over < anew and taken_over < 30


def test_a_plan_from_the_beginning_is_the_experts():
    world = Tabletop(views=())
    first, _, done = lived(world, 5, LEAST_STEPS)
    words, plans = plans_from(5, first.instruction, [], count=3, steps=LEAST_STEPS)
    assert words[0] == first.instruction and len(set(words)) == 3 == len(plans)
    np.testing.assert_array_equal(plans[0], np.array(done))
    assert np.abs(plans[1] - plans[0]).max() > 0


def test_a_corrected_moment_shows_where_the_life_is():
    world = Tabletop(views=("front",), extras=("segmentation",))
    first, now, done = lived(world, 6, 5)
    episode = corrected(world, now, 6, done, plans=2, steps=4)
    world.close()
    np.testing.assert_array_equal(episode.frames["front"][0], now.frames["front"])
    assert np.abs(episode.frames["front"][0].astype(int) - first.frames["front"]).max() > 50
    assert episode.states["plans"].shape == (2, 4, 10) and episode.recipe["plans"][0] == now.instruction
    assert episode.recipe["done"] == 5 and len(episode.actions) == 0 and episode.boxes
