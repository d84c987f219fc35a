"""What is asked about drives, shifts, people and drawers is true for code that never saw the words."""

import importlib
import itertools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from armillary.records import Question
from armillary.worlds import questions as q
from armillary.worlds.catalogue import ENTRIES, found

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
LIVES = {"driving": ((3, "expert"), (8, "clumsy")), "warehouse": ((7, "expert"), (3, "random")),
         "humans": ((3, "still"), (7, "orbit")), "drawer": ((0, "expert"), (3, "wordless"))}  # fmt: skip


def judge(world):
    """The code that judges answers, as a module."""
    return importlib.import_module(f"benchmarks.answers_{world}")


@pytest.fixture(scope="module", params=LIVES)
def lived(request):
    record, views = found(ENTRIES[request.param].record), judge(request.param).CAMERAS
    return request.param, [record(seed, kind, views=views, max_steps=30) for seed, kind in LIVES[request.param]]


def test_every_answer_holds_and_a_lie_is_caught(lived):
    world, episodes = lived
    asked, lies = 0, 0
    for episode in episodes:
        for question in episode.questions:
            assert judge(world).wrong(episode, question) is None, question
            asked += 1
            others = [choice for choice in question.choices or () if choice != question.answer]
            for other in others if question.task != "next" else ():
                lie = Question(**{**vars(question), "answer": other})
                assert judge(world).wrong(episode, lie) is not None, lie
                lies += 1
    assert asked > 12 and lies > 2


def test_a_question_that_no_check_knows_is_named(lived):
    world, episodes = lived
    with pytest.raises(KeyError, match="Why not"):
        judge(world).wrong(episodes[0], q.ask("plan", "Why not?", "because"))


@pytest.mark.parametrize(("seed", "kind"), [(40000, "expert"), (40025, "clumsy"), (40030, "random"), (40093, "clumsy")])
def test_drives_of_which_something_false_was_said(seed, kind):
    """Driving on while it came to rest; one light where two show; a second halt; a truck behind a truck."""
    life = found(ENTRIES["driving"].record)(seed, kind, views=("front",), extras=("depth", "segmentation"))
    assert life.questions and not [one for one in life.questions if judge("driving").wrong(life, one)]


def test_whether_a_puddle_is_there_and_how_many_people_is_asked_where_a_life_has_two_answers():
    life = found(ENTRIES["warehouse"].record)(30058, "expert", views=("hall",), extras=("depth", "segmentation"))
    for words in ("Is there a puddle on the floor?", "How many people can be seen?"):
        told = [one for one in life.questions if one.words == words]
        assert len(told) in (0, 2) and len({one.answer for one in told}) == len(told)
    assert {one.answer for one in life.questions if "puddle" in one.words} == {"yes", "no"}
    assert not [one for one in life.questions if judge("warehouse").wrong(life, one)]


def test_how_far_a_car_is_whose_nearest_point_is_out_of_sight_is_not_asked():
    life = found(ENTRIES["driving"].record)(30002, "random", views=("front",), max_steps=40)
    assert life.questions and not [one for one in life.questions if judge("driving").wrong(life, one)]
    assert [box for box in life.boxes[40].values() if box[2] == 128]


def test_who_is_further_left_in_metres_alone_is_not_asked_about():
    life = found(ENTRIES["humans"].record)(30189, "still", views=("main",))
    assert life.questions and not [one for one in life.questions if judge("humans").wrong(life, one)]


def test_outlines_touch_or_are_as_far_apart_as_their_corners_and_edges():
    seen = judge("seen")
    one = seen.corners(np.array([0.0, 0.0, 0.0]), 4.0, 2.0)
    for place, gap in (((5.0, 0.0, 0.0), 1.0), ((3.0, 0.5, 1.0), 0.0), ((0.0, 4.0, np.pi / 2), 1.0)):
        assert seen.rectangle_gap(one, seen.corners(np.array(place), 4.0, 2.0)) == pytest.approx(gap, abs=1e-9)


def test_a_question_with_one_usual_answer_is_left_out():
    asked = [q.ask("count", "How many?", "one", k) for k in range(3)] + [q.ask("count", "How few?", "no")]
    asked += [q.ask("count", "How few?", "two", 1), q.ask("box", "Where is it?", "here")]
    kept = {one.words for one in q.contrasted(asked, ("count",))}
    assert kept == {"How few?", "Where is it?"}


def test_a_long_look_ends_on_time_and_a_short_one_is_whole():
    in_time = importlib.import_module("benchmarks.worlds_checks").in_time
    assert list(in_time(range(3), 60.0)) == [0, 1, 2]
    begun = time.process_time()
    assert sum(1 for _ in in_time(itertools.count(), 0.05)) > 0
    assert time.process_time() - begun < 5.0


def test_a_long_look_that_is_asked_to_end_ends_after_this_life_and_leaves_things_as_they_were():
    in_time, before = importlib.import_module("benchmarks.worlds_checks").in_time, signal.getsignal(signal.SIGTERM)
    lived = []
    for number in in_time(itertools.count(), 60.0):
        lived.append(number)
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
    assert lived == [0, 1, 2] and signal.getsignal(signal.SIGTERM) is before
