"""Driving: who arrives and who does not, that actions are what they say, and that every word is true."""

import math

import numpy as np
import pytest

from armillary.embodiments import integrate, load_embodiment
from armillary.errors import DataError, RequestError
from armillary.worlds.driving import FASTER, SLOWER, SPEC, Driving
from armillary.worlds.driving_chart import scenario_film
from armillary.worlds.driving_drivers import driver
from armillary.worlds.driving_map import LANE, Line, draw_streets
from armillary.worlds.driving_record import record_driving
from armillary.worlds.driving_scenarios import SCENARIOS, draw_scene
from armillary.worlds.driving_traffic import STEP, gap_between, rectangle, safe_speed
from armillary.worlds.labels import project


def drive(kind, seed, **settings):
    world = Driving(views=(), **settings)
    moments, policy = [world.reset(seed)], driver(world, kind, seed=seed)
    while not moments[-1].over and len(moments) <= SPEC.max_steps:
        moments.append(world.step(np.asarray(policy(moments[-1]), np.float32)))
    return world, moments


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_expert_arrives_whatever_happens(scenario):
    world, moments = drive("expert", 100 + SCENARIOS.index(scenario), scenario=scenario)
    assert world.scene.name == scenario
    assert moments[-1].success, world.failed


def test_chance_does_not_arrive_and_sleepers_hit_what_brakes_before_them():
    assert not any(drive("random", seed)[1][-1].success for seed in range(4))
    ends = [drive("clumsy", seed, scenario="emergency brake") for seed in range(200, 206)]
    assert any("touched" in world.failed for world, _ in ends)


def test_actions_lead_from_camera_to_camera():
    """The recorded steps, put one after the other, are the camera's way: forward and inverse dynamics are exact."""
    world = Driving(views=())
    moments, policy, actions = [world.reset(8)], driver(world, "clumsy", seed=8), []
    for _ in range(40):
        actions.append(np.asarray(policy(moments[-1]), np.float32))
        moments.append(world.step(actions[-1]))
    way = integrate(moments[0].state["camera"], np.array(actions))
    np.testing.assert_allclose(way, [m.state["camera"] for m in moments], atol=2e-3)
    load_embodiment("av").check(np.array(actions), limits=True)


def test_the_car_keeps_a_cars_limits_whatever_is_asked():
    world = Driving(views=())
    world.reset(3)
    for ahead, turn in ((5.0, 0.5), (-5.0, 0.0), (0.0, 1.0), (9.0, -2.0)):
        before, place = world.speed, world.place()
        world.step(world.action_for(ahead, turn))
        assert -SLOWER * STEP - 1e-6 <= world.speed - before <= FASTER * STEP + 1e-6
        moved = world.place()[2] - place[2]
        assert abs(moved) <= abs(world.speed) * STEP * 0.25 + 1e-9
    with pytest.raises(DataError, match="nine finite numbers"):
        world.step(np.full(9, np.nan))


def test_a_scene_has_what_its_name_promises():
    for seed in range(6):
        for name in SCENARIOS:
            scene = draw_scene(name, np.random.default_rng(seed))
            cars, people = scene.traffic.vehicles, scene.traffic.walkers
            assert (name == "cut-in") == any(v.shift is not None for v in cars)
            assert (name == "emergency brake") == any(v.brake is not None for v in cars)
            waiting = name in ("jaywalker", "occluded crossing", "zebra crossing")
            assert waiting == any(w.trigger is not None for w in people)
            assert (name in ("junction", "red light")) == (scene.traffic.signals is not None)
            names = [v.name for v in cars] + [w.name for w in people]
            assert len(names) == len(set(names))
    with pytest.raises(RequestError, match="jaywalker"):
        draw_scene("jaywaker", np.random.default_rng(0))


def test_the_one_who_steps_out_from_behind_a_van_was_hidden():
    world = Driving(views=("front",), extras=("segmentation",), scenario="occluded crossing", weather="clear")
    hidden, seen = 0, 0
    for seed in range(3):
        moment, policy = world.reset(seed), driver(world, "expert", seed=seed)
        name = next(w.name for w in world.scene.traffic.walkers if w.trigger is not None)
        label = 1 + world.names.index(name)
        hidden += not (moment.segmentation["front"] == label).any()
        most = 0
        for _ in range(36):
            moment = world.step(np.asarray(policy(moment), np.float32))
            most = max(most, int((moment.segmentation["front"] == label).sum()))
        seen += most > 20
    world.close()
    assert hidden == 3 and seen == 3


def test_lanes_are_a_lane_apart_and_turns_are_turns():
    streets = draw_streets("crossroads", 2, np.random.default_rng(0))
    inner, outer = streets.inbound(0, 0), streets.inbound(0, 1)
    for metres in (5.0, 30.0):
        assert abs(abs(outer.nearest(inner.at(metres))[1]) - LANE) < 0.02
    for end, word in ((1, "right"), (2, "straight on"), (3, "left")):
        assert streets.turn(0, end) == word
        line = streets.through(0, end, 0)
        bend = np.unwrap(np.arctan2(*line.way.T[::-1]))
        assert abs(bend[-1] - bend[0] - {"right": -1, "straight on": 0, "left": 1}[word] * np.pi / 2) < 0.4


def test_gaps_are_distances():
    me = np.array([0.0, 0.0, 0.3])
    ahead = np.array([6 * math.cos(0.3), 6 * math.sin(0.3), 0.3])
    assert abs(gap_between(me, (4, 2), ahead, (4, 2)) - 2.0) < 1e-6
    assert gap_between(me, (4, 2), np.array([1.0, 0.5, 1.2]), (4, 2)) == 0
    line = Line([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)])
    assert line.nearest(np.array([4.0, 1.0])) == pytest.approx((4.0, 1.0))
    assert line.at(15.0) == pytest.approx([10.0, 5.0, np.pi / 2])
    assert safe_speed(2.5, 0.0) == 0 and safe_speed(12.5, 3.0) > 3


def test_what_is_seen_is_where_the_state_says():
    """Middle points of those whom segmentation shows lie inside their own boxes."""
    episode = record_driving(20, max_steps=20)
    names = [v["name"] for v in episode.recipe["parameters"]["vehicles"]]
    intrinsics, checked = episode.cameras["front"]["intrinsics"], 0
    for frame, found in enumerate(episode.boxes):
        for name, (left, top, right, bottom) in found.items():
            if name not in names or left <= 1 or right >= 127:
                continue
            place = episode.states["vehicles"][frame][names.index(name)]
            pose = {"intrinsics": intrinsics, "camera_to_world": episode.states["camera"][frame]}
            column, row, away = project([place[0], place[1], 0.9], pose)[0]
            assert left - 2 <= column <= right + 2 and top - 2 <= row <= bottom + 2 and away > 0
            checked += 1
    assert checked > 10


def test_answers_hold_in_the_states():
    told = []
    for seed in (3, 20):
        episode = record_driving(seed)
        cars = [v["name"] for v in episode.recipe["parameters"]["vehicles"]]
        people = episode.recipe["parameters"]["people"]
        for asked in episode.questions:
            frame = asked.frames[0]
            if "nearest 5 metres" in asked.words:
                name = asked.words.removeprefix("How far away is the ").split(",")[0]
                table = episode.states["vehicles" if name in cars else "people"][frame]
                place = table[(cars if name in cars else people).index(name)]
                sizes = {v["name"]: v["size"][:2] for v in episode.recipe["parameters"]["vehicles"]}
                rim = rectangle(place, *sizes.get(name, (0.5, 0.5)))  # the nearest point counts
                away = min(math.dist(point, episode.states["camera"][frame][:2, 3]) for point in rim)
                assert abs(away - float(asked.answer.split()[0])) < 2.8
            elif asked.task == "next":
                before, after = episode.states["ego"][[frame, frame + 10], 3]
                assert {"speeds up": after > before, "slows down": after < before}.get(asked.answer, True)
            elif asked.task == "trajectory":
                bend = np.unwrap(episode.states["ego"][:, 2])[[0, -1]]
                assert asked.answer == (
                    "left" if np.diff(bend) > 0.7 else "right" if np.diff(bend) < -0.7 else "straight on"
                )
            else:
                continue
            told.append(asked.task)
    assert {"distance", "next", "trajectory"} <= set(told)


def test_nobody_asks_which_way_a_car_went_that_never_came_to_the_junction_and_what_next_is_asked_twice_or_not_at_all():
    asked = {}
    for steps in (8, 75):
        life = record_driving(6000, fixed={"scenario": "junction"}, max_steps=steps, size=(32, 32), extras=())
        asked[steps] = [one for one in life.questions if one.task == "trajectory"]
        following = [one.answer for one in life.questions if one.task == "next"]
        assert len(following) == len(set(following)) and len(following) in (0, 2)
    assert not asked[8] and [one.answer for one in asked[75]] == ["left"]


def test_an_instruction_that_cannot_be_followed_is_refused():
    world = Driving(views=(), scenario="junction")
    world.reset(0)
    for words in list(world.scene.routes):
        assert world.reset(0, words).instruction == words
    with pytest.raises(RequestError, match=r"cannot be followed here: ask for"):
        world.reset(0, "Fly.")


def test_a_drive_is_reproduced_from_its_recipe():
    first = record_driving(12, "clumsy", views=("front",), max_steps=6)
    world = Driving(views=("front",))
    moments = [world.reset(first.recipe["seed"])] + [world.step(action) for action in first.actions]
    world.close()
    assert np.array_equal(np.stack([m.frames["front"] for m in moments]), first.frames["front"])


def test_weather_changes_colours_and_nothing_else():
    looks = {}
    for weather in ("clear", "fog", "rain", "snow"):
        world = Driving(views=("front",), extras=("depth", "segmentation"), weather=weather, hour="day")
        looks[weather] = world.reset(5)
        world.close()
    for weather in ("fog", "rain", "snow"):
        assert not np.array_equal(looks[weather].frames["front"], looks["clear"].frames["front"])
        assert np.array_equal(looks[weather].segmentation["front"], looks["clear"].segmentation["front"])
        assert np.array_equal(looks[weather].depth["front"], looks["clear"].depth["front"])


def test_fog_hides_what_is_far_and_not_the_ground_before_the_car_wherever_it_went():
    """Fog is reckoned at a surface's corners: a meadow of squares 250 m wide was all fog for a car in its midst."""
    world = Driving(views=("front",), extras=("depth",), weather="fog", hour="day")
    world.reset(82)
    world._rear = np.array([7.2, -98.9, -1.05])  # where chance drives in this seed
    moment = world.step(world.action_for(0.9, 0.0))
    frame, depth = moment.frames["front"].astype(float), moment.depth["front"]
    near, sky = frame[(depth > 0) & (depth < 4)].mean(axis=0), frame[:40].mean(axis=(0, 1))
    world.close()
    assert near.max() < 0.7 * sky.min()  # green in front of the bonnet
    assert np.abs(frame[(depth > 60) & (depth < 130)].mean(axis=0) - sky).max() < 20


def test_the_scenario_map_puts_boxes_where_the_camera_sees_vehicles():
    episode = record_driving(3, max_steps=4)
    film, marks = scenario_film(episode), episode.segmentation["front"]
    assert film.shape == episode.frames["front"].shape and film.dtype == np.uint8
    for frame in (0, 4):
        cars = (marks[frame] > 0) & (marks[frame] <= len(episode.recipe["parameters"]["vehicles"]))
        boxes = film[frame][..., 2] > 180
        white = film[frame].min(axis=-1) > 180
        assert cars.sum() > 100 and (boxes & cars).sum() > 0.85 * cars.sum()
        assert (boxes & ~white & ~cars).sum() < 2.5 * cars.sum()
    with pytest.raises(DataError, match="needs a drive"):
        scenario_film(record_driving(3, views=(), max_steps=1))
