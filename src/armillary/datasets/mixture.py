"""Several sources of clips in one endless order that a seed fixes and a few numbers resume.

    which source    draw n is decided by (seed, n) alone, with the sources' weights
    which clip      each source is gone through in a new order every epoch, decided by (seed, its name, epoch)

So the position is only how many were drawn: ``state_dict`` is a handful of integers, and resuming is exact.
"""

import zlib
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from armillary.errors import ConfigError, DataError

Item = TypeVar("Item", covariant=True)


@runtime_checkable
class Source(Protocol[Item]):
    """Whatever has a length and gives an item by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Item: ...


class Mixture(Generic[Item]):
    """``next(mixture)`` gives (the source's name, the item's number, the item), for ever."""

    def __init__(self, sources: Mapping[str, Source[Item]], *, weights: Mapping[str, float], seed: int) -> None:
        if not sources or set(weights) != set(sources):
            raise ConfigError(f"weights for {sorted(weights)} and sources {sorted(sources)}: each needs exactly one.")
        if min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise ConfigError(f"weights {dict(weights)}: none may be below 0, and not all 0.")
        if empty := [name for name, source in sources.items() if not len(source) and weights[name] > 0]:
            raise DataError(f"sources {empty} are empty: give them clips or the weight 0.")
        self.sources = dict(sources)
        self._names = sorted(name for name in sources if weights[name] > 0)
        shares = np.array([weights[name] for name in self._names], dtype=np.float64)
        self._edges = np.cumsum(shares / shares.sum())
        self._seed = seed
        self._drawn = dict.fromkeys(self._names, 0)
        self._orders: dict[str, tuple[int, Any]] = {}

    def __iter__(self) -> "Mixture[Item]":
        return self

    def __next__(self) -> tuple[str, int, Item]:
        total = sum(self._drawn.values())
        share = np.random.default_rng([self._seed, 1, total]).random()
        name = self._names[min(int(np.searchsorted(self._edges, share, side="right")), len(self._names) - 1)]
        source = self.sources[name]
        epoch, place = divmod(self._drawn[name], len(source))
        number = int(self._order(name, epoch)[place])
        item = source[number]  # before counting: a clip that cannot be read is not counted as drawn
        self._drawn[name] += 1
        return name, number, item

    def state_dict(self) -> dict[str, Any]:
        """The position, as plain numbers."""
        return {
            "seed": self._seed,
            "drawn": dict(self._drawn),
            "lengths": {n: len(self.sources[n]) for n in self._names},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; ``DataError`` if it was saved over other sources or another seed."""
        mine = self.state_dict()
        for name in ("seed", "lengths"):
            if state[name] != mine[name]:
                raise DataError(
                    f"the saved position has {name} {state[name]} and this mixture {mine[name]}: an order can only be "
                    "resumed over the same clips and seed. Start anew, or give the data as it was."
                )
        self._drawn = dict(state["drawn"])

    def _order(self, name: str, epoch: int) -> Any:
        known = self._orders.get(name)
        if known is None or known[0] != epoch:
            rng = np.random.default_rng([self._seed, 2, zlib.crc32(name.encode()), epoch])
            known = self._orders[name] = (epoch, rng.permutation(len(self.sources[name])))
        return known[1]
