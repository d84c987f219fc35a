"""Where a body is may be told before its actions: a row that is given, at the first frame, and never comes back out."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

import armillary
from armillary.embodiments import load_embodiment
from armillary.errors import RequestError
from armillary.model.ports import action_positions
from armillary.model.positions import segment_ids
from armillary.sampling import imagine as imagining
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.requests import check_request

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
ASKED = {"prompt": "push the T", "image": PICTURE, "embodiment": "pusht", "size": (64, 64), "seed": 3, "steps": 2}
HERE = [100.0, 400.0]


@pytest.fixture(scope="module")
def told(checkpoint, tmp_path_factory):
    """The small checkpoint, which says that it has learnt to be told states."""
    folder = tmp_path_factory.mktemp("told") / "told"
    shutil.copytree(checkpoint, folder)
    said = json.loads((folder / "defaults.json").read_text()) | {"learnt": ["state"]}
    (folder / "defaults.json").write_text(json.dumps(said))
    return armillary.load(folder, dtype="float32")


def test_a_state_stands_before_the_actions_at_the_first_frame_in_their_own_numbers(told, monkeypatch):
    shown = []

    def watched(model, memory, parts, **how):
        shown.extend(part for part in parts if part.modality == "action")
        return plain(model, memory, parts, **how)

    plain = imagining.Field
    monkeypatch.setattr(imagining, "Field", watched)
    rollout = told.imagine("policy", **ASKED, state=HERE, outputs=("actions",))
    (part,) = shown
    body = load_embodiment("pusht")
    assert part.tokens.shape == (1, 17, 64) and rollout.actions.shape == (16, 2)
    assert part.hidden.tolist() == [[False] + [True] * 16]
    assert np.array_equal(part.tokens[0, 0].numpy(), body.encode([HERE])[0])
    config = told.parts.sizes
    times = segment_ids("action", part.positions, torch.tensor([20]), fps=torch.tensor([10.0]), config=config)[0, :, 0]
    torch.testing.assert_close(times, 15020 + torch.arange(17) * 6 / 10.0)  # cosmos3.md 2.2: s = 0 with a state
    assert torch.equal(action_positions(16, fps=10.0, state=True)[1:], action_positions(16, fps=10.0))
    assert rollout.provenance["request"]["state"] == pytest.approx(HERE)


def test_where_a_body_is_changes_what_it_does_and_what_is_foreseen(told):
    here, there, none = (
        told.imagine("policy", **ASKED, outputs=("actions",), **given).actions
        for given in ({"state": HERE}, {"state": [300.0, 20.0]}, {})
    )
    assert np.abs(here - there).max() > 1e-3 < np.abs(here - none).max()
    ahead = {name: one for name, one in ASKED.items() if name != "prompt"} | {"actions": np.full((16, 2), 200.0)}
    films = [told.imagine("forward-dynamics", **ahead, state=one).video for one in (HERE, [300.0, 20.0])]
    assert not np.array_equal(*films)


def test_a_later_stretch_begins_where_the_last_action_sent_the_body(told, monkeypatch):
    """Of given actions and of found ones: each stretch but the first is told the row before its own."""
    seen = []

    def watched(parts, layout, stretches, watch):
        made = plain(parts, layout, stretches, watch)
        seen.extend(zip(stretches, made, strict=True))
        return made

    plain = imagining.make
    monkeypatch.setattr(imagining, "make", watched)
    rows = np.random.default_rng(1).uniform(0, 500, (32, 2))
    ahead = {name: one for name, one in ASKED.items() if name != "prompt"}
    told.imagine("forward-dynamics", **ahead, actions=rows, state=HERE)
    body = load_embodiment("pusht")
    assert np.array_equal([one.state for one, _ in seen], body.encode([HERE, rows[15]]))
    seen.clear()
    before = {**{name: one for name, one in ahead.items() if name != "image"}, "video": np.stack([PICTURE] * 5)}
    told.imagine("forward-dynamics", **before, actions=rows, state=HERE)  # of which the next begins five frames earlier
    assert np.array_equal([one.state for one, _ in seen[:2]], body.encode([HERE, rows[11]]))
    seen.clear()
    told.imagine("policy", **ASKED, frames=33, state=HERE)
    assert np.array_equal(seen[1][0].state, seen[0][1].actions[-1])
    seen.clear()
    told.imagine("policy", **ASKED, frames=33)
    assert [one.state for one, _ in seen] == [None, None]


def test_told_in_company_as_alone_and_apart_from_who_is_not(told):
    asked = [{**ASKED, "state": HERE}, ASKED, {**ASKED, "state": [300.0, 20.0], "seed": 4}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = told.imagine_many([{"mode": "policy", **one, "outputs": ("actions",)} for one in asked])
    for one, found in zip(asked, together, strict=True):
        alone = told.imagine("policy", **one, outputs=("actions",))
        np.testing.assert_allclose(found.actions, alone.actions, atol=2e-2)


def test_who_has_not_learnt_it_warns(omni):
    with pytest.warns(UntrainedWarning, match="has learnt state"):
        omni.imagine("policy", **ASKED, state=HERE, outputs=("actions",))


@pytest.mark.parametrize(
    ("mode", "given", "words"),
    [
        ("policy", {"state": [1.0]}, "state cannot be used: .* rows of 2"),
        ("policy", {"state": [1.0, float("nan")]}, "finite"),
        ("policy", {"state": "here"}, "state cannot be used"),
        ("policy", {"state": [0.0] * 10, "embodiment": "tabletop"}, "whose actions are framewise relative"),
        ("image-to-video", {"state": HERE}, "state has no use in image-to-video"),
    ],
)
def test_a_state_that_is_none_is_refused_in_a_sentence(checkpoint, mode, given, words):
    asked = {**ASKED, **given}
    if mode != "policy":
        del asked["embodiment"]
    with pytest.raises(RequestError, match=words) as refusal:
        check_request(mode, asked, checkpoint)
    assert "\n" not in str(refusal.value)
