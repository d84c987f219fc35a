"""Words that say where things are become a picture thing by thing: what is not near a thing stays as it was."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

import armillary
from armillary.errors import CheckpointError
from armillary.model.positions import tokens_near
from armillary.prompts import Placed, places_in
from armillary.sampling import imagine as imagining
from armillary.sampling.painting import Painting
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import count_evaluations, count_stretches

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


def test_words_without_places_and_checkpoints_that_do_not_paint_walk_once(painter, checkpoint):
    for words, folder in (("a red cube", painter.parts.folder), (WORDS, checkpoint)):
        request = check_request("text-to-video", {"prompt": words, **SMALL}, folder)
        assert count_stretches(request) == 1 and count_evaluations(request) == len(request.schedule.stops)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"reach": 0.0}, {"one": "a thing"}, {"colour": "red"}, {"bare_steps": 0}]
)
def test_what_cannot_be_painted_is_refused_with_the_checkpoint(checkpoint, tmp_path, wrong):
    told = json.loads((checkpoint / "defaults.json").read_text())
    (tmp_path / "defaults.json").write_text(json.dumps(told | {"painting": wrong}))
    with pytest.raises(CheckpointError, match=r"defaults\.json cannot be read"):
        check_request("text-to-image", {"prompt": WORDS}, tmp_path)
