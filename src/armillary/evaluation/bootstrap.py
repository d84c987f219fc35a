"""Figures with their uncertainty: a value, and where 95 of 100 repetitions on other episodes would lie.

    rows g k (sums of each episode)   ->   draw episodes with replacement   ->   the statistic of each draw

Every figure is a function of sums over episodes (a mean is a sum over a count), so one multiplication gives
all draws. Samples of one episode resemble each other, so whole episodes are drawn, never single samples.

The draws depend on the seed and on how many episodes there are, on nothing else: two figures of the same episodes
were drawn alike, so the difference of their draws is that of a paired comparison (``difference``).

Where all of some yes-or-no samples are alike, every draw is alike too, and would say that nothing else could ever
come: such a share has the exact interval of as many trials as there are episodes (Clopper and Pearson, 1934).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from armillary.errors import DataError

DRAWS = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured number: its value, the ends of its 95 % interval, samples ``n`` and the episodes they came from.

    ``draws``: its value in each draw of episodes; not kept in files, and no part of what the figure is.
    """

    value: float
    low: float
    high: float
    n: int
    episodes: int
    draws: Floats | None = field(default=None, compare=False, repr=False)

    def told(self) -> dict[str, float]:
        """As files keep it: everything but the draws."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "episodes": self.episodes}


def bootstrap(
    rows: ArrayLike, groups: Sequence[int], statistic: Callable[[Floats], Floats], *, seed: int = 0
) -> Figure:
    """The statistic of the summed rows. ``rows`` n k: what each sample adds; ``groups``: each sample's episode.

    ``statistic`` takes sums, ``... k``, and returns ``...``. Percentile interval of 2,000 draws of whole episodes.
    Raises ``DataError`` for no rows, or for as many groups as do not fit.
    """
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or not len(table) or len(table) != len(groups):
        raise DataError(
            f"rows of shape {table.shape} and {len(groups)} groups: give at least one row, a group for each."
        )
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, which, table)
    rng = np.random.default_rng([seed, 41])
    often = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = statistic(often @ sums)
        value = float(statistic(sums.sum(axis=0)))
    return _figure(value, drawn, n=len(table), episodes=len(names))


def mean(values: ArrayLike, groups: Sequence[int], *, seed: int = 0) -> Figure:
    """The mean of single values (true and false count as 1 and 0), drawn over episodes.

    Of values that are all true, or all false, the interval is ``exact``.
    """
    column = np.asarray(values, dtype=np.float64)
    figure = bootstrap(np.stack([column, np.ones_like(column)], axis=-1), groups, ratio, seed=seed)
    return exact(figure) if np.asarray(values).dtype == bool else figure


def exact(share: Figure) -> Figure:
    """A share of 0 or 1 with the interval that so many episodes give, all alike; other shares as they are."""
    if share.value not in (0.0, 1.0):
        return share
    reach = 1.0 - 0.025 ** (1.0 / share.episodes)
    return replace(share, low=0.0, high=reach) if share.value == 0.0 else replace(share, low=1.0 - reach, high=1.0)


def ratio(sums: Floats) -> Floats:
    """First sum over second sum."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def drawn(groups: Sequence[int], statistic: Callable[[NDArray[np.int64]], float], *, n: int, seed: int = 0) -> Figure:
    """A statistic that is no function of sums (a rank correlation), of the groups whose places it is given.

    ``n``: the samples it is about. Draws in which it cannot be told (nan) do not count towards the interval.
    """
    if not groups:
        raise DataError("no groups to draw from: give at least one.")
    rng = np.random.default_rng([seed, 41])
    count = len(groups)
    draws = np.array([statistic(rng.integers(count, size=count)) for _ in range(DRAWS)])
    return _figure(statistic(np.arange(count)), draws, n=n, episodes=count)


def difference(one: Figure, other: Figure) -> Figure:
    """One figure less another of the same episodes, with the interval of the difference.

    Raises ``DataError`` if they are not of as many episodes, or if one was read from a file and has no draws.
    """
    if one.draws is None or other.draws is None or one.episodes != other.episodes:
        raise DataError(
            f"figures of {one.episodes} and {other.episodes} episodes cannot be paired: both must be computed here, "
            "from samples of the same episodes."
        )
    return _figure(one.value - other.value, one.draws - other.draws, n=min(one.n, other.n), episodes=one.episodes)


def mean_over_kinds(values: ArrayLike, kinds: Sequence[str], groups: Sequence[int], *, seed: int = 0) -> Figure:
    """The mean of the kinds' means: every kind counts alike, however many samples it has."""
    names, which = np.unique(np.asarray(kinds), return_inverse=True)
    own = np.eye(len(names))[which]
    rows = np.concatenate([own * np.asarray(values, dtype=np.float64)[:, None], own], axis=1)

    def averaged(sums: Floats) -> Floats:
        added, count = sums[..., : len(names)], sums[..., len(names) :]
        there = count > 0  # a draw may miss a kind
        return np.asarray(np.where(there, added / np.where(there, count, 1), 0).sum(-1) / there.sum(-1))

    return bootstrap(rows, groups, averaged, seed=seed)


def _figure(value: float, draws: Floats, *, n: int, episodes: int) -> Figure:
    low, high = np.nanquantile(draws, [0.025, 0.975]) if np.isfinite(draws).any() else (np.nan, np.nan)
    return Figure(value=value, low=float(low), high=float(high), n=n, episodes=episodes, draws=draws)


def r_squared(truth: Floats, found: Floats, groups: Sequence[int], *, seed: int = 0) -> Figure:
    """How much of the truth's variance is explained: 1 - squared errors / squared distances from the mean.

    ``truth`` and ``found`` n t c; each channel has its own mean, the channels' squares are then added up.
    """
    channels = truth.shape[-1]
    count = np.full((len(truth), 1), truth.shape[1])
    rows = np.concatenate(
        [((truth - found) ** 2).sum(axis=1), truth.sum(axis=1), (truth**2).sum(axis=1), count], axis=1
    )

    def explained(sums: Floats) -> Floats:
        error, total, square = (sums[..., i * channels : (i + 1) * channels] for i in range(3))
        spread = square - total**2 / sums[..., 3 * channels :]
        return np.asarray(1 - error.sum(axis=-1) / spread.sum(axis=-1))

    return bootstrap(rows, groups, explained, seed=seed)
