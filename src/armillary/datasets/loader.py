"""Batches of clips of one layout from a mixture, with a position that can be saved between any two batches.

Clips of other layouts wait in their own row until it is full: nothing is dropped and nothing is padded. What waits is
part of the position, by number, not by content.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from armillary.datasets.mixture import Mixture
from armillary.errors import ConfigError
from armillary.records import Clip

Item = TypeVar("Item")


def clip_layout(clip: Clip) -> Hashable:
    """What must be equal in a batch: shapes, rate, embodiment, and whether there are actions, sound, an answer."""
    return (
        clip.video.shape,
        clip.fps,
        clip.embodiment,
        None if clip.actions is None else clip.actions.shape,
        None if clip.sound is None else clip.sound.shape,
        clip.answer is not None,
    )


class Loader(Generic[Item]):
    """Endless batches: lists of ``size`` items for which ``layout`` gives the same."""

    def __init__(self, mixture: Mixture[Item], *, size: int, layout: Callable[[Item], Hashable]) -> None:
        if size < 1:
            raise ConfigError(f"batches of {size}: give at least 1.")
        self.mixture, self.size, self._layout = mixture, size, layout
        self._waiting: dict[Hashable, list[tuple[str, int, Item]]] = {}

    def __iter__(self) -> Iterator[list[Item]]:
        return self

    def __next__(self) -> list[Item]:
        while True:
            drawn = next(self.mixture)
            row = self._waiting.setdefault(self._layout(drawn[2]), [])
            row.append(drawn)
            if len(row) == self.size:
                del self._waiting[self._layout(drawn[2])]
                return [item for _, _, item in row]

    def state_dict(self) -> dict[str, Any]:
        """The mixture's position and which items wait."""
        waiting = [[[name, number] for name, number, _ in row] for row in self._waiting.values()]
        return {"mixture": self.mixture.state_dict(), "waiting": waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; waiting items are read again. ``DataError`` as the mixture's."""
        self.mixture.load_state_dict(state["mixture"])
        self._waiting = {}
        for row in state["waiting"]:
            for name, number in row:
                item = self.mixture.sources[name][number]
                self._waiting.setdefault(self._layout(item), []).append((name, number, item))
