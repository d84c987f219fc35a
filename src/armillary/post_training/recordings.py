"""Somebody's recordings, made ready: one camera, the model's size, a part to learn from and a part held out.

    LeRobot folder or raw episodes  --open_recordings-->  episodes, one camera, h w
                                    --split-->            Parts(known, held)
                                    --clips_of-->         windows of 17 frames of the held-out part

Pictures are enlarged or shrunk until they cover the size and cut around their middle, as sampling treats the
picture of a request, so that what was learnt is what will be met.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from armillary.datasets.droid import droid_episode, is_droid
from armillary.datasets.lerobot21 import open_reader
from armillary.datasets.raw import load_raw, raw_files
from armillary.datasets.sources import episodes_of
from armillary.datasets.store import read_episodes
from armillary.embodiments import Embodiment
from armillary.errors import DataError
from armillary.records import Array, Episode
from armillary.sampling.pictures import fit_film
from armillary.steps import in_steps
from armillary.training.latents import ANY_TASK, FRAMES, PICTURE

UNIT = 32  # pixels: both sides of a picture are multiples of it


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """Episodes to learn from, and episodes held out. ``how`` says in words where the cut is."""

    known: Sequence[Episode]
    held: Sequence[Episode]
    how: str


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldClip:
    """A window of the held-out part: video uint8 17 h w 3, actions 16 a in physical units.

    ``group``: clips of one group are not independent of each other; intervals are drawn over groups.
    """

    video: Array
    actions: Array
    words: str
    group: int
    acts: bool


def open_recordings(
    path: Path, body: Embodiment, *, camera: str = "", size: tuple[int, int] | None = None
) -> list[Episode]:
    """The episodes of a LeRobot folder or of a folder of raw ones, one camera at ``size`` (height, width) each.

    ``camera``: empty means the only one there is. ``size``: by default that of ``fitting_size``. Raises
    ``DataError`` for a folder that is neither, a camera that is not there, or actions that are not the body's.
    """
    found = []
    for recorded in _episodes(path, body.stands_for or body.name, camera, size):
        episode = in_steps(recorded, body)
        name = _chosen(episode.frames, camera)
        frames = episode.frames[name]
        wanted = fitting_size(*frames.shape[1:3]) if size is None else size
        body.check(episode.actions)
        found.append(replace(episode, frames={name: fit_film(frames, wanted)}))
    shapes = {film_of(episode).shape[1:3] for episode in found}
    if len(shapes) > 1:
        raise DataError(f"the episodes come out in sizes {sorted(shapes)}: give one --size for all.")
    return found


def _episodes(path: Path, body: str, camera: str, size: tuple[int, int] | None) -> Iterator[Episode]:
    if not (path / "meta/info.json").is_file():
        if not path.exists():
            raise DataError(f"there is no folder {str(path)!r}: give a data set, or a folder of raw episodes.")
        raw = path.is_dir() and any(path.glob("episode_*.npz"))
        yield from map(load_raw, raw_files(path)) if raw else episodes_of(path, embodiment=body)
        return
    reader = open_reader(path)
    key = _chosen({key.split(".")[-1]: key for key in reader.playable}, camera)
    (feature,) = (reader.features[one] for one in reader.playable if one.split(".")[-1] == key)
    smaller = covering(feature["shape"][:2], size)
    if is_droid(reader):
        for row in reader.episodes:
            yield droid_episode(reader, index=row.index, camera=key, size=smaller)
    else:
        yield from read_episodes(path, embodiment=body, size=smaller)


def covering(shape: Sequence[int], size: tuple[int, int] | None) -> tuple[int, int]:
    """The smallest height and width of the same form that cover ``size``: what a film is decoded at."""
    height, width = shape
    wanted = fitting_size(height, width) if size is None else size
    scale = max(wanted[0] / height, wanted[1] / width)
    return max(wanted[0], round(scale * height)), max(wanted[1], round(scale * width))


def _chosen(cameras: Mapping[str, Any], camera: str) -> str:
    if camera in cameras:
        return camera
    if camera or len(cameras) != 1:
        came = f"camera {camera!r} is not there" if camera else "no camera was named"
        raise DataError(f"{came}: the recordings have {', '.join(cameras) or 'none'}; name one of these with --camera.")
    return next(iter(cameras))


def film_of(episode: Episode) -> Array:
    """The frames t h w 3 of an episode's only camera."""
    (frames,) = episode.frames.values()
    return frames


def fitting_size(height: int, width: int) -> tuple[int, int]:
    """The model's size for pictures of another: as many pixels as it knows, little cut off, sides multiples of 32.

    640x360 becomes 160x96 (6 % of the width is cut), 640x480 becomes 128x96, squares 128x128.
    """

    def worth(size: tuple[int, int]) -> float:
        scale = max(size[0] / height, size[1] / width)
        kept = size[0] * size[1] / (scale * height * scale * width)
        return size[0] * size[1] * kept**2

    area = PICTURE[0] * PICTURE[1]
    sides = range(UNIT, 2 * PICTURE[1] + 1, UNIT)
    return max(((h, w) for h in sides for w in sides if h * w <= area), key=worth)


def words_of(episode: Episode) -> str:
    """What the policy is told: the instruction; where there is none, what training says for any movement."""
    return episode.instruction if any(c.isalnum() for c in episode.instruction) else ANY_TASK


def split(episodes: Sequence[Episode], share: float) -> Parts:
    """The last ``share`` of the episodes held out; of a single episode, the last ``share`` of its frames.

    ``DataError`` if either part has no window of 17 frames.
    """
    if len(episodes) > 1:
        last = max(1, round(share * len(episodes)))
        known, held = list(episodes[:-last]), list(episodes[-last:])
        how = f"the last {last} of {len(episodes)} episodes are held out"
    else:
        count = len(episodes[0].actions) + 1
        cut = math.floor((1 - share) * count)
        known, held = [part_of(episodes[0], 0, cut)], [part_of(episodes[0], cut, count)]
        how = f"frames {cut} to {count - 1} of the one episode are held out"
    known, held = ([one for one in part if len(one.actions) + 1 >= FRAMES] for part in (known, held))
    if not known or not held:
        raise DataError(
            f"{len(known)} episodes to learn from and {len(held)} held out have {FRAMES} frames or more: both parts "
            f"need one. Give longer recordings, or another --held-out."
        )
    return Parts(known=known, held=held, how=how)


def part_of(episode: Episode, start: int, stop: int) -> Episode:
    """Frames ``start`` to ``stop`` - 1 of an episode, and the actions between them; frames, actions, words only."""
    return replace(
        episode,
        frames={name: frames[start:stop] for name, frames in episode.frames.items()},
        actions=episode.actions[start : stop - 1],
        states={},
        questions=(),
        events=(),
        depth=None,
        segmentation=None,
        boxes=None,
        sound=None,
    )


def acts(episode: Episode) -> bool:
    """Whether a policy should do as this episode: recordings without a note on who acted are taken as examples."""
    return bool(episode.recipe.get("controller", "expert") == "expert")


def spread(episodes: Sequence[Episode], most: int) -> list[tuple[int, list[int]]]:
    """(episode's number, starts of its windows), at most about ``most`` windows in all, evenly over everything."""
    lasts = [len(episode.actions) + 1 - FRAMES for episode in episodes]
    stride = max(1, math.ceil(sum(last + 1 for last in lasts) / most))
    return [(number, list(range(0, last + 1, stride))) for number, last in enumerate(lasts)]


def clips_of(episodes: Sequence[Episode], most: int) -> list[HeldClip]:
    """At most about ``most`` clips. Groups are episodes; of a single episode, stretches of 17 frames."""
    clips = []
    for number, starts in spread(episodes, most):
        episode = episodes[number]
        for start in starts:
            clips.append(
                HeldClip(
                    video=film_of(episode)[start : start + FRAMES],
                    actions=np.asarray(episode.actions[start : start + FRAMES - 1]),
                    words=words_of(episode),
                    group=number if len(episodes) > 1 else start // FRAMES,
                    acts=acts(episode),
                )
            )
    return clips


def told(clip: HeldClip, body: Embodiment) -> dict[str, Any]:
    """The fields that every request about this clip shares."""
    height, width = clip.video.shape[1:3]
    return {"prompt": clip.words, "embodiment": body.name, "size": (height, width)}
