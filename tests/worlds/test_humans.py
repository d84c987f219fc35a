"""People: feet that do not slide, joints that keep their range, bodies apart, and words that are true."""

import numpy as np
import pytest

from armillary.embodiments import integrate
from armillary.errors import DataError, RequestError
from armillary.worlds.camera import mujoco
from armillary.worlds.humans import STILL, Humans
from armillary.worlds.humans_acts import ACTS, DOING, make_act
from armillary.worlds.humans_body import ANKLE, HINGES, JOINTS, SIDES, draw_look
from armillary.worlds.humans_gait import GAIT_HZ, walk
from armillary.worlds.humans_record import KINDS, record_humans

ANKLES = [JOINTS.index(f"{side} ankle") for side in SIDES]


def lives(seed, acts=None, steps=50):
    world = Humans(views=(), acts=acts)
    moments = [world.reset(seed)]
    moments += [world.step(STILL) for _ in range(steps)]
    return world, moments


@pytest.mark.parametrize("seed", range(12))
def test_planted_feet_stay_where_they_are(seed):
    """Slip of a foot while it stands: at most 2 cm, floor kept within 1 cm."""
    world, moments = lives(seed)
    ankles = np.array([m.state["joints"][:, ANKLES] for m in moments])
    planted = np.array([m.state["planted"] for m in moments]) > 0
    moved = np.linalg.norm(np.diff(ankles, axis=0), axis=-1)
    assert (moved * (planted[1:] & planted[:-1])).max() < 0.02
    soles = ankles[..., 2] - ANKLE * np.array([look.scale for look in world.looks])[:, None]
    assert soles.min() > -0.01


@pytest.mark.parametrize("act", ACTS)
def test_hinges_keep_their_range_without_being_cut(act):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = make_act(act, draw_look(rng), np.array([0.0, 0, 0]), 5.0, rng).rows[:, 7:]
        low, high = (np.array([limit[k] for limit in HINGES.values()]) for k in (0, 1))
        assert (rows >= low).all() and (rows <= high).all()
        cut = ((rows <= low + 1e-9) & (low < 0)) | (rows >= high - 1e-9)
        assert not cut.any(), [list(HINGES)[k] for k in np.flatnonzero(cut.any(axis=0))]
        assert np.abs(np.diff(rows, axis=0)).max() * GAIT_HZ < 14  # rad/s


def test_two_people_do_not_pass_through_one_another():
    for seed in range(30, 38):
        acts = (ACTS[seed % 5], ACTS[(seed * 3 + 1) % 5])
        world, _ = lives(seed, acts, steps=0)
        model, data = world.physics
        for _ in range(10):
            for _ in range(5):
                world.step(STILL)
            owners = {model.body(name).id: k for k, name in enumerate(world.names)}
            geoms = [[g for g in range(model.ngeom) if model.geom_group[g] < 3
                      and owners.get(int(model.body_rootid[model.geom_bodyid[g]])) == k] for k in (0, 1)]  # fmt: skip
            where = [data.geom_xpos[part] for part in geoms]
            near = np.linalg.norm(where[0][:, None] - where[1][None], axis=-1) < 0.7
            for i, k in np.argwhere(near):
                gap = mujoco.mj_geomDistance(model, data, geoms[0][i], geoms[1][k], 1.0, None)
                assert gap > -0.01


def test_walking_gets_there_and_stands():
    gait = walk(np.array([[0.0, 0.0], [1.5, 0.0], [3.0, 0.5]]), 8.0, begin=0.5)
    assert np.hypot(*(gait.pelvis[-1, :2] - (3.0, 0.5))) < 0.05
    assert np.abs(gait.pelvis[:20, :2]).max() < 0.02 and gait.planted["left"][-1] and gait.planted["right"][-1]
    speed = np.linalg.norm(np.diff(gait.pelvis[:, :2], axis=0), axis=1) * GAIT_HZ
    assert 0.8 < speed[60:120].mean() < 1.6


def test_who_sits_sits_on_the_chair_and_who_carries_holds_the_box():
    world, moments = lives(3, ("sit",))
    model, data = world.physics
    seat = next(g for g in range(model.ngeom) if model.body(model.geom_bodyid[g]).name == "chair 0")
    pelvis = moments[-1].state["joints"][0, 0]
    top = data.geom_xpos[seat][2] + model.geom_size[seat][2]
    assert np.abs(pelvis[:2] - data.geom_xpos[seat][:2]).max() < 0.15
    assert 0.08 < pelvis[2] - top < 0.14
    world, moments = lives(3, ("carry",))
    box = world.physics[1].body("box 0").xpos
    hands = moments[-1].state["joints"][0, [JOINTS.index(f"{side} hand") for side in SIDES]]
    assert np.linalg.norm(hands - box, axis=1).max() < 0.35


def test_the_eye_goes_where_its_actions_say():
    for kind in KINDS:
        episode = record_humans(5, kind, views=(), max_steps=12)
        way = integrate(episode.states["eye"][0], episode.actions)
        np.testing.assert_allclose(way, episode.states["eye"], atol=1e-4)
    with pytest.raises(DataError, match="nine finite numbers"):
        Humans(views=()).step(np.zeros(3))


def test_words_say_what_was_drawn():
    told = set()
    for seed, acts in ((2, ("wave",)), (7, ("sit", "walk"))):
        episode = record_humans(seed, acts=acts)
        people = {person["name"]: k for k, person in enumerate(episode.recipe["parameters"]["people"])}
        for asked in episode.questions:
            names = [name for name in people if name in asked.words]
            joints = episode.states["joints"][asked.frames[0]]
            if asked.task == "caption":
                assert asked.answer == DOING[acts[people[names[0]]]]
            elif asked.task == "when":
                assert (
                    abs(
                        float(asked.answer.split(":")[1])
                        - episode.recipe["parameters"]["people"][people[names[0]]]["when"][0]
                    )
                    < 0.06
                )
            elif "wave with" in asked.words:
                high = {side: episode.states["joints"][:, 0, JOINTS.index(f"{side} hand"), 2].max() for side in SIDES}
                assert max(high, key=high.get) == asked.answer
            elif "further to the left" in asked.words:
                right = episode.states["eye"][asked.frames[0]][:3, 0]
                places = {name: float(joints[k][1] @ right) for name, k in people.items()}
                assert min(places, key=places.get) == asked.answer.removeprefix("the ")
            elif "upright" in asked.words:
                high = joints[people[names[0]]][JOINTS.index("head")][2]
                assert (high > 1.2) == (asked.answer == "upright")
            else:
                continue
            told.add(asked.task)
        assert all(word in episode.captions["dense"] for word in people)
    assert {"caption", "when", "describe"} <= told


def test_acts_and_kinds_that_are_not_there_are_refused():
    with pytest.raises(RequestError, match="walk, wave, sit"):
        Humans(acts=("dance",))
    with pytest.raises(RequestError, match="still, orbit"):
        record_humans(0, "fly", views=())
