"""JSONL and films: a row an episode, as video training reads it, with everything else beside.

    episodes.jsonl                    {"id", "video", "videos", "caption", "caption_json", "t2w_windows", "fps",
                                       "frames", "actions", "embodiment", "armillary": {words, arrays, sound}}
    videos/<camera>/episode_000012.mp4   arrays/episode_000012.npz   sound/episode_000012.wav
    info.json                         what all episodes share: written last

Rows of others need ``video`` (or ``video_path``, ``path``) only, relative to the file or absolute; ``caption_json`` is
preferred to ``caption``; ``t2w_windows`` are named in the report, the whole film is read.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armillary.datasets.films import decode_all
from armillary.datasets.lerobot21 import read_lines, write_lines
from armillary.datasets.pack import Waiting
from armillary.datasets.parts import episode_from, load_arrays, load_sound
from armillary.datasets.shards import FlatPack, plain_episode
from armillary.errors import DataError
from armillary.media import write_whole
from armillary.records import Array, Episode

ROWS = "episodes.jsonl"
FILM_KEYS = ("video", "video_path", "path", "media_path")


class RowPack(FlatPack):
    """Adds packs of episodes to a folder with a row an episode."""

    form = "jsonl"

    def add(self, waiting: Sequence[Waiting]) -> None:
        """One pack of these episodes, in order."""
        rows = read_lines(self.path / ROWS)[: self.count()] if self.count() else []
        for one in waiting:
            name = f"episode_{one.number:06d}"
            for camera in self._cameras:
                self._copy(one.film(camera), f"videos/{camera}/{name}.mp4")
            self._copy(one.arrays, f"arrays/{name}.npz")
            if one.words["sound"]:
                self._copy(one.sound, f"sound/{name}.wav")
            rows.append(self._row(one, name))
        write_lines(self.path / ROWS, rows)
        self.tell(waiting)

    def _copy(self, source: Path, target: str) -> None:
        (self.path / target).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / target, lambda draft: shutil.copyfile(source, draft))

    def _row(self, one: Waiting, name: str) -> dict[str, Any]:
        words = {k: v for k, v in one.words.items() if k not in ("stats", "shape", "number")}
        actions = np.load(one.folder / "actions.npy", allow_pickle=False)
        films = {camera: f"videos/{camera}/{name}.mp4" for camera in self._cameras}
        said = words["captions"]
        caption = said.get("dense") or said.get("short") or words["instruction"]
        structured = {"caption_json": said["structured"]} if "structured" in said else {}
        window = {"start_frame": 0, "end_frame": words["length"] - 1, "caption": caption, **structured}
        beside = {"words": words, "arrays": f"arrays/{name}.npz", "sound": None}
        beside |= {"action_type": str(actions.dtype), "action_width": actions.shape[1]}
        if words["sound"]:
            beside["sound"] = f"sound/{name}.wav"
        return {
            "id": name, "video": films[self._cameras[0]], "videos": films, "caption": caption, **structured,
            "t2w_windows": [window], "instruction": words["instruction"], "fps": words["fps"],
            "frames": words["length"], "actions": actions.tolist(), "embodiment": words["embodiment"],
            "armillary": beside,
        }  # fmt: skip


class RowFolder:
    """The episodes of a JSONL file by number: ``len(folder)``, ``folder.episode(i)``.

    ``path`` is the file, or a folder with one. ``embodiment`` names the body where a row does not; ``size`` (height,
    width) resizes frames while decoding. ``DataError`` for a line that is no JSON, or rows without films.
    """

    def __init__(self, path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None) -> None:
        path = Path(path)
        self.file = path if path.is_file() else row_file(path)
        self._embodiment, self._size = embodiment or "unknown", size
        every = read_lines(self.file)
        self.rows = [row for row in every if self.film_paths(row)]
        self.blind = len(every) - len(self.rows)  # rows that name no film
        if not self.rows:
            raise DataError(f"{self.file} has no row that names a film: a row needs {' or '.join(FILM_KEYS)}.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kept_embodiment(self) -> str | None:
        """The embodiment that the first episode itself names."""
        named = self.rows[0].get("embodiment")
        return str(named) if named else None

    def film_paths(self, row: Mapping[str, Any]) -> dict[str, Path]:
        """A row's films by camera."""
        films = row.get("videos")
        if isinstance(films, dict) and films:
            return {str(camera): self.file.parent / str(path) for camera, path in films.items()}
        path = next((row[name] for name in FILM_KEYS if isinstance(row.get(name), str)), None)
        return {} if path is None else {"main": self.file.parent / path}

    def words(self, number: int) -> dict[str, Any]:
        """What is said of an episode; a structured caption counts before a plain one."""
        row = self.rows[number]
        kept: dict[str, Any] = (row.get("armillary") or {}).get("words") or {}
        if kept:
            return kept
        structured = row.get("caption_json")
        said = structured if isinstance(structured, str) else json.dumps(structured) if structured else None
        plain = {k: v for k, v in row.items() if k in ("instruction", "caption", "text", "prompt", "fps", "embodiment")}
        return plain if said is None or plain.get("instruction") else {**plain, "instruction": said}

    def actions(self, number: int) -> Array | None:
        """A row's actions, t a; None where there are none. ``DataError`` where they are no table of numbers."""
        row = self.rows[number]
        given = row.get("actions", row.get("action"))
        if given is None:
            return None
        beside = row.get("armillary") or {}
        try:
            if isinstance(given, str):
                given = json.loads((self.file.parent / given).read_text(encoding="utf-8"))
            table = np.array(given, dtype=beside.get("action_type", np.float32))
        except (ValueError, TypeError, OSError) as wrong:
            raise DataError(f"the actions of row {number} of {self.file.name} are no table: {wrong}.") from wrong
        return table.reshape(len(table), -1) if len(table) else table.reshape(0, int(beside.get("action_width", 0)))

    def films(self, number: int) -> dict[str, tuple[Array, float]]:
        """Frames and their rate by camera."""
        return {camera: decode_all(path, str(path), size=self._size)
                for camera, path in self.film_paths(self.rows[number]).items()}  # fmt: skip

    def episode(self, number: int) -> Episode:
        """The ``number``-th episode; ``DataError`` where a part of it cannot be read."""
        films, words, actions = self.films(number), self.words(number), self.actions(number)
        beside = self.rows[number].get("armillary") or {}
        if beside and actions is not None:
            return episode_from(
                words, load_arrays(self.file.parent / beside["arrays"]), fps=words["fps"],
                frames={camera: film for camera, (film, _) in films.items()}, actions=actions,
                sound=load_sound(self.file.parent / beside["sound"]) if beside.get("sound") else None,
            )  # fmt: skip
        return plain_episode(
            films, words, actions, embodiment=self._embodiment, number=number, where=self.file.parent.name,
        )  # fmt: skip


def row_file(folder: Path) -> Path:
    """The JSONL file of a folder; ``DataError`` where there is none or more than one."""
    files = [folder / ROWS] if (folder / ROWS).is_file() else sorted(folder.glob("*.jsonl"))
    if len(files) != 1:
        raise DataError(f"{folder} has {len(files)} files *.jsonl: name the one to be read.")
    return files[0]
