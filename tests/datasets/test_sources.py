"""Laws of the forms: the same episode comes out of each, others' files are read, a kill costs nothing."""

import io
import json
import os
import signal
import tarfile
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from armillary.datasets.clips import ClipPlan, clips_of
from armillary.datasets.films import encode
from armillary.datasets.sources import episodes_of, export, form_of, open_episodes
from armillary.datasets.store import EpisodeWriter
from armillary.errors import ArmillaryError
from armillary.records import Episode, Question

FORMS = ("lerobot", "lerobot-v2.1", "webdataset", "jsonl")


def episode(seed, frames=9, side=32):
    """A small made-up episode in which everything that can be there is there."""
    rng = np.random.default_rng(seed)
    cameras = ("top", "wrist")
    return Episode(
        world="made-up",
        seed=seed,
        fps=10.0,
        frames={c: rng.integers(0, 256, (frames, side, side, 3), dtype=np.uint8) for c in cameras},
        actions=rng.normal(size=(frames - 1, 3)).astype(np.float32),
        embodiment="made-up",
        states={"tip": rng.normal(size=(frames, 3)), "objects": rng.normal(size=(frames, 2 + seed % 2, 3))},
        instruction=f"push the T {seed % 2}",
        captions={"short": "A thing moves.", "dense": "Ein Ding, grün, bewegt sich."},
        questions=[Question(task="place", words="Where?", answer="left", choices=("left", "right"), frames=(0, 2))],
        events=[(0.1, 0.4, "touch")],
        depth={c: rng.uniform(0, 3, (frames, side, side)).astype(np.float32) for c in cameras},
        segmentation={"top": rng.integers(0, 5, (frames, side, side)).astype(np.int32)},
        boxes=[{"cube": (1, 2, 3, 4)} for _ in range(frames)],
        cameras={"top": {"matrix": [[1.0, 0.0], [0.0, 1.0]]}},
        sound=rng.uniform(-1, 1, (2, 4800)).astype(np.float32),
        success=seed % 2 == 0,
        recipe={"world": "made-up", "seed": seed},
    )


def write(path, count, form="lerobot"):
    with EpisodeWriter(path, fps=10, cameras=("top", "wrist"), robot="made-up", form=form) as writer:
        for seed in range(writer.next_index, count):
            writer.write(episode(seed))


def same(one, other):
    assert set(one.frames) == set(other.frames)
    assert all(np.array_equal(one.frames[c], other.frames[c]) for c in one.frames)
    assert one.actions.dtype == other.actions.dtype
    assert np.array_equal(one.actions, other.actions)
    assert all(np.array_equal(one.states[n], other.states[n]) for n in one.states)
    for name in ("world", "seed", "fps", "embodiment", "instruction", "captions", "success", "recipe", "cameras"):
        assert vars(one)[name] == vars(other)[name]
    assert [vars(q) for q in one.questions] == [vars(q) for q in other.questions]
    assert list(one.events) == list(other.events) and list(one.boxes) == list(other.boxes)
    assert all(np.abs(one.depth[c] - other.depth[c]).max() <= 0.0005 + 1e-6 for c in one.depth)
    assert np.array_equal(one.segmentation["top"], other.segmentation["top"])
    assert np.abs(one.sound - other.sound).max() <= 1 / 32767


def contents(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


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
        assert export(tmp_path / f"{number - 1}", tmp_path / f"{number}", form) == 3
    assert contents(tmp_path / "0") == contents(tmp_path / "4")


@pytest.mark.parametrize("form", FORMS)
def test_a_writer_killed_again_and_again_ends_with_the_same_bytes(tmp_path, form):
    """A child writes and is killed without warning, at a moment that chance picks, until it gets to the end."""
    write(tmp_path / "whole", 6, form)
    rng, kills = np.random.default_rng(0), 0
    for attempt in range(40):
        child = os.fork()
        if child == 0:
            write(tmp_path / "cut", 6, form)
            os._exit(0)
        if kills < 5:
            time.sleep(rng.uniform(0.005, 0.15 * (1 + attempt / 4)))
            os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == 0:
            break
        kills += 1
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
