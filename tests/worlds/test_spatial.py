"""Spatial: what is asked about a room is true for code that never saw the words, and for whoever's eyes it names."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from armillary.errors import RequestError
from armillary.worlds.labels import boxes, project, tracks
from armillary.worlds.spatial import SPEC, Spatial, furnish, hangs
from armillary.worlds.spatial_questions import way_for
from armillary.worlds.spatial_record import KINDS, record_spatial
from armillary.worlds.spatial_things import KINDS as NOUNS
from armillary.worlds.spatial_things import Thing, parts

ROOT = Path(__file__).resolve().parents[2]


def judge():
    """The code that judges answers, as a module."""
    spec = importlib.util.spec_from_file_location("answers_spatial", ROOT / "benchmarks/answers_spatial.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def episodes():
    return [record_spatial(seed, kind, max_steps=6) for seed, kind in ((0, "tour"), (1, "walk"), (3, "random"))]


def test_every_answer_holds_for_code_that_never_saw_the_words(episodes):
    wrong, asked = judge().wrong, 0
    for episode in episodes:
        for question in episode.questions:
            assert wrong(episode, question) is None, question
            assert question.answer.lower() not in ("yes", "no")
            asked += 1
    assert asked > 60
    tasks = {question.task for episode in episodes for question in episode.questions}
    assert {"relation", "distance", "size", "visibility", "viewpoint", "count", "box", "plan", "describe"} <= tasks


def test_a_wrong_answer_is_caught(episodes):
    wrong, caught = judge().wrong, 0
    for question in episodes[0].questions:
        if question.choices and set(question.choices) == {"left", "right"}:
            other = ({"left", "right"} - {question.answer}).pop()
            lie = type(question)(**{**vars(question), "answer": other})
            assert wrong(episodes[0], lie) == question.answer
            caught += 1
    assert caught >= 2


def test_left_and_right_are_answers_equally_often(episodes):
    told = Counter(
        q.answer
        for e in episodes
        for q in e.questions
        if q.words.startswith("Is the") and set(q.choices) == {"left", "right"}
    )
    assert told["left"] == told["right"] >= 2


def test_things_stand_in_the_room_and_not_in_one_another():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        things = furnish(rng, (2.4, 2.4))
        assert things[0].noun == "figure" and len({thing.name for thing in things}) == len(things) >= 5
        for i, one in enumerate(things):
            assert abs(one.place[0]) < 2.4 and abs(one.place[1]) < 2.4
            assert hangs(one) or abs(one.place[2] - one.half[2]) < 1e-9
            for other in things[:i]:
                gap = np.hypot(one.place[0] - other.place[0], one.place[1] - other.place[1])
                assert gap > np.hypot(*one.half[:2]) + np.hypot(*other.half[:2])


@pytest.mark.parametrize("noun", [*NOUNS, "figure"])
def test_a_thing_is_as_large_as_it_says(noun):
    half = NOUNS[noun][1] if noun in NOUNS else (0.19, 0.19, 0.72)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for kind, size, place, _ in parts(noun, half):
        reach = tuple(size)
        if "SPHERE" in str(kind):
            reach = (size[0],) * 3
        elif "CYLINDER" in str(kind):
            reach = (size[0], size[0], size[1])
        low, high = np.minimum(low, np.array(place) - reach), np.maximum(high, np.array(place) + reach)
    np.testing.assert_allclose([low[2], high[2]], [-half[2], half[2]], atol=0.02 + 0.3 * half[2] * (noun == "plant"))
    assert (high[:2] <= np.array(half[:2]) * 1.3 + 0.12).all()


def test_the_figure_knows_its_left():
    def thing(x, y, yaw=0.0):
        return Thing(name="red figure", noun="figure", half=(0.2, 0.2, 0.7), colour="red", place=(x, y, 0.7), yaw=yaw)

    figure = thing(0, 0)  # looks towards the camera, along -y: its left is the camera's right
    assert way_for(figure, (0, -2, 0))[0] == "ahead"
    assert way_for(figure, (0, 2, 0))[0] == "behind"
    assert way_for(figure, (2, 0, 0))[0] == "to the left"
    assert way_for(thing(0, 0, np.pi), (2, 0, 0))[0] == "to the right"


def test_boxes_depth_and_calibration_agree_in_every_camera(episodes):
    episode, checked = episodes[0], 0
    names = [thing["name"] for thing in episode.recipe["parameters"]["items"]]
    for camera in SPEC.cameras:
        marks, depth = episode.segmentation[camera][0], episode.depth[camera][0]
        for name, (left, top, right, bottom) in boxes(marks, names).items():
            number = names.index(name)
            if not name.endswith(("ball", "box", "bin")) or min(left, top) < 1 or max(right, bottom) > 127:
                continue
            column, row, ahead = project(episode.states["positions"][0, number], episode.cameras[camera])[0]
            whole = (marks == number + 1).sum() > 0.6 * (right - left) * (bottom - top)
            if whole:
                assert left - 1 <= column <= right + 1 and top - 1 <= row <= bottom + 1
                reach = float(np.linalg.norm(episode.states["halves"][0, number]))
                assert ahead - reach - 0.02 < depth[marks == number + 1].min() < ahead + reach
                checked += 1
    assert checked >= 2
    assert set(tracks(episode.boxes)) == {name for frame in episode.boxes for name in frame}


def test_a_life_is_made_again_from_its_recipe_and_actions(episodes):
    world, first = Spatial(), episodes[1]
    moments = [world.reset(first.recipe["seed"])] + [world.step(action) for action in first.actions]
    world.close()
    assert np.array_equal(np.stack([m.frames["main"] for m in moments]), first.frames["main"])


def test_what_cannot_be_done_is_refused():
    with pytest.raises(RequestError, match=", ".join(KINDS)):
        record_spatial(0, "expert")
    with pytest.raises(RequestError, match="Look about the room"):
        Spatial(views=()).reset(0, "Dance.")
