"""Physics: what falls obeys gravity, what bounces keeps its share, and what cannot be is found from the numbers."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import RequestError
from armillary.records import SOUND_HZ
from armillary.worlds.hearing import HEARD_SPEED
from armillary.worlds.labels import boxes, pose_after, pose_step, project
from armillary.worlds.materials import MATERIALS, add_lights, bounce, paint
from armillary.worlds.physics import STILL, Physics
from armillary.worlds.physics_laws import broken
from armillary.worlds.physics_record import record_physics
from armillary.worlds.physics_scenes import FAMILIES
from armillary.worlds.physics_twins import TWINS

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    """A file of ``benchmarks`` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def partners():
    """The same ball rolling behind the same screen, once as it must and once so that it vanishes."""
    make = {"family": "occluder", "size": (64, 64)}
    return record_physics(6, **make), record_physics(6, **make, twin="vanishes")


def test_there_are_at_least_twenty_materials_and_all_are_textured():
    rng = np.random.default_rng(0)
    assert len(MATERIALS) >= 20
    assert all(paint(material, rng).reshape(-1, 3).std(axis=0).max() > 1 for material in MATERIALS.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_lives_through_without_breaking_a_law(family):
    world = Physics(family=family, views=())
    moments = [world.reset(5)]
    for _ in range(world.spec.max_steps):
        moments.append(world.step(STILL))
    states = {name: np.stack([m.state[name] for m in moments]) for name in moments[0].state}
    assert all(np.isfinite(values).all() for values in states.values())
    assert np.abs(states["positions"]).max() < 30
    assert moments[0].reward == 0 and moments[-1].success, "what the scene is about must happen"
    assert all(item.mass > 0 and 0 < item.friction <= 1 and 0 < item.restitution < 1 for item in world.items)


def test_a_falling_ball_bounces_as_its_restitution_says():
    from armillary.worlds.camera import mujoco

    for restitution in (0.3, 0.5, 0.75, 0.9):
        spec = mujoco.MjSpec()
        spec.option.timestep = 0.002
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=(4, 4, 0.1))
        body = spec.worldbody.add_body(pos=(0, 0, 1.6))
        body.add_freejoint()
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.2, 0, 0), priority=1, solref=bounce(restitution))
        model = spec.compile()
        data, down, up = mujoco.MjData(model), 0.0, 0.0
        for _ in range(450):
            mujoco.mj_step(model, data)
            down, up = min(down, data.qvel[2]), max(up, data.qvel[2])
        assert abs(up / -down - restitution) < 0.06


def test_a_twin_is_its_partner_bit_for_bit_until_the_moment_and_not_after(partners):
    possible, impossible = partners
    until = impossible.recipe["twin"]["step"] + 1
    for camera in possible.frames:
        assert np.array_equal(possible.frames[camera][:until], impossible.frames[camera][:until])
    for name in possible.states:
        assert np.array_equal(possible.states[name][:until], impossible.states[name][:until])
    samples = (until - 1) * SOUND_HZ // 10
    assert np.array_equal(possible.sound[:, :samples], impossible.sound[:, :samples])
    assert any(not np.array_equal(possible.frames[c][until:], impossible.frames[c][until:]) for c in possible.frames)


@pytest.mark.parametrize("kind", TWINS)
def test_every_kind_of_impossibility_is_found_from_the_numbers_and_nothing_else_is(kind):
    found, seed = 0, 30
    while found < 2:
        seed += 1
        found += _found(seed, kind)


def test_what_falls_on_a_low_step_and_the_floor_stops_halfway_is_no_twin():
    assert _found(50, "any"), "a cube fell as deep into a step as the floor let it, which is not deep enough to tell"


def _found(seed, kind):
    """Whether there is such a twin; then its break is found, and none before it."""
    world = Physics(views=(), twin=kind)
    moments = [world.reset(seed)]
    if world.spell is None:
        return False
    moments += [world.step(STILL) for _ in range(world.spec.max_steps)]
    spell, parameters = world.spell, world.parameters
    states = {name: np.stack([m.state[name] for m in moments]) for name in moments[0].state}
    laws = {(name, law) for _, name, law in broken(_bare(states, parameters))}
    assert (world.names[spell.item], spell.kind) in laws
    before = {name: values[: spell.step + 1] for name, values in states.items()}
    assert broken(_bare(before, parameters)) == []
    return True


def _bare(states, parameters):
    from armillary.records import Episode

    return Episode(world="physics", seed=0, fps=10.0, frames={}, actions=np.zeros((1, 9)), embodiment="camera_pose",
                   states=states, instruction="", recipe={"parameters": parameters})  # fmt: skip


def test_pictures_depth_and_segmentation_agree_with_the_poses(partners):
    episode, _ = partners
    names = [thing["name"] for thing in episode.recipe["parameters"]["items"]]
    ball, checked = next(n for n in names if n.endswith("ball")), 0
    for frame, seen in enumerate(episode.boxes):
        marks = episode.segmentation["main"][frame]
        assert seen == boxes(marks, names)
        if ball not in seen:
            continue
        number = names.index(ball)
        column, row, ahead = project(episode.states["positions"][frame, number], episode.cameras["main"])[0]
        left, top, right, bottom = seen[ball]
        if left > 1 and right < 63 and not (marks == names.index("screen") + 1)[:, left - 2 : right + 2].any():
            assert left - 1 <= column <= right + 1 and top - 1 <= row <= bottom + 1
            nearest = episode.depth["main"][frame][marks == number + 1].min()
            radius = episode.states["halves"][frame, number, 0]
            assert abs(nearest - (ahead - radius)) < 0.06
            checked += 1
    assert checked >= 3


def test_every_answer_holds_for_code_that_never_saw_the_words():
    judge, asked = tool("answers_physics"), 0
    for seed, kind in ((0, "still"), (1, "orbit"), (7, "conjurer")):
        episode = record_physics(seed, kind)
        for question in episode.questions:
            assert judge.wrong(episode, question) is None, question
            assert question.answer.lower() not in ("yes", "no")
        asked += len(episode.questions)
        assert {"box"} & {q.task for q in episode.questions}
        assert json.loads(episode.captions["structured"])["fps"] == 10.0
    assert asked > 40


def test_a_wrong_answer_is_caught():
    judge, caught = tool("answers_physics"), 0
    episode = record_physics(0, "still")
    for question in episode.questions:
        if question.choices and len(question.choices) == 4 and question.task == "relation":
            other = next(choice for choice in question.choices if choice != question.answer)
            lie = type(question)(**{**vars(question), "answer": other})
            assert judge.wrong(episode, lie) == question.answer
            caught += 1
    assert caught


def test_an_impact_is_heard_within_one_physics_step_and_on_its_side():
    world = Physics(family="billiards", views=(), extras=("sound",))
    world.reset(3)
    sound = np.concatenate([world.step(STILL).sound for _ in range(10)], axis=1)
    first = min(hit.seconds for hit in world.hits if hit.speed > 5 * HEARD_SPEED)
    loud = np.abs(sound).max(axis=0)
    begins = round(first * SOUND_HZ)
    before, after = loud[begins - 480 : begins - 96].max(), loud[begins : begins + 96].max()
    assert after > 2 * before, "within 2 ms of the contact it is louder than anything just before it"
    assert sound.dtype == np.float32 and sound.shape == (2, SOUND_HZ)


def test_the_camera_goes_where_its_actions_carry_it():
    episode = record_physics(4, "orbit", size=(48, 48), extras=())
    poses = np.array(episode.cameras["main"]["poses"])
    for before, after, action in zip(poses, poses[1:], episode.actions, strict=False):
        np.testing.assert_allclose(pose_after(before, action), after, atol=1e-6)
        np.testing.assert_allclose(pose_step(before, after), action, atol=1e-6)
    assert np.linalg.norm(poses[-1][:3, 3] - poses[0][:3, 3]) > 0.3


def test_what_is_not_known_is_refused_with_what_is():
    with pytest.raises(RequestError, match="dominoes"):
        Physics(family="marbles")
    with pytest.raises(RequestError, match="vanishes"):
        Physics(twin="explodes")
    with pytest.raises(RequestError, match="still, orbit, conjurer"):
        record_physics(0, "expert")
    world = Physics(views=())
    with pytest.raises(RequestError, match="names no family"):
        world.reset(0, "Dance.")
    assert world.reset(0, "Bowling.").instruction == "A ball is rolled at bowling pins."


def test_two_lights_of_which_one_casts_shadows():
    from armillary.worlds.camera import mujoco

    spec = mujoco.MjSpec()
    drawn = add_lights(spec, np.random.default_rng(1))
    assert [light.castshadow for light in spec.lights] == [True, False]
    assert drawn["key_strength"] > drawn["fill_strength"]


def test_what_only_touches_does_not_explode():
    world = Physics(views=())
    world.reset(20127)  # a cylinder that lies on its ramp, and that MuJoCo takes to be 33 cm inside it
    speeds = [np.abs(np.stack([moment.state["velocities"], moment.state["spins"]])).max()
              for moment in (world.step(STILL) for _ in range(8))]  # fmt: skip
    assert 1 < max(speeds) < 20
