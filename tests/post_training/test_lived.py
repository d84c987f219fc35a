"""Windows that begin where an imagination had come to: its picture, then the truth; a life's first window is true."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny import moving_square, small_checkpoint

import armillary
from armillary.datasets.raw import save_raw
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.post_training.lived import LivedRun
from armillary.training.latents import encode_windows, load_cache


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run over three lives, of which one is too short to go on from anywhere."""
    folder = tmp_path_factory.mktemp("lived")
    (folder / "raw").mkdir()
    lives = [moving_square(seed, frames, side=128) for seed, frames in ((1, 40), (2, 20), (3, 60))]
    for life in lives:
        save_raw(folder / "raw" / f"episode_{life.seed:06d}.npz", life)
    origin = small_checkpoint(folder / "small")
    run = LivedRun(data=folder / "raw", origin=origin, out=folder / "out", embodiment="pusht", camera="top")
    run.start(lambda _: None)
    return run, lives


def far(one, other):
    """How far tokens are from each other in the mean; a number that is rounded to bfloat16 moves a little."""
    return (one.float() - other.float()).abs().mean()


def test_a_window_begins_with_what_was_imagined_and_goes_on_with_the_truth(made):
    run, (first, _, last) = made
    windows = load_cache(run.out)
    assert windows.opening.tolist() == [0, 0, 2, 2, 2] and not windows.acts.any() and not windows.tells.any()
    omni = armillary.load(run.origin)
    film = omni.imagine(
        "forward-dynamics", image=last.frames["top"][0], actions=last.actions[:32], embodiment="pusht", seed=3,
        size=(128, 128),
    ).video  # fmt: skip
    for row, start in ((2, 0), (3, 16), (4, 32)):
        clip = last.frames["top"][start : start + 17].copy()
        assert start == 0 or not np.array_equal(clip[0], film[start])
        clip[0] = film[start]
        assert far(windows.video[row], encode_windows(omni.parts.vae, clip, [0])[0]) < 0.02
        true = encode_windows(omni.parts.vae, last.frames["top"][start : start + 17], [0])[0]
        assert (far(windows.video[row, :16], true[:16]) < 0.02) == (start == 0)
    assert far(windows.video[0], encode_windows(omni.parts.vae, first.frames["top"], [0])[0]) < 0.02


def test_the_actions_are_those_of_the_true_life(made):
    run, (_, _, last) = made
    with safe_open(next(run.out.glob("*.safetensors")), "pt") as file:
        starts = [row["start"] for row in json.loads(file.metadata()["rows"])]
    assert starts == [0, 16, 0, 16, 32]
    windows = load_cache(run.out)
    coded = load_embodiment("pusht", run.origin).encode(last.actions[16:32])
    assert torch.equal(windows.actions[3], torch.from_numpy(coded).float())


def test_what_is_there_is_not_made_again_and_short_lives_are_refused(made, tmp_path):
    run, (_, short, _) = made
    before = {path: path.stat().st_mtime_ns for path in run.out.iterdir()}
    run.start(lambda _: None)
    assert before == {path: path.stat().st_mtime_ns for path in run.out.iterdir()}
    save_raw(tmp_path / "episode_000002.npz", short)
    with pytest.raises(DataError, match="32 actions"):
        replace(run, data=tmp_path, out=tmp_path / "out").start(lambda _: None)
    for wrong in ({"most": 1}, {"share": (1, 1)}):
        with pytest.raises(ConfigError):
            replace(run, **wrong)
