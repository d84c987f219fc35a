"""The video tokenizer: clips become small grids of 48 numbers, and come back.

    b 3 t h w in [-1, 1]   --encode-->   b 48 T h/16 w/16   --decode-->   b 3 t h w in [-1, 1]

Frames come as t = 4k+1, latents as T = k+1: the first frame stands alone, every latent frame after it holds
four. Latents are normalised by ``latents_mean`` and ``latents_std``. Nothing looks ahead in time, so the
latents of a clip's beginning are the beginning of its latents (``encode_prefix``).

Layout, tensor names and ``config.json`` are those of Diffusers' ``AutoencoderKLWan`` in its Wan2.2 form
(specification 6.1), so that weights load both ways. Blocks: ``wan_blocks.py``. Training: ``training/vae.py``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import CheckpointError, ConfigError, RequestError
from armillary.tokenizers.folders import fingerprint, read_codec, write_codec
from armillary.tokenizers.wan_blocks import CausalConv3d, Decoder, Encoder, FrameAttention

SPACE, TIME = 16, 4  # pixels a latent cell has on each side, frames a latent frame holds
TIER = 256  # the side of the square canvas on which small clips with actions are encoded
_CANVASES = {  # height and width of the canvases of each tier (specification 9.5)
    256: ((256, 256), (256, 320), (320, 256), (192, 320), (320, 192)),
    480: ((640, 640), (544, 736), (736, 544), (480, 832), (832, 480)),
    704: ((960, 960), (832, 1088), (1088, 832), (704, 1280), (1280, 704)),
    720: ((960, 960), (832, 1104), (1104, 832), (720, 1280), (1280, 720)),
}
MARGIN = 64  # pixels of canvas beyond which nothing reaches a clip's own latents
_LAST = torch.channels_last_3d
_FIRST_LOG_VARIANCE = -8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoVAEConfig:
    """The size of the video tokenizer. Field names are those of Diffusers' configuration."""

    base_dim: int = 16
    decoder_base_dim: int = 16
    z_dim: int = 48
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 1
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    latents_mean: tuple[float, ...] = (0.0,) * 48
    latents_std: tuple[float, ...] = (1.0,) * 48

    def __post_init__(self) -> None:
        if len(self.latents_mean) != self.z_dim or len(self.latents_std) != self.z_dim:
            raise ConfigError(
                f"{len(self.latents_mean)} means and {len(self.latents_std)} deviations came for {self.z_dim} latent "
                f"channels: give one of each a channel."
            )
        if len(self.temperal_downsample) != len(self.dim_mult) - 1 or sum(self.temperal_downsample) != 2:
            raise ConfigError(
                f"temperal_downsample {self.temperal_downsample} does not fit dim_mult {self.dim_mult}: it must have "
                f"one entry less, and exactly two of them true, because a latent frame holds four frames."
            )

    def to_dict(self) -> dict[str, Any]:
        """What ``config.json`` holds, as Diffusers reads it."""
        own = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return own | {
            "_class_name": "AutoencoderKLWan",
            "attn_scales": [],
            "dropout": 0.0,
            "in_channels": 12,
            "out_channels": 12,
            "is_residual": True,
            "patch_size": 2,
            "scale_factor_spatial": SPACE,
            "scale_factor_temporal": TIME,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VideoVAEConfig":
        """The reverse; ``CheckpointError`` if it describes another layout."""
        if not values.get("is_residual") or values.get("patch_size") != 2:
            raise CheckpointError(
                "the VAE's config.json describes another layout: is_residual must be true and patch_size 2 (Wan2.2). "
                "Give a checkpoint with a Wan2.2 VAE."
            )
        names = {field.name for field in fields(cls)}
        own: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if n in names}
        if own.get("decoder_base_dim") is None:
            own["decoder_base_dim"] = own["base_dim"]
        return cls(**own)


class VideoVAE(nn.Module):
    """Clips to latents and back. ``encode`` and ``decode`` work without gradients; training uses ``moments``."""

    def __init__(self, config: VideoVAEConfig) -> None:
        super().__init__()
        self.config = config
        z, blocks, down = config.z_dim, config.num_res_blocks, config.temperal_downsample
        self.encoder = Encoder(tuple(config.base_dim * m for m in config.dim_mult), 2 * z, blocks, down)
        self.quant_conv = CausalConv3d(2 * z, 2 * z, 1)
        self.post_quant_conv = CausalConv3d(z, z, 1)
        widths = tuple(config.decoder_base_dim * m for m in config.dim_mult)
        self.decoder = Decoder(widths, z, blocks, down[::-1])
        with torch.no_grad():  # latents start almost without noise: with deviation one they would drown in it
            self.quant_conv.weight[z:].zero_()
            if self.quant_conv.bias is not None:
                self.quant_conv.bias[z:] = _FIRST_LOG_VARIANCE
        _channels_last(self)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.quant_conv.weight.dtype

    @property
    def sees_whole_frames(self) -> bool:
        """Whether a latent may depend on pixels far from it: so it is where an attention's projection is not zero."""
        return any(part.active for part in self.modules() if isinstance(part, FrameAttention))

    @property
    def latents_sha256(self) -> str:
        """One hash over what latents depend on: the way in and how they are normalised. Who decodes them may change."""
        way_in = ("encoder.", "quant_conv.")
        parts = {name: part for name, part in self.state_dict().items() if name.startswith(way_in)}
        settings = asdict(self.config)
        for name in ("latents_mean", "latents_std"):
            parts[name] = torch.tensor(settings.pop(name))
        del settings["decoder_base_dim"]
        return fingerprint(settings, parts)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and inverse deviation of the latents, 1 z 1 1 1, in the type of the weights (specification 6.1)."""
        like = self.quant_conv.weight
        mean, std = (
            torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1, 1)
            for values in (self.config.latents_mean, self.config.latents_std)
        )
        return mean, 1.0 / std

    def unnormalised(self, latents: Float[Tensor, "b z n h w"]) -> Float[Tensor, "b z n h w"]:
        """Latents as ``render`` takes them, in the type of the weights, of normalised ones."""
        mean, inverse = self.statistics()
        return latents.to(self.dtype) / inverse + mean

    def moments(self, video: Float[Tensor, "b 3 t h w"]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents before normalisation, each b z T h/16 w/16, with gradients."""
        return self.quant_conv(self.encoder(_to_patches(video))).chunk(2, dim=1)

    def render(self, latents: Float[Tensor, "b z n h w"]) -> Float[Tensor, "b 3 t H W"]:
        """Pixels of latents before normalisation, not clamped, with gradients."""
        return _from_patches(self.decoder(self.post_quant_conv(latents.contiguous(memory_format=_LAST))))

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b z n y x"]:
        """Normalised latents of a clip, float32: the posterior's mean, no sampling.

        ``video`` lies in [-1, 1]; t must be 4k+1, h and w multiples of 16, else ``RequestError``.
        """
        t, h, w = video.shape[2:]
        if t % TIME != 1 or h % SPACE or w % SPACE:
            raise RequestError(
                f"a clip of {t} frames of {h}x{w} pixels cannot be encoded: frames must count 4k+1 and both sides be "
                f"multiples of {SPACE}. Cut or repeat frames, resize or pad pictures."
            )
        mean, inverse = self.statistics()
        return ((self.moments(video.to(self.dtype))[0] - mean) * inverse).float()

    def encode_prefix(self, video: Float[Tensor, "b 3 t h w"], latent_frames: int) -> Float[Tensor, "b z n y x"]:
        """The first ``latent_frames`` latent frames of a clip, looking at no more frames than they hold.

        ``RequestError`` if the clip is shorter than the 4k+1 frames needed.
        """
        needed = 1 + TIME * (latent_frames - 1)
        if latent_frames < 1 or video.shape[2] < needed:
            raise RequestError(
                f"{latent_frames} latent frames were asked of {video.shape[2]} frames: they need {needed}, at least "
                f"one. Give more frames or ask for fewer."
            )
        return self.encode(video[:, :, :needed])

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b z n y x"]) -> Float[Tensor, "b 3 t h w"]:
        """Pixels in [-1, 1] of normalised latents, float32."""
        return self.render(self.unnormalised(latents)).float().clamp(-1.0, 1.0)

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and the weights as Diffusers lays them out."""
        write_codec(folder, self, self.config.to_dict(), self.dtype if dtype is None else dtype)

    @classmethod
    def load(cls, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> "VideoVAE":
        """Read a folder that ``save`` or Diffusers wrote; ``CheckpointError`` if it is missing or broken."""
        vae = read_codec(folder, "video tokenizer", lambda values, _: cls(VideoVAEConfig.from_dict(values)), dtype)
        return _channels_last(vae)


def fit_latent_statistics(vae: VideoVAE, videos: Iterable[Tensor]) -> VideoVAEConfig:
    """The configuration of ``vae`` with ``latents_mean`` and ``latents_std`` of clips, each b 3 t h w in [-1, 1].

    Deviations have a floor of 1e-4, so that a channel that never moves does not become noise. ``RequestError``
    without clips.
    """
    total, squares, count = torch.zeros(vae.config.z_dim).double(), torch.zeros(vae.config.z_dim).double(), 0
    with torch.no_grad():
        for video in videos:
            latents = vae.moments(video.to(vae.dtype))[0].double().cpu().transpose(0, 1).flatten(1)
            total, squares, count = total + latents.sum(1), squares + latents.square().sum(1), count + latents.shape[1]
    if not count:
        raise RequestError("no clips came to fit the latents' statistics on: give at least one.")
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(1e-8).sqrt()
    return replace(vae.config, latents_mean=tuple(mean.tolist()), latents_std=tuple(std.tolist()))


def canvas_for(height: int, width: int) -> tuple[int, int]:
    """Height and width of the canvas on which a clip of that size is encoded where there are actions.

    Of the smallest tier that holds it, the canvas of the nearest shape. ``RequestError`` if none holds it.
    """
    for canvases in _CANVASES.values():
        tall, wide = min(canvases, key=lambda one: abs(one[0] / one[1] - height / width))
        if height <= tall and width <= wide:
            return tall, wide
    raise RequestError(
        f"size={height}x{width} does not fit the {tall}x{wide} canvas, the largest of its shape: scale it down."
    )


def on_canvas(video: Float[Tensor, "b 3 t h w"]) -> tuple[Float[Tensor, "b 3 t H W"], tuple[int, int]]:
    """A clip on the canvas of its tier, and the height and width of its own part of the latents.

    Pads right and bottom by reflection, by repeating the edge where the pad reaches the content's size
    (specification 9.7). ``RequestError`` if no canvas holds the clip.
    """
    h, w = video.shape[-2:]
    tall, wide = canvas_for(h, w)
    crop = (max(1, h // SPACE), max(1, w // SPACE))
    down, right = tall - h, wide - w
    if not down and not right:
        return video, crop
    frames = video.transpose(1, 2).flatten(0, 1)
    frames = functional.pad(frames, (0, right, 0, down), mode="reflect" if down < h and right < w else "replicate")
    return frames.unflatten(0, (video.shape[0], -1)).transpose(1, 2), crop


def near_canvas(video: Float[Tensor, "b 3 t h w"], margin: int = MARGIN) -> Float[Tensor, "b 3 t H W"]:
    """The part of the canvas that reaches a clip's own latents where frame attention is silent: for training's speed.

    With the bundled tokenizer the latents differ by 1e-4 of a deviation, less than by bfloat16 (7e-3).
    ``RequestError`` if no canvas holds the clip.
    """
    h, w = video.shape[-2:]
    return on_canvas(video)[0][..., : h + margin, : w + margin]


def _channels_last(vae: VideoVAE) -> VideoVAE:
    """Lay the kernels out as the CPU's convolutions like them best."""
    for part in vae.parameters():
        if part.ndim == 5:
            part.data = part.data.contiguous(memory_format=_LAST)
    return vae


def _to_patches(video: Tensor) -> Tensor:
    """b 3 t h w to b 12 t h/2 w/2; channel = colour * 4 + column * 2 + row."""
    b, c, t, h, w = video.shape
    cut = video.reshape(b, c, t, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 6, 4)  # b t h w c column row
    return cut.reshape(b, t, h // 2, w // 2, 4 * c).permute(0, 4, 1, 2, 3)


def _from_patches(patches: Tensor) -> Tensor:
    """The reverse."""
    b, c, t, h, w = patches.shape
    cut = patches.reshape(b, c // 4, 2, 2, t, h, w).permute(0, 1, 4, 5, 3, 6, 2)  # b c t h row w column
    return cut.reshape(b, c // 4, t, 2 * h, 2 * w)
