"""Turning waiting episodes into the files of a LeRobotDataset v3.0 folder.

    waiting episodes -> data/.../file-NNN.parquet, videos/<key>/.../file-NNN.mp4, meta/episodes/.../file-NNN.parquet,
                        meta/armillary/.../file-NNN.parquet; then stats.json, tasks.parquet, and info.json last

Each pack is one new file of each kind: nothing that is there is changed but the three summaries. What a pack left
behind that was cut off is not in ``info.json`` and is removed when the folder is opened again.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from armillary.datasets.films import film_info, join
from armillary.datasets.lerobot import DATA_PATH, EPISODES_PATH, VERSION, VIDEO_PATH, read_table
from armillary.datasets.parts import dump
from armillary.datasets.stats import QUANTILES, number_stats, pooled
from armillary.datasets.tables import tasks_table, write_json, write_parquet
from armillary.errors import DataError
from armillary.media import write_whole
from armillary.records import Array

PLACE = "armillary/chunk-{chunk:03d}/episode_{episode:06d}"
WORDS_PATH = "meta/armillary/chunk-{chunk}/file-{file}.parquet"
FILES_A_CHUNK = 1000
_PLAIN = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One episode written and not yet packed: its number, and its folder with words, arrays, actions, films, sound."""

    folder: Path
    number: int

    @cached_property
    def words(self) -> dict[str, Any]:
        words: dict[str, Any] = json.loads((self.folder / "episode.json").read_text(encoding="utf-8"))
        return words

    @property
    def arrays(self) -> Path:
        return self.folder / "arrays.npz"

    @property
    def sound(self) -> Path:
        return self.folder / "sound.wav"

    def film(self, camera: str) -> Path:
        """Where the film of ``camera`` waits."""
        return self.folder / f"{camera}.mp4"


def camera_key(camera: str) -> str:
    """What LeRobot calls the pictures of ``camera``."""
    return f"observation.images.{camera}"


def episodes_packed(path: Path) -> int:
    """How many episodes ``info.json`` counts; 0 where there is none yet."""
    file = path / "meta/info.json"
    return int(json.loads(file.read_text(encoding="utf-8"))["total_episodes"]) if file.is_file() else 0


@runtime_checkable
class Packing(Protocol):
    """What the writer asks of a form: how much is safe, what it looks like, and one more pack."""

    def count(self) -> int: ...

    def shape(self) -> dict[str, Any] | None: ...

    def forget_unfinished(self) -> None: ...

    def add(self, waiting: Sequence[Waiting], /) -> None: ...


class Pack:
    """Adds packs of episodes to the folder at ``path``."""

    version = VERSION

    def __init__(
        self, path: Path, *, fps: int, cameras: Sequence[str], robot: str, states: Sequence[str] | None
    ) -> None:
        self.path, self._fps, self._cameras, self._robot = path, fps, tuple(cameras), robot
        self._states = None if states is None else list(states)
        self._info = path / "meta/info.json"
        if episodes_packed(path):
            self._check_same(json.loads(self._info.read_text(encoding="utf-8")))

    def count(self) -> int:
        """How many episodes are packed."""
        return episodes_packed(self.path)

    def shape(self) -> dict[str, Any] | None:
        """The width and type of actions and the sizes of pictures of what is packed; None before the first pack."""
        if not episodes_packed(self.path):
            return None
        features = json.loads(self._info.read_text(encoding="utf-8"))["features"]
        return {
            "actions": [features["action"]["dtype"], features["action"]["shape"][0]],
            "sizes": {camera: features[camera_key(camera)]["shape"][:2] for camera in self._cameras},
        }

    def forget_unfinished(self) -> None:
        """Remove the files of a pack that was cut off before ``info.json`` counted it."""
        packed = episodes_packed(self.path)
        for file in sorted((self.path / "meta/episodes").glob("chunk-*/file-*.parquet")):
            if max(read_table(file)["episode_index"].to_pylist()) >= packed:
                file.unlink()

    def add(self, waiting: Sequence[Waiting]) -> None:
        """One pack of these episodes, in order."""
        earlier = self._earlier()
        number = len(earlier)
        chunk, file = divmod(number, FILES_A_CHUNK)
        tasks = self._tasks(waiting)
        names = self._state_names(waiting)
        spans = {camera: self._join(camera, waiting, chunk, file) for camera in self._cameras}
        first = sum(int(np.sum(table["length"].to_numpy())) for table in earlier)
        rows, begin = [], first
        tables = []
        for position, one in enumerate(waiting):
            table, stats = self._table(one, begin, tasks, names)
            tables.append(table)
            row: dict[str, Any] = {"episode_index": one.number, "tasks": [one.words["instruction"]]}
            row |= {"length": one.words["length"], "dataset_from_index": begin}
            row |= {"dataset_to_index": begin + one.words["length"], "data/chunk_index": chunk, "data/file_index": file}
            for camera in self._cameras:
                key = f"videos/{camera_key(camera)}"
                row |= {f"{key}/chunk_index": chunk, f"{key}/file_index": file}
                row |= {
                    f"{key}/from_timestamp": spans[camera][position][0],
                    f"{key}/to_timestamp": spans[camera][position][1],
                }
            stats |= one.words["stats"]
            row |= {f"stats/{feature}/{name}": value for feature, part in stats.items() for name, value in part.items()}
            row |= {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
            rows.append(row)
            self._keep_beside(one)
            begin += one.words["length"]
        data = pa.concat_tables(tables)
        write_parquet(self.path / DATA_PATH.format(chunk_index=chunk, file_index=file), data)
        self._write_words(waiting, chunk, file)
        write_parquet(self.path / EPISODES_PATH.format(chunk_index=chunk, file_index=file), pa.Table.from_pylist(rows))
        self._summarise(tasks, data.schema, waiting[0], names)

    def _keep_beside(self, one: Waiting) -> None:
        """Put what LeRobot's columns cannot hold where it is looked for."""
        place = self.path / PLACE.format(chunk=one.number // 1000, episode=one.number)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place.with_suffix(".npz"), lambda draft: shutil.copyfile(one.arrays, draft))
        if one.words["sound"]:
            write_whole(place.with_suffix(".wav"), lambda draft: shutil.copyfile(one.sound, draft))

    def _earlier(self) -> list[pa.Table]:
        files = sorted((self.path / "meta/episodes").glob("chunk-*/file-*.parquet"))
        packed = episodes_packed(self.path)
        tables = [read_table(file) for file in files]
        return [table for table in tables if max(table["episode_index"].to_pylist()) < packed]

    def _join(self, camera: str, waiting: Sequence[Waiting], chunk: int, file: int) -> list[tuple[float, float]]:
        path = self.path / VIDEO_PATH.format(video_key=camera_key(camera), chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        spans: list[tuple[float, float]] = []
        write_whole(path, lambda draft: spans.extend(join(draft, [one.film(camera) for one in waiting])))
        return spans

    def _tasks(self, waiting: Sequence[Waiting]) -> dict[str, int]:
        """Task text -> index, those of earlier packs first."""
        path = self.path / "meta/tasks.parquet"
        tasks: dict[str, int] = {}
        if episodes_packed(self.path):
            table = read_table(path)
            tasks = dict(zip(table["task"].to_pylist(), table["task_index"].to_pylist(), strict=True))
        for one in waiting:
            tasks.setdefault(one.words["instruction"], len(tasks))
        return tasks

    def _state_names(self, waiting: Sequence[Waiting]) -> list[str]:
        """Which states make ``observation.state``; remembered in info.json once it is written."""
        if self._states is None:
            self._states = _alike(waiting)
        return self._states

    def _table(
        self, one: Waiting, begin: int, tasks: Mapping[str, int], names: Sequence[str]
    ) -> tuple[pa.Table, dict[str, Any]]:
        """An episode's rows, and the statistics of its numbers."""
        length, words = one.words["length"], one.words
        actions = np.load(one.folder / "actions.npy", allow_pickle=False)
        actions = np.concatenate(
            [actions, actions[-1:] if len(actions) else np.zeros((1, words["shape"]["actions"][1]), actions.dtype)]
        )
        columns: dict[str, Array] = {"action": actions}
        if names:
            columns["observation.state"] = self._state_rows(one, names)
        last = np.arange(length) == length - 1
        columns |= {"next.done": last, "next.success": last & words["success"]}
        columns |= {
            "timestamp": (np.arange(length) / self._fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, one.number),
            "index": np.arange(begin, begin + length),
            "task_index": np.full(length, tasks[words["instruction"]]),
        }
        table = pa.table({name: _column(values) for name, values in columns.items()})
        return table, {name: number_stats(values) for name, values in columns.items()}

    def _state_rows(self, one: Waiting, names: Sequence[str]) -> Array:
        with np.load(one.arrays, allow_pickle=False) as kept:
            parts = [kept[f"states/{name}"].reshape(one.words["length"], -1) for name in names]
        rows = np.concatenate(parts, axis=1).astype(np.float32)
        known = self._known_features().get("observation.state")
        if known is not None and known["shape"] != [rows.shape[1]]:
            raise DataError(
                f"episode {one.number} has {rows.shape[1]} numbers in states {list(names)} and the folder keeps "
                f"{known['shape'][0]}: name the states that never change their shape with EpisodeWriter(states=...)."
            )
        return rows

    def _known_features(self) -> dict[str, Any]:
        if not episodes_packed(self.path):
            return {}
        features: dict[str, Any] = json.loads(self._info.read_text(encoding="utf-8"))["features"]
        return features

    def _write_words(self, waiting: Sequence[Waiting], chunk: int, file: int) -> None:
        words = [
            {k: v for k, v in one.words.items() if k not in ("stats", "shape", "number", "length", "fps")}
            for one in waiting
        ]
        table = pa.table(
            {
                "episode_index": [one.number for one in waiting],
                "world": [part["world"] for part in words],
                "seed": [part["seed"] for part in words],
                "success": [part["success"] for part in words],
                "words": [dump(part) for part in words],
            }
        )
        write_parquet(self.path / WORDS_PATH.format(chunk=f"{chunk:03d}", file=f"{file:03d}"), table)

    def _summarise(self, tasks: Mapping[str, int], schema: pa.Schema, sample: Waiting, names: Sequence[str]) -> None:
        files = sorted((self.path / "meta/episodes").glob("chunk-*/file-*.parquet"))
        rows = [row for file in files for row in read_table(file).to_pylist()]
        features = self._known_features() or self._features(schema, sample, names)
        write_json(self.path / "meta/stats.json", _all_stats(self.path, rows))
        write_parquet(self.path / "meta/tasks.parquet", tasks_table(tasks))
        info = {
            "codebase_version": VERSION,
            "robot_type": self._robot,
            "total_episodes": len(rows),
            "total_frames": sum(row["length"] for row in rows),
            "total_tasks": len(tasks),
            "chunks_size": FILES_A_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(rows)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": features,
        }
        write_json(self._info, info)

    def _features(self, schema: pa.Schema, sample: Waiting, names: Sequence[str]) -> dict[str, Any]:
        features: dict[str, Any] = {}
        for field in schema:
            if field.name in _PLAIN:
                continue
            wide = field.type.list_size if pa.types.is_fixed_size_list(field.type) else 1
            kind = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
            called = [f"{field.name}.{i}" for i in range(wide)] if wide > 1 or field.name == "action" else None
            if field.name == "observation.state":
                with np.load(sample.arrays, allow_pickle=False) as kept:
                    sizes = {n: kept[f"states/{n}"].reshape(sample.words["length"], -1).shape[1] for n in names}
                called = [f"{n}.{i}" if k > 1 else n for n, k in sizes.items() for i in range(k)]
            features[field.name] = {"dtype": _dtype_name(kind), "shape": [wide], "names": called}
        for camera in self._cameras:
            film = film_info(sample.film(camera))
            features[camera_key(camera)] = {
                "dtype": "video",
                "shape": [film.height, film.width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": film.height,
                    "video.width": film.width,
                    "video.codec": film.codec,
                    "video.pix_fmt": film.pix_fmt,
                    "video.is_depth_map": False,
                    "video.fps": self._fps,
                    "video.channels": 3,
                    "has_audio": False,
                },
            }
        return features | {n: {"dtype": kind, "shape": [1], "names": None} for n, kind in _PLAIN.items()}

    def _check_same(self, info: Mapping[str, Any]) -> None:
        cameras = sorted(
            k.removeprefix("observation.images.") for k, f in info["features"].items() if f["dtype"] == "video"
        )
        if info["fps"] != self._fps or cameras != sorted(self._cameras):
            raise DataError(
                f"{self.path} keeps {info['fps']} fps and cameras {cameras}; {self._fps} fps and "
                f"{sorted(self._cameras)} came. Write into a new folder."
            )
        state = info["features"].get("observation.state")
        if self._states is None:
            called = state["names"] if state else []
            self._states = list(dict.fromkeys(re.sub(r"\.\d+$", "", name) for name in called))


def _alike(waiting: Sequence[Waiting]) -> list[str]:
    """States of at most one axis that have the same shape in all of these episodes."""
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for one in waiting:
        with np.load(one.arrays, allow_pickle=False) as kept:
            for name in kept.files:
                if name.startswith("states/"):
                    shapes.setdefault(name.removeprefix("states/"), set()).add(kept[name].shape[1:])
    return [name for name, seen in shapes.items() if len(seen) == 1 and len(next(iter(seen))) <= 1]


def _column(values: Array) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _dtype_name(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _all_stats(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the whole folder; quantiles of numbers exactly, from the data files."""
    features = list(dict.fromkeys(key.split("/")[1] for key in rows[0] if key.startswith("stats/")))
    names = ("min", "max", "mean", "std", "count", *QUANTILES)
    stats = {f: pooled([{n: row[f"stats/{f}/{n}"] for n in names} for row in rows]) for f in features}
    files = sorted({DATA_PATH.format(chunk_index=r["data/chunk_index"], file_index=r["data/file_index"]) for r in rows})
    for feature in features:
        if not feature.startswith("observation.images."):
            parts = [pq.read_table(path / file, columns=[feature])[feature].combine_chunks() for file in files]
            stats[feature] |= {n: number_stats(_numbers(parts))[n] for n in QUANTILES}
    return stats


def _numbers(parts: Sequence[pa.Array]) -> Array:
    tables = []
    for part in parts:
        flat = part.flatten() if pa.types.is_fixed_size_list(part.type) else part
        tables.append(np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(part), -1))
    return np.concatenate(tables)
