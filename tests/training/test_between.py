"""Weights between two checkpoints: the ends are the checkpoints, the middle is their mean, all else is the first's."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tiny import small_checkpoint

from armillary.embodiments import load_embodiment, save_embodiments
from armillary.errors import CheckpointError, ConfigError
from armillary.model.weights import load_model, save_model
from armillary.training.between import BetweenRun


@pytest.fixture
def ends(tmp_path):
    before = small_checkpoint(tmp_path / "before")
    after = tmp_path / "after"
    shutil.copytree(before, after)
    model = load_model(before, dtype=torch.float32)
    with torch.no_grad():
        for weights in model.state_dict().values():
            weights.add_(1.0)
    save_model(after, model, dtype=torch.bfloat16)
    (before / "defaults.json").write_text("{}")
    (after / "defaults.json").write_text('{"fps": 3}')
    body = load_embodiment("pusht")
    save_embodiments(after, [replace(body, normaliser=replace(body.normaliser, scale=(7.0, 7.0)))])
    return before, after


def quiet(line: str) -> None: ...


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_lie_on_the_way_and_bodies_are_those_of_its_end(ends, tmp_path, share):
    before, after = ends
    BetweenRun(before=before, after=after, out=tmp_path / "out", share=share).start(quiet)
    first, found, last = (
        load_model(folder, dtype=torch.float32).state_dict() for folder in (before, tmp_path / "out", after)
    )
    for name, weights in found.items():
        torch.testing.assert_close(weights, first[name].lerp(last[name], share), rtol=0.01, atol=0.01)
    assert json.loads((tmp_path / "out/embodiments.json").read_text())["pusht"]["normaliser"]["scale"] == [7.0, 7.0]
    for name in ("defaults.json", "model_index.json", "text_tokenizer/tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (before / name).read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in before.iterdir()} | {
        "embodiments.json"
    }


def test_other_models_and_places_beyond_the_ends_are_refused_and_nothing_is_written(ends, tmp_path):
    before, _ = ends
    other = small_checkpoint(tmp_path / "heard", sound=True)
    with pytest.raises(
        CheckpointError, match=r"has no .* of shape .*: weights lie between two checkpoints of one model"
    ):
        BetweenRun(before=other, after=before, out=tmp_path / "out").start(quiet)
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(ConfigError, match=r"share=1\.5: it is how far"):
        BetweenRun(before=before, after=before, out=tmp_path / "out", share=1.5)
