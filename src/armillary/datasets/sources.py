"""Any data set, whatever its form: LeRobot v3.0 or v2.1, WebDataset shards, JSONL and films.

open_episodes(path)          -> len(), episode(i)      the form is recognised by what lies there
form_of(path)                -> its name
export(path, out, form)      the same episodes in another form, resumable
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from armillary.datasets.lerobot import read_info
from armillary.datasets.rows import RowFolder
from armillary.datasets.shards import ShardFolder
from armillary.datasets.store import EpisodeFolder, EpisodeWriter, Form
from armillary.errors import DataError
from armillary.records import Episode
from armillary.worlds.lives import ALWAYS_ALIKE


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
) -> int:  # fmt: skip
    """Write the episodes at ``path`` into ``out`` in another form; what was begun goes on. Returns how many there are.

    Everything known of them is kept. ``DataError`` where a form cannot hold them: LeRobot keeps whole frames a second,
    and all forms one action width and one picture size.
    """
    source = open_episodes(path)
    if not len(source):
        raise DataError(f"{path} holds no episode: there is nothing to export.")
    first = source.episode(0)
    with EpisodeWriter(
        out, fps=first.fps, cameras=tuple(first.frames), robot=first.embodiment, lossless=lossless, form=form,
        states=ALWAYS_ALIKE.get(first.world) or None,
    ) as writer:  # fmt: skip
        for number in range(writer.next_index, len(source)):
            writer.write(first if number == 0 else source.episode(number))
            on_progress((number + 1) / len(source))
    return len(source)
