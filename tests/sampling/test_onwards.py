"""A film that goes on: its first step is forward dynamics of five frames, its pieces join, and it stays as small."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch

import armillary
from armillary.embodiments import load_embodiment
from armillary.errors import ArmillaryError, RequestError
from armillary.model.ports import action_positions, patchify, unpatchify, video_positions
from armillary.prompts import action_prompt
from armillary.records import Segment
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.onwards import KNOWN
from armillary.sampling.pictures import to_numbers, to_pixels
from armillary.sampling.steady import held, shown_at, still_film


@pytest.fixture
def going(omni, picture):
    def begin(**more):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntrainedWarning)
            return omni.onwards(image=picture, embodiment="tabletop", seed=3, size=(64, 64), **more)

    return begin


def test_a_step_is_laid_out_as_in_training(omni, picture, actions, going):
    """The first picture before the film, the known frames and the one to be found, the actions between them."""
    film = going(steps=1)
    film.push(actions[:4])
    first, known = film._first, film._known
    chance = torch.Generator()
    chance.set_state(film._chance.get_state())
    found = film.push(actions[4:8])
    noise = torch.randn((1, 48, 1, 4, 4), generator=chance)
    body = load_embodiment("tabletop")
    tokens = patchify(torch.cat([known, noise], dim=2), 2)
    level = (torch.arange(12) >= 8).float()[None]
    places = video_positions((3, 4, 4), fps=10.0)[None]
    shown = [
        Segment(modality="video", tokens=first, positions=places[:, :4], level=torch.zeros(1, 4)),
        Segment(modality="video", tokens=tokens, positions=places, level=level),
        Segment(modality="action", tokens=torch.from_numpy(body.encode(actions[:8]))[None],
                positions=action_positions(8, fps=10.0)[None], level=torch.zeros(1, 8), domain=torch.tensor([6])),
    ]  # fmt: skip
    prompt = action_prompt("", frames=9, fps=10.0, height=256, width=256)
    with torch.inference_mode():
        model = omni.parts.model("reasoner", "generator")
        velocity = model.velocity(omni.read(prompt), shown, fps=torch.tensor([10.0]))[1]
        latest = unpatchify(tokens - level[..., None] * velocity, (3, 4, 4), 2)
        assert torch.allclose(latest[:, :, -1:], film._known[:, :, -1:], atol=3e-3)
        whole = omni.parts.vae.decode(film._known)
    assert found.shape == (4, 64, 64, 3) and found.dtype == np.uint8 and film.frames == 9
    assert np.abs(found.astype(int) - to_pixels(whole)[0][-4:].astype(int)).max() <= 1


def test_pieces_join_and_nothing_grows(going, actions):
    together, apart = going(steps=1), going(steps=1)
    many = np.concatenate([actions, actions, actions])[:28]
    whole = together.push(many)
    pieces = [apart.push(many[i : i + n]) for i, n in ((0, 4), (4, 12), (16, 8), (24, 4))]
    assert np.array_equal(whole, np.concatenate(pieces)) and together.frames == apart.frames == 29
    assert together._known.shape[2] == KNOWN and len(together._done) == 4 * (KNOWN - 1)


def test_what_stands_still_is_shown_as_given_and_changes_nothing_that_comes(going, actions, picture):
    """The same share of the picture as in a film of one stretch; what goes on is not what is shown."""
    plain, steady = going(steps=1), going(steps=1, steady=1.0)
    many = np.concatenate([actions, actions])[:16]
    shown, as_given = plain.push(many), steady.push(many)
    assert torch.equal(plain._known, steady._known) and not np.array_equal(shown, as_given)
    given = to_numbers(picture[None])
    still = still_film(plain._parts.vae, given, canvas=True)[:, :, shown_at(torch.arange(1, 17))]
    whole = plain._parts.vae.decode(_all_latents(plain, going, many))[:, :, 1:]
    wanted = to_pixels(held(whole, still, given, torch.tensor([1.0])))[0]
    assert np.abs(wanted.astype(int) - as_given.astype(int)).max() <= 2


def _all_latents(film, going, actions):
    """Every latent frame of a film: what it begins with, and what each four actions led to."""
    again = going(steps=1)
    found = [again._known]
    for first in range(0, len(actions), 4):
        again.push(actions[first : first + 4])
        found.append(again._known[:, :, -1:])
    assert torch.equal(film._known, again._known)
    return torch.cat(found, dim=2)


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
    for more in ({"reuse": 0.1}, {"negative_prompt": "fog"}, {"guidance_between": (0.2, 0.9)}):
        with pytest.raises(RequestError, match=f"{next(iter(more))} has no use where a film goes on"):
            omni.onwards(image=picture, embodiment="tabletop", **more)
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


def test_a_branch_goes_another_way_and_leaves_the_film_where_it_is(going, actions):
    film, whole = going(), going()
    film.push(actions[:4])
    other = film.branch()
    aside = other.push(np.concatenate([actions[8:12], actions[:4]]))
    same = film.branch().push(actions[4:8])
    assert other.frames == 13 and film.frames == 5
    on, wanted = film.push(actions[4:8]), whole.push(actions[:8])
    np.testing.assert_array_equal(on, wanted[4:])
    np.testing.assert_array_equal(same, on)
    assert np.abs(aside[:4].astype(int) - on.astype(int)).max() > 1
