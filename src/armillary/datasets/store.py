"""Episodes kept as a LeRobotDataset v3.0 folder: written one by one, readable by LeRobot, read back without loss.

    Episode --write()--> .pending/episode_000012/ --close()--> meta/ data/ videos/      what LeRobot reads
                                                               armillary/ meta/armillary/   what it does not know:
                                                               exact states, depth, segmentation, sound, words, recipe

    form="lerobot-v2.1"   the same for older readers           form="webdataset"   tar shards
    form="jsonl"          a row an episode, films beside       all four are read back by ``sources.open_episodes``

``write`` ends with one rename: an episode is there or not. A writer that is killed is opened again and goes on with
the next episode; files are only packed (films joined, tables written) at ``close`` or when 200 MB wait, and
``info.json`` is written last. The same episodes make the same bytes, killed on the way or not.

A LeRobot row has an action for every frame and an episode has one less than frames: the last row repeats the last
action and says ``next.done``; reading drops it.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from armillary.datasets.droid import droid_episode, is_droid
from armillary.datasets.films import encode
from armillary.datasets.lerobot import EpisodeRow, LeRobotReader, read_table
from armillary.datasets.lerobot21 import open_reader
from armillary.datasets.pack import PLACE, WORDS_PATH, Pack, Packing, Waiting, camera_key
from armillary.datasets.parts import arrays_of, dump, episode_from, load_arrays, load_sound, save_arrays, words_of
from armillary.datasets.stats import picture_stats
from armillary.errors import DataError
from armillary.media import write_wav
from armillary.records import Episode, check_episode

ENOUGH_BYTES = 200 * 2**20
Form = Literal["lerobot", "lerobot-v2.1", "webdataset", "jsonl"]


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
        form: Form = "lerobot",
    ) -> None:
        if fps != round(fps) or fps <= 0:
            raise DataError(f"fps={fps} came: LeRobot keeps whole frames per second; resample the episodes first.")
        if not cameras or any("/" in name or "." in name for name in cameras):
            raise DataError(f"cameras {list(cameras)} came: give at least one name, without '/' and '.'.")
        self.path, self.fps, self.cameras = Path(path), round(fps), tuple(cameras)
        self._pack = _packing(form, self.path, fps=self.fps, cameras=self.cameras, robot=robot, states=states)
        self._lossless = lossless
        self._shape: dict[str, Any] | None = None
        self._pending = self.path / ".pending"
        try:
            self._pending.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as taken:
            raise DataError(f"{self.path} is no folder: name a new folder, or one that was begun before.") from taken
        self._tidy()
        self._waiting_bytes = sum(file.stat().st_size for file in self._pending.rglob("*.mp4"))
        self._next = self._pack.count() + len(self._waiting())

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
        draft = self._pending / f".draft-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for camera in self.cameras:
            encode(draft / f"{camera}.mp4", episode.frames[camera], self.fps, lossless=self._lossless)
        np.save(draft / "actions.npy", episode.actions)
        save_arrays(draft / "arrays.npz", arrays_of(episode))
        if episode.sound is not None:
            write_wav(draft / "sound.wav", episode.sound)
        (draft / "episode.json").write_text(dump(self._words(episode, number)), encoding="utf-8")
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
            Waiting(folder=folder, number=int(folder.name[-6:])) for folder in sorted(self._pending.glob("episode_*"))
        ]

    def _tidy(self) -> None:
        """Remove what a killed writer left half done."""
        packed = self._pack.count()
        for draft in self._pending.glob(".draft-*"):
            shutil.rmtree(draft)
        for half in self.path.rglob(".*.tmp"):  # of ``write_whole``
            half.unlink()
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
        stats = {camera_key(c): picture_stats(episode.frames[c]) for c in self.cameras}
        return words_of(episode) | {"number": number, "shape": self._shape, "stats": stats}


def _packing(form: Form, path: Path, **settings: Any) -> Packing:
    if form == "lerobot":
        return Pack(path, **settings)
    if form == "lerobot-v2.1":
        from armillary.datasets.lerobot21 import OldPack

        return OldPack(path, **settings)
    if form == "webdataset":
        from armillary.datasets.shards import ShardPack

        return ShardPack(path, **settings)
    if form == "jsonl":
        from armillary.datasets.rows import RowPack

        return RowPack(path, **settings)
    raise DataError(f"form {form!r} is unknown: it must be one of {', '.join(get_args(Form))}.")


class EpisodeFolder:
    """The episodes of a LeRobot folder by number: ``len(folder)``, ``folder.episode(i)``.

    Folders written here come back as they were. DROID's are read by ``droid.py``. Of others, ``action`` and every
    ``observation.*`` are read; the last row's action leads to no frame and is dropped; ``embodiment`` (else the
    robot's type) names the body. ``size`` (height, width) resizes frames while decoding.
    """

    def __init__(self, path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None) -> None:
        self.reader = open_reader(path)
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
    return episode_from(
        words,
        load_arrays(place.with_suffix(".npz")),
        fps=reader.fps,
        frames={key.split(".")[-1]: reader.frames(row, key, size=size) for key in reader.cameras},
        actions=reader.columns(row)["action"].reshape(row.length, -1)[:-1],
        sound=load_sound(place.with_suffix(".wav")) if words["sound"] else None,
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
