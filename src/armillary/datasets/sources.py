"""Any data set, whatever its form: LeRobot v3.0 or v2.1, WebDataset shards, JSONL and films.

open_episodes(path)          -> len(), episode(i)      the form is recognised by what lies there
form_of(path)                -> its name
export(path, out, form)      the same episodes in another form, resumable
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from armillary.datasets.lerobot import read_info
from armillary.datasets.rows import RowFolder
from armillary.datasets.shards import ShardFolder
from armillary.datasets.store import EpisodeFolder, EpisodeWriter, Form
from armillary.datasets.tables import write_json
from armillary.errors import DataError
from armillary.records import Episode
from armillary.worlds.lives import ALWAYS_ALIKE

BEGUN = "export.json"  # in a folder that ``export`` writes: of which episodes, in which form


@runtime_checkable
class EpisodeSource(Protocol):
    """Episodes by number. ``kept_embodiment`` is what the data itself says of the body; None where it does not."""

    @property
    def kept_embodiment(self) -> str | None: ...

    def __len__(self) -> int: ...

    def episode(self, number: int) -> Episode: ...


def form_of(path: str | Path) -> Form:
    """Which form the data set at ``path`` has; ``DataError`` names the four where it has none of them."""
    path = Path(path)
    if path.suffix == ".tar" and path.is_file():
        return "webdataset"
    if path.suffix == ".jsonl" and path.is_file():
        return "jsonl"
    if path.is_file():
        raise DataError(
            f"{str(path)!r} is a file, and no data set: give a folder of one, a tar shard or a .jsonl file."
        )
    if not path.is_dir():
        raise DataError(f"there is no folder {str(path)!r}: give a data set, a tar shard or a .jsonl file.")
    if (path / "meta").is_dir() or (path / ".pending").is_dir():
        return "lerobot-v2.1" if read_info(path)["codebase_version"] == "v2.1" else "lerobot"
    if any(path.glob("*.tar")):
        return "webdataset"
    if any(path.glob("*.jsonl")):
        return "jsonl"
    raise DataError(
        f"{path} has no meta/info.json: it is no LeRobotDataset; nor has it *.tar (WebDataset) or *.jsonl (rows and "
        "films). Give the folder that has one of them."
    )


def open_episodes(
    path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None
) -> EpisodeSource:
    """The episodes at ``path``. ``embodiment`` names the body where the data does not; ``size`` (height, width)
    resizes frames while decoding. ``DataError`` for what is none of the four forms.
    """
    form = form_of(path)
    if form == "webdataset":
        return ShardFolder(path, embodiment=embodiment, size=size)
    if form == "jsonl":
        return RowFolder(path, embodiment=embodiment, size=size)
    return EpisodeFolder(path, embodiment=embodiment, size=size)


def episodes_of(
    path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None
) -> Iterator[Episode]:
    """The episodes at ``path``, one at a time."""
    source = open_episodes(path, embodiment=embodiment, size=size)
    for number in range(len(source)):
        yield source.episode(number)


def export(
    path: str | Path, out: str | Path, form: Form, *, lossless: bool = True,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[int, int]:  # fmt: skip
    """Write the episodes at ``path`` into ``out`` in another form; what was begun goes on.

    Returns how many there are, and how many of them were there already. Everything known of them is kept.
    ``out`` is a new or empty folder, or one that this function began with the same data and settings, as its
    ``export.json`` says: ``DataError`` for any other, also for ``path`` itself, before anything is written; and where
    a form cannot hold the episodes: LeRobot keeps whole frames a second, all forms one action width and picture size.
    """
    path, out = Path(path), Path(out)
    own = (path if path.is_dir() else path.parent).resolve()
    if path.is_dir() and own in (out.resolve(), *out.resolve().parents):
        raise DataError(f"{out} lies in the folder of the data itself: name a new folder outside for the other form.")
    if own == out.resolve():
        raise DataError(f"{out} is the folder of the data itself: name a new folder for the other form.")
    source = open_episodes(path)
    if not len(source):
        raise DataError(f"{path} holds no episode: there is nothing to export.")
    first = source.episode(0)
    wanted = {"form": form, "lossless": lossless, "first_episode": _mark(first)}
    _check_begun(out, wanted, path)
    with EpisodeWriter(
        out, fps=first.fps, cameras=tuple(first.frames), robot=first.embodiment, lossless=lossless, form=form,
        states=ALWAYS_ALIKE.get(first.world) or None,
    ) as writer:  # fmt: skip
        begun = writer.next_index
        if begun > len(source):
            raise DataError(f"{out} has {begun} episodes and {path} {len(source)}: name a new folder for these.")
        write_json(out / BEGUN, wanted)
        for number in range(begun, len(source)):
            writer.write(first if number == 0 else source.episode(number))
            on_progress((number + 1) / len(source))
    return len(source), begun


def _check_begun(out: Path, wanted: dict[str, Any], path: Path) -> None:
    """``DataError`` for a folder that holds anything and was not begun by ``export`` with these very settings."""
    kept = out / BEGUN
    if kept.is_file():
        try:
            before = dict(json.loads(kept.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as torn:
            raise DataError(f"{kept} is no JSON object ({torn}): name a new folder.") from torn
        if before.get("first_episode") != wanted["first_episode"]:
            raise DataError(f"{out} was begun as an export of other data than {path}: name a new folder.")
        if changed := [f"{name} {before.get(name)}" for name in wanted if before.get(name) != wanted[name]]:
            raise DataError(f"{out} was begun with {', '.join(changed)}: go on with that, or name a new folder.")
    elif out.is_dir() and any(not _left_over(place) for place in out.iterdir()):
        raise DataError(f"{out} is not empty and was not begun by an export: name a new folder, so that nothing mixes.")


def _left_over(place: Path) -> bool:
    """Whether this is what an export leaves that was killed before it had written anything."""
    if place.name == ".pending":
        return not any(place.iterdir())
    return place.name.startswith(f".{BEGUN}.") and place.name.endswith(".tmp")


def _mark(episode: Episode) -> str:
    """A hash of what is seen, done and said in an episode, by which its data is known again wherever it lies."""
    mark = hashlib.sha256(json.dumps([episode.instruction, episode.embodiment, episode.fps]).encode())
    for camera in sorted(episode.frames):
        mark.update(camera.encode() + episode.frames[camera].tobytes())
    mark.update(episode.actions.tobytes())
    return mark.hexdigest()
