"""What pixels say: how far a picture is from another, and where in it a coloured thing stands.

PSNR            of frames, in dB
blobs_of        the connected patches of one of the six colours, largest first
centre_of       the middle of a patch, in pixels
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.records import Array

Mask = NDArray[np.bool_]

HUES: Mapping[str, float] = {"red": 0.0, "yellow": 60.0, "green": 120.0, "cyan": 180.0, "blue": 240.0, "purple": 295.0}
_PALE, _DARK = 0.4, 0.15  # saturation and value below which a pixel has no hue


def psnr(found: Array, truth: Array) -> float:
    """Peak signal to noise, dB, of uint8 pictures or films of one shape, over all their numbers together."""
    error = np.square(found.astype(np.int32) - truth.astype(np.int32)).mean() / 255.0**2
    return float(-10 * np.log10(max(float(error), 1e-10)))


def mask_of(picture: Array, colour: str) -> Mask:
    """h w: where the picture h w 3 has that colour, the nearest of six hues, neither pale nor dark."""
    return np.asarray(nearest_hue(picture) == list(HUES).index(colour))


def blobs_of(picture: Array, colour: str, *, least: int = 12) -> list[Mask]:
    """The connected patches (eight neighbours) of that colour with at least ``least`` pixels, largest first."""
    return blobs(mask_of(picture, colour), least=least)


def blobs(mask: Mask, *, least: int) -> list[Mask]:
    """The connected parts of a mask h w with at least ``least`` pixels, largest first."""
    height, width = mask.shape
    far = height * width
    labels = np.pad(np.where(mask, np.arange(far).reshape(height, width), far), 1, constant_values=far)
    inside = np.pad(mask, 1)
    while True:
        windows = np.lib.stride_tricks.sliding_window_view(labels, (3, 3))
        spread = labels.copy()
        spread[1:-1, 1:-1] = windows.min(axis=(-1, -2))
        spread[~inside] = far
        if np.array_equal(spread, labels):
            break
        labels = spread
    names, counts = np.unique(labels[inside], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [labels[1:-1, 1:-1] == names[i] for i in order if counts[i] >= least]


def centre_of(mask: Mask) -> NDArray[np.float64]:
    """Column and row of the mask's middle, in pixels."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def centre_of_box(box: Sequence[float]) -> NDArray[np.float64]:
    """Column and row of the middle of a box (left, top, right, bottom; right and bottom exclusive)."""
    left, top, right, bottom = box
    return np.array([(left + right) / 2, (top + bottom) / 2])


def within(mask: Mask, box: tuple[int, int, int, int]) -> Mask:
    """The part of a mask that lies in a box."""
    left, top, right, bottom = box
    kept = np.zeros_like(mask)
    kept[top:bottom, left:right] = mask[top:bottom, left:right]
    return kept


def nearest_hue(picture: Array) -> NDArray[np.int64]:
    """h w 3 to h w: the index into ``HUES`` of each pixel's nearest hue; -1 where it is pale or dark."""
    colour = picture.astype(np.float32) / 255.0
    high, low = colour.max(-1), colour.min(-1)
    span = high - low
    red, green, blue = np.moveaxis(colour, -1, 0)
    safe = np.maximum(span, 1e-6)
    hue = np.where(
        high == red,
        (green - blue) / safe % 6.0,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    away = np.abs(60.0 * hue[..., None] - np.array(list(HUES.values())))
    nearest = np.minimum(away, 360.0 - away).argmin(-1)
    return np.where((span < _PALE * high) | (high < _DARK), -1, nearest)
