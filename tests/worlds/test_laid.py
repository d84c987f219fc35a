"""A table as it is laid: every picture shows one thing more, the last one the table of the seed."""

import numpy as np

from armillary.worlds.laid import laid_tabletop
from armillary.worlds.record import still_tabletop


def test_every_picture_shows_one_thing_more_until_the_table_is_the_seeds():
    for seed in (3, 8):
        laid, still = laid_tabletop(seed), still_tabletop(seed)
        frames, boxes = laid.frames["front"], laid.boxes
        names = [laid.captions[f"laid {count}"] for count in range(1, len(frames))]
        assert [set(one) for one in boxes] == [set(names[:count]) & set(boxes[-1]) for count in range(len(frames))]
        apart = np.abs(frames[-1].astype(int) - still.frames["front"][0]).mean(axis=-1)
        assert (apart > 8).mean() < 0.002 and set(boxes[-1]) == set(still.boxes[0])  # the same but for a settling step
        assert laid.actions.shape == (len(names), 10) and not laid.actions.any()
        for before, after, name in zip(frames, frames[1:], names, strict=False):
            left, top, right, bottom = boxes[-1][name]
            changed = (before != after).any(axis=-1)
            rows, columns = np.nonzero(changed)  # the thing, and the shadow that it throws
            assert changed[top:bottom, left:right].mean() > 0.4
            assert np.ptp(rows) < 50 and np.ptp(columns) < 50


def test_a_seed_is_always_laid_alike():
    one, again = laid_tabletop(5), laid_tabletop(5)
    assert np.array_equal(one.frames["front"], again.frames["front"]) and one.captions == again.captions
