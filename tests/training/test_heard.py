"""Sound beside films in training: the same layout as in sampling, the right stretch of sound, nothing else changed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from exercises import Watched, windows
from safetensors.torch import save_file
from tiny import SMALL_SOUND, small_checkpoint, small_config, small_model

from armillary.datasets.raw import load_raw, simulate_raw
from armillary.datasets.sounds import life_sound, load_sound, simulate_sounds, sound_again
from armillary.errors import ConfigError, DataError
from armillary.model.weights import load_model
from armillary.sampling.abilities import makes_sound
from armillary.sampling.omni import load
from armillary.sampling.requests import check_request
from armillary.sampling.sounds import sound_part
from armillary.sampling.stretches import unfold
from armillary.tokenizers.sound import SoundVAE
from armillary.training.generator import GeneratorRun, train_generator
from armillary.training.heard import TO_FILM, Heard, HeardConfig, load_heard, make_sounds, sound_of, with_ears
from armillary.training.imagination import FlowConfig, FlowSource
from armillary.training.latents import window_starts
from armillary.training.loop import Stage

SMALL = replace(SMALL_SOUND, encoder_enabled=True, enc_dim=2, enc_num_blocks=1)
LATENTS = 43  # of 17 frames at 10 a second
PICTURE = np.full((64, 64, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    _, words = small_model(tmp_path_factory.mktemp("words"))
    torch.manual_seed(1)
    return Watched(small_config(words, sound=True)), words


@pytest.fixture(scope="module")
def sounding(tmp_path_factory):
    """A checkpoint that can be heard."""
    return small_checkpoint(tmp_path_factory.mktemp("sounding"), sound=True)


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return SoundVAE(SMALL).eval()


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """Two short lives at the table without their sound, and their sounds."""
    folder = tmp_path_factory.mktemp("raw")
    list(simulate_raw(folder, episodes=2, seed=2))
    list(simulate_sounds(folder / "sounds", world="tabletop", lives=2, seed=2))
    return folder


def heard(count, known=None):
    tokens = torch.randn(count, LATENTS, 64, generator=torch.Generator().manual_seed(5))
    known = np.ones(count, bool) if known is None else known
    return Heard(tokens=tokens, known=known, loud=np.arange(count) % 2 == 0, weight=torch.ones(count, LATENTS, 1))


def drawn(made, mode, **changed):
    config = FlowConfig(heard=HeardConfig(share=1.0, modes={mode: 1.0}, **changed))
    source = FlowSource(*made, windows(4), config, heard=heard(4))
    losses = source.losses(np.random.default_rng(3), 9)
    return {name: value.item() for name, value in losses.items()}, made[0].seen[1]


@pytest.mark.parametrize(("mode", "brought", "known"), [
    ("text-to-video", {}, 0), ("image-to-video", {"image": PICTURE}, 1),
    ("video-to-video", {"video": np.stack([PICTURE] * 5)}, 2),
])  # fmt: skip
def test_training_and_sampling_lay_out_equal_tokens(made, sounding, mode, brought, known):
    told, (pictures, sound) = drawn(made, mode)
    assert set(told) == {"loss", "sound"} and told["sound"] > 0
    request = check_request(
        mode, {"prompt": "an arm", "size": (64, 64), "fps": 10.0, **brought, "sound": True}, sounding
    )
    stretch = next(unfold(request))
    part, noise = sound_part(made[0].config, [stretch] * 6, stretch.layout.sound, torch.device("cpu"))
    assert (sound.modality, sound.tokens.shape) == (part.modality, noise.shape)
    assert torch.equal(sound.positions, part.positions) and part.hidden.all() and (sound.level > 0).all()
    given = (pictures.level.reshape(6, stretch.latent_frames, 4) == 0).all(dim=2)
    assert [frame for frame in range(5) if given[:, frame].all()] == list(stretch.given) == list(range(known))
    assert torch.equal(sound.level[:, 0], pictures.level[:, -1])  # film and sound are at one level


def test_the_sound_of_a_given_film_is_found_and_the_film_costs_nothing(made):
    told, (pictures, sound) = drawn(made, TO_FILM)
    assert set(told) == {"loss", "sound_to_film"}
    assert not pictures.level.any() and (sound.level > 0).all()
    assert told["loss"] == pytest.approx(HeardConfig().weight * told["sound_to_film"], rel=1e-5)


def test_only_known_sounds_are_drawn_and_where_something_rings_as_often_as_asked():
    rng, sounds = np.random.default_rng(0), heard(6, np.array([1, 1, 1, 1, 0, 0], bool))
    rows = [sounds.draw(rng, np.arange(6), 0.8) for _ in range(400)]
    assert set(rows) == {0, 1, 2, 3}
    assert 0.84 < np.mean([row in (0, 2) for row in rows]) < 0.96  # 0.8, and half of the rest


def test_a_model_gains_a_sound_port_and_is_otherwise_the_same_to_the_bit(tmp_path):
    deaf, _ = small_model(tmp_path)
    ears = with_ears(deaf)
    old, new = deaf.state_dict(), ears.state_dict()
    assert all(torch.equal(new[name], tensor) for name, tensor in old.items())
    gained = set(new) - set(old)
    assert {name.removeprefix("transformer.") for name in gained} == {
        "audio_proj_in.weight", "audio_proj_in.bias", "audio_proj_out.weight", "audio_proj_out.bias",
        "audio_modality_embed",
    }  # fmt: skip
    assert not new["transformer.audio_proj_in.bias"].any() and new["transformer.audio_proj_out.weight"].any()
    assert with_ears(ears) is ears


def test_unknown_exercises_and_a_missing_tokenizer_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be learnt as policy"):
        HeardConfig(modes={"policy": 1.0})
    stage = Stage(name="x", steps=1, batch=1, rate=1e-3)
    with pytest.raises(ConfigError, match=r"say sound_tokenizer"):
        GeneratorRun(origin=tmp_path, cache=tmp_path, vae=tmp_path, out=tmp_path, stage=stage, sounds=tmp_path)


def test_a_life_without_pictures_is_the_same_life(lives):
    for number in (2, 3):
        episode = load_raw(lives / f"episode_{number:06d}.npz")
        sound = sound_again(episode)
        assert sound.shape == (2, 4800 * len(episode.actions))
        np.testing.assert_allclose(load_sound(lives / f"sounds/tabletop_{number:06d}.npy"), sound, atol=2e-5)
    with pytest.raises(DataError, match=r"does not come out as it was recorded"):
        sound_again(replace(episode, actions=episode.actions + 1))
    with pytest.raises(DataError, match=r"nothing can be heard in spatial"):
        life_sound("spatial", 0)


def test_a_windows_sound_begins_with_its_frame_and_is_at_its_peak():
    sound = np.zeros((2, 4800 * 20), np.float32)
    sound[0, 4800 * 8] = 0.2  # as frame 8 is seen
    cut = sound_of(sound, [0, 4, 10], 10.0)
    assert cut.shape == (3, 2, 81_600)
    assert [int(np.abs(one).sum(axis=0).argmax()) for one in cut[:2]] == [4800 * 8, 4800 * 4]
    assert cut[0].max() == pytest.approx(0.95) and not cut[2].any()


def test_the_companion_finds_its_windows_whichever_cache_they_are_in(lives, codec, tmp_path):
    assert list(make_sounds(lives, codec, tmp_path / "heard", kept=lives / "sounds"))
    again = list(make_sounds(lives, codec, tmp_path / "again"))
    cache = tmp_path / "cache"
    cache.mkdir()
    taken = {}
    for number, name in enumerate(again):
        episode = load_raw(lives / f"{name}.npz")
        starts = window_starts(episode, offset=int(episode.recipe["detour"]) % 4)
        taken[name] = starts[number::2][:2]
        rows = [{"start": start} for start in taken[name]]
        save_file({"x": torch.zeros(1)}, cache / f"{name}.safetensors", metadata={"rows": json.dumps(rows)})
    one, two = (load_heard(tmp_path / name, cache) for name in ("heard", "again"))
    torch.testing.assert_close(one.tokens, two.tokens, atol=0.1, rtol=0.1)  # kept sounds are rounded
    assert one.known.all() and one.tokens.shape[1:] == (LATENTS, 64)
    row = 0
    for name, starts in taken.items():
        cut = sound_of(sound_again(load_raw(lives / f"{name}.npz")), starts, 10.0)
        wanted = codec.encode(torch.from_numpy(cut)).transpose(1, 2).bfloat16().float()
        torch.testing.assert_close(two.tokens[row : row + len(starts)], wanted, atol=1e-2, rtol=1e-2)
        assert two.loud[row : row + len(starts)].tolist() == [bool(x.any()) for x in cut]
        row += len(starts)
    (cache / "episode_000099.safetensors").write_bytes((cache / f"{name}.safetensors").read_bytes())
    assert not load_heard(tmp_path / "heard", cache).known[-1]
    with pytest.raises(DataError, match=r"holds the sound of no window"):
        load_heard(tmp_path / "nothing", cache)


def test_a_deaf_checkpoint_learns_to_sound_and_can_be_heard(codec, tmp_path):
    start = small_checkpoint(tmp_path / "start")
    codec.save(tmp_path / "codec")
    whole = windows(4)
    for folder in ("cache", "heard"):
        (tmp_path / folder).mkdir()
    rows = [{"task": whole.task[i], "caption": whole.caption[i], "placed": "", "fps": 10.0, "start": i, "domain": 6,
             "width": 10, "acts": True, "tells": True, "named": {}} for i in range(4)]  # fmt: skip
    tensors = {"video": torch.randn(4, 80, 192).bfloat16(), "actions": whole.actions, "things": torch.zeros(4, 80)}
    save_file(tensors, tmp_path / "cache/episode_000000.safetensors", metadata={"rows": json.dumps(rows)})
    note = {"starts": json.dumps([0, 1, 2]), "loud": json.dumps([True] * 3)}
    save_file({"sound": heard(3).tokens.bfloat16()}, tmp_path / "heard/episode_000000.safetensors", metadata=note)
    run = GeneratorRun(
        origin=start, cache=tmp_path / "cache", vae=start / "vae", out=tmp_path / "out", fresh=False,
        stage=Stage(name="films", steps=2, batch=4, rate=1e-3, log_every=1, bf16=False),
        flow=FlowConfig(heard=HeardConfig(share=1.0)), sounds=tmp_path / "heard", sound_tokenizer=tmp_path / "codec",
    )  # fmt: skip
    assert train_generator(run, lambda line: None)
    out = tmp_path / "out/checkpoint"
    assert makes_sound(out)
    before, after = (load_model(folder).state_dict() for folder in (start, out))
    reading = [name for name in before if "visual" in name or "embed_tokens" in name or "to_q" in name]
    assert all(torch.allclose(before[name].bfloat16().float(), after[name]) for name in reading)
    rollout = load(out).imagine("text-to-video", prompt="an arm", size=(64, 64), frames=5, steps=1, sound=True)
    assert rollout.sound.shape == (2, 24_000)
