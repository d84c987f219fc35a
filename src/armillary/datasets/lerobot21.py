"""LeRobotDataset v2.1, which GR00T and older openpi read: a file an episode, and lists as JSON lines.

    meta/info.json  meta/episodes.jsonl  meta/episodes_stats.jsonl  meta/tasks.jsonl  meta/modality.json (GR00T's)
    data/chunk-000/episode_000012.parquet
    videos/chunk-000/<key>/episode_000012.mp4

``open_reader`` gives the reader that fits a folder, of v3.0 or v2.1; what is done with it is the same.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary.datasets.lerobot import EpisodeRow, Film, LeRobotReader, read_info
from armillary.datasets.pack import Pack, Waiting, camera_key
from armillary.datasets.parts import dump
from armillary.datasets.tables import write_json, write_parquet
from armillary.errors import DataError
from armillary.media import write_whole

OLD_VERSION = "v2.1"
OLD_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
OLD_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
EPISODES_A_CHUNK = 1000


def open_reader(path: str | Path) -> LeRobotReader:
    """The reader of the LeRobot folder at ``path``, whichever of the two versions it is."""
    return OldReader(path) if read_info(Path(path))["codebase_version"] == OLD_VERSION else LeRobotReader(path)


class OldReader(LeRobotReader):
    """Opens a v2.1 folder; ``DataError`` where it is none, or what it needs is missing."""

    version = OLD_VERSION

    def _read_tasks(self) -> dict[int, str]:
        path = self.path / "meta/tasks.jsonl"
        if not path.is_file():
            self.odd("no-tasks", "meta/tasks.jsonl is missing: every task text is taken to be empty.")
            return {}
        return self._checked_tasks({int(row["task_index"]): str(row["task"]) for row in read_lines(path, "task_index")})

    def _read_episodes(self) -> list[EpisodeRow]:
        rows = sorted(read_lines(self.path / "meta/episodes.jsonl", "length"), key=lambda row: row["episode_index"])
        size = int(self.info.get("chunks_size") or EPISODES_A_CHUNK)
        places = [{"episode_chunk": row["episode_index"] // size, **row} for row in rows]
        for camera in self.cameras:
            if not any(self._path("video_path", OLD_VIDEO, place, camera).is_file() for place in places):
                self.odd("no-film", f"camera {camera} is declared and has no film in videos: it is left out.")
        return [
            EpisodeRow(
                index=place["episode_index"],
                length=place["length"],
                task=self._task_of(place),
                data=self._path("data_path", OLD_DATA, place, ""),
                films=self._films_of(place),
            )
            for place in places
        ]

    def _films_of(self, place: Mapping[str, Any]) -> dict[str, Film]:
        paths = {camera: self._path("video_path", OLD_VIDEO, place, camera) for camera in self.cameras}
        return {camera: Film(path=path, start=0.0) for camera, path in paths.items() if path.is_file()}

    def _path(self, name: str, usual: str, place: Mapping[str, Any], camera: str) -> Path:
        template = self.info.get(name) or usual
        try:
            filled = template.format(
                episode_chunk=place["episode_chunk"], episode_index=place["episode_index"], video_key=camera
            )
        except (KeyError, ValueError, IndexError) as unknown:
            raise DataError(f"{name} is {template!r}: {unknown} is unknown; v2.1 writes {usual!r}.") from unknown
        return self.path / filled


class OldPack(Pack):
    """Adds packs of episodes to a v2.1 folder: files an episode, then the lists, ``info.json`` last."""

    version = OLD_VERSION

    def forget_unfinished(self) -> None:
        """Nothing to do: the files of a pack that was cut off are written again under the same names."""

    def add(self, waiting: Sequence[Waiting]) -> None:
        """One pack of these episodes, in order."""
        packed = self.count()
        tasks, names = self._tasks(waiting), self._state_names(waiting)
        episodes = self._lines("episodes")[:packed]
        statistics = self._lines("episodes_stats")[:packed]
        begin = sum(row["length"] for row in episodes)
        for one in waiting:
            table, stats = self._table(one, begin, tasks, names)
            where = {"episode_chunk": one.number // EPISODES_A_CHUNK, "episode_index": one.number}
            write_parquet(self.path / OLD_DATA.format(**where), table)
            for camera in self._cameras:
                film = self.path / OLD_VIDEO.format(**where, video_key=camera_key(camera))
                film.parent.mkdir(parents=True, exist_ok=True)
                write_whole(film, lambda draft, one=one, camera=camera: shutil.copyfile(one.film(camera), draft))  # type: ignore[misc]
            self._keep_beside(one)
            stats |= one.words["stats"]
            five = ("min", "max", "mean", "std", "count")
            kept = {feature: {name: part[name] for name in five} for feature, part in stats.items()}
            statistics.append({"episode_index": one.number, "stats": kept})
            episodes.append({"episode_index": one.number, "tasks": [one.words["instruction"]],
                             "length": one.words["length"]})  # fmt: skip
            begin += one.words["length"]
        self._write_words(waiting, waiting[0].number // EPISODES_A_CHUNK, waiting[0].number)
        self._write_lines("episodes", episodes)
        self._write_lines("episodes_stats", statistics)
        self._write_lines("tasks", [{"task_index": number, "task": task} for task, number in tasks.items()])
        features = self._known_features() or self._features(table.schema, waiting[0], names)
        write_json(self.path / "meta/modality.json", _modality(features))
        write_json(self._info, self._told(episodes, len(tasks), features))

    def _told(self, episodes: Sequence[Mapping[str, Any]], tasks: int, features: Mapping[str, Any]) -> dict[str, Any]:
        """What ``info.json`` says."""
        return {
            "codebase_version": OLD_VERSION,
            "robot_type": self._robot,
            "total_episodes": len(episodes),
            "total_frames": sum(row["length"] for row in episodes),
            "total_tasks": tasks,
            "total_videos": len(episodes) * len(self._cameras),
            "total_chunks": -(-len(episodes) // EPISODES_A_CHUNK),
            "chunks_size": EPISODES_A_CHUNK,
            "fps": self._fps,
            "splits": {"train": f"0:{len(episodes)}"},
            "data_path": OLD_DATA,
            "video_path": OLD_VIDEO,
            "features": features,
        }

    def _tasks(self, waiting: Sequence[Waiting]) -> dict[str, int]:
        tasks = {row["task"]: row["task_index"] for row in self._lines("tasks")}
        for one in waiting:
            tasks.setdefault(one.words["instruction"], len(tasks))
        return tasks

    def _lines(self, name: str) -> list[dict[str, Any]]:
        return read_lines(self.path / f"meta/{name}.jsonl") if self.count() else []

    def _write_lines(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        write_lines(self.path / f"meta/{name}.jsonl", rows)


def read_lines(path: Path, needed: str | None = None) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, each with the key ``needed``; ``DataError`` names the line that is none."""
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}: the data set needs it, copy it there.")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as broken:
            raise DataError(f"line {number} of {path} is not JSON ({broken}): copy the file again.") from broken
        if not isinstance(row, dict) or (needed is not None and needed not in row):
            raise DataError(f"line {number} of {path} must be an object" + (f" with {needed}." if needed else "."))
        rows.append(row)
    return rows


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a JSON-lines file whole; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(dump(row) + "\n" for row in rows)
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def _modality(features: Mapping[str, Any]) -> dict[str, Any]:
    """GR00T's names for slices of state and action, for cameras and for the task."""
    slices: dict[str, dict[str, Any]] = {}
    for part, key in (("state", "observation.state"), ("action", "action")):
        names = (features.get(key) or {}).get("names") or []
        groups: dict[str, dict[str, int]] = {}
        for place, name in enumerate(names):
            head, _, tail = name.rpartition(".")
            group = groups.setdefault(head if tail.isdigit() else name, {"start": place, "end": place})
            group["end"] = place + 1
        slices[part] = groups
    films = {key.removeprefix("observation.images."): {"original_key": key}
             for key, feature in features.items() if feature["dtype"] == "video"}  # fmt: skip
    return {**slices, "video": films, "annotation": {"human.task_description": {"original_key": "task_index"}}}
