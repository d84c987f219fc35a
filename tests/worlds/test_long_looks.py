"""What a thousand seeds and two thousand answers must keep, in small: the same code looks longer in ``benchmarks``."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from armillary.records import SOUND_HZ
from armillary.worlds.catalogue import ENTRIES, found

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import worlds_checks as look
from benchmarks.onsets import away, onsets
from benchmarks.sparing import SOON, few_pictures, marks_only
from benchmarks.told_apart import share_told

JUDGED = ("tabletop", "drawer", "physics", "spatial", "humans", "driving", "warehouse")


@pytest.mark.parametrize("world", JUDGED)
def test_answers_hold_and_none_is_the_usual_one(world):
    told = look.answers(world, 10, 40, 60.0, max_steps=50 if world == "humans" else 16)  # people take their time
    assert told["answers"] >= 10
    assert told["wrong"] == 0, told["examples"]
    assert not told["usual"]


@pytest.mark.parametrize("world", [world for world in JUDGED if world != "drawer"])
def test_twenty_seeds_have_finite_places_and_pictures(world):
    told = look.seeds(world, 20, 60, 60.0, **({} if world in ("humans", "spatial") else {"max_steps": SOON}))
    assert told["seeds"] == 20 and told["pictures"] >= 80
    assert not told["faults"]


def test_an_answer_that_is_given_too_often_is_named():
    fair, chance, usual = Counter(a=30, b=30), Counter(a=7, b=4), Counter(a=45, b=15)
    said = {"one": fair, "two": chance, "three": usual, "seldom": Counter(a=9)}
    assert look.table(said) == {"one": (30, 60, "a"), "two": (7, 11, "a"), "three": (45, 60, "a")}
    assert look.usual(look.table(said)) == {"three": "45 of 60: a"}


def test_how_often_an_answer_is_given_is_counted_not_reckoned_back():
    said = {"many": Counter(a=1501, b=1200)}  # three digits of its share would make 1502 of it
    assert look.usual(look.table(said)) == {"many": "1501 of 2701: a"}


@pytest.mark.parametrize("world", ["humans", "physics"])
def test_a_life_of_which_little_is_drawn_is_the_same_life(world):
    record, kind = found(ENTRIES[world].record), found(ENTRIES[world].kinds)[0]
    whole = record(3, kind, size=(48, 64), extras=(), max_steps=20)
    with few_pictures(world) as drawn:
        part = record(3, kind, size=(48, 64), extras=(), max_steps=20)
    assert drawn == [0, SOON, 20]
    assert all(np.array_equal(part.states[name], whole.states[name]) for name in whole.states)
    for camera, frames in whole.frames.items():
        assert np.array_equal(part.frames[camera][drawn], frames[drawn])
        assert not part.frames[camera][[1, SOON + 1, 19]].any()
    with marks_only():
        marked = record(3, kind, size=(48, 64), max_steps=2)
    camera = next(iter(whole.frames))
    assert not marked.frames[camera].any() and np.ptp(marked.depth[camera]) > 0 and marked.segmentation[camera].any()


def test_what_is_not_finite_or_black_is_found(monkeypatch):
    made = look.record
    monkeypatch.setattr(look, "record", lambda *told, **more: spoilt(made(*told, max_steps=2, **more)))
    told = look.seeds("humans", 1, 7, 60.0)["faults"]
    assert told == {"not finite": ["joints of 7"], "exploded": ["hinges of 7"],
                    "empty picture": ["main of 7", "side of 7"]}  # fmt: skip


def test_one_colour_is_empty_whichever_it_is_and_a_dark_field_is_not():
    pictures = np.random.default_rng(3).integers(0, 2, (3, 32, 32, 3)).astype(np.uint8)
    assert look.empty(pictures[0]) and look.empty(pictures[1] + np.uint8([60, 140, 90]))
    field = pictures[2] + np.uint8([20, 24, 22])
    field[12:20, 14:18] += 12  # the car
    assert not look.empty(field)


def test_what_is_near_may_fill_a_picture_and_the_sky_may_not():
    depth = {"robot": np.stack([np.full((4, 4), 0.3), np.full((4, 4), 3.0), np.zeros((4, 4))]).astype(np.float32)}
    assert [look.walled(depth, "robot", k) for k in range(3)] == [True, False, False]
    assert not look.walled(depth, "hall", 0) and not look.walled(None, "robot", 0)


@pytest.mark.parametrize("world", ["tabletop", "drawer", "physics"])
def test_what_is_heard_begins_when_things_touch(world):
    told = look.sounds(world, 2, 0, 60.0)
    assert told["onsets"] >= 2 and told["not_within_a_step"] == 0
    assert told["worst_ms"] < 0.1 and told["near_fresh"] > told["by_chance"]


def test_twins_are_found_and_equal_until_the_moment():
    told = look.twins("physics", 1, 30, 60.0)
    assert told == {"seeds": 1, "twins": 1, "not_found": [], "unlike_before": 0, "false_alarms": 0}


def test_a_sound_that_is_late_is_found():
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 1e-4, (2, SOUND_HZ)).astype(np.float32)
    clock = np.arange(4000) / SOUND_HZ
    for begin, loud in ((9600, 0.3), (24000, 0.1)):
        sound[:, begin : begin + 4000] += (loud * np.exp(-60 * clock) * np.sin(3000 * clock + 0.5)).astype(np.float32)
    heard = onsets(sound)
    assert away(heard, [0.2, 0.5]) == pytest.approx([0, 0], abs=1e-4)
    assert away(heard, [0.195, 0.5]) == pytest.approx([0.005, 0], abs=1e-4)
    assert np.isinf(away(heard, [])).all()


def test_pictures_that_are_equal_tell_nothing_and_those_that_differ_do():
    rng = np.random.default_rng(0)
    scenes = np.repeat(rng.normal(size=(40, 1, 30)), 2, axis=1)
    assert share_told(scenes) == 0.5
    scenes[:, 1, 3] += 5.0
    assert share_told(scenes) > 0.9


def spoilt(episode):
    episode.states["joints"][0, 0, 0] = np.nan
    episode.states["hinges"][0, 0, 0] = 1e6
    for frames in episode.frames.values():
        frames[0] = 7
    return episode
