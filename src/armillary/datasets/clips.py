"""Windows of episodes at one frame rate and one size: what a model learns from.

    Episode --cut()--> Clip, Clip, ...        and a count of what was dropped, each with its reason

Time: frame k of a window shows the recorded frame nearest to k / fps (the later one at a tie), never one twice.
Actions follow the frames: an absolute target becomes the last one given on the way, a pose step the product of the
steps on the way; other relative numbers are refused, because nobody can know whether they add up.

Size: ``cover`` scales until the window is filled and cuts the middle out; ``contain`` scales down until everything
fits and fills right and bottom by reflection, as the action canvas does (cosmos3.md 9.7); ``stretch`` bends. A
picture of the right size is never touched.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from armillary.datasets.sources import open_episodes
from armillary.embodiments import Embodiment, load_embodiment, pose_from_rot6d, rot6d_from_pose
from armillary.errors import ConfigError, DataError
from armillary.records import SOUND_HZ, Array, Clip, Episode

Fit = Literal["cover", "contain", "stretch"]


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """How episodes are cut. ``stride``: frames (at ``fps``) from one window's start to the next."""

    frames: int = 17
    fps: float = 10.0
    size: tuple[int, int] = (128, 128)  # height, width
    stride: int = 8
    camera: str | None = None  # the episode's first without it
    fit: Fit = "cover"
    words: str = "instruction"  # or the name of a caption
    least_motion: float = 0.0  # mean change of a pixel's value over the window, 0..255; windows below it are dropped

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0 or self.stride < 1 or min(self.size) < 1:
            raise ConfigError(f"{self} cannot cut anything: frames, fps, stride and size must be above 0.")


@dataclass(kw_only=True)
class Dropped:
    """What was left out, counted by reason (a sentence without numbers)."""

    windows: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)


def cut(episode: Episode, plan: ClipPlan, dropped: Dropped, embodiment: Embodiment | None = None) -> Iterator[Clip]:
    """The windows of ``episode`` in order; what is left out is counted in ``dropped``.

    ``embodiment`` says how actions are thinned out; without it the episode's own is looked up by name. ``DataError``
    for a rate above the recording's, an unknown camera or words it does not have.
    """
    camera = _camera_of(episode, plan)
    total = len(episode.frames[camera])
    places = frame_places(total, episode.fps, plan.fps)
    starts = list(range(0, len(places) - plan.frames + 1, plan.stride))
    if not starts:
        dropped.windows["the episode is shorter than a window"] += 1
        dropped.frames["in an episode shorter than a window"] += total
        return
    unused = total - 1 - int(places[starts[-1] + plan.frames - 1])
    if unused:
        dropped.frames["after the last whole window"] += unused
    for start in starts:
        chosen = places[start : start + plan.frames]
        clip = _clip(episode, plan, camera, chosen, embodiment)
        if plan.least_motion and motion(clip.video) < plan.least_motion:
            dropped.windows["nothing moves in it"] += 1
            continue
        yield clip


def question_clips(episode: Episode, plan: ClipPlan) -> Iterator[Clip]:
    """A clip for each of the episode's questions: the frames it names, the words, the true answer."""
    camera = _camera_of(episode, plan)
    for question in episode.questions:
        yield Clip(
            video=np.stack([fitted(episode.frames[camera][i], plan.size, plan.fit) for i in question.frames]),
            fps=episode.fps,
            prompt=question.words,
            question=question.words,
            answer=question.answer,
            source={**_source(episode, camera), "frames": list(question.frames), "task": question.task},
        )


def frame_places(total: int, recorded_fps: float, fps: float) -> Array:
    """Which recorded frame is nearest to each of the times k / fps: int n, strictly rising."""
    if fps > recorded_fps * 1.001:
        raise DataError(
            f"clips at {fps:g} fps from a recording at {recorded_fps:g} fps would show frames twice and split actions: "
            f"ask for {recorded_fps:g} fps or less."
        )
    count = int(np.floor((total - 1) * fps / recorded_fps + 1e-6)) + 1
    places = np.floor(np.arange(count) * recorded_fps / fps + 0.5 + 1e-9).astype(np.int64)
    return places[places < total]


def thinned(actions: Array, places: Sequence[int] | Array, embodiment: Embodiment) -> Array:
    """Actions (n-1 a) between recorded frames ``places`` (n) from the actions (t-1 a) between all frames."""
    places = np.asarray(places)
    if np.all(np.diff(places) == 1):
        return actions[places[0] : places[-1]]
    rows = []
    for before, after in pairwise(places):
        row = np.array(actions[after - 1], dtype=np.float64)
        for group in pose_groups(embodiment):
            row[group] = _composed(actions[before:after, group])
        rows.append(row)
    return np.array(rows, dtype=actions.dtype)


def pose_groups(embodiment: Embodiment) -> list[slice]:
    """Where an action's pose steps stand (slices of nine); ``DataError`` if it has relative numbers of another kind."""
    groups: list[slice] = []
    position = 0
    while position < embodiment.width:
        frame = embodiment.channels[position].frame
        if frame == "absolute":
            position += 1
            continue
        nine = embodiment.channels[position : position + 9]
        steps = len(nine) == 9 and all(channel.frame == "framewise relative" for channel in nine)
        if not steps or embodiment.rotation != "rot6d columns":
            raise DataError(
                f"channel {embodiment.channels[position].name!r} of {embodiment.name} is {frame}: only absolute "
                "numbers and framewise relative poses (9 numbers) can be resampled. Keep the recording's frame rate."
            )
        groups.append(slice(position, position + 9))
        position += 9
    return groups


def fitted(picture: Array, size: tuple[int, int], fit: Fit = "cover") -> Array:
    """``picture`` uint8 h w 3 at ``size`` (height, width); bicubic with antialiasing where it must change."""
    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture
    ratios = (size[0] / height, size[1] / width)
    if fit == "stretch":
        return _scaled(picture, size)
    scale = max(ratios) if fit == "cover" else min(*ratios, 1.0)
    inner = (max(1, int(scale * height + 0.5)), max(1, int(scale * width + 0.5)))
    if fit == "cover":
        inner = (max(inner[0], size[0]), max(inner[1], size[1]))
        top, left = (inner[0] - size[0]) // 2, (inner[1] - size[1]) // 2
        return _scaled(picture, inner)[top : top + size[0], left : left + size[1]]
    below, right = size[0] - inner[0], size[1] - inner[1]
    mode: Literal["edge", "reflect"] = "edge" if below >= inner[0] or right >= inner[1] else "reflect"
    return np.pad(_scaled(picture, inner), ((0, below), (0, right), (0, 0)), mode=mode)


def motion(video: Array) -> float:
    """Mean absolute change of a pixel's value from the first frame, over the window: 0 for a still."""
    return float(np.abs(video.astype(np.int16) - video[0].astype(np.int16)).mean())


class ClipSource:
    """All clips of some episodes, by number: ``len(source)``, ``source[i]``; counts in ``source.dropped``.

    ``episode(i)`` loads episode i of ``count``; the last few stay in memory. ``name`` stands in each clip's source.
    """

    def __init__(
        self, episode: Callable[[int], Episode], count: int, plan: ClipPlan, *, embodiment: Embodiment | None = None,
        keep: int = 8,
    ) -> None:  # fmt: skip
        self.plan, self.dropped = plan, Dropped()
        self._embodiment = embodiment
        self._windows = lru_cache(maxsize=keep)(lambda i: tuple(cut(episode(i), plan, Dropped(), embodiment)))
        self._index = [
            (number, window)
            for number in range(count)
            for window, _ in enumerate(cut(episode(number), plan, self.dropped, embodiment))
        ]
        if not self._index:
            why = ", ".join(self.dropped.windows) or "there are none"
            raise DataError(f"no clip can be cut from {count} episodes: {why}. Ask for shorter windows.")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> Clip:
        episode, window = self._index[number]
        return self._windows(episode)[window]


def clips_of(path: str | Path, plan: ClipPlan, *, embodiment: Embodiment | None = None) -> ClipSource:
    """The clips of a data set of any form; ``DataError`` as ``open_episodes``."""
    folder = open_episodes(path, embodiment=embodiment.name if embodiment else None)
    return ClipSource(folder.episode, len(folder), plan, embodiment=embodiment)


def _clip(episode: Episode, plan: ClipPlan, camera: str, places: Array, embodiment: Embodiment | None) -> Clip:
    first, last = int(places[0]), int(places[-1])
    actions = None
    if episode.actions.shape[1] and len(places) > 1:
        body = embodiment
        if body is None and not np.all(np.diff(places) == 1):
            body = load_embodiment(episode.embodiment)
        actions = episode.actions[first:last] if body is None else thinned(episode.actions, places, body)
    sound = None
    if episode.sound is not None:
        begin = round(first / episode.fps * SOUND_HZ)
        sound = episode.sound[:, begin : begin + round(len(places) / plan.fps * SOUND_HZ)]
    return Clip(
        video=np.stack([fitted(episode.frames[camera][i], plan.size, plan.fit) for i in places]),
        fps=plan.fps,
        prompt=_words(episode, plan.words),
        actions=actions,
        embodiment=episode.embodiment if embodiment is None else embodiment.name,
        sound=sound,
        source={**_source(episode, camera), "frames": [first, last]},
    )


def _composed(steps: Array) -> Array:
    """One pose step (9) that does what ``steps`` (n 9) do one after the other."""
    pose = np.eye(4)
    for step in pose_from_rot6d(np.asarray(steps, dtype=np.float64)):
        pose = pose @ step
    return rot6d_from_pose(pose)


def _camera_of(episode: Episode, plan: ClipPlan) -> str:
    camera = next(iter(episode.frames)) if plan.camera is None else plan.camera
    if camera not in episode.frames:
        raise DataError(f"camera {camera!r} is not in the episode: it has {', '.join(episode.frames)}.")
    return camera


def _words(episode: Episode, name: str) -> str:
    if name == "instruction":
        return episode.instruction
    if name not in episode.captions:
        raise DataError(f"words {name!r} are not in the episode: it has instruction, {', '.join(episode.captions)}.")
    return episode.captions[name]


def _source(episode: Episode, camera: str) -> Mapping[str, Any]:
    return {"world": episode.world, "seed": episode.seed, "camera": camera}


def _scaled(picture: Array, size: tuple[int, int]) -> Array:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC))
