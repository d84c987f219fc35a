"""Laws of the sound tokenizer's training: it learns, quiet is silence, it resumes exactly, latents can be kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import SMALL_SOUND

from armillary.datasets.sounds import load_sound
from armillary.errors import ConfigError, DataError
from armillary.tokenizers.sound import SoundVAE
from armillary.training.sound import QUIET, SoundRun, Sounds, SoundTrainer, at_peak, si_sdr, spectrum, train_sound

SMALL = replace(SMALL_SOUND, encoder_enabled=True, enc_dim=2, enc_num_blocks=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six sounds of 0.3 s, a ring each, of which one is held out."""
    folder = tmp_path_factory.mktemp("sounds")
    clock = np.arange(14_400) / 48_000
    for seed in range(6, 12):
        ring = 0.3 * np.exp(-20 * clock) * np.sin(2 * np.pi * 100 * seed * clock)
        np.save(folder / f"bell_{seed:06d}.npy", np.round(np.stack([ring, ring / 2]) * 32767).astype(np.int16))
    return folder


def run(data, out, steps, **changed):
    return SoundRun(
        data=data, out=out, steps=steps, model=SMALL, batch=1, crop=3, warmup_steps=2, report_steps=5, **changed
    )


def test_what_is_quiet_is_silence_and_all_else_is_at_its_peak():
    sound = np.ones((2, 10), np.float32)
    assert not at_peak(sound * QUIET * 0.9).any()
    assert at_peak(sound * QUIET * 2).max() == pytest.approx(0.95) == at_peak(sound * 7).max()


def test_spectra_show_a_sines_amplitude_and_distortion_ignores_loudness():
    sine = torch.sin(torch.arange(9600) * (2 * np.pi * 1500 / 48_000))[None, None].repeat(1, 2, 1)
    shown = spectrum(sine, 512, 128)[0]
    assert shown.amax(dim=0)[10:-10].mean() == pytest.approx(1.0, abs=0.02)
    assert int(shown[:, 30].argmax()) == 1500 * 512 // 48_000
    assert si_sdr(0.1 * sine, sine) > 60 and si_sdr(sine.roll(8, -1), sine) < 0


def test_lives_are_held_out_by_their_seed_and_worlds_drawn_by_their_share(data, tmp_path):
    sounds = Sounds(data, {})
    assert [path.stem for path in sounds.held] == ["bell_000010"] and len(sounds.known) == 5
    one, two, other = (sounds.draw(run(data, tmp_path, 1), (0, step)) for step in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other) and one.shape == (1, 2, 3 * 1920)
    with pytest.raises(DataError, match=r"holds no sounds"):
        Sounds(tmp_path, {})
    (tmp_path / "x_000000.npy").write_bytes(b"?")
    with pytest.raises(DataError, match=r"is no kept sound"):
        load_sound(tmp_path / "x_000000.npy")


def test_it_learns_to_give_back_what_it_hears(data, tmp_path):
    larger = replace(SMALL, dec_dim=2, enc_dim=4)
    trainer = SoundTrainer(replace(run(data, tmp_path, 40), model=larger, learning_rate=2e-2))
    sound = Sounds(data, {}).draw(trainer.run, (0, 0))
    losses = [float(trainer.learn(sound)["loss"]) for _ in range(40)]
    assert max(losses[-5:]) < 0.98 * losses[0] < 0.98 * max(losses[1:10])  # after finding its feet


def test_a_run_that_was_cut_off_ends_with_the_same_bits(data, tmp_path):
    figures = train_sound(run(data, tmp_path / "whole", 8), lambda line: None)
    assert set(figures) == {"held_sisdr", "held_lsd", "latent_size", "held_sounds"}
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train_sound(run(data, cut, 8, checkpoint_seconds=0.0), stopping_at("step 4 "))
    train_sound(run(data, cut, 8), lambda line: None)
    rows = [json.loads(line) for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 8 and rows[-1]["held_sounds"] == 1
    one, two = (load_file(folder / "state.safetensors") for folder in (tmp_path / "whole", cut))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def stopping_at(step):
    """Hears the lines of a run and ends it at that step, right after it kept its state."""

    def heard(line):
        if line.startswith(step):
            raise KeyboardInterrupt

    return heard


def test_the_decoder_alone_goes_on_and_the_latents_stay(data, tmp_path):
    train_sound(run(data, tmp_path / "first", 2), lambda line: None)
    origin = tmp_path / "first/sound_tokenizer"
    train_sound(run(data, tmp_path / "more", 3, origin=origin, decoder_only=True), lambda line: None)
    before, after = SoundVAE.load(origin), SoundVAE.load(tmp_path / "more/sound_tokenizer")
    sound = torch.randn(1, 2, 3840)
    assert torch.equal(before.encode(sound), after.encode(sound))
    assert not torch.equal(before.decode(before.encode(sound)), after.decode(after.encode(sound)))
    with pytest.raises(ConfigError, match=r"say its origin"):
        run(data, tmp_path, 1, decoder_only=True)
    with pytest.raises(ConfigError, match=r"of other sizes"):
        train_sound(SoundRun(data=data, out=tmp_path / "other", steps=1, origin=origin), lambda line: None)
