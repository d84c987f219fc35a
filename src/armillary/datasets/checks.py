"""What can be wrong with a recording, one check each: declared against found, time, numbers, films.

Every check takes the reader and notes ``Oddity``s on it: what is there, what follows from it, what was assumed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from armillary.datasets.films import film_info
from armillary.datasets.lerobot import AUTOMATIC, LeRobotReader, read_table
from armillary.datasets.lerobot21 import OLD_VERSION
from armillary.errors import DataError
from armillary.records import Array

KNOWN_KEYS = {
    "codebase_version", "robot_type", "fps", "features", "total_episodes", "total_frames", "total_tasks",
    "chunks_size", "data_files_size_in_mb", "video_files_size_in_mb", "data_path", "video_path", "splits", "tools",
}  # fmt: skip
OLD_KEYS = {"total_videos", "total_chunks"}  # of v2.1


def check_all(reader: LeRobotReader) -> None:
    """Every check of this file."""
    checks: tuple[Callable[[LeRobotReader], None], ...] = (
        check_info, check_features, check_times, check_numbers, check_films,
    )  # fmt: skip
    for check in checks:
        check(reader)


def check_info(reader: LeRobotReader) -> None:
    """Keys that LeRobot does not know, paths that lead nowhere, statistics that are missing."""
    info, old = reader.info, reader.version == OLD_VERSION
    if unknown := sorted(set(info) - KNOWN_KEYS - (OLD_KEYS if old else set())):
        reader.odd(
            "unknown-keys",
            f"info.json has keys that {reader.version} does not know ({', '.join(unknown)}): they are ignored.",
        )
    films = sum(len(row.films) for row in reader.episodes) if old else len(reader.playable)
    if info.get("total_videos") not in (None, films):
        reader.odd(
            "video-count",
            f"info.json states {info['total_videos']} videos and there are {films}: only those are played.",
        )
    texts = list(_texts(info))
    absent = sorted({t for t in texts if t.startswith("videos/") and "{" not in t and not (reader.path / t).exists()})
    if absent:
        reader.odd(
            "files-named-and-absent",
            f"info.json names {len(absent)} files that are not there (the first: {absent[0]}): they are not used.",
        )
    if elsewhere := [t for t in texts if t.startswith("/")]:
        reader.odd(
            "paths-elsewhere",
            f"info.json names {len(elsewhere)} places on another machine: nothing is looked for there.",
        )
    stats = "meta/episodes_stats.jsonl" if old else "meta/stats.json"
    if not (reader.path / stats).is_file():
        reader.odd("no-stats", f"{stats} is missing: normalisers must be fitted from the rows themselves.")
    elif not old:
        _check_stats(reader)


def check_features(reader: LeRobotReader) -> None:
    """What info.json declares against what the first data file holds."""
    schema = read_table(reader.episodes[0].data).schema if reader.episodes else pa.schema([])
    declared = {n: f for n, f in reader.features.items() if f.get("dtype") != "video"}
    if empty := [n for n, f in declared.items() if f.get("shape") == [] and n in schema.names]:
        reader.odd(
            "empty-shape",
            f"{len(empty)} features have the empty shape [] ({', '.join(empty)}): v3.0 writes [1] for one number a "
            "row; they are read as what the column holds, one number a row.",
        )
    if missing := [n for n in declared if n not in schema.names]:
        reader.odd("no-column", f"declared and not in the data: {', '.join(missing)}; they are left out.")
    if extra := [n for n in schema.names if n not in declared]:
        reader.odd(
            "undeclared-column", f"in the data and not declared: {', '.join(extra)}; they are read all the same."
        )
    other = []
    for name, feature in declared.items():
        if name in schema.names:
            kind = _innermost(schema.field(name).type)
            if kind != feature.get("dtype"):
                other.append(f"{name} {feature.get('dtype')} but {kind}")
    if other:
        reader.odd(
            "other-type", f"columns have another type than declared ({'; '.join(other)}): the stored numbers are used."
        )


def check_times(reader: LeRobotReader) -> None:
    """Whether rows are where and when they should be: timestamp = frame_index / fps, index without gaps."""
    expected = 0
    for row in reader.episodes:
        columns = reader.columns(row)
        if missing := [n for n in AUTOMATIC if n not in columns]:
            reader.odd(
                "no-automatic-column", f"the data has no {', '.join(missing)}: order and rate are taken on trust."
            )
            return
        off = np.abs(columns["timestamp"] - np.arange(row.length) / reader.fps).max()
        if off > 0.1 / reader.fps:
            reader.odd(
                "irregular-time",
                f"episode {row.index} has time stamps up to {off:.3f} s away from frame / {reader.fps:g}: "
                "frames and rows are matched by number, so its speeds may be wrong.",
            )
        if not np.array_equal(columns["frame_index"], np.arange(row.length)):
            reader.odd(
                "frame-gaps", f"episode {row.index} does not count its frames 0, 1, 2, ...: rows may be missing."
            )
        if not np.array_equal(columns["index"], np.arange(expected, expected + row.length)):
            reader.odd("index-gaps", f"episode {row.index} has row numbers that do not follow the one before.")
        expected += row.length


def check_numbers(reader: LeRobotReader) -> None:
    """Columns that carry nothing: constant, constant after their first rows, or not finite."""
    for name, values in _together(reader).items():
        if name in AUTOMATIC or name.startswith("next."):
            continue
        flat = values.reshape(len(values), -1).astype(np.float64)
        bad = ~np.isfinite(flat).all(1)
        if bad.any():
            reader.odd(
                "not-finite", f"{name} is not a finite number in {bad.sum()} of {len(flat)} rows: they cannot be used."
            )
        changes = np.flatnonzero(np.abs(np.diff(flat, axis=0)).max(1, initial=0) > 0)
        if len(flat) > 1 and not len(changes):
            reader.odd(
                "constant", f"{name} is {_few(flat[0])} in every row: it carries nothing and is not learnt from."
            )
        elif len(changes) and changes[-1] + 2 < 0.1 * len(flat):
            reader.odd(
                "stops-changing",
                f"{name} changes in its first {changes[-1] + 2} rows only and is {_few(flat[-1])} in the other "
                f"{len(flat) - changes[-1] - 2}: it looks as if the numbers of one row were written down the column; "
                "it is not used.",
            )


def check_films(reader: LeRobotReader) -> None:
    """Films against what info.json declares of them: codec, size, rate, length."""
    for camera in reader.playable:
        rows = [row for row in reader.episodes if camera in row.films]
        path = rows[0].films[camera].path
        try:
            film = film_info(path)
        except DataError as broken:
            reader.odd("film-unreadable", f"the film of camera {camera} cannot be opened: {broken}")
            continue
        declared: Mapping[str, Any] = reader.features[camera].get("info") or {}
        codec = declared.get("video.codec")
        if codec not in (None, film.codec) and not (codec == "av1" and "av1" in film.codec):
            reader.odd(
                "other-codec",
                f"camera {camera} is declared as {codec} and its film is {film.codec}: it is decoded as what it is.",
            )
        if list(reader.features[camera].get("shape", []))[:2] != [film.height, film.width]:
            reader.odd(
                "other-size",
                f"camera {camera} is declared as {reader.features[camera].get('shape')} and its film is "
                f"{film.height}x{film.width}: the film's size holds.",
            )
        if film.fps and abs(film.fps - reader.fps) > 0.01 * reader.fps:
            reader.odd(
                "other-rate",
                f"camera {camera} has {film.fps:g} frames a second and the rows {reader.fps:g}: "
                "frames are found by time.",
            )
        inside = [row for row in rows if row.films[camera].path == path]
        needed = max(row.films[camera].start + row.length / reader.fps for row in inside)
        if film.seconds and film.seconds < needed - 0.5 / reader.fps:
            reader.odd(
                "film-short",
                f"the film of camera {camera} lasts {film.seconds:.2f} s and its episodes need {needed:.2f} s: "
                "the last frames cannot be read.",
            )


def _check_stats(reader: LeRobotReader) -> None:
    try:
        stats = json.loads((reader.path / "meta/stats.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        reader.odd("stats-unreadable", "meta/stats.json is not JSON: normalisers must be fitted from the rows.")
        return
    if missing := sorted({n for n in ("action", "observation.state") if n in reader.features} - set(stats)):
        reader.odd("stats-incomplete", f"meta/stats.json says nothing of {', '.join(missing)}: fit normalisers anew.")


def _together(reader: LeRobotReader) -> dict[str, Array]:
    """Every numeric column over all episodes; those that are not in each are left out."""
    parts = [reader.columns(row) for row in reader.episodes]
    names = [name for name in (parts[0] if parts else {}) if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _innermost(kind: pa.DataType) -> str:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))


def _few(numbers: Array) -> str:
    shown = ", ".join(f"{x:.4g}" for x in numbers[:3])
    return shown if len(numbers) <= 3 else f"{shown}, ..."
