"""The records that pass between folders, and the letters of their axes.

    Moment    worlds      -> everywhere   what one world step shows
    Episode   worlds      -> datasets     what happened, as recorded
    Clip      datasets    -> tokenizers   a window of it, at one frame rate and one size
    Segment   tokenizers  -> model        one modality's tokens, placed in space and time
    Batch     training    -> model        segments of samples of one layout, and the reasoner's ids
    Rollout   sampling    -> evaluation   what the model says happens, and how it was made

Nothing else crosses. Axes, the same letters in every file:

    b samples   t frames    h w pixels    a action numbers    s sound samples
    n m tokens  d tower width    k heads    g key-value heads    e head width

On the data side arrays are numpy; inside the model they are torch tensors with a leading ``b``.
Records are checked where user data enters (``check_episode``), not in the hot path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from armillary.embodiments import Embodiment
from armillary.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Modality = Literal["video", "action", "sound"]
Array = NDArray[Any]
SOUND_HZ = 48_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """What one world step shows. Pictures are uint8 h w 3; state is named, float, in SI units."""

    frames: Mapping[str, Array]
    state: Mapping[str, Array]
    instruction: str
    reward: float
    success: bool
    over: bool
    depth: Mapping[str, Array] | None = None  # camera -> float32 h w, metres
    segmentation: Mapping[str, Array] | None = None  # camera -> int32 h w, 0 is background
    sound: Array | None = None  # float32 2 s, since the last moment


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One question whose answer is true of the frames it names."""

    task: str
    words: str
    answer: str
    choices: tuple[str, ...] | None = None
    frames: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """What happened, as recorded. ``actions[i]`` leads from frame i to frame i+1."""

    world: str
    seed: int
    fps: float
    frames: Mapping[str, Array]  # camera -> uint8 t h w 3
    actions: Array  # t-1 a, physical units of the embodiment
    embodiment: str
    states: Mapping[str, Array]  # name -> float t ...
    instruction: str
    captions: Mapping[str, str] = field(default_factory=dict)
    questions: Sequence[Question] = ()
    events: Sequence[tuple[float, float, str]] = ()  # from and to in seconds, words
    depth: Mapping[str, Array] | None = None  # camera -> float32 t h w, metres
    segmentation: Mapping[str, Array] | None = None  # camera -> int32 t h w
    boxes: Sequence[Mapping[str, Any]] | None = None  # a frame -> object name -> (left, top, right, bottom) pixels
    cameras: Mapping[str, Any] | None = None  # camera -> calibration
    sound: Array | None = None  # float32 2 s at 48 kHz
    success: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)  # how to make it again


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A window of an episode at one frame rate and one size."""

    video: Array  # uint8 t h w 3
    fps: float
    prompt: str
    actions: Array | None = None  # t-1 a, physical units
    embodiment: str | None = None
    sound: Array | None = None
    question: str | None = None
    answer: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """One modality's stretch of a sequence, for a batch of samples of one layout.

    ``tokens`` b n d_in: the latent numbers of each token, data and noise already mixed by ``level``.
    ``positions`` b n 3: physical place: seconds, row, column; ``model/positions.py`` turns them into ids.
    ``level`` b n: each token's noise level: 0 is given, 1 is unknown, training meets all between. It
    alone says what the task is. ``domain`` b: the embodiment's slot, for actions only.
    """

    modality: Modality
    tokens: "Tensor"
    positions: "Tensor"
    level: "Tensor"
    domain: "Tensor | None" = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Samples of one layout (same mode, same shapes), ready for the model.

    ``ids`` b m right-padded, ``mask`` b m True where a real id stands. ``targets`` and ``weights``
    stand beside ``segments``, in the same order: b n d_in and b n d_in.
    """

    ids: "Tensor"
    mask: "Tensor"
    segments: "Sequence[Segment]"
    targets: "Sequence[Tensor]" = ()
    weights: "Sequence[Tensor]" = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """What the model says happens. Actions are in physical units of ``body``, whose name is ``embodiment``."""

    mode: str
    fps: float
    video: Array | None = None  # uint8 t h w 3
    actions: Array | None = None  # t-1 a
    sound: Array | None = None  # float32 2 s at 48 kHz
    text: str | None = None
    body: Embodiment | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)  # weights hash, request, seed, versions

    @property
    def embodiment(self) -> str | None:
        return None if self.body is None else self.body.name


@dataclass(frozen=True, kw_only=True)
class WorldSpec:
    """What a world offers. ``step_seconds`` is the time between two moments."""

    name: str
    embodiment: str
    action_size: int
    step_seconds: float
    cameras: tuple[str, ...]
    size: tuple[int, int]  # height, width in pixels
    max_steps: int

    @property
    def fps(self) -> float:
        return 1.0 / self.step_seconds


@runtime_checkable
class World(Protocol):
    """A place with ``reset`` and ``step``: physics, imagination, or a remote server."""

    spec: WorldSpec

    def reset(self, seed: int, instruction: str | None = None) -> Moment: ...

    def step(self, action: Array) -> Moment: ...

    def close(self) -> None: ...


@runtime_checkable
class Policy(Protocol):
    """What acts: a moment in, an action in physical units out."""

    def __call__(self, moment: Moment) -> Array: ...

    def reset(self) -> None: ...


def check_episode(episode: Episode) -> Episode:
    """Raise ``DataError`` unless the episode's parts fit together; return it."""
    lengths = {camera: len(frames) for camera, frames in episode.frames.items()}
    if not lengths or len(set(lengths.values())) != 1:
        raise DataError(f"cameras show {lengths} frames: every camera must show the same number, at least one camera.")
    count = next(iter(lengths.values()))
    if len(episode.actions) != count - 1:
        raise DataError(
            f"{len(episode.actions)} actions beside {count} frames: action i leads from frame i to i+1, "
            f"so there must be {count - 1}. Drop the last action, or record the frame after it."
        )
    if not np.isfinite(episode.actions).all():
        raise DataError("an action is not a finite number: record real numbers, in the embodiment's units.")
    for camera, frames in episode.frames.items():
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise DataError(f"camera {camera!r} holds {frames.dtype} {frames.shape}: frames must be uint8 t h w 3.")
    for name, values in episode.states.items():
        if len(values) != count:
            raise DataError(f"state {name!r} has {len(values)} rows beside {count} frames: one row a frame.")
    return episode
