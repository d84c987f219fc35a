"""What the stages before learning keep: an episode comes back as it went, clips fit, shares meet."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from tiny import moving_square

from armillary.datasets.byte_clips import ByteClips
from armillary.datasets.raw import load_raw, save_raw
from armillary.errors import ConfigError, DataError
from armillary.records import Question
from armillary.training.episodes import CacheRun, ClipsRun, DataRun, cut_clips


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, frames in enumerate((20, 30, 10, 17, 25)):
        save_raw(folder / f"episode_{number:06d}.npz", moving_square(number, frames=frames))
    return folder


def test_an_episode_comes_back_as_it_went(tmp_path):
    went = replace(
        moving_square(1, frames=18), events=[(0.5, 0.75, "success")], states={"place": np.arange(18.0)[:, None]},
        boxes=[{"square": (1, 2, 9, 10)}] * 18,
        questions=[Question(task="t", words="Which?", answer="that", choices=("this", "that"), frames=(3,))],
    )  # fmt: skip
    save_raw(tmp_path / "episode_000001.npz", went)
    came = load_raw(tmp_path / "episode_000001.npz")
    for name, value in vars(went).items():
        if name in ("frames", "states"):
            assert value.keys() == came.__dict__[name].keys()
            assert all(np.array_equal(value[key], came.__dict__[name][key]) for key in value)
        elif name == "questions":
            assert [asdict(one) for one in value] == [asdict(one) for one in came.questions]
        elif isinstance(value, np.ndarray):
            assert np.array_equal(value, came.__dict__[name]) and value.dtype == came.__dict__[name].dtype
        else:
            assert value == came.__dict__[name], name
    assert list(tmp_path.iterdir()) == [tmp_path / "episode_000001.npz"]


def test_a_file_that_is_no_episode_is_named(tmp_path):
    (tmp_path / "episode_000000.npz").write_bytes(b"not one")
    with pytest.raises(DataError, match="is not an episode"):
        load_raw(tmp_path / "episode_000000.npz")


def test_clips_are_windows_of_the_episodes_that_are_long_enough(raw, tmp_path):
    run = ClipsRun(data=raw, out=tmp_path / "clips", camera="top", a_file=3)
    assert cut_clips(run, lambda _: None) == 8
    clips = ByteClips(run.out)
    assert [len(file.frames) for file in clips.files] == [4, 4] and clips.shape == (17, 64, 64)
    films = [moving_square(n, frames=f).frames["top"] for n, f in ((0, 20), (1, 30), (3, 17), (4, 25))]
    cut = [clip for file in clips.files for clip in file.frames]
    for clip, film in zip(cut, [film for film in films for _ in range(run.windows)], strict=True):
        assert any(np.array_equal(clip, film[s : s + 17]) for s in range(len(film) - 16))


def test_clips_are_the_same_however_often_they_are_cut(raw, tmp_path):
    runs = [ClipsRun(data=raw, out=tmp_path / name, camera="top") for name in ("one", "two", "one")]
    for run in runs:
        cut_clips(run, lambda _: None)
    assert (tmp_path / "one/frames_00.npy").read_bytes() == (tmp_path / "two/frames_00.npy").read_bytes()


def test_a_folder_without_long_episodes_gives_no_clips(tmp_path):
    save_raw(tmp_path / "episode_000000.npz", moving_square(0, frames=12))
    with pytest.raises(DataError, match="gives no clips"):
        cut_clips(ClipsRun(data=tmp_path, out=tmp_path / "clips", camera="top"))


@pytest.mark.parametrize("share", [(2, 2), (0, 0), (-1, 3)])
def test_a_share_that_is_none_is_refused(share, tmp_path):
    with pytest.raises(ConfigError, match="it must be"):
        DataRun(out=tmp_path, episodes=3, share=share)
    with pytest.raises(ConfigError, match="it must be"):
        CacheRun(data=tmp_path, vae=tmp_path, out=tmp_path, share=share)
