"""What stands still is shown as given, what moves as it is decoded, and nobody else's films change."""

import json

import numpy as np
import pytest
import torch
from tiny import SMALL_VAE, small_checkpoint

import armillary
from armillary.embodiments import load_embodiment
from armillary.errors import CheckpointError, RequestError
from armillary.sampling.defaults import Defaults
from armillary.sampling.requests import check_request
from armillary.sampling.steady import STILL, held_steady
from armillary.sampling.stretches import Made, unfold
from armillary.tokenizers.streaming import decode_film
from armillary.tokenizers.video import VideoVAE, on_canvas


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(3)
    return VideoVAE(SMALL_VAE).eval()


@pytest.fixture(scope="module")
def given():
    return torch.rand(2, 3, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8


def still_film(vae, given, frames, *, canvas):
    film = given.expand(-1, -1, frames, -1, -1)
    return decode_film(vae, vae.encode(on_canvas(film)[0] if canvas else film)[..., :4, :4])


@pytest.mark.parametrize("canvas", [False, True])
def test_a_film_in_which_nothing_happens_is_the_given_picture(vae, given, canvas):
    film = still_film(vae, given, STILL, canvas=canvas)
    assert (film - given).abs().mean() > 0.1  # the tokenizer knows nothing of it
    held = held_steady(vae, film, given, torch.full((2,), 0.05), canvas=canvas)
    assert (held - given).abs().max() < 1e-5


def test_what_moves_is_shown_as_decoded_and_the_rest_as_given(vae, given):
    film = still_film(vae, given, 17, canvas=False)
    film[:, :, 6:, 20:40, 20:40] += 1.0
    held = held_steady(vae, film, given, torch.full((2,), 0.05), canvas=False)
    assert torch.allclose(held[:, :, 6:, 23:37, 23:37], film[:, :, 6:, 23:37, 23:37], atol=1e-4)
    late = (held - given)[:, :, 6:, 44:].abs().mean()
    assert (held - given)[:, :, :6].abs().mean() < 1e-4 and late < 0.25 * (film - given)[:, :, 6:, 44:].abs().mean()


def test_each_film_has_its_own_threshold_and_a_larger_one_gives_more_back(vae, given):
    film = still_film(vae, given, STILL, canvas=False) + 0.1
    held = held_steady(vae, film, given, torch.tensor([0.02, 0.5]), canvas=False)
    apart = (held - film).abs().mean(dim=(1, 2, 3, 4))
    assert apart[0] < 0.02 * apart[1] and apart[1] > 0.1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("small"))


STANDS = [load_embodiment("tabletop").rest] * 32
ASKED = {"image": np.full((64, 64, 3), 90, np.uint8), "actions": STANDS, "embodiment": "tabletop"}


def test_a_film_begins_with_exactly_the_picture_it_was_given(checkpoint):
    picture = np.random.default_rng(0).integers(20, 230, (64, 64, 3), np.uint8)
    omni = armillary.load(checkpoint)
    plain, steady = (
        omni.imagine("forward-dynamics", **{**ASKED, "image": picture}, size=(64, 64), steady=much)
        for much in (0.0, 1.0)
    )  # fmt: skip
    told = [rollout.provenance["request"]["steady"] for rollout in (plain, steady)]
    assert told == [0.0, 1.0]  # 0 as well: another checkpoint may take something else where nobody asks
    off = np.abs(steady.video[0].astype(int) - picture)
    assert off.max() <= 6 < np.abs(plain.video[0].astype(int) - picture).max()  # bfloat16's rounding
    assert np.abs(steady.video[16].astype(int) - picture).mean() < np.abs(plain.video[16].astype(int) - picture).mean()


def test_the_checkpoint_says_how_steady_and_nobody_else_does(checkpoint, tmp_path):
    assert check_request("forward-dynamics", ASKED, checkpoint).steady == 0.0
    told = {"size": [64, 64], "fps": 10, "steady": 0.08}
    (tmp_path / "defaults.json").write_text(json.dumps(told))
    assert check_request("forward-dynamics", ASKED, tmp_path).steady == 0.08
    assert check_request("forward-dynamics", {**ASKED, "steady": 0.0}, tmp_path).steady == 0.0
    assert check_request("forward-dynamics", {**ASKED, "dialect": "diffusers"}, tmp_path).steady == 0.0
    assert check_request("text-to-image", {"prompt": "a table"}, tmp_path).steady == 0.0
    assert Defaults.load(tmp_path).steady == 0.08


def test_a_film_that_is_given_no_picture_or_two_is_shown_as_decoded(checkpoint, tmp_path):
    omni = armillary.load(checkpoint)
    omni.parts.defaults = Defaults(steady=1.0, told=True)
    for mode, asked in (
        ("text-to-video", {"prompt": "a table"}),
        ("first-last-frame", {"image": ASKED["image"], "last_image": ASKED["image"]}),
    ):
        request = check_request(mode, {**asked, "steps": 1, "size": (64, 64)}, checkpoint)
        assert not next(unfold(request)).layout.steady


FILM = np.zeros((33, 64, 64, 3), np.uint8)
HELD = {"controls": {"edge": FILM}, "video": FILM, "given_frames": 1, "stretch": 17}
SOME = [
    ("image-to-video", {"image": FILM[0]}, True),
    ("policy", {"prompt": "go", "image": FILM[0], "embodiment": "tabletop"}, True),
    ("policy", {"prompt": "go", "image": FILM[0], "embodiment": "tabletop", "outputs": ("actions",)}, False),
    ("forward-dynamics", ASKED, True),
    ("forward-dynamics", {**ASKED, "image": None, "video": FILM[:1]}, True),
    ("forward-dynamics", {**ASKED, "image": None, "video": FILM[:5]}, False),
    ("inverse-dynamics", {"video": FILM[:17], "embodiment": "tabletop"}, False),
    ("text-to-video", {"prompt": "a table"}, False),
    ("text-to-video", {"prompt": "a table", "frames": 33}, True),
    ("text-to-video", {"prompt": "a table, a red cube at 20 30."}, True),
    ("video-to-video", {"video": FILM}, False),
    ("first-last-frame", {"image": FILM[0], "last_image": FILM[1]}, False),
    ("transfer", HELD, True),
    ("transfer", {**HELD, "frames": 17}, True),
    ("transfer", {**HELD, "given_frames": 5}, True),
    ("transfer", {**HELD, "given_frames": 5, "frames": 17}, False),
    ("transfer", {**HELD, "given_frames": 5, "overlap": 5}, False),
    ("transfer", {**HELD, "given_frames": 5, "overlap": 0}, False),
]


def layouts(request):
    """Of all stretches of a request; nothing is imagined, black frames stand for what would be made."""
    story, found = unfold(request), []
    made = None
    while True:
        try:
            stretch = story.send(made)
        except StopIteration:
            return found
        found.append((stretch.layout, stretch.decode))
        ending = torch.zeros(1, 3, stretch.keep, 64, 64) if stretch.keep else None
        made = Made(video=np.zeros((stretch.frames, 64, 64, 3), np.uint8), canvas=torch.zeros(4, 192), ending=ending,
                    actions=np.zeros((stretch.frames - 1, 64), np.float32))  # fmt: skip


@pytest.mark.parametrize(("mode", "asked", "held"), SOME)
def test_what_may_be_asked_and_what_is_told_is_what_is_held(tmp_path, mode, asked, held):
    """A request takes ``steady``, and its record has it, if any stretch that is shown is steady; 0 switches it off."""
    told = {"size": [64, 64], "fps": 10, "steady": 0.08, "painting": {}, "filmless": ["policy"]}
    (tmp_path / "defaults.json").write_text(json.dumps(told))
    usual = check_request(mode, asked, tmp_path)
    assert any(layout.steady and shown for layout, shown in layouts(usual)) == held
    assert usual.record.get("steady") == (0.08 if held else None)
    if not held:
        with pytest.raises(RequestError, match=r"steady.* has no use"):
            check_request(mode, {**asked, "steady": 0.1}, tmp_path)
        return
    off = check_request(mode, {**asked, "steady": 0.0}, tmp_path)
    assert off.record["steady"] == 0.0 and not any(layout.steady for layout, _ in layouts(off))
    assert check_request(mode, {**asked, "steady": 0.1}, tmp_path).record["steady"] == 0.1


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "much"])
def test_what_is_no_share_is_refused(checkpoint, tmp_path, wrong):
    with pytest.raises(RequestError, match="steady"):
        check_request("forward-dynamics", {**ASKED, "steady": wrong}, checkpoint)
    with pytest.raises(RequestError, match="steady has no use"):
        check_request("inverse-dynamics", {"video": np.zeros((17, 64, 64, 3), np.uint8), "embodiment": "tabletop",
                                           "steady": 0.1}, checkpoint)  # fmt: skip
    (tmp_path / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10, "steady": wrong}))
    with pytest.raises(CheckpointError, match="steady"):
        Defaults.load(tmp_path)
