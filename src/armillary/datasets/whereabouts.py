"""Who is where at the moments of a life in any world, and what happens in it that cannot be.

    in    raw episodes with boxes
    out   ``Watched``: the frames of a life, what is seen in each, and the impossible, if a conjurer was there;
          ``strange_questions``: windows of four moments, each asked what cannot be

Things are named as the world's questions name them. What stands about and is never asked after (the lanes and ramps of
``physics``) is left out: its middle would lie on that of the things it carries.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armillary.datasets.raw import load_raw
from armillary.errors import DataError
from armillary.records import Episode, Question
from armillary.worlds.materials import COLOURS
from armillary.worlds.physics_questions import NOTHING as NOTHING

SCENERY_OF = "physics"
HIDES = "screen"  # of the scenery the one thing that questions are about
STRANGE = "What impossible thing happens here?"  # as the world asks it of a whole life
WINDOW = 4  # moments of a film that may show the impossible: as many as a film is shown in
EACH = 2  # windows of a life with it, and as many without
LASTS = {"vanishes": 1, "changes colour": 1, "floats": 5, "passes through": 3}  # moments in which it can be seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """Where something is seen: its middle x, y and its width and height, as shares of the picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Feat:
    """The impossible: its kind, who does it (by the name at first, and afterwards), and the last moment before it."""

    kind: str
    name: str
    after: str
    step: int

    def shown(self, first: int, last: int) -> bool:
        """Whether the last moment before it and the first after it lie between two moments, or are these."""
        return first <= self.step < last

    def within(self, first: int, last: int) -> bool:
        """Whether it can be seen to happen between two moments."""
        return first < self.step + LASTS[self.kind] and last > self.step


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """One life: ``frames`` t h w 3 uint8, what is seen in each by name, and the impossible, if there is any."""

    world: str
    frames: NDArray[np.uint8]
    things: tuple[Mapping[str, Thing], ...]
    feat: Feat | None = None


def feat_of(episode: Episode) -> Feat | None:
    """The impossible thing of a conjurer's life, or None."""
    twin = (episode.recipe.get("parameters") or {}).get("twin") if episode.world == SCENERY_OF else None
    if not twin:
        return None
    name = str(twin["item"])
    after = f"{twin['colour']} {name.partition(' ')[2]}" if twin["colour"] else name
    return Feat(kind=str(twin["kind"]), name=name, after=after, step=int(twin["step"]))


def watched(episode: Episode) -> Watched:
    """A life with boxes, seen by its first camera; ``DataError`` without them."""
    if not episode.boxes:
        raise DataError(f"life {episode.seed} of {episode.world} has no boxes: simulate it with its labels.")
    frames, feat = next(iter(episode.frames.values())), feat_of(episode)
    height, width = frames.shape[1:3]
    things = []
    for moment, seen in enumerate(episode.boxes):
        found = {}
        for name, (left, top, right, bottom) in seen.items():
            if asked_after(episode.world, name):
                turned = feat is not None and name == feat.name and moment > feat.step
                found[feat.after if turned and feat else name] = Thing(
                    x=(left + right) / 2 / width, y=(top + bottom) / 2 / height,
                    width=(right - left) / width, height=(bottom - top) / height,
                )  # fmt: skip
        things.append(found)
    return Watched(world=episode.world, frames=frames, things=tuple(things), feat=feat)


def asked_after(world: str, name: str) -> bool:
    """Whether anything is asked about what has that name there."""
    return world != SCENERY_OF or name == HIDES or name.partition(" ")[0] in COLOURS


def lives_of(paths: Iterable[Path]) -> list[Watched]:
    """The lives of raw episodes; those without boxes are passed over. ``DataError`` if none is left."""
    found = [watched(episode) for path in paths if (episode := load_raw(path)).boxes]
    if not found:
        raise DataError(
            "no episode among these has boxes: simulate some, for example with the run `pico-worlds-lives`."
        )
    return found


def strange_questions(episode: Episode) -> list[Question]:
    """What cannot be, asked of ``EACH`` windows of a life with it and as many without, seen by a camera that stands.

    A window shows the moments before and after it, or nothing of it. They are short since a film is shown in four
    moments: in a whole life's a thing that jumps from one frame to the next is not to be told from one that went there.
    """
    count, feat = len(next(iter(episode.frames.values()))), feat_of(episode)
    if episode.world != SCENERY_OF or episode.recipe.get("controller") == "orbit" or count < WINDOW:
        return []
    rng = np.random.default_rng([episode.seed, 71])
    kinds: dict[str, list[int]] = {}
    for start in range(count - WINDOW + 1):
        if feat is None or not feat.within(start, start + WINDOW - 1):
            kinds.setdefault(NOTHING, []).append(start)
        elif feat.shown(start, start + WINDOW - 1):
            kinds.setdefault(f"something {feat.kind}", []).append(start)
    return [
        Question(task="plausibility", words=STRANGE, answer=answer, frames=(int(start), int(start) + WINDOW - 1))
        for answer, starts in kinds.items()
        for start in rng.permutation(starts)[:EACH]
    ]
