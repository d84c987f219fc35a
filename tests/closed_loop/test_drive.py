"""Driving keeps its promises: in a small world whose every step can be said beforehand."""

import json
import shutil

import numpy as np
import pytest
from tiny import Line, small_checkpoint

import armillary
from armillary.closed_loop.drive import drive, drive_together
from armillary.closed_loop.policies import Chunks, OmniPolicy
from armillary.errors import CheckpointError, ConfigError
from armillary.records import Moment


class Ahead:
    """Goes ahead, ``length`` at a time, and notes what it was shown."""

    def __init__(self, chunk: int = 1) -> None:
        self._chunk = chunk
        self.shown: list[tuple[list[str], list[int]]] = []

    def __call__(self, moments, seeds):
        self.shown.append(([moment.instruction for moment in moments], list(seeds)))
        return [np.ones((self._chunk, 10)) for _ in moments]


class OneAhead:
    def reset(self) -> None:
        self.resets = 1

    def __call__(self, moment: Moment):
        return np.ones(10)


def places(worlds, planner, seeds, **how):
    """Of every world the places it went through."""
    found = [[] for _ in worlds]
    for i, moment in drive_together(worlds, planner, seeds=seeds, max_steps=9, **how):
        found[i].append(float(moment.state["place"][0]))
    return found


def test_a_drive_shows_the_first_moment_and_ends_when_the_world_does():
    assert [float(m.state["place"][0]) for m in drive(Line(3), OneAhead(), seed=0, max_steps=9)] == [0, 1, 2, 3]


def test_a_drive_takes_no_more_steps_than_it_may():
    assert len(list(drive(Line(100), OneAhead(), seed=0, max_steps=4))) == 5


def test_worlds_driven_together_go_where_each_would_go_alone():
    goals, seeds = (2, 5, 100), (7, 8, 9)
    together = places([Line(goal) for goal in goals], Ahead(), seeds)
    alone = [places([Line(goal)], Ahead(), (seed,))[0] for goal, seed in zip(goals, seeds, strict=True)]
    assert together == alone
    assert [len(one) for one in together] == [3, 6, 10]


def test_a_world_is_planned_for_only_when_its_plan_is_used_up():
    planner = Ahead(chunk=4)
    places([Line(100), Line(2)], planner, (0, 1))
    assert [len(words) for words, _ in planner.shown] == [2, 1, 1]  # at steps 0, 4 and 8; the second was over by then


def test_chance_differs_between_worlds_and_plans_but_not_between_drives():
    first, second = Ahead(), Ahead()
    places([Line(100), Line(100)], first, (0, 1))
    places([Line(100), Line(100)], second, (0, 1))
    assert first.shown == second.shown
    drawn = [seed for _, seeds in first.shown for seed in seeds]
    assert len(set(drawn)) == len(drawn)


def test_a_planner_may_be_told_something_else_than_what_counts():
    planner = Ahead()
    went = places([Line(2)], planner, (0,), told=["Stay."])
    assert went == [[0, 1, 2]]
    assert {words for told, _ in planner.shown for words in told} == {"Stay."}


def test_seeds_must_fit_the_worlds():
    with pytest.raises(ConfigError, match="2 worlds, 1 seeds: there must be one of each"):
        next(drive_together([Line(1), Line(1)], Ahead(), seeds=[1], max_steps=1))


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return armillary.load(small_checkpoint(tmp_path_factory.mktemp("checkpoint")), dtype="float32")


def test_the_model_as_policy_does_what_it_planned_then_plans_again(omni):
    world = Line(1e9)
    chunks = Chunks(omni=omni, embodiment="tabletop", execute=3, steps=1)
    moments = list(drive(world, OmniPolicy(omni, "tabletop", execute=3, steps=1, seed=5), seed=0, max_steps=4))
    (first,) = chunks([moments[0]], [5])
    (second,) = chunks([moments[3]], [6])
    np.testing.assert_array_equal(world.done, [*first, second[0]])


def test_plans_made_together_are_plans_made_alone(omni):
    moments = [Line(1).reset(0), Line(1).reset(0, "Lift the red cube.")]
    chunks = Chunks(omni=omni, embodiment="tabletop", steps=2)
    together = chunks(moments, [1, 2])
    assert [len(plan) for plan in together] == [8, 8]
    for i, moment in enumerate(moments):
        np.testing.assert_allclose(chunks([moment], [1 + i])[0], together[i], atol=1e-4)
    assert not np.allclose(together[0], together[1])


@pytest.mark.parametrize(
    ("told", "done"),
    [({}, 8), ({"execute": 13}, 13), ({"execute": {"tabletop": 5}}, 5), ({"execute": {"droid": 5}}, 8)],
)
def test_a_checkpoint_says_how_much_of_a_plan_is_done_before_it_looks_again(omni, tmp_path, told, done):
    folder = tmp_path / "checkpoint"
    shutil.copytree(omni.parts.folder, folder)
    before = {"size": [32, 32], "fps": 10.0}
    (folder / "defaults.json").write_text(json.dumps(before | told))
    (plan,) = Chunks(omni=armillary.load(folder), embodiment="tabletop", steps=1)([Line(1).reset(0)], [0])
    assert len(plan) == done
    (folder / "defaults.json").write_text(json.dumps(before | {"execute": {"tabletop": 0}}))
    with pytest.raises(CheckpointError, match=r"execute \{'tabletop': 0\}"):
        armillary.load(folder)
    (folder / "defaults.json").write_text(json.dumps(before | {"execute": 0}))
    with pytest.raises(CheckpointError, match="execute 0"):
        armillary.load(folder)


def test_a_policy_must_execute_something(omni):
    with pytest.raises(ConfigError, match="execute=0"):
        Chunks(omni=omni, embodiment="tabletop", execute=0)
