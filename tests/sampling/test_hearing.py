"""A sound may be given: films and plans then go with it, to its end, however loud it is."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SMALL_SOUND

import armillary
from armillary.errors import CheckpointError, DataError, RequestError
from armillary.media import read_track, write_video, write_wav
from armillary.model.low_rank import LowRank
from armillary.modes import MODES
from armillary.sampling.abilities import hears_sound, makes_sound, modes_of, takes_of
from armillary.sampling.adapters import BY_SOUND, Adapter, adapters_of
from armillary.sampling.defaults import Defaults
from armillary.sampling.hearing import frames_heard, heard_in, samples_of
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.requests import check_request
from armillary.tokenizers.sound import SoundVAE

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
SMALL = {"prompt": "an arm pushes the red cube", "image": PICTURE, "size": (64, 64), "steps": 2, "seed": 3}
DEED = {"prompt": "The robot lifts the red cube.", "image": PICTURE, "size": (64, 64), "seed": 3}
ACTS = {"modes": ["sound-to-video"], "bodies": {"tabletop": {"who": ["The robot"], "deeds": {"lifts": "Lift"}}}}


def knock(at: float, seconds: float = 1.7, loud: float = 0.5) -> np.ndarray:
    """A short noise ``at`` so many seconds of a silence."""
    sound = np.zeros((2, round(seconds * 48_000)), np.float32)
    begin = round(at * 48_000)
    sound[:, begin : begin + 2400] = loud * np.random.default_rng(1).uniform(-1, 1, (2, 2400))
    return sound


@pytest.fixture(scope="module")
def hearer(checkpoint, tmp_path_factory):
    """The small checkpoint, which says that it heeds sounds, and acts out what it is told."""
    folder = tmp_path_factory.mktemp("hearer") / "hearer"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text())
    more = {"size": [64, 64], "steps": {"policy": 1, "forward-dynamics": 1}, "filmless": ["policy"], "acting": ACTS}
    more |= {"learnt": ["sound-to-video", BY_SOUND], "execute": {"tabletop": 8}}
    (folder / "defaults.json").write_text(json.dumps(told | more))
    return armillary.load(folder, dtype="float32")


def adapter_at(folder, told):
    pair = (torch.full((2, 48), 0.1), torch.full((32, 2), 0.1))
    LowRank(alpha=4.0, targets=("add_v_proj",), pairs={"layers.1.self_attn.add_v_proj": pair}).save(folder)
    (folder / "adapter.json").write_text(json.dumps(told))
    return folder


def test_a_film_goes_with_its_sound_to_the_end_of_it_and_another_sound_makes_another(hearer):
    film = hearer.imagine("sound-to-video", **SMALL, sound=knock(0.4), acting="none")
    assert film.video.shape == (17, 64, 64, 3)
    assert np.array_equal(film.sound, knock(0.4)) and film.provenance["request"]["sound"]["shape"] == [2, 81_600]
    other = hearer.imagine("sound-to-video", **SMALL, sound=knock(1.2), acting="none")
    assert not np.array_equal(other.video, film.video)
    again = hearer.imagine("ts2v", **SMALL, sound=knock(0.4), acting="none")
    assert np.array_equal(again.video, film.video)


def test_loudness_says_nothing_and_what_is_next_to_silent_is_silence(hearer):
    asked = {**SMALL, "frames": 5, "acting": "none"}
    loud, soft, far, none = (
        hearer.imagine("sound-to-video", **asked, sound=one).video
        for one in (knock(0.2, 0.5), knock(0.2, 0.5, 0.05), knock(0.2, 0.5, 0.0009), np.zeros((2, 24_000), np.float32))
    )
    assert np.abs(loud.astype(int) - soft).max() <= 1
    assert np.array_equal(far, none) and not np.array_equal(loud, none)


def test_a_long_film_hears_each_part_when_it_comes(hearer):
    """What is heard after the first stretch changes nothing in it."""
    asked = {**SMALL, "steps": 1, "acting": "none"}
    early, late = (hearer.imagine("sound-to-video", **asked, sound=knock(at, 3.3)).video for at in (0.4, 2.4))
    both = hearer.imagine("sound-to-video", **asked, sound=knock(0.4, 3.3) + knock(2.4, 3.3))
    assert len(both.video) == 33 and both.sound.shape == (2, round(3.3 * 48_000))
    assert np.array_equal(both.video[:17], early[:17]) and not np.array_equal(both.video[17:], early[17:])
    assert not np.array_equal(both.video[:17], late[:17])


def test_heard_in_company_as_alone(hearer):
    asked = [{**SMALL, "sound": knock(at), "acting": "none", "seed": i} for i, at in enumerate((0.2, 0.9))]
    together = hearer.imagine_many([{"mode": "sound-to-video", **one} for one in asked])
    for one, found in zip(asked, together, strict=True):
        alone = hearer.imagine("sound-to-video", **one)
        assert np.abs(found.video.astype(int) - alone.video).max() <= 1


def test_a_policy_heeds_a_sound_and_hears_nothing_after_its_end(hearer):
    asked = {"prompt": "Lift the red cube.", "image": PICTURE, "embodiment": "tabletop", "outputs": ("actions",)}
    plain, early, late, short = (
        hearer.imagine("policy", **asked, **given).actions
        for given in ({}, {"sound": knock(0.3)}, {"sound": knock(1.1)}, {"sound": knock(0.3, 0.6)})
    )
    assert plain.shape == early.shape == (16, 10)
    assert np.abs(early - late).max() > 1e-4 < np.abs(early - plain).max()
    np.testing.assert_allclose(short, early, atol=1e-5)


def test_a_film_by_its_sound_is_acted_out_by_plans_that_each_hear_what_is_left_of_it(hearer):
    sound = knock(1.0)
    film = hearer.imagine("sound-to-video", **DEED, sound=sound, frames=13)
    pictures, actions = [PICTURE[None]], []
    for number, count in enumerate((8, 4)):
        now = {"image": pictures[-1][-1], "embodiment": "tabletop", "seed": 3 + number, "size": (64, 64)}
        rest = sound[:, number * 38_400 :]
        plan = hearer.imagine("policy", prompt="Lift the red cube.", outputs=("actions",), sound=rest, **now)
        actions.append(plan.actions[:count])
        pictures.append(hearer.imagine("forward-dynamics", actions=actions[-1], **now).video[1:])
    assert np.array_equal(film.video, np.concatenate(pictures))
    assert np.allclose(film.actions, np.concatenate(actions), atol=1e-5)
    assert np.array_equal(film.sound, sound[:, : round(1.3 * 48_000)])


def test_a_policy_that_is_told_that_there_is_no_sound_is_told_none(hearer, checkpoint):
    plan = {"prompt": "Lift the red cube.", "image": PICTURE, "embodiment": "tabletop", "outputs": ("actions",)}
    none, silent = (hearer.imagine("policy", **plan, **said) for said in ({}, {"sound": False}))
    assert np.array_equal(none.actions, silent.actions) and check_request("policy", plan, checkpoint).walk == "policy"
    with pytest.raises(RequestError, match="latents for sound have no use in policy"):
        check_request("policy", {**plan, "latents": {"sound": np.zeros((64, 43))}}, checkpoint)


def test_a_mode_takes_a_sound_and_a_state_where_these_are_learnt(hearer, checkpoint):
    parts, policy = hearer.parts, MODES["policy"]
    assert takes_of(policy, parts.folder, parts.defaults, parts.adapters) == ["steady", "sound"]
    assert takes_of(policy, checkpoint, Defaults.load(checkpoint), {}) == ["steady"]


def test_who_plans_without_hearing_does_not_act_out_a_sound(checkpoint, tmp_path):
    """A plan that is deaf would make a film that is: then the film walks by itself, or it is said."""
    deaf = tmp_path / "deaf"
    shutil.copytree(checkpoint, deaf)
    told = json.loads((deaf / "defaults.json").read_text()) | {"acting": ACTS, "size": [64, 64]}
    (deaf / "defaults.json").write_text(json.dumps(told))
    assert check_request("sound-to-video", {**DEED, "sound": knock(0.4)}, deaf).acted is None
    with pytest.raises(RequestError, match=r"acting='tabletop' cannot be here: .* learnt policy-by-sound"):
        check_request("sound-to-video", {**DEED, "sound": knock(0.4), "acting": "tabletop"}, deaf)


def test_what_wears_an_adapter_for_it_has_learnt_it(checkpoint, tmp_path):
    told = {"modes": ["sound-to-video", BY_SOUND], "steps": {"sound-to-video": 3}, "guidance": 1.0}
    folder = tmp_path / "wearing"
    shutil.copytree(checkpoint, folder)
    adapter_at(folder / "adapters/by-ear", told)
    omni = armillary.load(folder, dtype="float32")
    assert "sound-to-video" in modes_of(folder, Defaults.load(folder), adapters_of(folder))
    assert "sound-to-video" not in modes_of(checkpoint, Defaults.load(checkpoint), adapters_of(checkpoint))
    film = {**SMALL, "steps": None, "sound": knock(0.2, 0.5)}
    request = check_request("sound-to-video", film, folder)
    assert request.record["adapter"] == "by-ear" and (request.record["steps"], request.guidance) == (3, 1.0)
    plan = {"prompt": "x", "image": PICTURE, "embodiment": "tabletop", "sound": knock(0.3)}
    assert check_request("policy", plan, folder).record["adapter"] == "by-ear"
    assert check_request("policy", plan, folder).record["steps"] == 10  # of which the adapter says nothing
    assert check_request("policy", {**plan, "sound": None}, folder).adapter is None
    omni.imagine("sound-to-video", **film)  # and nobody warns
    with pytest.warns(UntrainedWarning, match="learnt policy-by-sound"):
        armillary.load(checkpoint).imagine("policy", **plan)


def test_an_adapter_that_says_steps_of_other_modes_than_its_own_is_refused(tmp_path):
    folder = adapter_at(tmp_path / "odd", {"modes": [BY_SOUND], "steps": {"policy": 2}})
    with pytest.raises(CheckpointError, match="of each that is named"):
        Adapter.of(folder)


def test_sound_comes_from_any_file_that_can_be_heard(tmp_path):
    tone = 0.5 * np.sin(np.arange(22_050) / 44_100 * 880 * np.pi)[None].astype(np.float32)
    write_wav(tmp_path / "mono.wav", tone, 44_100)
    heard = read_track(tmp_path / "mono.wav")
    assert heard.dtype == np.float32 and abs(heard.shape[1] - 24_000) <= 2 and np.array_equal(heard[0], heard[1])
    assert 0.45 < np.abs(heard).max() < 0.55
    write_video(tmp_path / "film.mp4", np.zeros((5, 64, 64, 3), np.uint8), 10.0, knock(0.2, 0.5))
    track = read_track(tmp_path / "film.mp4")
    assert abs(np.argmax(np.abs(track[0]) > 0.1) - 9600) < 480
    write_video(tmp_path / "mute.mp4", np.zeros((5, 64, 64, 3), np.uint8), 10.0)
    (tmp_path / "words.wav").write_text("no sound")
    with pytest.raises(DataError, match="no sound track"):
        read_track(tmp_path / "mute.mp4")
    with pytest.raises(DataError, match="cannot be read as sound"):
        read_track(tmp_path / "words.wav")
    with pytest.raises(DataError, match=r"lasts longer than 0\.1 s"):
        read_track(tmp_path / "mono.wav", longest=0.1)


WRONG = [
    ({"sound": True}, "says nothing here, where it is given"),
    ({"sound": "gone.wav"}, "no file 'gone.wav'"),
    ({"sound": np.zeros((2, 0), np.float32)}, "no samples"),
    ({"sound": np.full((2, 48_000), np.nan, np.float32)}, "not finite"),
    ({"sound": np.zeros(48_000, np.float32)}, "floats 2 s at 48 kHz"),
    ({"sound": np.zeros((2, 48_000), np.int16)}, "int16"),
    ({"sound": {"url": 1}}, "give a path"),
    ({"sound": knock(0.1, 0.3)}, "lasts 0.30 s, no 5 frames at 10 a second"),
    ({"sound": knock(0.2, 0.9), "frames": 13}, "lasts for 9 at 10 a second"),
    ({"sound": np.zeros((2, 601 * 48_000), np.float32)}, "at most 600 s"),
    ({"sound": np.zeros((2, 60 * 48_000), np.float32), "fps": 100.0}, "5997 frames at 100 a second: films have"),
    ({}, "lacks sound"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), WRONG, ids=[words[:20] for _, words in WRONG])
def test_a_sound_that_cannot_be_heard_is_refused_before_anything_loads(checkpoint, given, words):
    omni = armillary.load(checkpoint, dtype="float32")
    with pytest.raises(RequestError, match=words) as refusal:
        omni.imagine("sound-to-video", **SMALL, **given)
    assert "\n" not in str(refusal.value) and omni.parts.loaded == ()


def test_the_pieces_of_a_sound_are_those_of_its_frames():
    sound = np.arange(2 * 81_600, dtype=np.float32).reshape(2, -1)
    assert frames_heard(sound, 10.0) == 17 and frames_heard(sound[:, :-2], 10.0) == 13
    assert all(frames_heard(np.zeros((2, samples_of(17, fps))), fps) == 17 for fps in (7.0, 9.7, 12.5, 23.976, 30.0))
    assert np.array_equal(heard_in(sound, 8, 9, 10.0), sound[:, 38_400:])
    late = heard_in(sound, 8, 17, 10.0)
    assert late.shape == (2, 81_600) and not late[:, 43_200:].any()


def test_who_only_has_the_way_back_to_waves_hears_nothing(checkpoint, tmp_path):
    """Published sound tokenizers may hold their decoder alone: such a one makes sound, and takes none."""
    folder = tmp_path / "deaf"
    shutil.copytree(checkpoint, folder)
    vae = SoundVAE(replace(SMALL_SOUND, encoder_enabled=False))
    vae.save(folder / "sound_tokenizer")
    assert makes_sound(folder) and not hears_sound(folder) and hears_sound(checkpoint)
    with pytest.raises(RequestError, match="no sound_tokenizer with a way in: take one"):
        check_request("sound-to-video", {**SMALL, "sound": knock(0.4)}, folder)
    plan = {"prompt": "x", "image": PICTURE, "embodiment": "tabletop", "sound": knock(0.3)}
    with pytest.raises(RequestError, match="with a way in: leave sound out"):
        check_request("policy", plan, folder)
