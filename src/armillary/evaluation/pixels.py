"""What pixels say: how far a picture is from another, and where in it a coloured thing stands.

PSNR            of frames, in dB
blobs_of        the connected patches of one of the six colours, largest first
centre_of       the middle of a patch, in pixels
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.evaluation.codec import HUES, nearest_hue
from armillary.records import Array

Mask = NDArray[np.bool_]


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
