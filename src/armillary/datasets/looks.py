"""An episode as the doctor sees it: its numbers and words whole, its pictures reduced to what the checks ask.

    look(episode) -> Look        small mean pictures, how much each step changes, which frames are black or repeated

Pictures are dropped once they were looked at: a set of any size is examined in the memory of one episode.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from armillary.records import SOUND_HZ, Array, Episode

SIZE = (96, 128)  # height, width that films are decoded at
SMALL = (24, 32)  # of mean pictures
BLOCKS = (4, 4)  # parts of a picture whose changes are told apart
SAME = 0.02  # mean change of a pixel, of 255, below which two frames are one


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """One camera's film: ``level`` and ``spread`` t, ``change`` t-1, ``blocks`` t-1 n, ``mean`` and ``first`` h w 3."""

    level: Array
    spread: Array
    change: Array
    blocks: Array
    mean: Array
    first: Array
    digest: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """One episode. ``states`` are those of at most one axis, t k; ``sound``: seconds, loudest, share at its limit."""

    number: int
    fps: float
    frames: int
    size: tuple[int, int]
    cameras: Mapping[str, Seen]
    actions: Array
    states: Mapping[str, Array]
    embodiment: str
    instruction: str
    captions: Mapping[str, str]
    questions: tuple[Any, ...]
    events: tuple[tuple[float, float, str], ...]
    boxes: tuple[Mapping[str, Any], ...]
    sound: tuple[float, float, float] | None
    extras: Mapping[str, tuple[float, float, bool]]  # "depth/front" -> lowest, highest, of the frames' length

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def look(episode: Episode, number: int) -> Look:
    """What the checks ask of an episode; ``number`` is its place in the set."""
    frames = min(len(film) for film in episode.frames.values())
    extras = {}
    for name, kept in (("depth", episode.depth), ("segmentation", episode.segmentation)):
        for camera, values in (kept or {}).items():
            ends = (float(np.min(values)), float(np.max(values))) if np.size(values) else (0.0, 0.0)
            extras[f"{name}/{camera}"] = (*ends, len(values) == frames)
    sound = None
    if episode.sound is not None:
        high = np.abs(episode.sound)
        loudest, full = float(high.max(initial=0)), float((high >= 0.999).mean()) if high.size else 0.0
        sound = (episode.sound.shape[1] / SOUND_HZ, loudest, full)
    flat = {name: np.asarray(v, np.float64).reshape(len(v), -1) for name, v in episode.states.items() if v.ndim <= 2}
    return Look(
        number=number, fps=float(episode.fps), frames=frames, cameras={c: _seen(f) for c, f in episode.frames.items()},
        size=_size(episode), actions=np.asarray(episode.actions, np.float64), states=flat,
        embodiment=episode.embodiment, instruction=episode.instruction, captions=dict(episode.captions),
        questions=tuple(episode.questions), events=tuple(episode.events), boxes=tuple(episode.boxes or ()),
        sound=sound, extras=extras,
    )  # fmt: skip


def _size(episode: Episode) -> tuple[int, int]:
    """Height and width that boxes are in: of what was not resized; 0, 0 where nothing tells."""
    for kept in (episode.segmentation, episode.depth):
        for values in (kept or {}).values():
            return int(values.shape[1]), int(values.shape[2])
    return 0, 0


def _seen(film: Array) -> Seen:
    grey = film.mean(axis=3)
    steps = np.abs(np.diff(film.astype(np.int16), axis=0)).astype(np.float32)
    rows, columns = (np.array_split(np.arange(n), k) for n, k in zip(film.shape[1:3], BLOCKS, strict=True))
    blocks = [steps[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2, 3)) for r in rows for c in columns]
    return Seen(
        level=grey.mean(axis=(1, 2)), spread=grey.std(axis=(1, 2)), change=steps.mean(axis=(1, 2, 3)),
        blocks=np.stack(blocks, axis=1), mean=_small(film.mean(axis=0).astype(np.uint8)), first=_small(film[0]),
        digest=hashlib.sha256(film[:: max(1, len(film) // 4)].tobytes()).hexdigest(),
    )  # fmt: skip


def _small(picture: Array) -> Array:
    return np.asarray(Image.fromarray(picture).resize((SMALL[1], SMALL[0]), Image.Resampling.BOX))
