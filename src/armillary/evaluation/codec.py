"""Judges a video tokenizer on clips it has not seen: how many dB, and is every coloured thing still there?

    clip  ->  encode, decode  ->  PSNR of every frame, and for every object: colour and place kept or lost

An average over pixels says little about small things: a tokenizer that drops every ball still scores 25 dB. So each
object is looked for in the reconstruction by its colour. Its colour is the nearest of six hues; it counts as kept
in a frame if the pixels of that hue near its mask overlap, before and after, by at least half of their union.
Objects too small or too pale to be found by colour even in the original are counted apart, not as kept. In PushT,
whose T is grey, nothing is looked for, and decibels alone are the gate.

No generator is trained on a tokenizer below 30 dB, or that keeps fewer than 98 % of the objects.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from armillary.datasets.byte_clips import ByteClips, Bytes
from armillary.errors import DataError
from armillary.evaluation.bootstrap import bootstrap, exact, mean, ratio
from armillary.evaluation.elsewhere import held_out_elsewhere
from armillary.evaluation.held_out import held_out_clips
from armillary.evaluation.pixels import HUES, nearest_hue
from armillary.media import contact_sheet, write_image
from armillary.tokenizers.video import VideoVAE, on_canvas

GATE_DB = 30.0
GATE_KEPT = 0.98
BODY = 100  # mask numbers from here on are the robot's body: grey, not looked for by colour
_MIN_PIXELS = 12  # of an object's colour, to be looked for at all
_NEAR = 3  # pixels around the mask in which the object may be found


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecScore:
    """What a tokenizer keeps. Objects are counted once a frame; ``kept`` is their share, ``worst`` the lowest PSNR.

    Where no objects are looked for, ``kept`` and ``object_psnr`` are None.
    """

    clips: int
    psnr: float  # dB of the mean squared error over all frames
    psnr_95: tuple[float, float]  # where 95 of 100 repetitions on other clips would lie
    psnr_frames: tuple[float, ...]  # dB of frame 0, 1, ... over all clips
    worst: float  # dB of the worst single frame
    object_psnr: float | None  # dB on the pixels of objects alone
    kept: float | None
    kept_95: tuple[float, float] | None
    objects: int
    not_judged: int
    encode_seconds: float  # a clip
    decode_seconds: float

    @property
    def passes(self) -> bool:
        """Whether a generator may be trained on this tokenizer."""
        return self.psnr >= GATE_DB and (self.kept is None or (self.objects > 0 and self.kept >= GATE_KEPT))


def evaluate_vae(
    folder: Path, source: Iterable[tuple[Bytes, Bytes | None]], *, canvas: bool = False, sheet: Path | None = None,
    coloured: bool = True, dtype: torch.dtype = torch.bfloat16,
) -> CodecScore:  # fmt: skip
    """Judge the tokenizer in ``folder`` on clips t h w 3 with masks t h w (``held_out_clips``, ``ByteClips.held``).

    ``canvas`` encodes on the padded canvas and decodes the cropped latents, as is done for clips with actions.
    ``sheet`` names a PNG to write: originals and reconstructions below each other. Not ``coloured``: nothing is looked
    for by its colour. ``DataError`` without masks where something is.
    """
    vae = VideoVAE.load(folder, dtype=dtype)
    errors, objects, seconds = [], [], np.zeros(2)
    counted: list[NDArray[np.int64]] = []  # of each clip: things kept, looked for, too pale
    shown: list[Bytes] = []
    for frames, masks in source:
        if coloured and masks is None:
            raise DataError("clips came without masks: masks_*.npy must stand beside frames_*.npy to look for objects.")
        again, spent = reconstruct(vae, frames, canvas=canvas)
        seconds += spent
        square = ((again.astype(np.float32) - frames) / 255.0) ** 2
        errors.append(square.mean(axis=(1, 2, 3)))
        if coloured and masks is not None:
            marked = (masks > 0) & (masks < BODY)
            objects.append((square[marked].sum(), max(1, 3 * marked.sum())))
            own = [count_kept(*three) for three in zip(frames, again, masks, strict=True)]
            counted.append(np.sum(own, axis=0))
        if len(shown) < 16:
            shown += [frames, again]
    if sheet is not None:
        write_image(sheet, contact_sheet(shown, columns=6))
    counts = np.sum([np.zeros(3, int), *counted], axis=0)
    table, (error, pixels) = np.array(errors, np.float64), np.array(objects).sum(0) if coloured else (0.0, 1)
    return CodecScore(
        clips=len(table), psnr=_decibel(table.mean()), psnr_95=_db_95(table.mean(1)),
        psnr_frames=tuple(_decibel(e) for e in table.mean(0)),
        worst=_decibel(table.max()), object_psnr=_decibel(error / pixels) if coloured else None,
        kept=float(counts[0] / max(1, counts[1])) if coloured else None, kept_95=_kept_95(counted),
        objects=int(counts[1]), not_judged=int(counts[2]), encode_seconds=float(seconds[0] / len(table)),
        decode_seconds=float(seconds[1] / len(table)),
    )  # fmt: skip


def _db_95(errors: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of dB of the mean of squared errors, one a clip."""
    figure = mean(errors, range(len(errors)))
    return _decibel(figure.high), _decibel(figure.low)


def _kept_95(counted: Sequence[NDArray[np.int64]]) -> tuple[float, float] | None:
    """The interval of the share of things that are kept; None where nothing was looked for."""
    if not counted or not np.sum(counted, axis=0)[1]:
        return None
    figure = exact(bootstrap(np.array(counted)[:, :2], range(len(counted)), ratio))
    return figure.low, figure.high


def reconstruct(vae: VideoVAE, frames: Bytes, *, canvas: bool = False) -> tuple[Bytes, tuple[float, float]]:
    """A clip t h w 3 after encoding and decoding, and the seconds each took."""
    video = (torch.from_numpy(frames).float() / 127.5 - 1.0).permute(3, 0, 1, 2)[None]
    start = time.perf_counter()
    wide, (rows, columns) = on_canvas(video) if canvas else (video, (frames.shape[1] // 16, frames.shape[2] // 16))
    latents = vae.encode(wide)[..., :rows, :columns]
    middle = time.perf_counter()
    again = vae.decode(latents)[0].permute(1, 2, 3, 0)
    end = time.perf_counter()
    return ((again + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy(), (middle - start, end - middle)


def count_kept(before: Bytes, after: Bytes, mask: Bytes) -> tuple[int, int, int]:
    """Of one frame h w 3 with mask h w: objects kept, objects looked for, objects that cannot be looked for."""
    hue_before, hue_after = nearest_hue(before), nearest_hue(after)
    kept = looked = pale = 0
    for number in np.unique(mask[(mask > 0) & (mask < BODY)]):
        own = mask == number
        hues = hue_before[own]
        found = np.bincount(hues[hues >= 0], minlength=len(HUES))
        hue = int(found.argmax())
        if found[hue] < max(_MIN_PIXELS, own.sum() // 2):
            pale += 1
            continue
        others = (mask > 0) & ~own
        near = _grown(own, _NEAR) & ~others
        one, two = (hue_before == hue) & near, (hue_after == hue) & near
        looked += 1
        kept += bool((one & two).sum() >= 0.5 * (one | two).sum())
    return kept, looked, pale


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The mask and all pixels at most ``by`` rows and columns away from it."""
    padded = np.pad(mask, by)
    views = np.lib.stride_tricks.sliding_window_view(padded, (2 * by + 1, 2 * by + 1))
    return np.asarray(views.any(axis=(-1, -2)))


def _decibel(error: float | np.floating) -> float:
    return float(-10.0 * np.log10(max(float(error), 1e-12)))


def main(
    folder: Path,
    data: Path | None = None,
    clips: int = 40,
    canvas: bool = False,
    sheet: Path | None = None,
    world: Literal["tabletop", "pusht", "physics"] = "tabletop",
) -> None:
    """Print the figures of the tokenizer in ``folder`` as JSON; without ``data`` on held-out clips of ``world``."""
    source: Iterable[tuple[Bytes, Bytes | None]] = held_out_clips(clips)
    if data is not None:
        source = ByteClips(data).held(clips)
    elif world != "tabletop":
        source = held_out_elsewhere(world, clips)
    coloured = data is not None or world != "pusht"
    score = evaluate_vae(folder, source, canvas=canvas, sheet=sheet, coloured=coloured)
    figures: dict[str, float | Sequence[float] | None] = asdict(score)
    print(json.dumps({**figures, "passes": score.passes}))


if __name__ == "__main__":
    tyro.cli(main)
