"""Batches for the video tokenizer: crops of clips, with a weight for every pixel.

    byte clips  ->  crop in time and space, maybe mirrored, maybe on the canvas  ->  Pixels

Crops start at multiples of 16 pixels, where the latents' cells start in use. Clips: ``datasets/byte_clips.py``.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.datasets.byte_clips import ByteClips, Bytes
from armillary.errors import DataError
from armillary.tokenizers.video import SPACE, TIER, TIME, near_canvas

OBJECT_WEIGHT = 4.0  # added to a pixel of a marked object
MOTION_WEIGHT = 2.0  # added to a pixel that changes within the clip
_MOVED = 24  # levels of 255 by which a pixel must change to count
LENGTHS = (1, 5, 9, 17)  # frames of a sample


@dataclass(frozen=True, kw_only=True, slots=True)
class CropPlan:
    """How the next batch is cut: the crop's side (None: whole pictures) and how many pixels a batch may hold."""

    side: int | None
    pixels: int
    canvas_share: float
    lengths: tuple[float, ...]  # how often a batch has each of ``LENGTHS``


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """A batch: ``video`` b 3 t H W goes in, ``target`` b 3 t h w must come out.

    ``weight`` b 1 t h w says how exactly. ``latents`` b c T y x, normalised: what the target must come out of in
    place of the latents of ``video``.
    """

    video: Tensor
    target: Tensor
    weight: Tensor
    latents: Tensor | None = None

    def to(self, device: torch.device) -> "Pixels":
        """The same on a device."""
        latents = None if self.latents is None else self.latents.to(device)
        return Pixels(
            video=self.video.to(device), target=self.target.to(device), weight=self.weight.to(device), latents=latents
        )


def check_clips(clips: ByteClips) -> ByteClips:
    """``DataError`` unless the clips' shape suits the tokenizer; return them."""
    t, h, w = clips.shape
    if t % TIME != 1 or h % SPACE or w % SPACE:
        raise DataError(
            f"clips of {t} frames of {h}x{w} pixels do not suit the tokenizer: frames must count 4k+1, both sides be "
            f"multiples of {SPACE}."
        )
    return clips


def check_latents(clips: ByteClips, channels: int) -> None:
    """``DataError`` unless some clips have latents, all of them as many as the tokenizer makes."""
    t, h, w = clips.shape
    wanted = (channels, (t - 1) // TIME + 1, h // SPACE, w // SPACE)
    found = [file.latents.shape[1:] for file in clips.files if file.latents is not None]
    if not found:
        raise DataError("these clips have no latents_*.npy beside them: make them, for example with a ForeseenRun.")
    if wrong := [shape for shape in found if shape != wanted]:
        raise DataError(
            f"latents of {wrong[0]} lie beside clips of {t} frames of {h}x{w} pixels: they must be {wanted}. Imagine "
            "films as large as the clips."
        )


def draw(clips: ByteClips, plan: CropPlan, *, seed: tuple[int, int]) -> Pixels:
    """One batch of equal shape from the training clips; the same seed gives the same batch."""
    rng = np.random.default_rng(seed)
    known = np.array([max(0, file.known) for file in clips.files])
    t, h, w = clips.shape
    lengths = [n for n in LENGTHS if n <= t]
    shares = np.array(plan.lengths[: len(lengths)])
    length = int(rng.choice(lengths, p=shares / shares.sum()))
    side_h, side_w = (h, w) if plan.side is None else (min(plan.side, h), min(plan.side, w))
    count = int(np.clip(plan.pixels // (length * side_h * side_w), 1, 32))
    frames, weights = [], []
    for index in rng.choice(len(known), count, p=known / known.sum()):
        file = clips.files[index]
        clip = int(rng.integers(known[index]))
        first = int(rng.integers(t - length + 1))
        y, x = (SPACE * int(rng.integers((full - side) // SPACE + 1)) for full, side in ((h, side_h), (w, side_w)))
        window = (clip, slice(first, first + length), slice(y, y + side_h), slice(x, x + side_w))
        cut = np.asarray(file.frames[window])
        weight = _weights(cut, None if file.masks is None else file.masks[window])
        if rng.random() < 0.5:
            cut, weight = cut[:, :, ::-1], weight[:, :, ::-1]
        frames.append(np.ascontiguousarray(cut))
        weights.append(np.ascontiguousarray(weight))
    target = scaled(np.stack(frames))
    video = target
    if plan.side is None and max(h, w) <= TIER and rng.random() < plan.canvas_share:
        video = near_canvas(target)
    return Pixels(video=video, target=target, weight=torch.from_numpy(np.stack(weights))[:, None])


def draw_foreseen(clips: ByteClips, *, seed: tuple[int, int]) -> Pixels:
    """One whole clip that has latents of its own (``check_latents``), as it truly was and as it was imagined.

    The same seed gives the same clip.
    """
    rng = np.random.default_rng(seed)
    files = [file for file in clips.files if file.latents is not None and file.known > 0]
    known = np.array([file.known for file in files])
    file = files[int(rng.choice(len(files), p=known / known.sum()))]
    assert file.latents is not None
    clip = int(rng.integers(file.known))
    frames = np.array(file.frames[clip])
    mask = None if file.masks is None else np.array(file.masks[clip])
    target, weight = scaled(frames[None]), torch.from_numpy(_weights(frames, mask))[None, None]
    latents = torch.from_numpy(np.array(file.latents[clip][None])).float()
    return Pixels(video=target, target=target, weight=weight, latents=latents)


def scaled(frames: Bytes) -> Tensor:
    """Bytes b t h w 3 to numbers in [-1, 1], b 3 t h w."""
    return (torch.from_numpy(frames).float() / 127.5 - 1.0).permute(0, 4, 1, 2, 3)


def psnr(mean_square: float) -> float:
    """Peak signal to noise ratio in dB of an error on pixels in [-1, 1]."""
    return 10.0 * math.log10(4.0 / max(mean_square, 1e-12))


def _weights(frames: Bytes, mask: Bytes | None) -> NDArray[np.float32]:
    """t h w 3 to t h w: one, more on marked objects, more where the picture differs from its first or last frame."""
    small = frames.astype(np.int16)
    moved = np.abs(small - small[:1]).max(-1) > _MOVED
    moved |= np.abs(small - small[-1:]).max(-1) > _MOVED
    weight = np.float32(1.0) + np.float32(MOTION_WEIGHT) * moved
    return weight if mask is None else weight + np.float32(OBJECT_WEIGHT) * (mask > 0)
