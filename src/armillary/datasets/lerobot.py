"""A LeRobotDataset v3.0 folder, read without LeRobot: columns, frames, tasks, and every oddity on the way.

    meta/info.json                              what there is, and where
    meta/tasks.parquet                          task_index <-> task
    meta/episodes/chunk-000/file-000.parquet    which rows and which seconds of which film are an episode
    data/chunk-000/file-000.parquet             a row a frame
    videos/<key>/chunk-000/file-000.mp4         many episodes a film

Recordings in the wild keep to this more or less. What can be coped with is coped with, and every assumption made for
that stands in ``oddities`` as a sentence; what cannot raises ``DataError``. Nothing is guessed in silence.
"""

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from armillary.datasets.films import decode, film_info
from armillary.datasets.findings import Oddity
from armillary.errors import DataError
from armillary.records import Array

VERSION = "v3.0"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
AUTOMATIC = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_NUMBERS = {"bool", "float16", "float32", "float64", *(f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64))}
_FIELDS = {"chunk_index", "file_index", "video_key", "episode_chunk", "episode_file", "episode_index"}


@dataclass(frozen=True, kw_only=True)
class Film:
    """Where an episode's frames of one camera are."""

    path: Path
    start: float  # seconds


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """Where one episode is."""

    index: int
    length: int
    task: str
    data: Path
    films: Mapping[str, Film]  # camera key -> film; only cameras whose film is there


class LeRobotReader:
    """Opens the folder at ``path``; ``DataError`` where it is none, or what it needs is missing."""

    version = VERSION

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.oddities: list[Oddity] = []
        self.info = read_info(self.path)
        if self.info["codebase_version"] != self.version:
            raise DataError(
                f"{path} states codebase_version {self.info['codebase_version']!r}: v3.0 is read, and v2.1. "
                "Convert it with lerobot's own scripts."
            )
        self.fps = float(self.info["fps"])
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.cameras = self._cameras()
        self.tasks = self._read_tasks()
        self.episodes = self._read_episodes()
        self._check_counts()
        if waiting := len(list((self.path / ".pending").glob("episode_*"))):
            self.odd(
                "unfinished", f"{waiting} more episodes wait to be packed: write the folder to its end to see them."
            )
        self._tables: dict[Path, pa.Table] = {}

    @property
    def playable(self) -> list[str]:
        """The cameras that have a film for at least one episode."""
        return [camera for camera in self.cameras if any(camera in row.films for row in self.episodes)]

    def columns(self, row: EpisodeRow) -> dict[str, Array]:
        """Every numeric column of an episode's rows by name: t, or t with the feature's own axes."""
        table = self._rows(row)
        return {
            name: _stacked(table.column(name)) for name in table.column_names if _is_numeric(table.schema.field(name))
        }

    def frames(
        self,
        row: EpisodeRow,
        camera: str,
        *,
        start: int = 0,
        count: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> Array:
        """``count`` frames (all, without it) from frame ``start`` on: uint8 t h w 3; ``size`` resizes on the way."""
        if camera not in row.films:
            raise DataError(
                f"episode {row.index} has no film of camera {camera!r}: playable are {list(row.films) or 'none'}."
            )
        film = row.films[camera]
        count = row.length - start if count is None else count
        return decode(film.path, film.start + start / self.fps, count, self.fps, size=size)

    def odd(self, code: str, words: str) -> None:
        """Note an oddity, once."""
        if not any(one.code == code and one.words == words for one in self.oddities):
            self.oddities.append(Oddity(code=code, words=words))

    def _rows(self, row: EpisodeRow) -> pa.Table:
        if row.data not in self._tables:
            self._tables.clear()  # one file at a time: an episode after the other is the usual order
            self._tables[row.data] = read_table(row.data)
        table = self._tables[row.data]
        if "episode_index" not in table.column_names:
            raise DataError(f"{row.data} has no column episode_index: its rows cannot be told apart.")
        table = table.filter(pc.equal(table["episode_index"], row.index))
        if "frame_index" in table.column_names:
            table = table.sort_by("frame_index")
        if table.num_rows != row.length:
            raise DataError(
                f"episode {row.index} should have {row.length} rows and {row.data.name} has {table.num_rows}: "
                "the data file and meta/episodes do not belong together."
            )
        return table

    def _cameras(self) -> list[str]:
        """Keys of the cameras whose films are pictures; others are named and left out."""
        cameras = []
        for key, feature in self.features.items():
            facts = feature.get("info") or {}
            if feature.get("dtype") == "image":
                self.odd(
                    "pictures-in-rows",
                    f"camera {key} keeps its pictures in the rows (dtype image), not in films: it is left out; "
                    "convert it to video with LeRobot's own tool.",
                )
            elif feature.get("dtype") == "video" and (facts.get("video.is_depth_map") or facts.get("is_depth_map")):
                self.odd("depth-film", f"camera {key} is a film of depth, not of pictures: it is left out.")
            elif feature.get("dtype") == "video":
                cameras.append(key)
        return cameras

    def _read_tasks(self) -> dict[int, str]:
        path = self.path / "meta/tasks.parquet"
        if not path.is_file():
            self.odd("no-tasks", "meta/tasks.parquet is missing: every task text is taken to be empty.")
            return {}
        table = read_table(path)
        words = next((name for name in ("task", "__index_level_0__") if name in table.column_names), None)
        if words is None or "task_index" not in table.column_names:
            raise DataError(f"{path} has columns {table.column_names}: it must have task and task_index.")
        if not table.schema.metadata or b"pandas" not in table.schema.metadata:
            self.odd(
                "tasks-not-indexed",
                "meta/tasks.parquet does not say that its index is the task text: LeRobot's own reader would take "
                "the row numbers for the texts; the columns task and task_index were read by name.",
            )
        return self._checked_tasks(dict(zip(table["task_index"].to_pylist(), table[words].to_pylist(), strict=True)))

    def _checked_tasks(self, tasks: dict[int, str]) -> dict[int, str]:
        for number, text in tasks.items():
            if not any(c.isalnum() for c in text):
                self.odd(
                    "blank-task",
                    f"the text of task {number} is {text!r}, which says nothing: episodes with it have an empty "
                    "instruction, and nothing that follows words can be learnt from them.",
                )
        return tasks

    def _read_episodes(self) -> list[EpisodeRow]:
        files = sorted((self.path / "meta/episodes").glob("chunk-*/file-*.parquet"))
        if not files:
            raise DataError(
                f"{self.path} has no meta/episodes/chunk-*/file-*.parquet: where episodes begin is unknown."
            )
        tables = [read_table(file) for file in files]
        names = [n for n in tables[0].column_names if not n.startswith("stats/")]
        for name in ("episode_index", "length"):
            if name not in names:
                raise DataError(f"{files[0]} has no column {name}: it must say which episodes there are and how long.")
        rows = [
            row for table in tables for row in table.select([n for n in names if n in table.column_names]).to_pylist()
        ]
        rows.sort(key=lambda row: row["episode_index"])
        absent = sorted({n for n in ("data/chunk_index", "data/file_index") if n not in names})
        if absent:
            self.odd(
                "no-data-place",
                f"meta/episodes has no columns {', '.join(absent)}: every episode is taken to be in chunk 0, file 0.",
            )
        template = self._template("data_path", DATA_PATH)
        missing = self._missing_films(names)
        starts = np.cumsum([0.0, *(row["length"] / self.fps for row in rows)]).tolist()
        return [
            EpisodeRow(
                index=row["episode_index"],
                length=row["length"],
                task=self._task_of(row),
                data=self.path / _filled(template, row.get("data/chunk_index", 0), row.get("data/file_index", 0), row),
                films=self._films(row, [c for c in self.cameras if c not in missing], starts[i]),
            )
            for i, row in enumerate(rows)
        ]

    def _template(self, name: str, usual: str) -> str:
        """The path template of info.json; strange field names are understood if they can only mean one thing."""
        template = self.info.get(name) or usual
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
        if unknown := fields - _FIELDS:
            raise DataError(f"{name} is {template!r}: {sorted(unknown)} is unknown; known are {sorted(_FIELDS)}.")
        strange = fields & {"episode_chunk", "episode_file"}
        if strange:
            self.odd(
                f"template-{name}",
                f"{name} is {template!r}, with {' and '.join(sorted(strange))} where v3.0 has chunk_index and "
                "file_index: LeRobot's own reader stops there; they were taken to mean the same.",
            )
        return template

    def _missing_films(self, names: list[str]) -> set[str]:
        missing = set()
        template = self._template("video_path", VIDEO_PATH) if self.cameras else ""
        for camera in self.cameras:
            folder = self.path / template.split("{video_key}")[0] / camera
            if not any(folder.rglob("*.mp4")):
                missing.add(camera)
                self.odd(
                    "no-film",
                    f"camera {camera} is declared and has no film in {folder.relative_to(self.path)}: it is left out.",
                )
            elif f"videos/{camera}/from_timestamp" not in names:
                self.odd(
                    "no-film-times",
                    f"meta/episodes does not say from which second of its film camera {camera} shows an episode: "
                    "episodes are taken to follow one another in chunk 0, file 0, from second 0 on.",
                )
        return missing

    def _films(self, row: dict[str, Any], cameras: Sequence[str], assumed: float) -> dict[str, Film]:
        """An episode's films, those that are there."""
        films = {camera: self._film(row, camera, assumed) for camera in cameras}
        for camera, film in films.items():
            if not film.path.is_file():
                self.odd(
                    "film-absent",
                    f"camera {camera} has films, but {film.path.relative_to(self.path)} is not there: the episodes in "
                    "it are taken to be without that camera.",
                )
        return {camera: film for camera, film in films.items() if film.path.is_file()}

    def _film(self, row: dict[str, Any], camera: str, assumed: float) -> Film:
        chunk, file = (row.get(f"videos/{camera}/{part}") for part in ("chunk_index", "file_index"))
        start = row.get(f"videos/{camera}/from_timestamp")
        template = self._template("video_path", VIDEO_PATH).replace("{video_key}", camera)
        path = self.path / _filled(template, chunk or 0, file or 0, row)
        return Film(path=path, start=assumed if start is None else float(start))

    def _task_of(self, row: dict[str, Any]) -> str:
        tasks = row.get("tasks") or []
        if len(tasks) > 1:
            self.odd(
                "several-tasks", f"episode {row['episode_index']} names {len(tasks)} tasks: the first one is used."
            )
        text = tasks[0] if tasks else ""
        return text if any(c.isalnum() for c in text) else ""

    def _check_counts(self) -> None:
        for name, found in (
            ("total_episodes", len(self.episodes)),
            ("total_frames", sum(row.length for row in self.episodes)),
            ("total_tasks", len(self.tasks)),
        ):
            stated = self.info.get(name)
            if stated != found:
                self.odd("count", f"info.json states {name} {stated} and there are {found}: what is there counts.")
        for name, span in (self.info.get("splits") or {}).items():
            first, _, last = str(span).partition(":")
            if not (first.isdigit() and last.isdigit()):
                self.odd("split-form", f"split {name!r} is {span!r}, not 'first:last': it is ignored.")
            elif int(last) > len(self.episodes):
                self.odd(
                    "split-beyond",
                    f"split {name!r} names episodes {span} and there are {len(self.episodes)}: "
                    f"the folder is a part of a larger set; the split is taken to end at {len(self.episodes)}.",
                )


def read_table(path: Path) -> pa.Table:
    """A Parquet file; ``DataError`` with a sentence if it is none."""
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}: the data set names it, copy it there.")
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as broken:
        raise DataError(f"{path} cannot be read as Parquet ({broken}): copy it again.") from broken


def film_facts(reader: LeRobotReader, camera: str) -> Any:
    """The head of the first film of a camera."""
    return film_info(next(row.films[camera].path for row in reader.episodes if camera in row.films))


def read_info(path: Path) -> dict[str, Any]:
    """``meta/info.json`` of any version; ``DataError`` where it is missing, no JSON, or without rate or features."""
    if not path.is_dir():
        raise DataError(f"there is no folder {str(path)!r}: give a LeRobotDataset folder, the one that contains meta/.")
    file = path / "meta/info.json"
    if not file.is_file() and (path / ".pending").is_dir():
        raise DataError(f"{path} was begun and not finished: write it to its end first; what is safe is kept.")
    if not file.is_file():
        raise DataError(
            f"{path} has no meta/info.json: it is no LeRobotDataset; give the folder with meta/, data/ and videos/."
        )
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise DataError(f"{file} is not JSON ({broken}): copy it again.") from broken
    if not isinstance(info, dict):
        raise DataError(
            f"{file} holds a {type(info).__name__}: it must be an object with codebase_version, fps, features."
        )
    info.setdefault("codebase_version", None)
    if not isinstance(info.get("fps"), (int, float)) or info["fps"] <= 0:
        raise DataError(f"{file} states fps {info.get('fps')!r}: it must be a number above 0.")
    if not isinstance(info.get("features"), dict):
        raise DataError(f"{file} states no features: it must say what each column holds.")
    return info


def _filled(template: str, chunk: int, file: int, row: Mapping[str, Any]) -> str:
    return template.format(
        chunk_index=chunk,
        file_index=file,
        episode_chunk=chunk,
        episode_file=file,
        episode_index=row["episode_index"],
    )


def _is_numeric(field: pa.Field) -> bool:
    kind = field.type
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _stacked(column: pa.ChunkedArray) -> Array:
    """A column as an array: t, or t ... for lists of one length each; ``DataError`` for ragged ones."""
    flat = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    shape = [len(flat)]
    while not isinstance(flat, (pa.NumericArray, pa.BooleanArray)):
        inner = flat.flatten()
        wide, rest = divmod(len(inner), max(len(flat), 1))
        lengths = pc.list_value_length(flat)
        if rest or (len(flat) and pc.min_max(lengths).as_py() != {"min": wide, "max": wide}):
            raise DataError(
                f"a list column holds lists of different lengths {pc.min_max(lengths).as_py()}: make them equal."
            )
        flat = inner
        shape.append(wide)
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(shape)
