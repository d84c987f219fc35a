"""Words that say where things are become a picture thing by thing: what is not near a thing stays as it was."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

import armillary
from armillary.errors import CheckpointError, RequestError
from armillary.model.positions import tokens_near
from armillary.prompts import Placed, places_in
from armillary.sampling import imagine as imagining
from armillary.sampling import upsampling
from armillary.sampling.counts import count_evaluations, count_stretches
from armillary.sampling.painting import Painting
from armillary.sampling.requests import check_request

WORDS = "The robot waits. On the table: a red cube at 80 90, a blue ball at 20 30."  # the ball is further away
SMALL = {"size": (128, 128)}


@pytest.fixture(scope="module")
def painter(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("painter") / "painter"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text())
    (folder / "defaults.json").write_text(json.dumps(told | {"painting": {"steps": 2, "bare_steps": 3}}))
    return armillary.load(folder, dtype="float32")


@pytest.fixture
def walks(monkeypatch):
    """Every stretch that is walked, and the tokens that come of it."""
    seen, make = [], imagining.make

    def watched(parts, layout, stretches, watch):
        made = make(parts, layout, stretches, watch)
        seen.extend(zip(stretches, made, strict=True))
        return made

    monkeypatch.setattr(imagining, "make", watched)
    return seen


def test_places_are_read_out_of_words():
    assert places_in(WORDS) == [Placed(thing="a red cube", x=0.8, y=0.9), Placed(thing="a blue ball", x=0.2, y=0.3)]
    assert places_in(WORDS)[0].words == "a red cube at 80 90"
    assert places_in("A cube at noon, an arm at 3 and a red cube.") == []


def test_the_bare_place_comes_first_then_thing_after_thing_from_far_to_near(painter, walks):
    shares = []
    rollout = painter.imagine("text-to-image", prompt=WORDS, on_progress=shares.append, **SMALL)
    assert rollout.video.shape == (1, 128, 128, 3)
    assert [stretch.request.prompt for stretch, _ in walks] == [
        "An empty table.", "On the table: a blue ball at 20 30.", "On the table: a red cube at 80 90.",
    ]  # fmt: skip
    assert len(shares) == 3 + 2 + 2 and shares[-1] == 1.0
    for place, ((_, before), (stretch, after)) in zip(((0.2, 0.3), (0.8, 0.9)), pairwise(walks), strict=True):
        near = tokens_near(place, (4, 4), 0.08)
        assert torch.equal(stretch.canvas, before.canvas) and torch.equal(stretch.hidden, near)
        assert torch.equal(after.canvas[~near], before.canvas[~near])  # to the bit
        assert not (after.canvas[near] == before.canvas[near]).all()


def test_a_film_begins_with_the_picture_that_was_painted(painter, walks):
    asked = {"prompt": WORDS, "steps": 2, "seed": 3, **SMALL}
    film = painter.imagine("text-to-video", **asked).video
    assert film.shape == (17, 128, 128, 3) and len(walks) == 4
    stretch = walks[-1][0]
    assert stretch.given == (0,) and stretch.request.prompt == WORDS
    assert np.array_equal(stretch.film[0], walks[-2][1].video[0])
    request = check_request("text-to-video", asked, painter.parts.folder)
    assert count_stretches(request) == 4 and count_evaluations(request) == 3 + 2 + 2 + 2


class Asked:
    """Stands in for the reasoner: answers each question with the next of its ``answers``, the last one for ever."""

    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []

    def __call__(self, parts, chats, manners):
        said = []
        for (turn,) in chats:
            picture, words = turn["content"]
            self.seen.append((words["text"], picture["image"].shape))
            said.append(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        return said


@pytest.fixture
def doubter(painter, tmp_path):
    folder = tmp_path / "doubter"
    shutil.copytree(painter.parts.folder, folder)
    told = json.loads((folder / "defaults.json").read_text())
    told["painting"] |= {"tries": 3}
    (folder / "defaults.json").write_text(json.dumps(told))
    return armillary.load(folder, dtype="float32")


def test_a_thing_is_painted_again_until_the_reasoner_sees_what_the_words_say(doubter, walks, monkeypatch):
    asked = Asked("cross", "blue", "ball.", "Blue", "cube", "red")  # the ball at its second try, the cube at its first
    monkeypatch.setattr(imagining, "speak_many", asked)
    shares = []
    rollout = doubter.imagine("text-to-image", prompt=WORDS, on_progress=shares.append, **SMALL)
    words = [stretch.request.prompt for stretch, _ in walks]
    assert words == ["An empty table.", *["On the table: a blue ball at 20 30."] * 2,
                     "On the table: a red cube at 80 90."]  # fmt: skip
    about = ["What shape is the blue object?", "What colour is the ball?"]
    assert [text for text, _ in asked.seen] == [
        *about,
        *about,
        "What shape is the red object?",
        "What colour is the cube?",
    ]
    assert {shape for _, shape in asked.seen} == {(128, 128, 3)}
    (_, bare), (first, refused), (again, kept), (last, made) = walks
    assert torch.equal(first.canvas, bare.canvas) and torch.equal(again.canvas, bare.canvas)
    assert not torch.equal(refused.canvas, kept.canvas) and torch.equal(last.canvas, kept.canvas)
    assert np.array_equal(rollout.video, made.video)
    assert len(shares) == 3 + 3 * 2 + 1 and shares[-1] == 1.0 and shares[-2] < 1  # of seven tries at most four walks
    request = check_request("text-to-image", {"prompt": WORDS, **SMALL}, doubter.parts.folder)
    assert count_stretches(request) == 1 + 3 + 3 and count_evaluations(request) == 3 + 6 * 2


def test_of_tries_that_are_all_wrong_the_one_with_most_right_answers_stays(doubter, walks, monkeypatch):
    wrong = ("cross", "green")
    monkeypatch.setattr(imagining, "speak_many", Asked(*wrong, "ball", "green", *wrong, "cube", "red"))
    doubter.imagine("text-to-image", prompt=WORDS, **SMALL)
    assert len(walks) == 1 + 3 + 1
    assert torch.equal(walks[-1][0].canvas, walks[2][1].canvas)


def test_what_has_several_answers_is_not_asked():
    def questions(how, *things):
        return how.questions([Placed(thing=thing, x=0.5, y=0.5) for thing in things])

    often = Painting(tries=2)
    assert questions(Painting(), "a red cube") == []
    assert questions(often, "a red cube", "a red ball") == [("What colour is the ball?", "red")]
    assert questions(often, "a red cube", "a blue cube") == [("What shape is the blue object?", "cube")]
    assert questions(often, "a red cube", "a blue cube", "a red cube") == []
    assert questions(Painting(tries=2, shape=""), "a red cube") == [("What colour is the cube?", "red")]


def test_the_bare_place_may_be_guided_more_than_things(painter, walks, tmp_path):
    folder = tmp_path / "guided"
    shutil.copytree(painter.parts.folder, folder)
    told = json.loads((folder / "defaults.json").read_text())
    told["painting"] |= {"bare_guidance": 2.0}
    (folder / "defaults.json").write_text(json.dumps(told))
    armillary.load(folder, dtype="float32").imagine("text-to-image", prompt=WORDS, guidance=1.5, **SMALL)
    assert [stretch.request.guidance for stretch, _ in walks] == [2.0, 1.5, 1.5]


def test_company_changes_nothing(painter):
    asked = [{"mode": "text-to-image", "prompt": WORDS, "seed": 1, **SMALL},
             {"mode": "text-to-image", "prompt": "A table. a red cube at 50 50.", "seed": 2, **SMALL},
             {"mode": "text-to-image", "prompt": "a table", "seed": 2, "steps": 2, **SMALL}]  # fmt: skip
    together = painter.imagine_many(asked)
    for one, rollout in zip(asked, together, strict=True):
        alone = painter.imagine_many([one])[0].video
        assert np.abs(alone.astype(int) - rollout.video).max() <= 1


def test_steps_of_a_picture_are_those_of_each_thing_and_of_a_film_those_after_it(painter):
    def how(mode, **asked):
        return check_request(mode, {"prompt": WORDS, **SMALL, **asked}, painter.parts.folder).painting

    assert how("text-to-image") == Painting(steps=2, bare_steps=3)
    assert how("text-to-image", steps=7, guidance=1.5) == Painting(steps=7, bare_steps=3, guidance=1.5)
    assert how("text-to-video", steps=7) == Painting(steps=2, bare_steps=3)
    assert how("text-to-image", dialect="diffusers") is None
    assert how("image-to-video", image=np.zeros((128, 128, 3), np.uint8)) is None


@pytest.mark.parametrize(
    "asked",
    [{"solver": "euler"}, {"shift": 10.0}, {"reuse": 0.1}, {"guidance_between": (0.2, 0.9)}, {"negative_prompt": "x"}],
    ids=lambda asked: next(iter(asked)),
)
def test_what_a_painted_picture_does_not_heed_is_refused_and_a_film_after_one_heeds_it(painter, asked):
    def settled(mode, words=WORDS, **more):
        return check_request(mode, {"prompt": words, **SMALL, **more}, painter.parts.folder)

    with pytest.raises(RequestError, match=f"{next(iter(asked))}=.* thing by thing.*upsample=False and words"):
        settled("text-to-image", **asked)
    settled("text-to-image", "a red cube", **asked)
    settled("text-to-video", **asked)
    same = {"solver": "unipc", "shift": 3.0, "reuse": 0, "guidance_between": (0, 1), "negative_prompt": ""}
    assert "negative_prompt" not in settled("text-to-image", **same).record


def test_what_was_painted_says_so_and_in_how_many_steps(painter):
    told = painter.imagine("text-to-image", prompt=WORDS, **SMALL).provenance["request"]
    assert (told["steps"], told["guidance"]) == (2, 1.0)
    assert {name: told["painting"][name] for name in ("steps", "guidance", "bare_steps", "bare_guidance")} == {
        "steps": 2, "guidance": 1.0, "bare_steps": 3, "bare_guidance": 1.0,
    }  # fmt: skip
    folder = painter.parts.folder
    again = check_request("text-to-image", {"prompt": WORDS, "steps": told["steps"], "guidance": told["guidance"],
                                            **SMALL}, folder)  # fmt: skip
    assert again.painting == check_request("text-to-image", {"prompt": WORDS, **SMALL}, folder).painting
    film = check_request("text-to-video", {"prompt": WORDS, "steps": 7, **SMALL}, folder).record
    assert (film["steps"], film["guidance"], film["painting"]["steps"]) == (7, 3.0, 2)
    once = check_request("text-to-image", {"prompt": "a red cube", **SMALL}, folder).record
    assert (once["steps"], once["guidance"]) == (20, 3.0) and "painting" not in once


def test_words_that_are_written_out_first_are_told_as_painted_once_they_are(painter, tmp_path, monkeypatch):
    folder = shutil.copytree(painter.parts.folder, tmp_path / "writer")
    told = json.loads((folder / "defaults.json").read_text())
    told["upsampling"] = {"text-to-image": {"ask": "Where? {prompt}", "places": True, "usual": True}}
    (folder / "defaults.json").write_text(json.dumps(told))
    asked = {"prompt": "a red cube", **SMALL}
    with pytest.raises(RequestError, match=r"shift=10\.0 has no use"):
        check_request("text-to-image", {**asked, "shift": 10.0}, folder)
    assert check_request("text-to-image", {**asked, "shift": 10.0, "upsample": False}, folder).record["shift"] == 10.0
    request = check_request("text-to-image", asked, folder)
    monkeypatch.setattr(upsampling, "speak_many", lambda parts, chats, manners: ["20 30."] * len(chats))
    (written,) = upsampling.upsampled(painter.parts, [request])
    assert "painting" not in request.record and written.record["painting"]["bare_steps"] == 3
    assert written.record["steps"] == 2 and written.record["upsampled_prompt"] == "a red cube at 20 30"


def test_words_without_places_and_checkpoints_that_do_not_paint_walk_once(painter, checkpoint):
    for words, folder in (("a red cube", painter.parts.folder), (WORDS, checkpoint)):
        request = check_request("text-to-video", {"prompt": words, **SMALL}, folder)
        assert count_stretches(request) == 1 and count_evaluations(request) == len(request.schedule.stops)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"reach": 0.0},
        {"one": "a thing"},
        {"colour": "red"},
        {"bare_steps": 0},
        {"tries": 0},
        {"shape": "What shape?"},
    ],
)
def test_what_cannot_be_painted_is_refused_with_the_checkpoint(checkpoint, tmp_path, wrong):
    told = json.loads((checkpoint / "defaults.json").read_text())
    (tmp_path / "defaults.json").write_text(json.dumps(told | {"painting": wrong}))
    with pytest.raises(CheckpointError, match=r"defaults\.json cannot be read"):
        check_request("text-to-image", {"prompt": WORDS}, tmp_path)
