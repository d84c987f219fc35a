"""A checkpoint is walked as its files say, and two dialects differ where the public implementations do."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import armillary
from armillary.errors import CheckpointError, RequestError
from armillary.model import Sampling, write_model_index
from armillary.sampling.dialects import Habits
from armillary.sampling.requests import check_request
from armillary.sampling.solver import fixed_schedule, karras_levels, native_levels, walk
from armillary.sampling.stretches import unfold

FOUR = (1.0, 0.9375, 5 / 6, 0.625)
WORDS = {"prompt": "a cube", "negative_prompt": "blurred"}


def made(folder, sampling, **index):
    """A folder whose files say how it is sampled."""
    write_model_index(folder, sampling=sampling)
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | index))
    return folder


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(shift=5.0), Sampling(spacing="karras", shift=1.0), Sampling(spacing="flow", shift=2.0)],
)
def test_what_is_written_about_levels_is_read(tmp_path, sampling):
    habits = Habits.load(made(tmp_path, sampling))
    assert (habits.spacing, habits.shift, habits.levels) == (sampling.spacing, sampling.shift, ())


def test_the_native_dialect_keeps_to_training_and_the_other_to_the_files(tmp_path):
    folder = made(tmp_path, Sampling(spacing="karras", shift=1.0), default_use_system_prompt=True)
    asked = {**WORDS, "steps": 6, "guidance": 0.5}
    native = check_request("text-to-video", asked, folder)
    theirs = check_request("text-to-video", asked | {"dialect": "diffusers", "guidance": 2.0}, folder)
    weakly = check_request("text-to-video", {"prompt": "a cube", "guidance": 0.5, "dialect": "diffusers"}, folder)
    assert native.schedule.levels[:-1] == native_levels(6, 3.0)
    assert theirs.schedule.levels[:-1] == karras_levels(6, 1.0)
    assert (native.system, native.guidance) == (None, 0.5)
    assert "generate videos" in theirs.system
    assert (theirs.guidance, weakly.guidance) == (2.0, 1.0)
    picture = check_request("text-to-image", WORDS | {"dialect": "diffusers"}, folder)
    assert "generate images" in picture.system
    without = [next(unfold(request)).prompts()[1] for request in (native, theirs)]
    assert without[0].startswith("blurred. The video is 1.7 seconds")
    assert without[1].startswith("blurred. The video is not 1.7 seconds")


def test_the_sentence_before_the_prompt_reaches_the_reasoner(omni, monkeypatch):
    read = []
    plain = omni.parts.text.prompt_ids
    monkeypatch.setattr(omni.parts.text, "prompt_ids", lambda *words: (read.append(words), plain(*words))[1])
    omni.imagine("text-to-image", prompt="a cube", steps=1, size=(32, 32), dialect="diffusers")
    omni.imagine("text-to-image", prompt="a cube", steps=1, size=(32, 32))
    assert {system for _, system in read} == {None}  # this folder's files say that there is none
    path = omni.parts.folder / "model_index.json"
    before = path.read_text()
    try:
        path.write_text(before.replace('"default_use_system_prompt": false', '"default_use_system_prompt": true'))
        omni.imagine("text-to-image", prompt="a cube", steps=1, size=(32, 32), dialect="diffusers")
    finally:
        path.write_text(before)
    assert "generate images" in read[-1][1]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"steps": 10}, "steps=10 has no use"),
        ({"guidance": 3.0}, "guidance=3.0 has no use"),
        ({"negative_prompt": "blurred"}, "negative_prompt='blurred' has no use"),
        ({"shift": 5.0}, "shift=5.0 has no use"),
        ({"solver": "euler"}, "solver='euler' has no use"),
        ({"dialect": "french"}, "not spoken here"),
    ],
)
def test_a_distilled_checkpoint_takes_its_own_steps_and_no_others(tmp_path, asked, words):
    folder = made(tmp_path, Sampling(spacing="flow", shift=1.0, levels=FOUR))
    with pytest.raises(RequestError, match=words):
        check_request("text-to-image", {"prompt": "a cube", **asked}, folder)


def test_a_distilled_checkpoint_is_walked_through_its_levels(tmp_path):
    folder = made(tmp_path, Sampling(spacing="flow", shift=1.0, levels=FOUR))
    request = check_request("text-to-video", {"prompt": "a cube", "steps": 4, "guidance": 1.0}, folder)
    assert request.schedule == fixed_schedule(FOUR, stochastic=True)
    assert request.guidance == 1.0
    assert [stop.embedded for stop in request.schedule.stops] == list(FOUR)
    assert request.record["steps"] == 4
    assert request.record["solver"] == "renew"
    body = {"prompt": "go", "image": np.zeros((64, 64, 3), np.uint8), "embodiment": "tabletop"}
    with pytest.raises(RequestError, match="no actions"):
        check_request("policy", body, folder)


@pytest.mark.parametrize("stochastic", [True, False])
def test_if_all_data_is_one_point_a_distilled_walk_ends_there(stochastic):
    point, drawn = torch.tensor([[2.0, -1.0]]), []

    def fresh():
        drawn.append(torch.randn(1, 2, generator=torch.Generator().manual_seed(len(drawn))))
        return drawn[-1]

    schedule = fixed_schedule(FOUR, stochastic=stochastic)
    end = walk(lambda x, stop: (x - point) / stop.level, torch.tensor([[0.3, 0.4]]), schedule, fresh)
    torch.testing.assert_close(end, point)
    assert len(drawn) == (3 if stochastic else 0)


def test_given_numbers_stay_through_fresh_noise_to_the_bit():
    given = torch.randn(1, 5, generator=torch.Generator().manual_seed(3))
    end = walk(lambda x, stop: torch.zeros_like(x), given, fixed_schedule(FOUR, stochastic=True), lambda: given)
    assert torch.equal(end, given)


@pytest.mark.parametrize("levels", [(), (1.5, 0.5), (0.5, 0.5), (0.5, 0.9), (0.5, -0.1)])
def test_levels_that_do_not_fall_are_refused(levels):
    with pytest.raises(RequestError, match="do not fall"):
        fixed_schedule(levels, stochastic=True)


def test_a_distilled_film_is_seeded_and_keeps_its_picture(checkpoint, tmp_path, picture):
    folder = tmp_path / "distilled"
    folder.mkdir()
    for part in checkpoint.iterdir():
        if part.name not in ("scheduler", "model_index.json"):
            (folder / part.name).symlink_to(part)
    made(folder, Sampling(spacing="flow", shift=1.0, levels=FOUR))
    omni = armillary.load(folder, device="cpu", dtype="float32")
    size = {"size": (64, 64), "frames": 5}
    first, again, other = (omni.imagine("image-to-video", image=picture, seed=seed, **size).video for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(first[0], other[0])
    together = omni.imagine_many([{"mode": "image-to-video", "image": picture, "seed": s, **size} for s in (2, 1)])
    assert np.abs(together[1].video.astype(int) - first).max() <= 1


@pytest.mark.parametrize("text", ["no json", "[1]", '{"flow_shift": "x"}', '{"fixed_step_sampler_config": 3}'])
def test_broken_files_of_the_scheduler_are_one_error(tmp_path, text):
    made(tmp_path, Sampling())
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(text)
    with pytest.raises(CheckpointError):
        Habits.load(tmp_path)


def test_the_request_knows_its_dialect(tmp_path):
    request = check_request("text-to-image", {"prompt": "a cube", "dialect": "diffusers"}, made(tmp_path, Sampling()))
    assert request.record["dialect"] == "diffusers"
    assert replace(request).dialect == "diffusers"
