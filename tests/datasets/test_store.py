"""Laws of the store: what is written comes back, the same episodes make the same bytes, a killed writer goes on."""

import json
from contextlib import suppress

import made_up
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up import contents, same

from armillary.datasets.lerobot import LeRobotReader
from armillary.datasets.stats import QUANTILES, picture_stats
from armillary.datasets.store import EpisodeWriter, read_episodes
from armillary.errors import ArmillaryError


def episode(seed, **more):
    """Made up, with a body that has a file."""
    return made_up.episode(seed, body="pusht", **more)


def write(path, episodes, **settings):
    with EpisodeWriter(path, fps=10, cameras=("top", "wrist"), **settings) as writer:
        for one in episodes:
            writer.write(one)


def test_what_is_written_comes_back(tmp_path):
    written = [episode(0), episode(1, frames=5, objects=3, words="put it down"), episode(2)]
    write(tmp_path / "set", written)
    read = list(read_episodes(tmp_path / "set"))
    assert len(read) == 3
    for one, other in zip(written, read, strict=True):
        same(one, other)


def test_the_folder_that_we_write_has_no_oddity(tmp_path):
    write(tmp_path / "set", [episode(0), episode(1)])
    assert LeRobotReader(tmp_path / "set").oddities == []


def test_the_same_episodes_make_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        write(tmp_path / name, [episode(0), episode(1)])
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_killed_writer_goes_on_and_ends_with_the_same_bytes(tmp_path):
    write(tmp_path / "whole", [episode(i) for i in range(3)])
    first = EpisodeWriter(tmp_path / "cut", fps=10, cameras=("top", "wrist"))
    first.write(episode(0))
    first.write(episode(1))
    half = tmp_path / "cut/.pending/.draft-1"
    half.mkdir()
    (half / "top.mp4").write_bytes(b"half of a film")
    del first
    second = EpisodeWriter(tmp_path / "cut", fps=10, cameras=("top", "wrist"))
    assert second.next_index == 2
    second.write(episode(2))
    second.close()
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_a_pack_that_was_cut_off_before_it_counted_is_made_again(tmp_path):
    write(tmp_path / "set", [episode(0)])
    before = (tmp_path / "set/meta/info.json").read_bytes()
    writer = EpisodeWriter(tmp_path / "set", fps=10, cameras=("top", "wrist"))
    writer.write(episode(1))
    waiting = {f: f.read_bytes() for f in (tmp_path / "set/.pending").rglob("*") if f.is_file()}
    writer.close()
    (tmp_path / "set/meta/info.json").write_bytes(before)
    for file, kept in waiting.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(kept)
    again = EpisodeWriter(tmp_path / "set", fps=10, cameras=("top", "wrist"))
    assert again.next_index == 2
    again.close()
    read = list(read_episodes(tmp_path / "set"))
    assert [e.seed for e in read] == [0, 1]
    same(read[1], episode(1))


def test_more_episodes_are_added_to_a_finished_folder(tmp_path):
    for seed in (0, 1):
        write(tmp_path / "set", [episode(seed, words=f"task {seed}")])
    reader = LeRobotReader(tmp_path / "set")
    assert [row.task for row in reader.episodes] == ["task 0", "task 1"]
    assert reader.oddities == []
    same(list(read_episodes(tmp_path / "set"))[1], episode(1, words="task 1"))
    index = [reader.columns(row)["index"] for row in reader.episodes]
    assert np.array_equal(np.concatenate(index), np.arange(18))


def test_smaller_films_lose_little(tmp_path):
    smooth = episode(0)
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    for frames in smooth.frames.values():
        frames[...] = ramp[None, :, None, None]
    write(tmp_path / "set", [smooth], lossless=False)
    read = next(iter(read_episodes(tmp_path / "set")))
    error = np.mean((read.frames["top"].astype(float) - smooth.frames["top"]) ** 2)
    assert 10 * np.log10(255**2 / error) > 38


def test_statistics_are_those_of_all_rows(tmp_path):
    episodes = [episode(0, frames=7), episode(1, frames=12)]
    write(tmp_path / "one", episodes)
    write(tmp_path / "two", episodes[:1])
    write(tmp_path / "two", episodes[1:])
    actions = np.concatenate([np.concatenate([e.actions, e.actions[-1:]]) for e in episodes]).astype(float)
    for name in ("one", "two"):
        stats = json.loads((tmp_path / name / "meta/stats.json").read_text())["action"]
        assert np.allclose(stats["mean"], actions.mean(0))
        assert np.allclose(stats["std"], actions.std(0))
        assert np.allclose(stats["q99"], np.quantile(actions, 0.99, axis=0))
        assert stats["count"] == [19]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 16, 16)])
def test_statistics_of_pictures_are_those_of_every_pixel(shape):
    tones = np.random.default_rng(5).choice([0, 3, 90, 91, 255], (*shape, 3)).astype(np.uint8)
    told, pixels = picture_stats(tones), tones.reshape(-1, 3) / 255
    wanted = {"min": pixels.min(0), "max": pixels.max(0), "mean": pixels.mean(0), "std": pixels.std(0)}
    wanted |= {name: np.quantile(pixels, share, axis=0) for name, share in QUANTILES.items()}
    assert told["count"] == [shape[0]] and set(told) == {*wanted, "count"}
    for name, values in wanted.items():
        assert np.shape(told[name]) == (3, 1, 1)
        assert np.allclose(np.ravel(told[name]), values, atol=1e-12), name


def test_an_episode_that_does_not_fit_changes_nothing(tmp_path):
    write(tmp_path / "set", [episode(0)])
    before = contents(tmp_path / "set")
    for wrong in (episode(1, side=16), episode(1, cameras=("top",))):
        with pytest.raises(ArmillaryError, match="folder of its own"):
            write(tmp_path / "set", [wrong])
    assert contents(tmp_path / "set") == before


def test_a_rate_that_lerobot_cannot_keep_is_refused(tmp_path):
    with pytest.raises(ArmillaryError, match="whole frames per second"):
        EpisodeWriter(tmp_path / "set", fps=12.5, cameras=("top",))


def test_states_that_change_their_shape_are_kept_beside(tmp_path):
    write(tmp_path / "set", [episode(0, objects=2), episode(1, objects=3)])
    reader = LeRobotReader(tmp_path / "set")
    assert reader.features["observation.state"]["names"] == ["tip.0", "tip.1", "tip.2"]
    table = pq.read_table(tmp_path / "set/data/chunk-000/file-000.parquet")
    assert table["action"].type.list_size == 3
    assert table["next.done"].to_pylist().count(True) == 2


def test_a_folder_that_was_begun_says_so(tmp_path):
    EpisodeWriter(tmp_path / "set", fps=10, cameras=("top", "wrist")).write(episode(0))
    with pytest.raises(ArmillaryError, match="begun and not finished"):
        LeRobotReader(tmp_path / "set")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArmillaryError, match="is no folder"):
        EpisodeWriter(tmp_path / "file", fps=10, cameras=("top",))


def test_a_damaged_folder_is_read_rightly_or_refused_with_a_sentence(tmp_path):
    """Bytes are overwritten or cut off in every file in turn; nothing but our own errors may come out."""
    write(tmp_path / "set", [episode(0, frames=4, side=16), episode(1, frames=3, side=16)])
    read = tried = 0
    for number, file in enumerate(sorted(f for f in (tmp_path / "set").rglob("*") if f.is_file())):
        whole = file.read_bytes()
        rng = np.random.default_rng(number)
        for kind in range(3):
            harmed = bytearray(whole)
            place = int(rng.integers(len(whole)))
            if kind == 0:
                harmed = harmed[:place]
            else:
                harmed[place : place + 16] = rng.bytes(len(harmed[place : place + 16]))
            file.write_bytes(bytes(harmed))
            tried += 1
            with suppress(ArmillaryError):
                list(read_episodes(tmp_path / "set"))
                read += 1
        file.write_bytes(whole)
    assert 0 < read < tried - 5
    assert len(list(read_episodes(tmp_path / "set"))) == 2
