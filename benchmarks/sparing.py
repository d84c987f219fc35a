"""Lives of which little is drawn, so that looking at a thousand of them costs what simulating them costs.

few_pictures(world)      within it, lives of that world are drawn in three moments: the first, one soon after, the last
few_pictures(world, at)  the same in the moments told
marks_only()             within it, depth and segmentation are drawn as ever and colour is black: for checks of answers

What is not drawn is black, and empty in depth and segmentation. Nothing else of a life changes: no state hangs on a
picture. Worlds that draw by other means than ``camera.Surface`` are drawn whole.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from armillary.worlds.camera import Surface
from armillary.worlds.catalogue import ENTRIES, found
from armillary.worlds.record import AFTER_SUCCESS

SOON = 12  # the moment between the first and the last that is drawn


def _black(surface: Any) -> np.ndarray:
    return np.zeros((*surface._size, 3), np.uint8)


def _nothing(surface: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = surface._size
    return np.zeros(size, np.int32), np.zeros(size, np.float32), np.full(1, -1, np.int32)


@contextmanager
def marks_only() -> Iterator[None]:
    """Colour is black; depth and segmentation are drawn."""
    with patch.object(Surface, "_colour", _black):
        yield


@contextmanager
def few_pictures(world: str, at: Sequence[int] | None = None) -> Iterator[list[int]]:
    """The numbers of the frames drawn in the life that was recorded last; ``at`` says which, if not the usual three."""
    module = sys.modules[found(ENTRIES[world].record).__module__]
    drawn: list[int] = []
    lived = vars(module)["live"]
    whole = {name: vars(Surface)[name] for name in ("_update", "_colour", "_numbers")}
    state = {"draw": True}

    def live(*told: Any, max_steps: int, least_steps: int = 0, **more: Any) -> Iterator[Any]:
        end, state["draw"] = max_steps, at is None or 0 in at
        drawn[:] = [0] * state["draw"]
        for step, pair in enumerate(lived(*told, max_steps=max_steps, least_steps=least_steps, **more)):
            if pair[0].over and step and end == max_steps:
                end = min(max_steps, max(step + AFTER_SUCCESS, least_steps))
            state["draw"] = step + 1 in ((SOON, end) if at is None else at)
            drawn.extend([step + 1] * (state["draw"] and step < end))
            yield pair

    def if_wanted(name: str, other: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *told: (whole[name] if state["draw"] else other)(*told)

    with (
        patch.object(module, "live", live),
        patch.object(Surface, "_update", if_wanted("_update", lambda *_: None)),
        patch.object(Surface, "_colour", if_wanted("_colour", _black)),
        patch.object(Surface, "_numbers", if_wanted("_numbers", _nothing)),
    ):
        yield drawn
