"""What is left to do at the table: a plan only shrinks, ends with nothing, and agrees with what was recorded."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from armillary.datasets.plans import MOST, NOTHING, plans_of, said, steps_left
from armillary.worlds.record import record_tabletop
from armillary.worlds.tabletop_tasks import COLOURS, SHAPES, TRAYS

KINDS = {"put": 0, "touch": 1, "lift": 2, "stack": 4, "push": 9}  # a seed of each


@pytest.fixture(scope="module")
def lives():
    """One expert's episode of each kind, straight and after a detour; no pictures are drawn."""
    return [
        record_tabletop(seed, views=(), extras=(), detour=detour) for detour in (0, 5) for seed in KINDS.values()
    ]  # fmt: skip


def known(life):
    return [(frame, left) for frame, left in enumerate(steps_left(life)) if left is not None]


def test_there_is_one_of_each_kind(lives):
    assert [life.instruction.split()[0].lower() for life in lives] == list(KINDS) * 2
    assert all(life.success for life in lives)


def test_a_plan_only_shrinks_and_what_is_left_is_the_end_of_what_was_left_before(lives):
    for life in lives:
        plans = [left for _, left in known(life)]
        assert len(plans) >= 0.5 * life.events[0][0] * life.fps, "until it is done most frames leave no doubt"
        assert len(plans[0]) == {"Put": 7, "Stack": 7, "Lift": 4, "Push": 4, "Touch": 3}[life.instruction.split()[0]]
        for one, after in pairwise(plans):
            assert one[len(one) - len(after) :] == after


def test_nothing_is_left_in_the_end_and_never_before_it_is_done(lives):
    for life in lives:
        done = round(life.events[0][0] * life.fps)
        frames = [frame for frame, left in known(life) if not left]
        if life.instruction.startswith("Push"):
            assert frames == []  # one picture does not show how far it has come
        else:
            assert frames[0] >= done and frames[-1] == len(life.actions)
            assert said(steps_left(life)[-1]) == NOTHING


def test_who_holds_the_thing_need_not_close_the_gripper_and_who_does_not_has_to(lives):
    for life in lives:
        if not life.instruction.startswith(("Put", "Stack", "Lift")):
            continue
        names = [one["name"] for one in life.recipe["parameters"]["objects"]]
        held = life.states["held"][:, names.index(re.findall(r"the (\w+ \w+)", life.instruction)[0])]
        for frame, left in known(life):
            assert not left or ("close the gripper" in left) == (not held[frame])


def test_every_step_names_only_what_the_instruction_names(lives):
    words = {*COLOURS, *SHAPES, "tray", "middle"}
    for life in lives:
        pushed = life.instruction.startswith("Push")
        for _, left in known(life):
            named = {word for step in left for word in re.findall(r"\w+", step)} & (words | set(TRAYS))
            assert named - ({"left", "right"} if pushed else set()) <= set(re.findall(r"\w+", life.instruction))


def test_a_life_that_falls_back_is_asked_about_only_as_far_as_it_had_to_begin_anew(lives):
    life = lives[0]
    again = [*range(len(life.actions) + 1), 0]  # all undone in the end
    states = {name: values[again] for name, values in life.states.items()}
    back = replace(life, states=states, actions=life.actions[[*range(len(life.actions)), 0]])
    assert {len(left) for _, left in known(back)} == {7}


def test_only_the_experts_deeds_are_asked_about(lives):
    life = lives[0]
    clumsy = replace(life, recipe={**life.recipe, "controller": "clumsy"})
    for other in (clumsy, replace(life, success=False), replace(life, world="drawer")):
        assert plans_of(other) == [] and not known(other)


def test_questions_are_few_spread_and_over_the_seeds_of_every_length(lives):
    for life in lives:
        asked = plans_of(life)
        assert len(asked) == min(MOST, len({len(left) for _, left in known(life)})) >= 3
        assert len({question.answer for question in asked}) == len(asked)
        for question in asked:
            assert question.words.startswith(life.instruction)
            assert question.answer == said(steps_left(life)[question.frames[0]])
    put = lives[0]
    met = {question.answer for seed in range(8) for question in plans_of(replace(put, seed=seed))}
    assert met == {said(left) for _, left in known(put)} and len(met) == 8


def test_more_questions_are_of_more_frames_and_as_true(lives):
    life = lives[0]
    asked = plans_of(life, most=12)
    frames = [question.frames[0] for question in asked]
    assert len(asked) == 12 and frames == sorted(set(frames))
    assert all(question.answer == said(steps_left(life)[question.frames[0]]) for question in asked)
    assert len(plans_of(life, most=1000)) == len(known(life))


def test_no_two_moments_of_doubt_are_told_apart_by_a_hair(lives):
    """A gripper between at and away from a place is in doubt: moved there, the frame is asked about no more."""
    life = lives[0]
    place = life.states["objects"][0, [one["name"] for one in life.recipe["parameters"]["objects"]].index("green ball")]
    tips = life.states["tip"].copy()
    tips[3] = place + np.array([0.022, 0.0, 0.1])
    assert steps_left(life)[3] is not None
    assert steps_left(replace(life, states={**life.states, "tip": tips}))[3] is None
