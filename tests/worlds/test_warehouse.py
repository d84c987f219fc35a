"""The warehouse: who arrives, that near-misses are what the numbers say, and that every word is true."""

import json
import math

import numpy as np
import pytest

from armillary.embodiments import integrate
from armillary.errors import RequestError
from armillary.worlds.driving_map import Line
from armillary.worlds.warehouse import SPEC, Warehouse
from armillary.worlds.warehouse_drivers import driver
from armillary.worlds.warehouse_record import record_warehouse
from armillary.worlds.warehouse_scene import INCIDENTS, NEVER, Mover, contact, draw_hall


def shift(kind, seed, steps=SPEC.max_steps, **settings):
    world = Warehouse(views=(), **settings)
    moments, policy = [world.reset(seed)], driver(world, kind, seed=seed)
    while not moments[-1].over and len(moments) <= steps:
        moments.append(world.step(np.asarray(policy(moments[-1]), np.float32)))
    return world, moments


def cart(x, y, heading, speed, name="one"):
    end = (x + 20 * math.cos(heading), y + 20 * math.sin(heading))
    return Mover(name=name, kind="robot", line=Line([(x, y), end]), speed=speed, colour="red", clock=0.1)


@pytest.mark.parametrize("incident", ["calm", "spill", "blocked aisle", "dropped box"])
def test_the_expert_arrives(incident):
    assert shift("expert", 6, incident=incident)[1][-1].success


@pytest.mark.parametrize("seed", [30058, 30092, 30111])
def test_the_expert_makes_room_for_who_comes_towards_it(seed):
    """Each waited for the other until the end: a worker came out of the aisle into which the robot was sent."""
    world, moments = shift("expert", seed)
    assert moments[-1].success, world.failed
    assert not any(m.state["collision"][0] for m in moments)


def test_nobody_stands_in_the_robot_at_the_beginning():
    """In seed 30068 the fork-lift that meets somebody did: the robot was set aside from it once, and not far enough."""
    world = Warehouse(views=())
    world.reset(30068)
    assert min(gap for gap, _ in world.contacts("robot").values()) > 1
    assert not world.touches(world.robot)


def test_chance_does_not_arrive():
    assert not any(shift("random", seed)[1][-1].success for seed in range(4))


def test_seconds_to_contact_are_gap_over_closing_speed():
    gap, soon = contact(cart(0, 0, 0, 1.0), cart(1.95, 0, np.pi, 1.0, "two"))
    assert gap == pytest.approx(1.95 - 0.95 - 0.2, abs=0.01) and soon == pytest.approx(gap / 2, abs=0.1)
    assert contact(cart(0, 0, 0, 1.0), cart(0, 3, 0, 1.0, "two"))[1] == NEVER


@pytest.mark.parametrize("seed", range(3))
def test_a_near_miss_is_near_and_a_collision_touches(seed):
    """What the scenario's name promises is found in the states of fork-lift and worker, the driven robot standing."""
    for incident in ("near-miss", "collision"):
        world = Warehouse(views=(), incident=incident)
        world.reset(seed)
        world.robot = np.array([-8.5, -3.4, 0.0])
        states = [world.step(world.action_for(0.0, 0.0)).state for _ in range(110)]
        gaps = np.array([contact(*world.hall.movers[:2])[0]] + [s["gap"][0] for s in states])
        missed = [bool(s["near_miss"][0]) for s in states]
        assert any(missed)
        assert (gaps.min() == 0) == (incident == "collision")
        for state in states:
            expected = state["gap"][0] > 0 and (state["gap"][0] < 0.3 or state["contact_seconds"][0] < 1)
            assert bool(state["near_miss"][0]) == expected


def test_actions_lead_from_camera_to_camera():
    world, moments = shift("clumsy", 5, steps=1)
    policy, actions = driver(world, "clumsy", seed=5), []
    for _ in range(30):
        actions.append(np.asarray(policy(moments[-1]), np.float32))
        moments.append(world.step(actions[-1]))
    if not world.failed:
        way = integrate(moments[-31].state["camera"], np.array(actions))
        np.testing.assert_allclose(way, [m.state["camera"] for m in moments[-31:]], atol=2e-3)


def test_a_box_falls_as_gravity_says():
    hall = draw_hall("dropped box", np.random.default_rng(2))
    z = [hall.fallen(hall.happens + s)[2] for s in (0.0, 0.1, 0.2)]
    np.testing.assert_allclose(np.diff(z, 2), -9.81 * 0.01, atol=1e-6)
    assert hall.fallen(99.0)[2] == hall.falling.half[2]


def test_answers_hold_in_the_states():
    told = set()
    for seed, incident in ((1, "near-miss"), (3, "blocked aisle")):
        episode = record_warehouse(seed, incident=incident, max_steps=60)
        movers = [mover["name"] for mover in episode.recipe["parameters"]["movers"]]
        shelves = episode.recipe["parameters"]["shelves"]
        for asked in episode.questions:
            frame = asked.frames[0]
            state = {name: values[frame] for name, values in episode.states.items()}
            names = [name for name in movers if f"the {name} " in f"{asked.words} "]
            if "left or to the right" in asked.words:
                away = state["movers"][movers.index(names[0])][0] - state["robot"][0]
                assert (away > 0) == (asked.answer == "right")
            elif "nearest to the white robot" in asked.words:
                near = {n: math.dist(state["movers"][k][:2], state["robot"][:2]) for k, n in enumerate(movers)}
                seen = {n: d for n, d in near.items() if n in episode.boxes[frame]}
                assert min(seen, key=seen.get) == asked.answer.removeprefix("the ")
            elif asked.task == "count":
                people = [n for n in episode.boxes[frame] if n.startswith("worker")]
                assert ("no", "one", "two", "three")[len(people)] == asked.answer
            elif asked.task == "common sense":
                blocked = episode.recipe["parameters"]["blocked"]
                assert shelves[blocked] in asked.answer and shelves[blocked + 1] in asked.answer
            else:
                continue
            told.add(asked.task)
        assert json.loads(episode.captions["structured"])["fps"] == 10
    assert {"relation", "count", "common sense"} <= told


def test_a_shift_is_reproduced_from_its_recipe():
    first = record_warehouse(4, "clumsy", views=("hall",), max_steps=5)
    world = Warehouse(views=("hall",))
    moments = [world.reset(4)] + [world.step(action) for action in first.actions]
    world.close()
    assert np.array_equal(np.stack([m.frames["hall"] for m in moments]), first.frames["hall"])


def test_unknown_words_and_incidents_are_refused():
    world = Warehouse(views=(), incident="blocked aisle")
    world.reset(0)
    with pytest.raises(RequestError, match="cannot be followed here: ask for Drive"):
        world.reset(0, "Drive home.")
    with pytest.raises(RequestError, match=", ".join(INCIDENTS)):
        Warehouse(incident="fire").reset(0)
