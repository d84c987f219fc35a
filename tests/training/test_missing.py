"""What is missing is what the words name: no token more is hidden, none less."""

import numpy as np
import pytest

from armillary.training.missing import missing

BOXES = {"red cube": (4, 36, 20, 52), "blue ball": (60, 70, 70, 80), "green cross": (95, 100, 127, 128)}
TOKENS = {"red cube": {4}, "blue ball": {9, 10}, "green cross": {15}}  # of 4 x 4; 95 is no more than a touch


def test_the_words_name_what_is_hidden():
    seen = set()
    for seed in range(60):
        words, hidden = missing(BOXES, (4, 4), (128, 128), np.random.default_rng(seed))
        names = [name for name in BOXES if name in words]
        if len(names) == 3 and hidden.all():
            seen.add("everything")
            continue
        assert set(np.flatnonzero(hidden).tolist()) == set().union(*(TOKENS[name] for name in names))
        seen.add(len(names))
    assert seen == {1, 2, 3, "everything"}


@pytest.mark.parametrize(("box", "tokens"), [
    ((0, 0, 32, 32), {0}), ((0, 0, 33, 32), {0}), ((0, 0, 34, 32), {0, 1}), ((31, 0, 40, 10), {1}),
    ((0, 0, 128, 128), set(range(16))),
])  # fmt: skip
def test_a_token_is_touched_from_the_second_pixel_on(box, tokens):
    rng = np.random.default_rng(2)
    words, hidden = "", np.ones(16, bool)
    while hidden.all() and len(tokens) < 16:  # not the times that everything is hidden
        words, hidden = missing({"red cube": box}, (4, 4), (128, 128), rng)
    assert set(np.flatnonzero(hidden).tolist()) == tokens
    assert words in ("On the table: a red cube.", "")
