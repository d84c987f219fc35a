"""Laws of the forms: the same episode comes out of each, others' files are read, a kill costs nothing."""

import io
import json
import os
import shutil
import signal
import tarfile
import time

import made_up
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_up import contents, same

from armillary.datasets.clips import ClipPlan, clips_of
from armillary.datasets.films import encode
from armillary.datasets.sources import episodes_of, export, form_of, open_episodes
from armillary.datasets.store import EpisodeWriter
from armillary.errors import ArmillaryError, DataError

FORMS = ("lerobot", "lerobot-v2.1", "webdataset", "jsonl")


def episode(seed, **more):
    """Made up; two kinds of words and of numbers of objects, by turns."""
    return made_up.episode(seed, objects=2 + seed % 2, words=f"push the T {seed % 2}", **more)


def write(path, count, form="lerobot"):
    with EpisodeWriter(path, fps=10, cameras=("top", "wrist"), robot="made-up", form=form) as writer:
        for seed in range(writer.next_index, count):
            writer.write(episode(seed))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_back_what_was_written(tmp_path, form):
    write(tmp_path / "set", 3, form)
    assert form_of(tmp_path / "set") == form
    read = list(episodes_of(tmp_path / "set"))
    assert len(read) == 3
    for seed, other in enumerate(read):
        same(episode(seed), other)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_a_source_of_clips(tmp_path, form):
    write(tmp_path / "set", 2, form)
    clips = clips_of(tmp_path / "set", ClipPlan(frames=5, fps=10, size=(32, 32), stride=4))
    assert len(clips) == 4
    assert clips[0].video.shape == (5, 32, 32, 3) and clips[0].actions.shape == (4, 3)
    assert np.array_equal(clips[1].actions, episode(0).actions[4:])


def test_from_form_to_form_and_back_nothing_changes(tmp_path):
    write(tmp_path / "0", 3)
    for number, form in enumerate(("webdataset", "jsonl", "lerobot-v2.1", "lerobot"), 1):
        assert export(tmp_path / f"{number - 1}", tmp_path / f"{number}", form) == (3, 0)
    (tmp_path / "4/export.json").unlink()  # the one file that only an export writes
    assert contents(tmp_path / "0") == contents(tmp_path / "4")


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_was_stopped_goes_on_and_ends_with_the_same_bytes(tmp_path, form, monkeypatch):
    write(tmp_path / "set", 3)
    export(tmp_path / "set", tmp_path / "whole", form)

    def stop(share):
        if share > 0.5:
            raise KeyboardInterrupt

    (tmp_path / "cut/.pending").mkdir(parents=True)  # what is there of one that was killed at once
    (tmp_path / "cut/.export.json.1.tmp").write_text("{")
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "set", tmp_path / "cut", form, on_progress=stop)
    (tmp_path / "set").rename(tmp_path / "moved")
    assert export(tmp_path / "moved", tmp_path / "cut", form) == (3, 2)
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")
    assert export(tmp_path / "moved", tmp_path / "cut", form) == (3, 3)
    write(tmp_path / "moved", 4)
    assert export(tmp_path / "moved", tmp_path / "cut", form) == (4, 3)  # data that has grown
    assert len(open_episodes(tmp_path / "cut")) == 4


def test_an_export_mixes_with_nothing_that_is_there(tmp_path, monkeypatch):
    write(tmp_path / "set", 2, "lerobot-v2.1")
    write(tmp_path / "rows", 2, "jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    (tmp_path / "film").mkdir()
    (tmp_path / "film/vision.mp4").write_bytes(b"a film")
    monkeypatch.chdir(tmp_path)
    for data, out, what in (
        ("set", "set", "data itself"), ("set", "link", "data itself"), ("link", "./film/../set", "data itself"),
        ("rows/episodes.jsonl", "rows", "data itself"), ("set", "film", "not empty"), ("set", "rows", "not empty"),
    ):  # fmt: skip
        before = {place: place.read_bytes() for place in tmp_path.rglob("*") if place.is_file()}
        with pytest.raises(ArmillaryError, match=what):
            export(data, out, "jsonl")
        assert before == {place: place.read_bytes() for place in tmp_path.rglob("*") if place.is_file()}


def test_an_export_goes_on_only_with_its_own_data_and_settings(tmp_path):
    write(tmp_path / "set", 2)
    with EpisodeWriter(tmp_path / "other", fps=10, cameras=("top", "wrist"), robot="made-up") as writer:
        writer.write(episode(7))
    export(tmp_path / "set", tmp_path / "out", "jsonl")
    before = contents(tmp_path / "out")
    for data, form, more, what in (
        ("other", "jsonl", {}, "other data"), ("set", "webdataset", {}, "begun with form jsonl"),
        ("set", "jsonl", {"lossless": False}, "begun with lossless True"),
    ):  # fmt: skip
        with pytest.raises(ArmillaryError, match=what):
            export(tmp_path / data, tmp_path / "out", form, **more)
    write(tmp_path / "fewer", 1)
    with pytest.raises(ArmillaryError, match="has 2 episodes and"):
        export(tmp_path / "fewer", tmp_path / "out", "jsonl")
    (tmp_path / "out/export.json").write_text("[1")
    with pytest.raises(ArmillaryError, match="no JSON object"):
        export(tmp_path / "set", tmp_path / "out", "jsonl")
    (tmp_path / "out/export.json").unlink()
    assert before.keys() - contents(tmp_path / "out").keys() == {"export.json"}


@pytest.mark.parametrize("form", FORMS)
def test_a_writer_killed_again_and_again_ends_with_the_same_bytes(tmp_path, form):
    """A child writes and is killed without warning, at a moment that chance picks, until it gets to the end."""
    begun = time.monotonic()
    write(tmp_path / "whole", 6, form)
    rng, kills, patience = np.random.default_rng(0), 0, time.monotonic() - begun
    for _ in range(40):
        child = os.fork()
        if child == 0:
            write(tmp_path / "cut", 6, form)
            os._exit(0)
        if kills < 5:
            time.sleep(patience * rng.uniform(0.03, 1))
            os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] != 0:
            kills += 1
        elif kills:
            break
        else:  # it was quicker than the kill: once more, sooner
            shutil.rmtree(tmp_path / "cut")
            patience /= 3
    assert kills
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


@pytest.mark.parametrize("form", FORMS)
def test_more_episodes_are_added_to_a_finished_folder(tmp_path, form):
    write(tmp_path / "set", 2, form)
    write(tmp_path / "set", 3, form)
    for seed, other in enumerate(episodes_of(tmp_path / "set")):
        same(episode(seed), other)


def test_v21_is_laid_out_as_its_readers_expect(tmp_path):
    write(tmp_path / "set", 2, "lerobot-v2.1")
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["codebase_version"] == "v2.1" and info["total_videos"] == 4 and info["total_chunks"] == 1
    for number in (0, 1):
        where = {"episode_chunk": 0, "episode_index": number}
        table = pq.read_table(tmp_path / "set" / info["data_path"].format(**where))
        assert table["frame_index"].to_pylist() == list(range(9))
        assert table["index"].to_pylist() == list(range(9 * number, 9 * number + 9))
        for key in ("observation.images.top", "observation.images.wrist"):
            assert (tmp_path / "set" / info["video_path"].format(**where, video_key=key)).is_file()
    lines = [json.loads(line) for line in (tmp_path / "set/meta/episodes_stats.jsonl").read_text().splitlines()]
    assert np.array(lines[1]["stats"]["observation.images.top"]["mean"]).shape == (3, 1, 1)
    assert np.allclose(lines[1]["stats"]["action"]["max"], episode(1).actions.max(0))
    tasks = [json.loads(line) for line in (tmp_path / "set/meta/tasks.jsonl").read_text().splitlines()]
    assert tasks == [{"task_index": i, "task": f"push the T {i}"} for i in (0, 1)]
    modality = json.loads((tmp_path / "set/meta/modality.json").read_text())
    assert modality["action"] and modality["video"]["top"] == {"original_key": "observation.images.top"}
    assert modality["state"] == {"tip": {"start": 0, "end": 3}}


def test_shards_are_read_by_tar_alone(tmp_path):
    write(tmp_path / "set", 2, "webdataset")
    with tarfile.open(tmp_path / "set/shard-000000.tar") as tar:
        names = tar.getnames()
        words = json.load(tar.extractfile("000001.json"))
    assert [n.split(".")[0] for n in names] == sorted(n.split(".")[0] for n in names)
    assert words["instruction"] == "push the T 1" and words["captions"]["short"] == "A thing moves."


def test_shards_and_rows_of_others_are_read(tmp_path):
    film = tmp_path / "film.mp4"
    encode(film, episode(0).frames["top"], 12)
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/a.tar", "w") as tar:
        for name, content in (("x.mp4", film.read_bytes()), ("x.txt", b"a film"), ("y.txt", b"no film")):
            head = tarfile.TarInfo(name)
            head.size = len(content)
            tar.addfile(head, io.BytesIO(content))
    rows = [{"video": "film.mp4", "caption": "plain", "caption_json": {"subject": "dots"}}, {"caption": "no film"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for place, words in ((tmp_path / "shards", "a film"), (tmp_path / "rows.jsonl", '{"subject": "dots"}')):
        source = open_episodes(place, embodiment="mine")
        assert (len(source), source.blind) == (1, 1)
        read = source.episode(0)
        assert (read.instruction, read.fps, read.actions.shape, read.embodiment) == (words, 12.0, (8, 0), "mine")
        assert np.array_equal(read.frames["main"], episode(0).frames["top"])


def test_what_is_no_data_set_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ArmillaryError, match="no folder"):
        form_of(tmp_path / "nowhere")
    with pytest.raises(ArmillaryError, match="WebDataset"):
        open_episodes(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ArmillaryError, match="cannot be read as a tar"):
        open_episodes(tmp_path)
    (tmp_path / "a.jsonl").write_text("{")
    with pytest.raises(ArmillaryError, match="line 1 of"):
        open_episodes(tmp_path / "a.jsonl")
    write(tmp_path / "set", 1, "jsonl")
    with pytest.raises(ArmillaryError, match="new folder"):
        EpisodeWriter(tmp_path / "set", fps=20, cameras=("top", "wrist"), form="jsonl")


def test_nothing_is_exported_into_the_data_however_deep(tmp_path):
    (tmp_path / "set/meta").mkdir(parents=True)
    with pytest.raises(DataError, match="lies in the folder of the data itself"):
        export(tmp_path / "set", tmp_path / "set/other/form", "jsonl")


def test_a_file_that_is_no_data_set_is_called_a_file(tmp_path):
    (tmp_path / "frame.png").write_bytes(b"picture")
    with pytest.raises(DataError, match="is a file, and no data set"):
        form_of(tmp_path / "frame.png")
