"""What the generator's windows keep: they fit, mean in training what they mean in sampling, a cut takes nothing."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import SMALL_VAE, moving_square, small_checkpoint

from armillary.datasets.raw import save_raw
from armillary.embodiments import load_embodiment
from armillary.errors import DataError
from armillary.model import patchify
from armillary.sampling.imagine import encode_given
from armillary.sampling.omni import load
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import unfold
from armillary.tokenizers.video import VideoVAE
from armillary.training.latents import (
    FRAMES,
    STILL,
    encode_windows,
    load_cache,
    make_cache,
    stills_of,
    things_of,
    window_starts,
    windows_of,
)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VideoVAE(SMALL_VAE).eval()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for number in range(3):
        save_raw(folder / f"episode_{number:06d}.npz", moving_square(number, frames=24, side=128))
    return folder


def cutting(vae, *, most):
    """What makes the windows of one episode."""
    return lambda episodes: windows_of(episodes[0], vae, load_embodiment("pusht"), camera="top", most=most)


@pytest.mark.parametrize("frames", [17, 18, 30, 45])
@pytest.mark.parametrize("offset", [0, 3])
def test_windows_fit_and_reach_the_end(frames, offset):
    starts = window_starts(moving_square(0, frames=frames), offset=offset)
    assert starts == sorted(set(starts)) and starts[-1] == frames - FRAMES
    assert all(0 <= start <= frames - FRAMES for start in starts)


def test_an_episode_too_short_has_no_windows(vae):
    short = moving_square(0, frames=16)
    assert window_starts(short) == []
    assert windows_of(short, vae, load_embodiment("pusht"), camera="top") == ({}, [])


def test_windows_are_encoded_alone_as_in_company(vae):
    film = moving_square(1, frames=30, side=64).frames["top"]
    together = encode_windows(vae, film, [0, 3, 5, 8, 13])
    assert together.shape == (5, 5 * 2 * 2, 192)
    torch.testing.assert_close(together[3:4], encode_windows(vae, film, [8]), atol=1e-4, rtol=1e-4)


def test_a_window_is_in_training_what_it_is_in_sampling(tmp_path):
    omni = load(small_checkpoint(tmp_path), dtype="float32")
    episode = moving_square(2, frames=17, side=64)
    tensors, (row,) = windows_of(episode, omni.parts.vae, load_embodiment("pusht"), camera="top")
    asked = {"prompt": episode.instruction, "embodiment": "pusht", "size": (64, 64)}
    request = check_request("inverse-dynamics", asked | {"video": episode.frames["top"]}, tmp_path)
    stretch = next(unfold(request))
    with torch.inference_mode():
        latents = encode_given(omni.parts, [stretch], stretch.layout)
    assert stretch.prompts()[0] == row["task"]
    torch.testing.assert_close(tensors["video"].float(), patchify(latents, 2), atol=0.05, rtol=0.02)
    given = check_request(
        "forward-dynamics", asked | {"image": episode.frames["top"][0], "actions": episode.actions}, tmp_path
    )
    torch.testing.assert_close(tensors["actions"][0], torch.from_numpy(given.actions))


def test_a_cache_that_was_cut_off_is_continued_and_the_same(vae, raw, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    make = cutting(vae, most=2)
    assert len(list(make_cache(raw, whole, make))) == 3
    cut.mkdir()
    next(make_cache(raw, cut, make))
    written = (cut / "episode_000000.safetensors").stat().st_mtime_ns
    assert len(list(make_cache(raw, cut, make))) == 3
    assert (cut / "episode_000000.safetensors").stat().st_mtime_ns == written
    for path in sorted(whole.iterdir()):
        assert path.read_bytes() == (cut / path.name).read_bytes()


def test_shares_of_a_cache_meet_without_a_gap(vae, raw, tmp_path):
    make = cutting(vae, most=1)
    first, second = (set(make_cache(raw, tmp_path, make, share=(i, 2))) for i in range(2))
    assert len(first | second) == 3 and not first & second


def test_a_cache_gives_back_what_is_kept(vae, raw, tmp_path):
    list(make_cache(raw, tmp_path, cutting(vae, most=2)))
    windows = load_cache(tmp_path)
    body, episode = load_embodiment("pusht"), moving_square(0, frames=24, side=128)
    assert len(windows) == 6 == len(windows.video) and windows.domain.tolist() == [body.domain_id] * 6
    np.testing.assert_allclose(windows.actions[0].numpy(), body.encode(episode.actions[: FRAMES - 1]))
    assert len(load_cache(tmp_path, keep=lambda row: row["start"] == 0)) == 3


def expert(frames):
    """A made-up expert's episode of the tabletop's size, with words and a box."""
    made = moving_square(0, frames=frames, side=128)
    told = {"short": "It pushes.", "scene": "On the table: a red cube.", "report 0": "a red cube at 34 56."}
    boxes = [{"red cube": (32, 64, 64, 96)}] * frames
    recipe = {**made.recipe, "controller": "expert", "detour": 2}
    return replace(made, captions={**told, "dense": "It pushes. On the table: a red cube."}, boxes=boxes, recipe=recipe,
                   success=True)  # fmt: skip


def test_single_frames_of_an_expert_keep_the_actions_that_follow(vae):
    episode, body = expert(24), load_embodiment("pusht")
    tensors, rows = stills_of([episode], vae, body, camera="top", most=100)
    assert [row["start"] for row in rows] == [0, *range(2, 16)]
    assert [row["acts"] for row in rows] == [False] + [True] * 14 and [row["tells"] for row in rows][:2] == [
        True,
        False,
    ]
    assert tensors["video"].shape == (15, 16, 192)
    alone = encode_windows(vae, episode.frames["top"], [5], 1)
    torch.testing.assert_close(tensors["video"][4].float(), alone[0], atol=0.05, rtol=0.02)
    following = body.encode(episode.actions[np.minimum(np.arange(15, 31), len(episode.actions) - 1)])
    np.testing.assert_allclose(tensors["actions"][-1].numpy(), following)
    assert not tensors["actions"][0].any()
    few, _ = stills_of([episode], vae, body, camera="top", most=3)
    assert len(few["video"]) == 4


@pytest.mark.parametrize(("seed", "words"), [
    (0, "On the table: a red cube."), (1, "It pushes. On the table: a red cube."),
    (2, "On the table: a red cube at 34 56."), (3, "It pushes. On the table: a red cube at 34 56."),
])  # fmt: skip
def test_a_picture_s_words_come_in_four_ways(vae, seed, words):
    _, rows = stills_of([replace(expert(24), seed=seed)], vae, load_embodiment("pusht"), camera="top", most=1)
    assert rows[0]["caption"] == f"{words} This image is of 128x128 resolution."


def test_things_are_where_their_boxes_are():
    shares = things_of(expert(24), [0, 4]).reshape(2, 4, 4)
    assert shares[0, 2, 1] == 1 and shares.sum() == 2
    assert not things_of(moving_square(0, frames=24, side=128), [0]).any()


def test_a_cache_of_single_frames_comes_back_as_such(vae, raw, tmp_path):
    stills = partial(stills_of, vae=vae, embodiment=load_embodiment("pusht"), camera="top", most=2)
    assert len(list(make_cache(raw, tmp_path, stills, together=25))) == 3
    assert len(list(tmp_path.iterdir())) == 1 and load_cache(tmp_path).size == STILL


def test_a_single_frame_keeps_where_named_things_are(vae, tmp_path):
    stills = partial(stills_of, vae=vae, embodiment=load_embodiment("pusht"), camera="top", most=2)
    tensors, rows = stills([expert(24)])
    assert [row["named"] for row in rows] == [{"red cube": [32, 64, 64, 96]}, {}, {}]
    old = [{key: value for key, value in row.items() if key != "named"} for row in rows]
    save_file(tensors, tmp_path / "old.safetensors", metadata={"rows": json.dumps(old)})
    with pytest.raises(DataError, match="make it anew"):
        load_cache(tmp_path)


def test_a_still_with_plans_is_seen_once_for_each(vae):
    body = load_embodiment("pusht")
    plans = np.stack([expert(24).actions[:16], expert(24).actions[3:19]])
    still = replace(expert(24), actions=np.zeros((0, 2), np.float32), states={"plans": plans})
    still = replace(still, recipe={"controller": "none", "plans": ["Push left.", "Push right."]})
    tensors, rows = stills_of([still, expert(24)], vae, body, camera="top", most=1)
    assert [row["acts"] for row in rows[:3]] == [False, True, True] and [r["tells"] for r in rows[:3]] == [
        True,
        False,
        False,
    ]
    assert "Push left." in rows[1]["task"] and "Push right." in rows[2]["task"]
    assert torch.equal(tensors["video"][0], tensors["video"][2]) and len(rows) == len(tensors["video"]) == 5
    np.testing.assert_allclose(tensors["actions"][2].numpy(), body.encode(plans[1]))
    later = replace(still, recipe={**still.recipe, "planned_at": [0, 9]})
    assert [row["start"] for row in stills_of([later], vae, body, camera="top")[1]] == [0, 0, 9]
    seen = stills_of([later], vae, body, camera="top")[0]["video"]
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
