"""Laws of the video tokenizer: its shapes, its causality, its locality, its files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import armillary
from armillary.errors import CheckpointError, ConfigError, RequestError
from armillary.tokenizers.video import (
    VideoVAE,
    VideoVAEConfig,
    canvas_for,
    fit_latent_statistics,
    near_canvas,
    on_canvas,
)
from armillary.tokenizers.wan_blocks import FrameAttention, Upsample, repeat_up

PICO = Path(armillary.__file__).parent / "checkpoints/pico"
SMALL = VideoVAEConfig(base_dim=4, decoder_base_dim=4, latents_mean=(0.1,) * 48, latents_std=(0.5,) * 48)


def lively(seed: int = 0, *, attention: bool = False) -> VideoVAE:
    """A small tokenizer in which no parameter is at its quiet start."""
    torch.manual_seed(seed)
    vae = VideoVAE(SMALL)
    state = vae.state_dict()
    for name, part in state.items():
        quiet = ".attentions." in name and ".proj." in name and not attention
        state[name] = torch.zeros_like(part) if quiet else part + 0.1 * torch.randn_like(part)
    vae.load_state_dict(state)
    return vae.eval()


def film(t: int, h: int = 32, w: int = 32, seed: int = 1) -> torch.Tensor:
    return torch.rand(1, 3, t, h, w, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(max_examples=8, deadline=None)
@given(blocks=st.integers(0, 3), rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_a_clip_comes_back_in_its_own_size(blocks: int, rows: int, columns: int) -> None:
    vae, video = lively(), film(1 + 4 * blocks, 16 * rows, 16 * columns)
    latents = vae.encode(video)
    again = vae.decode(latents)
    assert latents.shape == (1, 48, 1 + blocks, rows, columns)
    assert again.shape == video.shape
    assert again.abs().max() <= 1.0


def test_latents_never_look_ahead() -> None:
    vae, video = lively(), film(13)
    changed = video.clone()
    changed[:, :, 5:] = film(8, seed=2)
    one, two = vae.encode(video), vae.encode(changed)
    torch.testing.assert_close(one[:, :, :2], two[:, :, :2])
    assert (one[:, :, 2] - two[:, :, 2]).abs().max() > 1e-3


def test_decoded_frames_never_look_ahead() -> None:
    vae, latents = lively(), torch.randn(1, 48, 4, 2, 2)
    changed = latents.clone()
    changed[:, :, 2:] = torch.randn(1, 48, 2, 2, 2)
    one, two = vae.decode(latents), vae.decode(changed)
    torch.testing.assert_close(one[:, :, :5], two[:, :, :5])
    assert (one[:, :, 5:] - two[:, :, 5:]).abs().max() > 1e-3


def test_a_prefix_is_the_beginning_of_the_whole() -> None:
    vae, video = lively(), film(13)
    torch.testing.assert_close(vae.encode_prefix(video, 2), vae.encode(video)[:, :, :2])
    with pytest.raises(RequestError, match="need 17"):
        vae.encode_prefix(video, 5)


def test_with_a_silent_attention_latents_depend_on_near_pixels_only() -> None:
    vae, wide = lively(), film(1, 16, 640)
    changed = wide.clone()
    changed[..., -16:] = 0.0
    torch.testing.assert_close(vae.encode(wide)[..., :8], vae.encode(changed)[..., :8])
    loud = lively(attention=True)
    assert (loud.encode(wide)[..., :8] - loud.encode(changed)[..., :8]).abs().max() > 1e-6


def test_loading_weights_decides_whether_attention_is_computed() -> None:
    assert [m.active for m in lively().modules() if isinstance(m, FrameAttention)] == [False, False]
    assert [m.active for m in lively(attention=True).modules() if isinstance(m, FrameAttention)] == [True, True]


def test_gradients_of_the_norm_are_those_of_its_formula() -> None:
    norm = lively().double().encoder.norm_out
    x = torch.randn(2, 16, 2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(norm.silu, (x,))
    torch.testing.assert_close(norm.silu(x), torch.nn.functional.silu(norm(x)))


def test_gradients_of_the_ways_up_are_those_of_their_formulas() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 3, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(Upsample(4, time=True).double(), (x,))
    assert torch.autograd.gradcheck(lambda y: repeat_up(y, 2, 2, 2), (x,))


def test_the_bundled_tokenizer_sees_no_further_than_the_near_canvas() -> None:
    vae, clip = VideoVAE.load(PICO / "vae", dtype=torch.float32), film(5, 128, 128)
    near, whole = (vae.encode(canvas)[..., :8, :8] for canvas in (near_canvas(clip), on_canvas(clip)[0]))
    assert not vae.sees_whole_frames and lively(attention=True).sees_whole_frames
    assert (near - whole).abs().mean() < 0.01 < (vae.encode(clip) - whole).abs().mean()


def test_every_parameter_but_the_attention_learns() -> None:
    vae = lively()
    mean, log_variance = vae.moments(film(9))
    (vae.render(mean).square().mean() + log_variance.square().mean()).backward()
    still = {name for name, part in vae.named_parameters() if part.grad is None or not part.grad.any()}
    assert still == {name for name, _ in vae.named_parameters() if ".attentions." in name}


def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path) -> None:
    vae, video = lively(), film(5)
    vae.save(tmp_path)
    again = VideoVAE.load(tmp_path)
    assert again.config == vae.config
    torch.testing.assert_close(again.encode(video), vae.encode(video), rtol=0, atol=0)


def test_a_broken_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"must hold config\.json"):
        VideoVAE.load(tmp_path)
    vae = lively()
    vae.save(tmp_path)
    vae.config = replace(vae.config, base_dim=8)
    (tmp_path / "config.json").write_text(json.dumps(vae.config.to_dict()))
    with pytest.raises(CheckpointError, match="do not fit"):
        VideoVAE.load(tmp_path)


def test_fitted_statistics_make_latents_standard() -> None:
    vae, videos = lively(), [film(9, seed=seed) for seed in range(3)]
    vae.config = fit_latent_statistics(vae, videos)
    latents = torch.cat([vae.encode(video) for video in videos]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(latents.mean(1), torch.zeros(48), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(1, correction=0), torch.ones(48), atol=1e-2, rtol=0)
    with pytest.raises(RequestError, match="no clips"):
        fit_latent_statistics(vae, [])


def test_the_canvas_keeps_the_picture_and_fills_the_rest_from_it() -> None:
    picture = film(5, 48, 176)
    wide, crop = on_canvas(picture)
    assert wide.shape == (1, 3, 5, 192, 320)
    assert crop == (3, 11)
    torch.testing.assert_close(wide[..., :48, :176], picture)
    edge = on_canvas(film(1, 176, 176))[0]  # the pad is smaller than the picture: mirrored
    torch.testing.assert_close(edge[..., :176, 176], edge[..., :176, 174])
    torch.testing.assert_close(wide[..., 100, :176], picture[..., 47, :])  # it is not: the edge repeated
    assert [canvas_for(*size) for size in ((128, 128), (192, 320), (128, 96), (288, 256), (544, 736), (720, 1280))] == [
        (256, 256), (192, 320), (320, 256), (640, 640), (544, 736), (720, 1280)
    ]  # fmt: skip
    with pytest.raises(RequestError, match="scale it down"):
        on_canvas(film(1, 1296, 16))


@pytest.mark.parametrize(("t", "h"), [(4, 32), (5, 24)])
def test_a_clip_of_the_wrong_size_is_refused(t: int, h: int) -> None:
    with pytest.raises(RequestError, match="cannot be encoded"):
        lively().encode(film(t, h))


def test_a_configuration_that_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of each a channel"):
        VideoVAEConfig(latents_mean=(0.0,))
    with pytest.raises(ConfigError, match="exactly two"):
        VideoVAEConfig(temperal_downsample=(True, True, True))
