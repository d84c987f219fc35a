"""Laws of looking at recordings: every planted fault is named and no other, bad paths get a sentence."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from armillary.datasets.agreement import agreement, clearest, note_agreement
from armillary.datasets.droid import droid_actions, droid_episode
from armillary.datasets.findings import Findings
from armillary.datasets.inspect import inspect_path, play
from armillary.datasets.lerobot import LeRobotReader
from armillary.datasets.store import EpisodeWriter, read_episodes
from armillary.embodiments import integrate, pose_from_euler
from armillary.errors import ArmillaryError
from armillary.media import read_image, read_video
from armillary.records import Episode


def moving_dot(seed, frames=60):
    """A white dot that follows its targets with stops on the way: actions that have to do with the pictures."""
    rng = np.random.default_rng(seed)
    speed = np.repeat(rng.uniform(0, 3, size=(frames + 9) // 10), 10)[: frames - 1] * (rng.random(frames - 1) > 0.3)
    places = np.concatenate([[4.0], 4.0 + np.cumsum(speed)])
    video = np.zeros((frames, 48, 96, 3), np.uint8)
    for i, place in enumerate(places):
        column = int(place) % 84
        video[i, 20:30, column : column + 10] = 255
    targets = np.stack([places[1:] * 4, np.full(frames - 1, 256.0)], axis=1).astype(np.float32)
    return Episode(
        world="dot",
        seed=seed,
        fps=10.0,
        frames={"top": video},
        actions=targets,
        embodiment="pusht",
        states={"dot": places[:, None]},
        instruction="go right",
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "set"
    with EpisodeWriter(path, fps=10, cameras=("top",)) as writer:
        for seed in (0, 1):
            writer.write(moving_dot(seed))
    return path


@pytest.fixture
def folder(good, tmp_path):
    shutil.copytree(good, tmp_path / "set")
    return tmp_path / "set"


def codes(path):
    return {oddity.code for oddity in inspect_path(path).oddities}


def change_info(path, **changes):
    file = path / "meta/info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_data(path, name, change):
    file = path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    column = change(table[name].combine_chunks())
    pq.write_table(table.set_column(table.column_names.index(name), name, column), file)


def test_a_sound_folder_has_no_oddity_and_counts_are_right(good):
    report = inspect_path(good)
    assert report.oddities == []
    assert (report.episodes, report.rows, report.usable_rows) == (2, 120, 118)
    assert report.seconds == pytest.approx(12.0)
    assert report.actions.agreement.correlation > report.actions.agreement.by_chance
    assert sum(report.dropped.values()) == report.rows - report.usable_rows
    assert json.loads(json.dumps(report.to_dict()))["fps"] == 10


def test_planted_faults_in_info_are_named(folder):
    change_info(
        folder,
        splits={"train": "0:99"},
        total_frames=7,
        data_path="data/chunk-{episode_chunk:03d}/file-{episode_file:03d}.parquet",
        note="hello",
    )
    assert {"split-beyond", "count", "template-data_path", "unknown-keys"} <= codes(folder)
    assert len(list(read_episodes(folder))) == 2


def test_a_column_that_carries_nothing_is_named(folder):
    def constant(column):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(len(column) * 1, np.float32)), 1)

    change_data(folder, "observation.state", constant)
    assert "constant" in codes(folder)


def test_a_column_that_stops_changing_is_named(folder):
    def stopped(column):
        values = np.zeros(len(column), np.float32)
        values[:7] = np.arange(1, 8)
        return pa.FixedSizeListArray.from_arrays(pa.array(values), 1)

    change_data(folder, "observation.state", stopped)
    assert "stops-changing" in codes(folder)


def test_irregular_time_is_named(folder):
    change_data(folder, "timestamp", lambda column: pa.array(column.to_numpy() * 1.5))
    assert {"irregular-time", "other-type"} & codes(folder) >= {"irregular-time"}


def test_a_missing_film_is_named_and_the_rows_are_counted_as_dropped(folder):
    for film in folder.rglob("*.mp4"):
        film.unlink()
    report = inspect_path(folder)
    assert "no-film" in {oddity.code for oddity in report.oddities}
    assert report.usable_rows == 0
    assert report.dropped["no camera of the episode has a film"] == 118


def test_a_blank_task_and_an_unindexed_table_are_named(folder):
    pq.write_table(pa.table({"task_index": [0], "task": [" | "]}), folder / "meta/tasks.parquet")
    assert {"blank-task", "tasks-not-indexed"} <= codes(folder)


def test_actions_of_another_scale_are_named(folder):
    def blown_up(column):
        flat = column.flatten().to_numpy() * 20
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), 2)

    change_data(folder, "action", blown_up)
    assert "action-scale" in codes(folder)


def test_actions_that_are_noise_are_told_from_actions_that_are_not():
    rng = np.random.default_rng(0)
    effort = np.abs(np.convolve(rng.normal(size=400), np.ones(9) / 9, "valid"))
    change = effort + 0.02 * rng.random(len(effort))
    assert agreement(effort, change).correlation > 0.9
    late = agreement(effort[3:], change[:-3])
    assert late.best_lag == 3
    other = np.abs(np.convolve(rng.normal(size=400), np.ones(9) / 9, "valid"))
    assert agreement(effort, other).correlation < 0.4


def test_a_drive_past_a_busy_roadside_agrees_with_its_own_place_and_noise_with_nothing():
    rng = np.random.default_rng(2)
    effort, roadside = (np.abs(np.convolve(rng.normal(size=90), np.ones(9) / 9, "valid")) for _ in range(2))
    place = np.concatenate([np.zeros((1, 2)), np.cumsum(np.stack([effort, 0 * effort], axis=1), axis=0)])
    other = np.concatenate([np.zeros((1, 2)), np.cumsum(rng.normal(size=(len(effort), 2)), axis=0)])
    pictures = agreement(effort, roadside)
    states = {"other": other, "place": place, "still": 0 * place, "short": place[:9]}
    beside = clearest([roadside, effort], states)
    assert beside.correlation > 0.99 and beside.best_lag == 0
    assert clearest([effort], {"other": other}) is None
    for found, codes in ((beside, set()), (replace(pictures, best=0.1, by_chance=0.4), {"actions-say-little"})):
        findings = Findings()
        note_agreement(findings, found)
        assert {one.code for one in findings.oddities} == codes


def test_what_is_playable_is_played(good, tmp_path):
    frames, fps = read_video(play(good, tmp_path / "out.mp4"))
    assert len(frames) == 60
    assert fps == pytest.approx(10)
    assert read_image(play(good, tmp_path / "out.png")).shape[2] == 3
    with pytest.raises(ArmillaryError, match=r"\.mp4"):
        play(good, tmp_path / "out.gif")
    with pytest.raises(ArmillaryError, match="no episode 9"):
        play(good, tmp_path / "out.mp4", episode=9)


def test_a_path_that_cannot_be_read_gets_one_sentence(folder, tmp_path):
    for path, words in ((tmp_path / "nowhere", "no folder"), (tmp_path, "no meta/info.json")):
        with pytest.raises(ArmillaryError, match=words):
            inspect_path(path)
    change_info(folder, codebase_version="v1.6")
    with pytest.raises(ArmillaryError, match=r"v3\.0 is read, and v2\.1"):
        inspect_path(folder)
    (folder / "meta/info.json").write_text("{")
    with pytest.raises(ArmillaryError, match="not JSON"):
        inspect_path(folder)


def test_a_broken_table_gets_one_sentence(folder):
    (folder / "data/chunk-000/file-000.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ArmillaryError, match="cannot be read as Parquet"):
        list(read_episodes(folder))


def test_a_film_cut_short_is_named_and_not_read_in_silence(folder):
    film = next(folder.rglob("*.mp4"))
    shutil.copy(film, film.with_name("other.mp4"))
    with EpisodeWriter(folder.with_name("short"), fps=10, cameras=("top",)) as writer:
        writer.write(moving_dot(0, frames=20))
    shutil.copy(next(folder.with_name("short").rglob("*.mp4")), film)
    assert "film-short" in codes_without_films(folder)
    with pytest.raises(ArmillaryError, match="cut short"):
        list(read_episodes(folder))


def codes_without_films(path):
    from armillary.datasets.checks import check_all

    reader = LeRobotReader(path)
    check_all(reader)
    return {oddity.code for oddity in reader.oddities}


def test_droid_actions_lead_from_pose_to_pose():
    rng = np.random.default_rng(0)
    poses = np.cumsum(rng.normal(size=(20, 6)) * 0.03, axis=0)
    gripper = rng.random(20)
    actions = droid_actions(poses, gripper)
    reached = integrate(pose_from_euler(poses)[0], actions[:, :9].astype(float))
    assert np.allclose(reached, pose_from_euler(poses), atol=1e-5)
    assert np.allclose(actions[:, 9], 1 - gripper[:-1], atol=1e-6)


def real_droid():
    root = os.environ.get("ARMILLARY_REAL_DATA")
    if not root or not (Path(root) / "droid_lerobot").is_dir():
        pytest.skip("no real recordings: set ARMILLARY_REAL_DATA to the folder that holds droid_lerobot/")
    return Path(root) / "droid_lerobot"


def test_every_oddity_of_a_real_recording_is_named():
    reader_codes = codes_without_films(real_droid())
    assert {
        "template-data_path", "template-video_path", "split-beyond", "empty-shape", "blank-task", "no-film",
        "no-film-times", "stops-changing", "constant", "no-stats", "other-codec", "video-count",
    } <= reader_codes  # fmt: skip


def test_a_real_recording_becomes_an_episode():
    episode = droid_episode(real_droid(), size=(36, 64))
    assert episode.embodiment == "droid"
    assert episode.frames["exterior_image_2_left"].shape == (722, 36, 64, 3)
    assert episode.actions.shape == (721, 10)
    reached = integrate(pose_from_euler(episode.states["pose"])[0], episode.actions[:, :9].astype(float))
    assert np.abs(reached[:, :3, 3] - episode.states["pose"][:, :3]).max() < 1e-3
    assert set(np.unique(episode.actions[:, 9] > 0.5)) == {False, True}
    assert episode.recipe["assumed"]
