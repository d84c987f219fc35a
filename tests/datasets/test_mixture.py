"""Laws of the order: every clip once an epoch, weights hold, and a saved position goes on as if nothing had been."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.datasets.loader import Loader, clip_layout
from armillary.datasets.mixture import Mixture
from armillary.errors import ArmillaryError
from armillary.records import Clip

SOURCES = {"a": list(range(100, 107)), "b": list(range(200, 203)), "c": list(range(300, 311))}
WEIGHTS = {"a": 1.0, "b": 2.0, "c": 1.0}


def mixture(seed=0, sources=SOURCES):
    return Mixture(sources, weights=WEIGHTS, seed=seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 5))
def test_a_saved_position_goes_on_exactly(before, seed):
    whole = list(islice(mixture(seed), before + 40))
    first = mixture(seed)
    begun = list(islice(first, before))
    state = json.loads(json.dumps(first.state_dict()))
    second = mixture(seed)
    second.load_state_dict(state)
    assert begun + list(islice(second, 40)) == whole


def test_every_item_comes_once_in_an_epoch_and_the_order_changes():
    drawn = [item for name, _, item in islice(mixture(), 400) if name == "b"]
    epochs = [tuple(drawn[i : i + 3]) for i in range(0, len(drawn) - 2, 3)]
    assert all(sorted(epoch) == SOURCES["b"] for epoch in epochs)
    assert len(set(epochs)) > 1


def test_the_weights_are_the_shares():
    counts = Counter(name for name, _, _ in islice(mixture(), 4000))
    assert abs(counts["b"] / 4000 - 0.5) < 0.03
    assert abs(counts["a"] / 4000 - 0.25) < 0.03


def test_another_seed_is_another_order():
    assert list(islice(mixture(0), 20)) != list(islice(mixture(1), 20))


def test_a_position_over_other_clips_is_refused():
    state = mixture().state_dict()
    with pytest.raises(ArmillaryError, match="same clips and seed"):
        mixture(sources={**SOURCES, "b": [1]}).load_state_dict(state)
    with pytest.raises(ArmillaryError, match="same clips and seed"):
        mixture(seed=3).load_state_dict(state)


def test_weights_must_fit_the_sources():
    with pytest.raises(ArmillaryError, match="each needs exactly one"):
        Mixture(SOURCES, weights={"a": 1.0}, seed=0)
    with pytest.raises(ArmillaryError, match="empty"):
        Mixture({"a": []}, weights={"a": 1.0}, seed=0)


def test_a_batch_has_one_layout_and_nothing_is_lost():
    loader = Loader(mixture(), size=4, layout=lambda item: item % 2)
    batches = list(islice(loader, 30))
    assert all(len({item % 2 for item in batch}) == 1 for batch in batches)
    waiting = [number for row in loader.state_dict()["waiting"] for number in row]
    assert 30 * 4 + len(waiting) == sum(loader.mixture.state_dict()["drawn"].values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20))
def test_a_loader_goes_on_exactly_with_what_waited(before):
    def loader():
        return Loader(mixture(2), size=3, layout=lambda item: item % 3)

    whole = list(islice(loader(), before + 15))
    first = loader()
    begun = list(islice(first, before))
    second = loader()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert begun + list(islice(second, 15)) == whole


def test_clips_with_other_shapes_rates_or_bodies_are_other_layouts():
    def clip(**changes):
        given = {"video": np.zeros((5, 8, 8, 3), np.uint8), "fps": 10.0, "prompt": "", **changes}
        return Clip(**given)

    layouts = [
        clip_layout(clip()),
        clip_layout(clip(fps=5.0)),
        clip_layout(clip(video=np.zeros((9, 8, 8, 3), np.uint8))),
        clip_layout(clip(actions=np.zeros((4, 2)), embodiment="pusht")),
        clip_layout(clip(actions=np.zeros((4, 10)), embodiment="tabletop")),
        clip_layout(clip(answer="red")),
    ]
    assert len(set(layouts)) == len(layouts)
    assert clip_layout(clip(prompt="other words")) == clip_layout(clip())
