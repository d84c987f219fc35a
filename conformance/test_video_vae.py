"""The video tokenizer against Diffusers' AutoencoderKLWan: same names, same numbers, same files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.tokenizers.published import WAN22
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

diffusers = pytest.importorskip("diffusers")

SIZES = {
    "pico, attention silent": (VideoVAEConfig(base_dim=8, decoder_base_dim=8), False),
    "two blocks, unequal widths, attention loud": (
        VideoVAEConfig(base_dim=4, decoder_base_dim=8, num_res_blocks=2, latents_mean=(0.2,) * 48), True,
    ),
}  # fmt: skip


def random_pair(config: VideoVAEConfig, *, attention: bool) -> tuple[VideoVAE, Any]:
    """Our tokenizer and Diffusers' with the same random weights."""
    torch.manual_seed(0)
    ours = VideoVAE(config)
    state = ours.state_dict()
    for name, part in state.items():
        silent = not attention and ".proj." in name
        state[name] = torch.zeros_like(part) if silent else part + 0.1 * torch.randn_like(part)
    ours.load_state_dict(state)
    values = {key: value for key, value in config.to_dict().items() if key != "_class_name"}
    theirs = diffusers.AutoencoderKLWan(**values).eval()
    theirs.load_state_dict(state, strict=True)
    return ours.eval(), theirs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("t", [1, 5, 17])
@torch.no_grad()
def test_one_pass_over_the_clip_equals_the_reference_chunk_by_chunk(size: str, t: int) -> None:
    config, attention = SIZES[size]
    ours, theirs = random_pair(config, attention=attention)
    video = torch.rand(2, 3, t, 32, 48) * 2 - 1
    mean, log_variance = ours.moments(video)
    posterior = theirs.encode(video).latent_dist
    torch.testing.assert_close(mean, posterior.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_variance.clamp(-30, 20), posterior.logvar, atol=1e-5, rtol=1e-5)
    latents = torch.randn(2, 48, 1 + (t - 1) // 4, 2, 3)
    mean, inverse = ours.statistics()
    decoded = theirs.decode(latents / inverse + mean).sample
    assert decoded.std() > 0.05
    torch.testing.assert_close(ours.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def test_the_published_size_holds_the_tensors_of_diffusers() -> None:
    with torch.device("meta"):
        ours = VideoVAE(WAN22)
        values = {key: value for key, value in WAN22.to_dict().items() if key != "_class_name"}
        theirs = diffusers.AutoencoderKLWan(**values)
    shapes = {name: part.shape for name, part in ours.state_dict().items()}
    assert shapes == {name: part.shape for name, part in theirs.state_dict().items()}
    assert sum(part.numel() for part in ours.parameters()) == 704_688_668


def test_folders_open_both_ways(tmp_path: Path) -> None:
    config, attention = SIZES["two blocks, unequal widths, attention loud"]
    ours, theirs = random_pair(config, attention=attention)
    ours.save(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    video = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    opened = diffusers.AutoencoderKLWan.from_pretrained(tmp_path / "ours")
    assert opened.config.latents_mean == list(config.latents_mean)
    with torch.no_grad():
        torch.testing.assert_close(opened.encode(video).latent_dist.mean, theirs.encode(video).latent_dist.mean)
    again = VideoVAE.load(tmp_path / "theirs")
    assert again.config == config
    torch.testing.assert_close(again.encode(video), ours.encode(video))
