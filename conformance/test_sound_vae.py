"""The sound tokenizer against Diffusers' Cosmos3AVAEAudioTokenizer: same names, same numbers, same files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.tokenizers.sound import SoundVAE, SoundVAEConfig

diffusers = pytest.importorskip("diffusers")

SMALL = SoundVAEConfig(
    vocoder_input_dim=6, dec_dim=4, dec_c_mults=(1, 2, 2), dec_strides=(2, 4, 5), enc_dim=8, enc_num_blocks=1,
    enc_n_fft=8, enc_hop_length=2, enc_latent_dim=12, enc_c_mults=(1, 2), enc_strides=(4, 5),
)  # fmt: skip


def random_pair(config: SoundVAEConfig) -> tuple[SoundVAE, Any]:
    """Our tokenizer and Diffusers' with the same random weights."""
    torch.manual_seed(0)
    ours = SoundVAE(config).eval()
    state = {name: part + 0.1 * torch.randn_like(part) for name, part in ours.state_dict().items()}
    ours.load_state_dict(state)
    theirs = diffusers.Cosmos3AVAEAudioTokenizer(
        **{name: value for name, value in config.to_dict().items() if not name.startswith("_")}
    ).eval()
    theirs.load_state_dict(state, strict=True)
    return ours, theirs


def test_the_published_size_holds_the_tensors_of_diffusers() -> None:
    with torch.device("meta"):
        ours, theirs = SoundVAE(SoundVAEConfig()), diffusers.Cosmos3AVAEAudioTokenizer()
    shapes = {name: part.shape for name, part in ours.state_dict().items()}
    assert shapes == {name: part.shape for name, part in theirs.state_dict().items()}
    assert ours.config.hop == 1920 and ours.latents_for(48_001) == 26


@pytest.mark.parametrize("samples", [1, 40, 161, 800])
@torch.no_grad()
def test_sounds_go_in_and_come_out_as_in_diffusers(samples: int) -> None:
    ours, theirs = random_pair(SMALL)
    sound = torch.randn(1, 2, samples).clamp(-1, 1)
    posterior = theirs.encode(sound).latent_dist
    mean, deviation = ours.moments(sound)
    torch.testing.assert_close(mean, posterior.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(deviation, posterior.std, atol=1e-5, rtol=1e-5)
    assert mean.shape[-1] == ours.latents_for(samples)
    latents = torch.randn(2, 6, 5)
    decoded = theirs.decode(latents)
    assert 0.01 < float(decoded.abs().mean()) < 1
    torch.testing.assert_close(ours.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def test_a_sound_means_the_same_in_company_as_alone() -> None:
    ours, _ = random_pair(SMALL)
    sounds = torch.stack([torch.randn(2, 200), 0.01 * torch.randn(2, 200)])
    torch.testing.assert_close(ours.encode(sounds)[1:], ours.encode(sounds[1:]), atol=1e-5, rtol=1e-5)


def test_folders_open_both_ways_with_and_without_the_encoder(tmp_path: Path) -> None:
    ours, theirs = random_pair(SMALL)
    ours.save(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    opened = diffusers.Cosmos3AVAEAudioTokenizer.from_pretrained(tmp_path / "ours").eval()
    again = SoundVAE.load(tmp_path / "theirs")
    assert again.config == SMALL
    sound = torch.randn(1, 2, 120).clamp(-1, 1)
    with torch.no_grad():
        torch.testing.assert_close(again.encode(sound), opened.encode(sound).latent_dist.mean, atol=1e-5, rtol=1e-5)
    theirs._disable_encoder()
    theirs.save_pretrained(tmp_path / "half")
    half = SoundVAE.load(tmp_path / "half")
    assert half.encoder is None
    latents = torch.randn(1, 6, 3)
    torch.testing.assert_close(half.decode(latents), ours.decode(latents))
