"""Episodes kept as a LeRobotDataset v3.0 folder: written one by one, readable by LeRobot, read back without loss.

    Episode --write()--> .pending/episode_000012/ --close()--> meta/ data/ videos/      what LeRobot reads
                                                               armillary/ meta/armillary/   what it does not know:
                                                               exact states, depth, segmentation, sound, words, recipe

``write`` ends with one rename: an episode is there or not. A writer that is killed is opened again and goes on with
the next episode; files are only packed (films joined, tables written) at ``close`` or when 200 MB wait, and
``info.json`` is written last. The same episodes make the same bytes, killed on the way or not.

A LeRobot row has an action for every frame and an episode has one less than frames: the last row repeats the last
action and says ``next.done``; reading drops it. Depth is kept in whole millimetres up to 65.5 m (0: no return).
"""

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from armillary.datasets.droid import droid_episode, is_droid
from armillary.datasets.films import encode
from armillary.datasets.lerobot import EpisodeRow, LeRobotReader, read_table
from armillary.datasets.pack import PLACE, WORDS_PATH, Pack, Waiting, camera_key, episodes_packed, plain
from armillary.datasets.stats import picture_stats
from armillary.errors import DataError
from armillary.media import read_wav, write_wav, write_whole
from armillary.records import Array, Episode, Question, check_episode

ENOUGH_BYTES = 200 * 2**20
_WORDS = ("instruction", "captions", "events", "recipe", "boxes", "cameras")


class EpisodeWriter:
    """Writes episodes into the folder ``path``, new or begun before.

    ``fps`` is whole (LeRobot's), ``cameras`` are the names every episode must have. ``states``: which of the
    episode's states LeRobot shall see as ``observation.state``; without it, those of at most one axis that have the
    same shape in all episodes of the first pack. ``lossless=False`` makes films smaller (about 45 dB).
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float,
        cameras: Sequence[str],
        robot: str = "unknown",
        states: Sequence[str] | None = None,
        lossless: bool = True,
    ) -> None:
        if fps != round(fps) or fps <= 0:
            raise DataError(f"fps={fps} came: LeRobot keeps whole frames per second; resample the episodes first.")
        if not cameras or any("/" in name or "." in name for name in cameras):
            raise DataError(f"cameras {list(cameras)} came: give at least one name, without '/' and '.'.")
        self.path, self.fps, self.cameras = Path(path), round(fps), tuple(cameras)
        self._pack = Pack(self.path, fps=self.fps, cameras=self.cameras, robot=robot, states=states)
        self._lossless = lossless
        self._shape: dict[str, Any] | None = None
        self._pending = self.path / ".pending"
        try:
            self._pending.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as taken:
            raise DataError(f"{self.path} is no folder: name a new folder, or one that was begun before.") from taken
        self._tidy()
        self._waiting_bytes = sum(file.stat().st_size for file in self._pending.rglob("*.mp4"))
        self._next = episodes_packed(self.path) + len(self._waiting())

    @property
    def next_index(self) -> int:
        """The number of the episode that ``write`` writes next: how many are safe."""
        return self._next

    def write(self, episode: Episode) -> int:
        """Keep ``episode``; returns its number. ``DataError`` if it does not fit the folder; then nothing changes."""
        check_episode(episode)
        if round(episode.fps) != self.fps or tuple(sorted(episode.frames)) != tuple(sorted(self.cameras)):
            raise DataError(
                f"an episode at {episode.fps:g} fps with cameras {sorted(episode.frames)} came: this folder keeps "
                f"{self.fps} fps and {sorted(self.cameras)}. Write it into a folder of its own."
            )
        number = self.next_index
        self._check_like_the_others(episode)
        place = self.path / PLACE.format(chunk=number // 1000, episode=number)
        place.parent.mkdir(parents=True, exist_ok=True)
        arrays = _beside(episode)
        write_whole(place.with_suffix(".npz"), lambda draft: _save_npz(draft, arrays))
        if episode.sound is not None:
            write_wav(place.with_suffix(".wav"), episode.sound)
        draft = self._pending / f".draft-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for camera in self.cameras:
            encode(draft / f"{camera}.mp4", episode.frames[camera], self.fps, lossless=self._lossless)
        np.save(draft / "actions.npy", episode.actions)
        (draft / "episode.json").write_text(json.dumps(self._words(episode, number)), encoding="utf-8")
        self._waiting_bytes += sum(file.stat().st_size for file in draft.glob("*.mp4"))
        draft.rename(self._pending / f"episode_{number:06d}")
        self._next += 1
        if self._waiting_bytes > ENOUGH_BYTES:
            self.close()
        return number

    def close(self) -> None:
        """Pack what waits, so that LeRobot can read it. The writer may go on afterwards."""
        waiting = self._waiting()
        if waiting:
            self._pack.add(waiting)
        for one in waiting:
            shutil.rmtree(one.folder)
        self._waiting_bytes = 0
        if self._pending.is_dir() and not any(self._pending.iterdir()):
            self._pending.rmdir()

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _waiting(self) -> list[Waiting]:
        """Episodes written and not yet packed, in order."""
        return [
            Waiting(folder=folder, number=int(folder.name[-6:]), beside=self._beside_of(int(folder.name[-6:])))
            for folder in sorted(self._pending.glob("episode_*"))
        ]

    def _beside_of(self, number: int) -> Path:
        return (self.path / PLACE.format(chunk=number // 1000, episode=number)).with_suffix(".npz")

    def _tidy(self) -> None:
        """Remove what a killed writer left half done."""
        packed = episodes_packed(self.path)
        for draft in self._pending.glob(".draft-*"):
            shutil.rmtree(draft)
        for one in self._waiting():
            if one.number < packed:
                shutil.rmtree(one.folder)
        self._pack.forget_unfinished()

    def _check_like_the_others(self, episode: Episode) -> None:
        shape = {
            "actions": [str(episode.actions.dtype), int(episode.actions.shape[1])],
            "sizes": {camera: list(episode.frames[camera].shape[1:3]) for camera in self.cameras},
        }
        if self._shape is None:
            self._shape = self._pack.shape() or next((one.words["shape"] for one in self._waiting()), shape)
        known = self._shape
        if shape != known:
            raise DataError(
                f"an episode with {shape} came and the folder keeps {known}: actions of one width and type and "
                "pictures of one size share a folder. Write it into a folder of its own."
            )

    def _words(self, episode: Episode, number: int) -> dict[str, Any]:
        words = {name: plain(value) for name, value in vars(episode).items() if name in _WORDS}
        words |= {name: vars(episode)[name] for name in ("world", "embodiment")}
        words |= {"seed": int(episode.seed), "success": bool(episode.success), "number": number}
        words |= {"length": len(episode.actions) + 1, "shape": self._shape, "sound": episode.sound is not None}
        words["questions"] = [plain(asdict(question)) for question in episode.questions]
        words["stats"] = {camera_key(c): picture_stats(episode.frames[c]) for c in self.cameras}
        return words


class EpisodeFolder:
    """The episodes of a LeRobot folder by number: ``len(folder)``, ``folder.episode(i)``.

    Folders written here come back as they were. DROID's are read by ``droid.py``. Of others, ``action`` and every
    ``observation.*`` are read; the last row's action leads to no frame and is dropped; ``embodiment`` (else the
    robot's type) names the body. ``size`` (height, width) resizes frames while decoding.
    """

    def __init__(self, path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None) -> None:
        self.reader = LeRobotReader(path)
        self._words = _words_kept(self.reader.path)
        self._embodiment = embodiment or str(self.reader.info.get("robot_type") or "unknown")
        self._size = size

    def __len__(self) -> int:
        return len(self.reader.episodes)

    @property
    def kept_embodiment(self) -> str | None:
        """The embodiment that the folder itself names; None where it was not written here."""
        return next((str(words["embodiment"]) for words in self._words.values()), None)

    def episode(self, number: int) -> Episode:
        """The ``number``-th episode; ``DataError`` where its actions or films cannot be read."""
        row = self.reader.episodes[number]
        if row.index in self._words:
            return _ours(self.reader, row, self._words[row.index], self._size)
        if is_droid(self.reader):
            return droid_episode(self.reader, index=row.index, size=self._size)
        return _foreign(self.reader, row, self._embodiment, self._size)


def read_episodes(
    path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None
) -> Iterator[Episode]:
    """The episodes of a LeRobot folder, one at a time; as ``EpisodeFolder`` reads them."""
    folder = EpisodeFolder(path, embodiment=embodiment, size=size)
    for number in range(len(folder)):
        yield folder.episode(number)


def _ours(reader: LeRobotReader, row: EpisodeRow, words: dict[str, Any], size: tuple[int, int] | None) -> Episode:
    place = reader.path / PLACE.format(chunk=row.index // 1000, episode=row.index)
    beside = _load_npz(place.with_suffix(".npz"))
    depth = {k[6:]: v.astype(np.float32) / 1000 for k, v in beside.items() if k.startswith("depth/")}
    marks = {k[13:]: v.astype(np.int32) for k, v in beside.items() if k.startswith("segmentation/")}
    boxes = words["boxes"]
    return Episode(
        world=words["world"],
        seed=words["seed"],
        fps=reader.fps,
        frames={key.split(".")[-1]: reader.frames(row, key, size=size) for key in reader.cameras},
        actions=reader.columns(row)["action"].reshape(row.length, -1)[:-1],
        embodiment=words["embodiment"],
        states={k[7:]: v for k, v in beside.items() if k.startswith("states/")},
        instruction=words["instruction"],
        captions=words["captions"],
        questions=[_question(q) for q in words["questions"]],
        events=[(start, end, said) for start, end, said in words["events"]],
        depth=depth or None,
        segmentation=marks or None,
        boxes=None if boxes is None else [{n: tuple(b) for n, b in frame.items()} for frame in boxes],
        cameras=words["cameras"],
        sound=_sound(place.with_suffix(".wav")) if words["sound"] else None,
        success=words["success"],
        recipe=words["recipe"],
    )


def _foreign(reader: LeRobotReader, row: EpisodeRow, embodiment: str, size: tuple[int, int] | None) -> Episode:
    columns = reader.columns(row)
    if "action" not in columns:
        near = [name for name in columns if name.startswith("action")]
        raise DataError(
            f"{reader.path} has no column 'action' ({', '.join(near) or 'none like it'}): what leads from frame to "
            "frame is unknown. Give a folder with a column 'action', or one with DROID's columns."
        )
    states = {
        name.removeprefix("observation."): values.astype(np.float64).reshape(row.length, -1)
        for name, values in columns.items()
        if name.startswith("observation.")
    }
    return check_episode(
        Episode(
            world=reader.path.name,
            seed=row.index,
            fps=reader.fps,
            frames={key.split(".")[-1]: reader.frames(row, key, size=size) for key in row.films},
            actions=columns["action"].reshape(row.length, -1)[:-1],
            embodiment=embodiment,
            states=states,
            instruction=row.task,
            recipe={"path": reader.path.name, "episode": row.index},
        )
    )


def _words_kept(path: Path) -> dict[int, dict[str, Any]]:
    """What meta/armillary says of each episode, by number."""
    kept: dict[int, dict[str, Any]] = {}
    for file in sorted(path.glob(WORDS_PATH.format(chunk="*", file="*"))):
        table: pa.Table = read_table(file)
        for number, words in zip(table["episode_index"].to_pylist(), table["words"].to_pylist(), strict=True):
            kept[number] = json.loads(words)
    return kept


def _question(kept: dict[str, Any]) -> Question:
    choices = kept["choices"]
    return Question(**{**kept, "choices": None if choices is None else tuple(choices), "frames": tuple(kept["frames"])})


def _beside(episode: Episode) -> dict[str, Array]:
    """What LeRobot's columns cannot hold, by its name in the npz."""
    arrays = {f"states/{name}": np.asarray(values) for name, values in episode.states.items()}
    for camera, metres in (episode.depth or {}).items():
        whole = np.round(np.nan_to_num(metres, posinf=0.0, neginf=0.0) * 1000)
        arrays[f"depth/{camera}"] = np.where(whole > 65535, 0, whole).astype(np.uint16)
    for camera, marks in (episode.segmentation or {}).items():
        narrow = np.uint8 if marks.min(initial=0) >= 0 and marks.max(initial=0) < 256 else np.int32
        arrays[f"segmentation/{camera}"] = marks.astype(narrow)
    return arrays


def _sound(path: Path) -> Array:
    try:
        return read_wav(path)[0]
    except ValueError as broken:  # DataError is one too: either way the file is named
        raise DataError(f"the sound of an episode cannot be read: {path.name} ({broken}). Copy it again.") from broken


def _save_npz(path: Path, arrays: dict[str, Array]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _load_npz(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as broken:
        raise DataError(f"{path} cannot be read ({broken}): copy the folder again, with armillary/.") from broken
