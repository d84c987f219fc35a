"""Painting in what is missing: how the generator first comes to hear words.

    in    the boxes of a picture's things, chance
    out   which of its tokens are hidden, and words that name just the things they show

A whole picture from a whole caption teaches no word: which of the things stands where is chance, so the mean of all
tables is the best that can be said, and exchanged captions cost nothing for eighty thousand pictures. With one thing's
tokens hidden the place is known and the word decides the colour; heard within some thousand. Then two, then all of
them, until it is a picture from words (docs/log.md). The levels are per token, so it needs nothing new of the model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.datasets.dreamt import shown

TOUCHED = 1  # pixels by which a box must reach into a token's picture
ALONE = 0.5  # how often just one thing is missing; else one to all, equally likely
WHOLE = 0.5  # how often everything is hidden where every thing is


def missing(
    boxes: Mapping[str, Sequence[int]], plane: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
) -> tuple[str, NDArray[np.bool_]]:
    """Some of the things, half of the time one: words that name them, and the tokens (m) that show them.

    ``boxes``: left, top, right, bottom in a picture of ``size`` h w; ``plane``: rows and columns of its tokens.
    """
    count = 1 if rng.random() < ALONE else int(rng.integers(1, len(boxes) + 1))
    names = [str(name) for name in rng.permutation(list(boxes))[:count]]
    hidden = np.zeros(plane, bool)
    if len(names) == len(boxes) and rng.random() < WHOLE:
        return shown(names), ~hidden.ravel()
    tall, wide = size[0] // plane[0], size[1] // plane[1]
    for left, top, right, bottom in (boxes[name] for name in names):
        rows = slice((top + TOUCHED) // tall, (bottom - 1 - TOUCHED) // tall + 1)
        hidden[rows, (left + TOUCHED) // wide : (right - 1 - TOUCHED) // wide + 1] = True
    return shown(names), hidden.ravel()
