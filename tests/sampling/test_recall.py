"""A film that goes on looks back on its first picture, where the checkpoint has learnt that, and nowhere else."""

import json
import shutil

import numpy as np
import pytest
import torch

import armillary
from armillary.errors import RequestError
from armillary.model.ports import action_positions, patchify, unpatchify, video_positions
from armillary.records import Segment
from armillary.sampling.pictures import to_numbers, to_pixels
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import unfold
from armillary.tokenizers.video import on_canvas

SMALL = {"size": (64, 64), "steps": 1, "embodiment": "tabletop", "seed": 4}


@pytest.fixture(scope="module")
def recalling(checkpoint, tmp_path_factory):
    """The small checkpoint, told that it has learnt to look back."""
    folder = tmp_path_factory.mktemp("recalling") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text())
    (folder / "defaults.json").write_text(json.dumps(told | {"learnt": ["recall"]}))
    return armillary.load(folder, dtype="float32")


@pytest.fixture
def long(actions):
    return np.concatenate([actions, actions[::-1], actions[:4]])[:36]


def test_all_but_the_first_stretch_look_back(omni, recalling, picture, long):
    for one, seen in ((recalling, True), (omni, False)):
        story = unfold(check_request("fd", {"image": picture, "actions": long, **SMALL}, one.parts.folder))
        stretch, looked = next(story), []
        try:
            while True:
                looked.append(None if stretch.opening is None else stretch.opening.copy())
                stretch = story.send(type("", (), {"actions": None, "sound": None, "video": np.zeros((17, 64, 64, 3))}))
        except StopIteration:
            pass
        assert len(looked) == 3 and looked[0] is None
        assert all((back is not None) == seen for back in looked[1:])
        assert not seen or all(np.array_equal(back, picture) for back in looked[1:])


def test_the_first_chunk_is_the_same_and_what_follows_heeds_the_first_picture(omni, recalling, picture, long):
    asked = {"image": picture, "actions": long, **SMALL}
    plain, looking = omni.imagine("fd", **asked).video, recalling.imagine("fd", **asked).video
    assert np.array_equal(plain[:17], looking[:17]) and not np.array_equal(plain[17:], looking[17:])
    first = recalling.imagine("fd", **asked | {"actions": long[:16]}).video
    draws = torch.Generator().manual_seed(4)
    torch.randn((1, 48, 5, 4, 4), generator=draws)
    again = {"latents": {"video": torch.randn((1, 48, 5, 4, 4), generator=draws)}, "actions": long[16:32]}
    second = recalling.imagine("fd", **asked | again | {"image": first[-1], "opening": picture}).video
    assert np.array_equal(looking[17:33], second[1:])
    other = recalling.imagine("fd", **asked | again | {"image": first[-1], "opening": 255 - picture}).video
    assert not np.array_equal(other[1:], second[1:])


def test_a_chunk_that_looks_back_is_laid_out_as_in_training(recalling, picture, actions):
    """The first picture, given, where the film's first frame is; the film; the actions (``FlowSource._recalled``)."""
    now = np.roll(picture, 7, axis=0)
    noise = torch.randn((1, 48, 5, 4, 4), generator=torch.Generator().manual_seed(0))
    found = recalling.imagine("fd", image=now, actions=actions, opening=picture, latents={"video": noise}, **SMALL)
    parts = recalling.parts
    with torch.inference_mode():
        opening, given = (
            parts.vae.encode(on_canvas(to_numbers(one[None]))[0])[..., :4, :4].float() for one in (picture, now)
        )
        places = video_positions((5, 4, 4), fps=10.0)[None]
        tokens = patchify(torch.cat([given, noise[:, :, 1:]], dim=2), 2)
        level = (torch.arange(20) >= 4).float()[None]
        request = check_request("fd", {"image": now, "actions": actions, "opening": picture, **SMALL}, parts.folder)
        coded = torch.from_numpy(request.actions)[None]
        shown = [
            Segment(modality="video", tokens=patchify(opening, 2), positions=places[:, :4], level=torch.zeros(1, 4)),
            Segment(modality="video", tokens=tokens, positions=places, level=level),
            Segment(modality="action", tokens=coded, positions=action_positions(16, fps=10.0)[None],
                    level=torch.zeros(1, 16), domain=torch.tensor([6])),
        ]  # fmt: skip
        memory = recalling.read(next(unfold(request)).prompts()[0])
        velocity = parts.model("reasoner", "generator").velocity(memory, shown, fps=torch.tensor([10.0]))[1]
        film = to_pixels(parts.vae.decode(unpatchify(tokens - level[..., None] * velocity, (5, 4, 4), 2)))[0]
    assert np.abs(found.video.astype(int) - film.astype(int)).max() <= 1
    assert found.provenance["request"]["opening"]


def test_it_is_refused_where_it_has_no_use(omni, recalling, picture, actions):
    asked = {"image": picture, "actions": actions, "opening": picture, **SMALL}
    with pytest.raises(RequestError, match="does not say that it has learnt recall"):
        omni.imagine("fd", **asked)
    with pytest.raises(RequestError, match="in the native dialect"):
        recalling.imagine("fd", **asked | {"dialect": "diffusers"})
    past = {name: value for name, value in asked.items() if name != "image"} | {"video": picture[None].repeat(5, 0)}
    with pytest.raises(RequestError, match="single image"):
        recalling.imagine("fd", **past)
    with pytest.raises(RequestError, match="opening has no use in text-to-video"):
        recalling.imagine("text-to-video", prompt="a cube", opening=picture)
