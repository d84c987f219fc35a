"""LeRobotDataset v3.0 as others read it: names, types and paths of the format, by pyarrow, pandas and LeRobot itself.

pandas and lerobot are not needed by Armillary: what needs them is skipped with a sentence where they are missing.
"""

import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from armillary.datasets.store import EpisodeWriter
from armillary.records import Episode

AUTOMATIC = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
STATS = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
VIDEO = "observation.images.top"


def episode(seed, frames, words):
    rng = np.random.default_rng(seed)
    return Episode(
        world="made-up",
        seed=seed,
        fps=10.0,
        frames={"top": rng.integers(0, 256, (frames, 32, 48, 3), dtype=np.uint8)},
        actions=rng.normal(size=(frames - 1, 2)).astype(np.float32),
        embodiment="pusht",
        states={"disc": rng.normal(size=(frames, 2)), "covered": rng.random((frames, 1))},
        instruction=words,
        captions={"short": "Something moves."},
        success=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("layout") / "set"
    with EpisodeWriter(path, fps=10, cameras=("top",), robot="disc") as writer:
        for seed, frames, words in ((0, 12, "push"), (1, 7, "pull"), (2, 9, "push")):
            writer.write(episode(seed, frames, words))
    return path


def info_of(folder):
    return json.loads((folder / "meta/info.json").read_text())


def test_info_has_every_key_of_the_format_and_no_other(folder):
    info = info_of(folder)
    assert list(info) == [
        "codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks", "chunks_size",
        "data_files_size_in_mb", "video_files_size_in_mb", "fps", "splits", "data_path", "video_path", "features",
    ]  # fmt: skip
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 28, 2)
    assert isinstance(info["fps"], int)
    assert info["splits"] == {"train": "0:3"}
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def test_features_declare_what_the_columns_hold(folder):
    features = info_of(folder)["features"]
    schema = pq.read_schema(folder / "data/chunk-000/file-000.parquet")
    assert set(schema.names) == {name for name, feature in features.items() if feature["dtype"] != "video"}
    for name, dtype in AUTOMATIC.items():
        assert features[name] == {"dtype": dtype, "shape": [1], "names": None}
    for name in schema.names:
        kind, shape = schema.field(name).type, features[name]["shape"]
        if shape == [1]:
            assert not pa.types.is_nested(kind)
        else:
            assert pa.types.is_fixed_size_list(kind)
            assert [kind.list_size] == shape
    assert not any("/" in name for name in features)
    assert features["observation.state"]["names"] == ["disc.0", "disc.1", "covered"]
    video = features[VIDEO]
    assert video["shape"] == [32, 48, 3]
    assert video["names"] == ["height", "width", "channels"]
    assert {f"video.{n}" for n in ("height", "width", "codec", "pix_fmt", "fps", "channels", "is_depth_map")} | {
        "has_audio"
    } == set(video["info"])


def test_episode_rows_say_where_everything_is(folder):
    table = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet")
    rows = table.to_pylist()
    assert [row["length"] for row in rows] == [12, 7, 9]
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [(0, 12), (12, 19), (19, 28)]
    assert [row["tasks"] for row in rows] == [["push"], ["pull"], ["push"]]
    spans = [(row[f"videos/{VIDEO}/from_timestamp"], row[f"videos/{VIDEO}/to_timestamp"]) for row in rows]
    assert np.allclose(spans, [(0.0, 1.2), (1.2, 1.9), (1.9, 2.8)])
    for row in rows:
        for place in ("data", f"videos/{VIDEO}", "meta/episodes"):
            assert (row[f"{place}/chunk_index"], row[f"{place}/file_index"]) == (0, 0)
    stats = {name.split("/")[1] for name in table.column_names if name.startswith("stats/")}
    assert stats == set(info_of(folder)["features"])


def test_statistics_have_every_number_and_pictures_are_three_by_one_by_one(folder):
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert set(stats) == set(info_of(folder)["features"])
    for name, part in stats.items():
        assert set(part) == STATS
        wanted = (3, 1, 1) if name == VIDEO else tuple(info_of(folder)["features"][name]["shape"])
        assert np.shape(part["mean"]) == wanted
        assert np.all(np.array(part["q01"]) <= np.array(part["q99"]))
    assert 0.4 < np.mean(stats[VIDEO]["mean"]) < 0.6


def test_every_frame_is_at_its_time_in_the_film(folder):
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    with av.open(str(folder / f"videos/{VIDEO}/chunk-000/file-000.mp4")) as film:
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert np.allclose([time for time, _ in shown], np.arange(28) / 10)
    for row, seed, frames in zip(rows, (0, 1, 2), (12, 7, 9), strict=True):
        first = round(row[f"videos/{VIDEO}/from_timestamp"] * 10)
        recorded = episode(seed, frames, "").frames["top"]
        assert all(np.array_equal(shown[first + i][1], recorded[i]) for i in range(frames))


def test_tasks_are_indexed_by_their_text(folder):
    schema = pq.read_schema(folder / "meta/tasks.parquet")
    note = json.loads(schema.metadata[b"pandas"])
    assert note["index_columns"] == ["task"]
    assert schema.names == ["task_index", "task"]


def test_pandas_reads_the_tasks_as_a_frame_indexed_by_task(folder):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: only LeRobot's users need it")
    frame = pandas.read_parquet(folder / "meta/tasks.parquet")
    assert frame.index.name == "task"
    assert frame["task_index"].to_dict() == {"push": 0, "pull": 1}


def test_lerobot_reads_every_frame(folder):
    lerobot = pytest.importorskip(
        "lerobot.datasets.lerobot_dataset", reason="lerobot is not installed: no release fits this torch"
    )
    data = lerobot.LeRobotDataset("made-up/set", root=folder)
    assert (data.num_episodes, data.num_frames) == (3, 28)
    item = data[13]
    assert item["task"] == "pull"
    wanted = episode(1, 7, "").frames["top"][1].transpose(2, 0, 1) / 255
    assert np.abs(item[VIDEO].numpy() - wanted).max() < 0.01
