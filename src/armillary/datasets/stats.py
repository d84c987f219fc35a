"""Statistics in LeRobot's form: per feature min, max, mean, std, count and five quantiles.

    numbers    t k           -> one number a channel, exact
    pictures   t h w 3       -> (3, 1, 1) in [0, 1], from at most 32 evenly spaced frames

Many episodes are pooled without going back to them, but for quantiles of numbers: a mean of quantiles is no quantile,
and normalisers stand on q01 and q99, so ``store.py`` reads the column again for those.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.records import Array

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
PICTURES = 32
Stats = dict[str, Any]


def number_stats(values: Array) -> Stats:
    """Of t or t k numbers: lists of k numbers (one for t), ``count`` a list of one."""
    table = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    return _stats(table, len(table))


def picture_stats(frames: Array) -> Stats:
    """Of uint8 t h w 3: lists of shape 3 1 1 in [0, 1]; ``count`` is how many frames were looked at."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).round().astype(int))
    pixels = frames[chosen].reshape(-1, 3)
    channels = [_byte_stats(np.ascontiguousarray(pixels[:, k])) for k in range(3)]
    stats: Stats = {name: [[[channel[name]]] for channel in channels] for name in channels[0]}
    return {name: [len(chosen)] if name == "count" else stats[name] for name in NAMES}


def pooled(parts: Sequence[Mapping[str, Any]]) -> Stats:
    """Of all episodes together. Quantiles are means weighted by count, as LeRobot pools them."""
    arrays = {name: np.array([part[name] for part in parts], dtype=np.float64) for name in NAMES if name != "count"}
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    weight = (counts / counts.sum()).reshape(-1, *([1] * (arrays["mean"].ndim - 1)))
    mean = (weight * arrays["mean"]).sum(0)
    variance = (weight * (arrays["std"] ** 2 + (arrays["mean"] - mean) ** 2)).sum(0)
    stats = {
        "min": arrays["min"].min(0),
        "max": arrays["max"].max(0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
    }
    stats |= {name: (weight * arrays[name]).sum(0) for name in QUANTILES}
    return {name: stats[name].tolist() for name in NAMES}


def _byte_stats(values: Array) -> dict[str, float]:
    """Of uint8 n, in [0, 1]: all hangs on how often each of 256 values is there, so nothing is sorted."""
    often, tones = np.bincount(values, minlength=256), np.arange(256) / 255.0
    there, upto, count = tones[often > 0], np.cumsum(often), len(values)
    mean = float(often @ tones) / count
    found = {"min": float(there[0]), "max": float(there[-1]), "mean": mean}
    found["std"] = float(np.sqrt(often @ (tones - mean) ** 2 / count))
    for name, share in QUANTILES.items():
        place, rest = divmod(share * (count - 1), 1)  # between that value and the next in their order
        low, high = (float(tones[np.searchsorted(upto, k, side="right")]) for k in (place, min(place + 1, count - 1)))
        found[name] = low + (high - low) * rest
    return found


def _stats(table: Array, count: int) -> Stats:
    quantiles = np.quantile(table, list(QUANTILES.values()), axis=0)
    stats = {
        "min": table.min(0),
        "max": table.max(0),
        "mean": table.mean(0, dtype=np.float64),
        "std": table.std(0, dtype=np.float64),
    }
    listed: Stats = {name: [float(x) for x in value] for name, value in stats.items()}
    listed["count"] = [count]
    return listed | {name: [float(x) for x in row] for name, row in zip(QUANTILES, quantiles, strict=True)}
