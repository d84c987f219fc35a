"""A film that goes on: its first step is forward dynamics of five frames, its pieces join, and it stays as small."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

import armillary
from armillary.errors import ArmillaryError, RequestError
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.onwards import KNOWN


@pytest.fixture
def going(omni, picture):
    def begin(**more):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntrainedWarning)
            return omni.onwards(image=picture, embodiment="tabletop", seed=3, size=(64, 64), **more)

    return begin


def test_the_first_step_is_forward_dynamics_of_five_frames(omni, picture, actions, going):
    film = going(steps=3)
    drawn = torch.randn((1, 48, 1, 4, 4), generator=torch.Generator().manual_seed(3))
    noise = torch.cat([torch.zeros_like(drawn), drawn], dim=2)[0].numpy()
    whole = omni.imagine(
        "forward-dynamics", image=picture, actions=actions[:4], embodiment="tabletop", steps=3, size=(64, 64),
        latents={"video": noise},
    )  # fmt: skip
    found = film.push(actions[:4])
    assert found.dtype == np.uint8 and found.shape == (4, 64, 64, 3) and film.frames == 5
    assert np.abs(found.astype(int) - whole.video[1:].astype(int)).max() <= 1


def test_pieces_join_and_nothing_grows(going, actions):
    together, apart = going(steps=1), going(steps=1)
    many = np.concatenate([actions, actions, actions])[:28]
    whole = together.push(many)
    pieces = [apart.push(many[i : i + n]) for i, n in ((0, 4), (4, 12), (16, 8), (24, 4))]
    assert np.array_equal(whole, np.concatenate(pieces)) and together.frames == apart.frames == 29
    assert together._known.shape[2] == KNOWN and len(together._done) == 4 * (KNOWN - 1)


def test_later_frames_follow_later_actions(going, actions):
    one, other = going(steps=1), going(steps=1)
    many = np.concatenate([actions, actions])
    changed = many.copy()
    changed[20:24, :3] += 0.5
    first, second = one.push(many), other.push(changed)
    assert np.array_equal(first[:20], second[:20]) and not np.array_equal(first[20:24], second[20:24])


def test_what_cannot_be_is_one_sentence(omni, picture, going, actions):
    with pytest.raises(RequestError, match="multiple of four"):
        going().push(actions[:3])
    with pytest.raises(ArmillaryError, match="10 numbers"):
        going().push(np.zeros((4, 3)))
    with pytest.raises(RequestError, match="give embodiment"):
        omni.onwards(image=picture)
    with pytest.raises(RequestError, match="actions are given as they come"):
        omni.onwards(image=picture, embodiment="tabletop", actions=actions)
    with pytest.raises(RequestError, match="image"):
        omni.onwards(embodiment="tabletop")


def test_who_has_not_learnt_it_says_so(checkpoint, picture, tmp_path):
    with pytest.warns(UntrainedWarning, match="has learnt onwards"):
        armillary.load(checkpoint, device="cpu").onwards(image=picture, embodiment="tabletop")
    able = shutil.copytree(checkpoint, tmp_path / "able")
    told = json.loads((able / "defaults.json").read_text()) | {"learnt": ["onwards"]}
    (able / "defaults.json").write_text(json.dumps(told))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        armillary.load(able, device="cpu").onwards(image=picture, embodiment="tabletop")
