"""Films can be heard, and a picture can be changed, where the checkpoint has learnt it."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import small_checkpoint

import armillary
from armillary.errors import RequestError
from armillary.model.positions import segment_ids
from armillary.sampling import imagine
from armillary.sampling.abilities import makes_sound
from armillary.sampling.keep import keep_rollout
from armillary.sampling.omni import UntrainedWarning

SMALL = {"prompt": "an arm pushes the red cube", "size": (64, 64), "frames": 5, "steps": 2, "seed": 3}


@pytest.fixture(scope="module")
def mute(tmp_path_factory):
    """A checkpoint that cannot be heard and has not learnt to edit."""
    return small_checkpoint(tmp_path_factory.mktemp("mute") / "mute")


def test_a_film_is_heard_as_long_as_it_is_seen(omni):
    seen = omni.imagine("text-to-video", **SMALL, sound=True)
    assert seen.video.shape == (5, 64, 64, 3)
    assert (seen.sound.dtype, seen.sound.shape) == (np.float32, (2, 24_000))
    assert 0 < np.abs(seen.sound).max() <= 1
    assert seen.provenance["request"]["sound"] is True
    alone = omni.imagine("text-to-video", **SMALL, sound=True, outputs=("sound",))
    assert alone.video is None and np.array_equal(alone.sound, seen.sound)
    assert omni.imagine("text-to-video", **SMALL).sound is None


def test_sound_and_sight_are_found_together(omni, picture):
    """One attention sees both: other noise for the ears shows in the film, another first picture is heard."""
    first = omni.imagine("image-to-video", **SMALL, image=picture, sound=True)
    other = omni.imagine("image-to-video", **SMALL, image=255 - picture, sound=True)
    assert not np.array_equal(first.sound, other.sound)
    noise = torch.randn(64, 13, generator=torch.Generator().manual_seed(9))
    third = omni.imagine("image-to-video", **SMALL, image=picture, sound=True, latents={"sound": noise})
    assert not np.array_equal(first.video, third.video)


def test_heard_in_company_as_alone_also_at_other_rates_and_without_sound(omni):
    asked = [{**SMALL, "sound": True}, {**SMALL, "sound": True, "seed": 4}, SMALL, {**SMALL, "sound": True, "fps": 8.0}]
    together = omni.imagine_many([{"mode": "text-to-video", **one} for one in asked])
    for one, found in zip(asked, together, strict=True):
        alone = omni.imagine("text-to-video", **one)
        if alone.sound is None:
            assert found.sound is None
        else:
            np.testing.assert_allclose(found.sound, alone.sound, atol=2e-4)
    assert together[3].sound.shape == (2, 30_000)


def test_a_long_film_is_heard_to_its_end(omni):
    long = omni.imagine("text-to-video", **{**SMALL, "frames": 33, "steps": 1}, sound=True, outputs=("sound",))
    assert long.sound.shape == (2, 158_400) and long.video is None


def test_what_is_heard_is_kept_beside_the_film_and_in_it(omni, tmp_path):
    from armillary.media import read_sound, read_wav

    rollout = omni.imagine("text-to-video", **SMALL, sound=True)
    names = keep_rollout(tmp_path / "out", rollout)
    assert {"sound.wav", "vision.mp4", "provenance.json"} <= set(names)
    sound, rate = read_wav(tmp_path / "out" / "sound.wav")
    assert rate == 48_000 and np.abs(sound - rollout.sound).max() <= 1 / 32767
    assert read_sound(tmp_path / "out" / "vision.mp4")[0].shape[1] >= 24_000


def test_a_picture_is_changed_and_matters(omni, picture):
    asked = {"prompt": "make it blue", "size": (64, 64), "steps": 2, "seed": 1}
    one = omni.imagine("image-edit", image=picture, **asked)
    other = omni.imagine("image-edit", image=255 - picture, **asked)
    without = omni.imagine("text-to-image", **asked)
    assert one.video.shape == (1, 64, 64, 3)
    assert not np.array_equal(one.video, other.video) and not np.array_equal(one.video, without.video)
    both = omni.imagine_many([{"mode": "image-edit", "image": one, **asked} for one in (picture, 255 - picture)])
    assert np.abs(both[1].video.astype(int) - other.video).max() <= 1


def test_the_picture_to_be_found_stands_one_step_after_the_one_given(omni, picture, monkeypatch):
    """cosmos3.md 2.3: items of an edit follow each other, each begins where the last one ended."""
    shown = []

    def watched(model, memory, parts, **how):
        shown.extend(parts)
        return plain(model, memory, parts, **how)

    plain = imagine.Field
    monkeypatch.setattr(imagine, "Field", watched)
    omni.imagine("image-edit", image=picture, prompt="x", size=(64, 64), steps=1)
    config, lengths = omni.parts.model("generator").config, torch.tensor([20])
    times = {bool(part.hidden.any()): segment_ids("video", part.positions, lengths, fps=10.0, config=config)[..., 0]
             for part in shown}  # fmt: skip
    assert torch.all(times[False] == 15020.0) and torch.all(times[True] == 15021.0)
    assert not shown[1].hidden.any() and shown[0].hidden.all()


def test_who_cannot_be_heard_says_so_before_anything_loads(mute):
    omni = armillary.load(mute, dtype="float32")
    assert not makes_sound(mute)
    with pytest.raises(RequestError, match="sound cannot be made by mute"):
        omni.imagine("text-to-video", **SMALL, sound=True)
    assert omni.parts.loaded == ()


def test_who_has_not_learnt_to_edit_warns(mute, picture):
    with pytest.warns(UntrainedWarning, match="does not say that it has learnt image-edit"):
        armillary.load(mute).imagine("image-edit", image=picture, prompt="x", size=(32, 32), steps=1)


@pytest.fixture(scope="module")
def listener(checkpoint, tmp_path_factory):
    """The small checkpoint, which says that it finds the sound to a film."""
    folder = tmp_path_factory.mktemp("listener") / "listener"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text())
    told |= {"learnt": ["video-to-sound"], "steps": {"video-to-sound": 3}}
    (folder / "defaults.json").write_text(json.dumps(told))
    return armillary.load(folder, dtype="float32")


def test_a_film_that_is_given_is_heard_and_its_pictures_matter(listener, film):
    asked = {"size": (64, 64), "seed": 3}
    heard = listener.imagine("video-to-sound", video=film, **asked)
    assert heard.sound.shape == (2, 81_600) and heard.video is None and heard.mode == "video-to-sound"
    assert np.array_equal(listener.imagine("foley", video=film, **asked).sound, heard.sound)
    other = listener.imagine("video-to-sound", video=255 - film, **asked)
    loud = np.abs(heard.sound).max()
    assert np.abs(other.sound - heard.sound).max() > 0.01 * loud
    long = listener.imagine("video-to-sound", video=np.concatenate([film, film[:8]]), **asked)
    assert long.sound.shape == (2, 25 * 4800)
    np.testing.assert_allclose(long.sound[:, :81_600], heard.sound, atol=1e-4 * loud)


def test_who_finds_the_sound_to_a_film_makes_the_film_first(listener, omni, picture):
    asked = {**SMALL, "image": picture, "frames": 33}
    shares = []
    both = listener.imagine("image-to-video", **asked, sound=True, on_progress=shares.append)
    assert np.array_equal(both.video, listener.imagine("image-to-video", **asked).video)  # its own ears change nothing
    assert both.sound.shape == (2, 158_400) and shares[-1] == 1.0 and len(shares) == 2 * 2 + 2 * 3
    alone = listener.imagine("image-to-video", **asked, sound=True, outputs=("sound",))
    assert alone.video is None and np.array_equal(alone.sound, both.sound)
    noise = {"sound": torch.randn(64, 13, generator=torch.Generator().manual_seed(9))}
    short = {**SMALL, "image": picture, "sound": True, "latents": noise}

    def heard(by, how):
        return by.imagine("image-to-video", **short, **how).sound

    for how in ({}, {"dialect": "diffusers"}):  # brought noise, and others' ways: film and sound together, as before
        np.testing.assert_allclose(heard(listener, how), heard(omni, how), atol=2e-4)


def test_a_film_to_be_heard_is_refused_where_nothing_would_be(listener, mute, film):
    with pytest.raises(RequestError, match="leaves video-to-sound nothing to find"):
        listener.imagine("video-to-sound", video=film, sound=False)
    with pytest.raises(RequestError, match="needs at least 5"):
        listener.imagine("video-to-sound", video=film[:3])
    with pytest.raises(RequestError, match="cannot be made by mute"):
        armillary.load(mute).imagine("video-to-sound", video=film)


def test_who_has_not_learnt_to_hear_films_warns(omni, film):
    with pytest.warns(UntrainedWarning, match="video-to-sound"):
        omni.imagine("video-to-sound", video=film[:5], size=(64, 64))
