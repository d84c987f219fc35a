"""Whether a classifier tells impossible twins from their possible partners by their pictures: it must not, beforehand.

    shown(frames, at)   what a classifier is given of a film at a moment: the picture in small, and what just changed
    share_told(pairs)   how often a linear classifier is right about lives it has not learnt from; 0.5 is guessing

Partners are never parted: what one says about its own scene cannot help with the other. A tie counts half.
"""

import numpy as np
from numpy.typing import NDArray

FOLDS, SIDE, LARGEST, TIE = 5, 16, 8, 1e-9


def shown(frames: NDArray[np.uint8], at: int) -> NDArray[np.float64]:
    """Frame ``at`` of a film t h w 3 in ``SIDE`` by ``SIDE`` fields, how each has changed, and the largest changes."""
    now, before = (_fields(frames[k]) for k in (at, at - 1))
    change = np.abs(now - before).ravel()
    return np.concatenate([now.ravel(), change, np.sort(change)[-LARGEST:], [change.mean()]]) / 255


def _fields(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width = (side // SIDE for side in picture.shape[:2])
    fields = picture[: SIDE * height, : SIDE * width].reshape(SIDE, height, SIDE, width, 3).mean(axis=(1, 3))
    return np.asarray(fields, np.float64)


def share_told(pairs: NDArray[np.float64]) -> float:
    """Of ``pairs`` n 2 d (what is shown of a partner, then of its twin), the share of the 2 n that is told rightly.

    Ridge regression on everything but the fold that is asked about.
    """
    folds, right = np.arange(len(pairs)) % FOLDS, list[float]()
    for fold in range(FOLDS):
        known, asked = pairs[folds != fold].reshape(-1, pairs.shape[2]), pairs[folds == fold]
        middle, spread = known.mean(axis=0), known.std(axis=0) + 1e-6
        known, asked = (known - middle) / spread, (asked - middle) / spread
        truth = np.tile([-1.0, 1.0], len(known) // 2)
        near = known @ known.T / known.shape[1]
        weight = known.T @ np.linalg.solve(near + 0.3 * np.eye(len(known)), truth) / known.shape[1]
        said = asked @ weight * (-1, 1)
        right += np.where(np.abs(said) < TIE, 0.5, said > 0).ravel().tolist()
    return float(np.mean(right))
