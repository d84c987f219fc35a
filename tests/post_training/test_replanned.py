"""What a planner does afresh depends on the moment alone, and done anew every sixteen steps it reaches the target."""

from dataclasses import replace

import numpy as np
import pytest

from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.errors import ConfigError, DataError
from armillary.post_training.replanned import HAND, ReplannedRun, plan_from, replanned, with_mirrored
from armillary.worlds.pusht import Pusher, PushT
from armillary.worlds.pusht_record import record_pusht


@pytest.fixture(scope="module")
def life():
    return record_pusht(41, "random", size=96, max_steps=40)


def test_asked_anew_every_sixteen_steps_the_planner_reaches_the_target():
    world = PushT(96)
    moment, planned = world.reset(43), 0
    for _ in range(12):
        plan = plan_from(moment.state["disc"], moment.state["disc_velocity"], moment.state["block"])
        assert plan.shape == (16, 2)
        for step in plan:
            moment = world.step(np.clip(moment.state["disc"] + step, 0, 512))
        planned += 1
        if moment.success:
            break
    world.close()
    assert moment.success and planned < 12


def test_a_plan_is_what_the_planner_does_in_the_world():
    world, planner = PushT(96), Pusher(seed=HAND)
    moment, told = world.reset(41), []
    plan = plan_from(moment.state["disc"], moment.state["disc_velocity"], moment.state["block"], steps=32)
    for _ in plan:
        aim = planner(moment)
        told.append(aim - moment.state["disc"])
        moment = world.step(aim)
    world.close()
    assert np.abs(plan - told).max() < 4  # pixels of the 512 by 512 board


def test_pictures_and_plans_are_of_the_same_moments(life):
    made = replanned(life, most=5)
    places = made.recipe["planned_at"]
    assert places == [0, 1, 2, 3, 4] and made.states["plans"].shape == (5, 16, 2) and made.embodiment == "pusht_steps"
    assert made.recipe["controller"] == "replanned" and set(made.recipe["plans"]) == {life.instruction}
    for i, frame in enumerate(np.linspace(0, len(life.states["disc"]) - 1, 5).round().astype(int)):
        assert np.array_equal(made.frames["top"][i], life.frames["top"][frame])
        told = plan_from(*(life.states[name][frame] for name in ("disc", "disc_velocity", "block")))
        np.testing.assert_allclose(made.states["plans"][i], told, rtol=1e-5, atol=1e-4)


def test_in_the_mirror_the_board_and_its_target_are_the_same_and_what_is_right_is_mirrored(life):
    made = replanned(life, most=3)
    both = with_mirrored(made)
    assert both.recipe["planned_at"] == [0, 1, 2, 3, 4, 5] and len(both.recipe["plans"]) == len(both.frames["top"]) == 6
    assert np.array_equal(with_mirrored(replace(made, frames={"top": both.frames["top"][3:]})).frames["top"][3:],
                          made.frames["top"])  # fmt: skip
    green = [(film.astype(int) @ [-1, 2, -1] > 120).sum() for film in (both.frames["top"][0], both.frames["top"][3])]
    where = (both.frames["top"][[0, 3]].astype(int) @ [-1, 2, -1]) > 120
    assert min(green) > 50 and (where[0] != where[1]).sum() < 0.35 * min(green)  # the T and the disc may lie on it
    np.testing.assert_array_equal(both.states["plans"][3:, :, 0], -made.states["plans"][..., 1])
    corner, turned = (
        np.array([512 - life.states["disc"][0][1], 512 - life.states["disc"][0][0]]),
        life.states["block"][0],
    )
    block = np.array([512 - turned[1], 512 - turned[0], np.pi / 2 - turned[2]])
    velocity = -life.states["disc_velocity"][0][::-1]
    np.testing.assert_allclose(plan_from(corner, velocity, block, steps=1)[0], both.states["plans"][3, 0], atol=12)


def test_the_same_moment_gives_the_same_plan_whoever_came_to_it(life):
    other = replace(life, recipe={**life.recipe, "controller": "expert"}, seed=7)
    assert np.array_equal(replanned(life, most=2).states["plans"], replanned(other, most=2).states["plans"])


def test_lives_without_what_is_needed_are_refused(life):
    with pytest.raises(DataError, match="the planner needs PushT's disc"):
        replanned(replace(life, world="tabletop"), most=2)
    with pytest.raises(DataError, match="simulate with world='pusht'"):
        replanned(replace(life, states={"disc": life.states["disc"]}), most=2)


def test_a_run_goes_on_and_is_shared(life, tmp_path):
    for seed in (41, 42, 43):
        save_raw(_file(tmp_path / "lives", seed), replace(life, seed=seed))
    run = ReplannedRun(data=tmp_path / "lives", out=tmp_path / "out", most=2, share=(0, 2))
    said: list[str] = []
    run.start(said.append)
    assert said == ["2 of 2 lives"] and [path.name for path in raw_files(run.out)] == [
        "episode_000041.npz", "episode_000043.npz",
    ]  # fmt: skip
    before = _file(run.out, 41).stat().st_mtime_ns
    replace(run, share=(0, 1)).start(said.append)
    assert _file(run.out, 41).stat().st_mtime_ns == before and load_raw(_file(run.out, 42)).seed == 42
    raw_files(run.out)[0].unlink()
    with pytest.raises(ConfigError, match="was begun with mirrored 'yes'"):
        replace(run, mirrored=False).start(said.append)
    with pytest.raises(ConfigError, match="most=0"):
        replace(run, most=0)


def _file(folder, seed):
    folder.mkdir(exist_ok=True)
    return folder / f"episode_{seed:06d}.npz"
