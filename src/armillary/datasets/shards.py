"""WebDataset: episodes as members of tar files, grouped by what stands before the first dot of their names.

    shard-000000.tar   000012.json  000012.actions.npy  000012.arrays.npz  000012.front.mp4  000012.wav
    info.json          what all episodes share, and which shard holds which: written last

Shards of others are read too: a film (``000012.mp4`` or with a camera's name before ``mp4``), words as ``.json`` (the
keys ``instruction``, ``caption``, ``text``) or ``.txt``, actions as ``.actions.npy``. No library is needed.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.datasets.films import decode_all
from armillary.datasets.pack import Waiting
from armillary.datasets.parts import dump, episode_from, load_arrays
from armillary.datasets.tables import write_json
from armillary.errors import DataError
from armillary.media import read_wav, write_whole
from armillary.records import Array, Episode, check_episode

A_SHARD = 100  # episodes
FILMS = ("mp4", "webm", "mkv", "avi", "mov")
WORDS = ("instruction", "caption", "text", "prompt")


class FlatPack:
    """What forms without LeRobot's tables share: ``info.json`` says what is packed and what it looks like."""

    form = ""

    def __init__(
        self, path: Path, *, fps: int, cameras: Sequence[str], robot: str, states: Sequence[str] | None
    ) -> None:
        self.path, self._fps, self._cameras, self._robot = path, fps, tuple(cameras), robot
        self._info = path / "info.json"
        known = self.told()
        if known and (known.get("form"), known["fps"], known["cameras"]) != (self.form, fps, sorted(cameras)):
            raise DataError(
                f"{path} keeps {known['fps']} fps and cameras {known['cameras']} as {known.get('form')}; {fps} fps "
                f"and {sorted(cameras)} came as {self.form}. Write into a new folder."
            )

    def told(self) -> dict[str, Any]:
        """``info.json``; empty before the first pack."""
        known: dict[str, Any] = json.loads(self._info.read_text("utf-8")) if self._info.is_file() else {}
        return known

    def count(self) -> int:
        """How many episodes are packed."""
        return int(self.told().get("total_episodes", 0))

    def shape(self) -> dict[str, Any] | None:
        """The width and type of actions and the sizes of pictures; None before the first pack."""
        known: dict[str, Any] | None = self.told().get("shape")
        return known

    def forget_unfinished(self) -> None:
        """Nothing to do: the files of a pack that was cut off are written again under the same names."""

    def tell(self, waiting: Sequence[Waiting], **more: Any) -> None:
        """Count these episodes: from here on they are packed."""
        write_json(self._info, {
            "form": self.form, "fps": self._fps, "cameras": sorted(self._cameras), "robot_type": self._robot,
            "total_episodes": self.count() + len(waiting), "shape": waiting[0].words["shape"], **more,
        })  # fmt: skip


class ShardPack(FlatPack):
    """Adds packs of episodes to a folder of tar shards, at most ``A_SHARD`` episodes each."""

    form = "webdataset"

    def add(self, waiting: Sequence[Waiting]) -> None:
        """One pack of these episodes, in order: one shard or more."""
        listed = list(self.told().get("shards", []))
        for first in range(0, len(waiting), A_SHARD):
            group = waiting[first : first + A_SHARD]
            name = f"shard-{len(listed):06d}.tar"
            write_whole(self.path / name, lambda draft, group=group: self._write(draft, group))  # type: ignore[misc]
            listed.append({"file": name, "first": group[0].number, "episodes": len(group)})
        self.tell(waiting, shards=listed)

    def _write(self, draft: Path, group: Sequence[Waiting]) -> None:
        with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as tar:
            for one in group:
                words = {k: v for k, v in one.words.items() if k not in ("stats", "shape", "number")}
                members = {"json": dump(words).encode(), "actions.npy": (one.folder / "actions.npy").read_bytes()}
                members["arrays.npz"] = one.arrays.read_bytes()
                members |= {f"{camera}.mp4": one.film(camera).read_bytes() for camera in self._cameras}
                if words["sound"]:
                    members["wav"] = one.sound.read_bytes()
                for kind, content in members.items():
                    head = tarfile.TarInfo(f"{one.number:06d}.{kind}")
                    head.size = len(content)  # no clock, no user: the same episodes make the same bytes
                    tar.addfile(head, io.BytesIO(content))


@dataclass(frozen=True, kw_only=True)
class _Member:
    shard: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class ShardFolder:
    """The episodes of tar shards by number: ``len(folder)``, ``folder.episode(i)``.

    ``path`` is a folder of shards or one shard. ``embodiment`` names the body where the shards do not; ``size``
    (height, width) resizes frames while decoding. ``DataError`` for a tar that cannot be read, or none with a film.
    """

    def __init__(self, path: str | Path, *, embodiment: str | None = None, size: tuple[int, int] | None = None) -> None:
        self.path = Path(path)
        self._embodiment, self._size = embodiment or "unknown", size
        shards = [self.path] if self.path.is_file() else sorted(self.path.glob("*.tar"))
        self.groups: dict[str, dict[str, _Member]] = {}
        for shard in shards:
            for key, kind, member in _members(shard):
                self.groups.setdefault(f"{shard.name}/{key}", {})[kind] = member
        self.keys = [key for key, kinds in self.groups.items() if any(k.split(".")[-1] in FILMS for k in kinds)]
        self.blind = len(self.groups) - len(self.keys)  # groups without a film
        if not self.keys:
            raise DataError(f"{self.path} holds no film in its shards: members must be named as 000012.mp4.")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def kept_embodiment(self) -> str | None:
        """The embodiment that the first episode itself names."""
        return self.words(0).get("embodiment")

    def words(self, number: int) -> dict[str, Any]:
        """What is said of an episode, as it stands there."""
        kinds, key = self.groups[self.keys[number]], self.keys[number]
        if "json" not in kinds:
            return {"instruction": kinds["txt"].read().decode("utf-8", "replace").strip()} if "txt" in kinds else {}
        try:
            words = json.loads(kinds["json"].read())
        except (json.JSONDecodeError, UnicodeDecodeError) as broken:
            raise DataError(f"{key}.json is not JSON ({broken}): copy the shard again.") from broken
        return words if isinstance(words, dict) else {}

    def actions(self, number: int) -> Array | None:
        """An episode's actions, t a; None where there are none."""
        kinds = self.groups[self.keys[number]]
        name = next((k for k in ("actions.npy", "action.npy") if k in kinds), None)
        if name is None:
            return None
        try:
            return np.asarray(np.load(io.BytesIO(kinds[name].read()), allow_pickle=False))
        except (ValueError, EOFError, OSError) as broken:
            raise DataError(f"{self.keys[number]}.{name} cannot be read ({broken}): copy the shard again.") from broken

    def films(self, number: int) -> dict[str, tuple[Array, float]]:
        """Frames and their rate by camera."""
        key = self.keys[number]
        kinds = {k: m for k, m in self.groups[key].items() if k.split(".")[-1] in FILMS}
        return {k.rpartition(".")[0] or "main": decode_all(io.BytesIO(m.read()), f"{key}.{k}", size=self._size)
                for k, m in kinds.items()}  # fmt: skip

    def episode(self, number: int) -> Episode:
        """The ``number``-th episode; ``DataError`` where a part of it cannot be read."""
        kinds, words, films = self.groups[self.keys[number]], self.words(number), self.films(number)
        actions = self.actions(number)
        if "arrays.npz" in kinds and actions is not None and "recipe" in words:
            name = f"{self.keys[number]}.arrays.npz"
            sound = read_wav_bytes(kinds["wav"].read()) if "wav" in kinds else None
            return episode_from(
                words, load_arrays(io.BytesIO(kinds["arrays.npz"].read()), name), fps=words["fps"],
                frames={camera: film for camera, (film, _) in films.items()}, actions=actions, sound=sound,
            )  # fmt: skip
        return plain_episode(
            films, words, actions, embodiment=self._embodiment, number=number, where=self.path.name,
        )  # fmt: skip


def plain_episode(
    films: Mapping[str, tuple[Array, float]], words: Mapping[str, Any], actions: Array | None, *, embodiment: str,
    number: int, where: str,
) -> Episode:  # fmt: skip
    """An episode of others' films and words; without actions it has rows of width 0."""
    frames = {camera: film for camera, (film, _) in films.items()}
    count = len(next(iter(frames.values())))
    rows = np.zeros((count - 1, 0), np.float32) if actions is None else np.asarray(actions).reshape(len(actions), -1)
    said = next((str(words[name]) for name in WORDS if isinstance(words.get(name), str)), "")
    return check_episode(
        Episode(
            world=where, seed=number, fps=float(words.get("fps") or next(iter(films.values()))[1]), frames=frames,
            actions=rows[:-1] if len(rows) == count else rows,  # LeRobot's custom: one more, which leads nowhere
            embodiment=str(words.get("embodiment") or embodiment), states={}, instruction=said,
            recipe={"path": where, "episode": number},
        )
    )  # fmt: skip


def read_wav_bytes(content: bytes) -> Array:
    """Sound of a WAV held in memory, float32 2 s."""
    return read_wav(io.BytesIO(content))[0]


def _members(shard: Path) -> list[tuple[str, str, _Member]]:
    """(base name with its folder, the rest of the name, where its bytes are) of every file in a tar."""
    found = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for head in tar:
                folder, slash, name = head.name.rpartition("/")
                base, _, kind = name.partition(".")
                if head.isfile() and kind:
                    place = _Member(shard=shard, offset=head.offset_data, size=head.size)
                    found.append((folder + slash + base, kind.lower(), place))
    except (tarfile.TarError, OSError, EOFError) as broken:
        raise DataError(f"{shard} cannot be read as a tar ({broken}): copy it again, unpacked from gzip.") from broken
    return found
