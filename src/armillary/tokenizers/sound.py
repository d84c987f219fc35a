"""The sound tokenizer: stereo waves become 25 latents a second of 64 numbers, and come back.

    b 2 s at 48 kHz, in [-1, 1]   --encode-->   b 64 ceil(s / 1920)   --decode-->   b 2 (1920 a latent)

Layout, tensor names and ``config.json`` are those of Diffusers' ``Cosmos3AVAEAudioTokenizer`` (specification 6.2):
a spectrogram and ConvNeXt blocks going in, Oobleck's transposed convolutions coming out, Snake between. Latents are
not normalised. Loudness is not kept: every sound is brought to a peak of 0.95 before it is encoded.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import CheckpointError, ConfigError, RequestError
from armillary.tokenizers.folders import fingerprint, read_codec, write_codec

SOUND_HZ = 48_000
QUIET = 1e-3  # of full scale: 60 dB below it; a sound without more is silence
_PEAK, _TINY = 0.95, 1e-5
_FIXED = {  # what the layout leaves no choice about, as Diffusers writes it
    "_class_name": "Cosmos3AVAEAudioTokenizer", "model_type": "autoencoder_v2", "sampling_rate": SOUND_HZ,
    "stereo": True, "dec_out_channels": 2, "input_channels": 1, "use_wav_as_input": True, "normalize_volume": True,
    "enc_type": "spec_convnext", "dec_type": "oobleck", "bottleneck_type": "vae", "activation": "snakebeta",
    "snake_logscale": True, "enc_use_snake": True, "dec_use_snake": True, "causal": False, "padding_mode": "zeros",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundVAEConfig:
    """The size of the sound tokenizer; the default is the published one. Field names are those of Diffusers.

    ``encoder_enabled``: False for a checkpoint that can only decode. Raises ``ConfigError`` if in and out do not
    fit together.
    """

    vocoder_input_dim: int = 64
    dec_dim: int = 320
    dec_c_mults: tuple[int, ...] = (1, 2, 4, 8, 16)
    dec_strides: tuple[int, ...] = (2, 4, 5, 6, 8)
    enc_dim: int = 192
    enc_num_blocks: int = 2
    enc_n_fft: int = 64
    enc_hop_length: int = 16
    enc_latent_dim: int = 128
    enc_c_mults: tuple[int, ...] = (1, 2, 4)
    enc_strides: tuple[int, ...] = (4, 5, 6)
    encoder_enabled: bool = True

    def __post_init__(self) -> None:
        if self.encoder_enabled and self.enc_hop_length * math.prod(self.enc_strides) != self.hop:
            raise ConfigError(
                f"enc_hop_length {self.enc_hop_length} times enc_strides {self.enc_strides} must make the same step as "
                f"dec_strides {self.dec_strides}, which is {self.hop}."
            )
        if self.enc_latent_dim != 2 * self.vocoder_input_dim:
            raise ConfigError(
                f"enc_latent_dim={self.enc_latent_dim} holds a mean and a deviation for each of "
                f"vocoder_input_dim={self.vocoder_input_dim} channels: it must be twice as many."
            )

    @property
    def hop(self) -> int:
        """How many samples of sound one latent holds."""
        return math.prod(self.dec_strides)

    def to_dict(self) -> dict[str, Any]:
        """What ``config.json`` holds, as Diffusers reads it."""
        own = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return own | _FIXED

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SoundVAEConfig":
        """The reverse; ``CheckpointError`` if it describes another layout."""
        other = {name: values[name] for name, want in _FIXED.items() if name in values and values[name] != want}
        if other:
            told = ", ".join(f"{name}={value!r}" for name, value in other.items())
            raise CheckpointError(f"the sound tokenizer's config.json describes another layout ({told}): give an AVAE.")
        names = {field.name for field in fields(cls)}
        own: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if n in names}
        return cls(**own)


def at_peak(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """A sound with its largest sample at 0.95; one that is nowhere louder than ``QUIET`` as zeros."""
    peak = float(np.abs(sound).max(initial=0.0))
    return sound * np.float32(_PEAK / peak) if peak > QUIET else np.zeros_like(sound)


class SoundVAE(nn.Module):
    """Sounds to latents and back. ``encode`` and ``decode`` work without gradients; training uses the halves."""

    def __init__(self, config: SoundVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SoundEncoder(config) if config.encoder_enabled else None
        self.decoder = SoundDecoder(config)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.decoder.conv1.weight_v.dtype

    @property
    def latents_sha256(self) -> str:
        """One hash over what latents depend on, the way in. Who decodes them may change."""
        own = {name: value for name, value in asdict(self.config).items() if name.startswith("enc_")}
        state = {name: part for name, part in self.state_dict().items() if name.startswith("encoder.")}
        return fingerprint(own, state)

    def latents_for(self, samples: int) -> int:
        """How many latents a sound of so many samples has."""
        return -(-samples // self.config.hop)

    def moments(self, sound: Float[Tensor, "b 2 s"]) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the latents, each b z n, with gradients; the sound at its peak, zeros at its end.

        Each sound is brought to its own peak, so that it means the same in company as alone.
        """
        if self.encoder is None:
            raise CheckpointError("this sound tokenizer holds only the way back, it cannot encode: load a whole one.")
        sound = sound / (sound.abs().amax(dim=(1, 2), keepdim=True) + _TINY) * _PEAK
        sound = functional.pad(sound, (0, -sound.shape[-1] % self.config.hop))
        mean, scale = self.encoder(sound.to(self.dtype)).chunk(2, dim=1)
        return mean, functional.softplus(scale) + 1e-4

    @torch.no_grad()
    def encode(self, sound: Float[Tensor, "b 2 s"]) -> Float[Tensor, "b z n"]:
        """Latents of a sound at 48 kHz, float32: the mean. ``RequestError`` for an empty one."""
        if sound.shape[-1] == 0:
            raise RequestError("a sound without samples cannot be encoded: give at least one.")
        return self.moments(sound)[0].float()

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b z n"]) -> Float[Tensor, "b 2 s"]:
        """Stereo at 48 kHz in [-1, 1], float32, ``config.hop`` samples a latent."""
        return self.decoder(latents.to(self.dtype)).float().clamp(-1.0, 1.0)

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and the weights as Diffusers lays them out."""
        write_codec(folder, self, self.config.to_dict(), self.dtype if dtype is None else dtype)

    @classmethod
    def load(cls, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> "SoundVAE":
        """Read a folder that ``save`` or Diffusers wrote, also one without its encoder; else ``CheckpointError``."""

        def make(values: dict[str, Any], names: Collection[str]) -> "SoundVAE":
            if not any(name.startswith("encoder.") for name in names):
                values["encoder_enabled"] = False
            return cls(SoundVAEConfig.from_dict(values))

        return read_codec(folder, "sound tokenizer", make, dtype)


class _Normed(nn.Module):
    """A weight stored as direction ``weight_v`` and length ``weight_g``, one length a first index."""

    def __init__(self, shape: tuple[int, int, int], bias: int) -> None:
        super().__init__()
        direction = torch.empty(shape)
        nn.init.kaiming_uniform_(direction, a=math.sqrt(5))
        self.weight_g = nn.Parameter(direction.flatten(1).norm(dim=1).view(-1, 1, 1))
        self.weight_v = nn.Parameter(direction)
        self.bias = nn.Parameter(torch.zeros(bias)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight itself."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0)


class NormedConv(_Normed):
    """A convolution over time with such a weight; ``bias`` False leaves that out."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, *, stride: int = 1, dilation: int = 1, bias: bool = True
    ) -> None:
        super().__init__((width_out, width_in, kernel), width_out if bias else 0)
        pad = math.ceil(stride / 2) if stride > 1 else (kernel - 1) * dilation // 2
        self.how = {"stride": stride, "padding": pad, "dilation": dilation}

    def forward(self, x: Tensor) -> Tensor:
        """b c n to b c' n'."""
        return functional.conv1d(x, self.weight, self.bias, **self.how)


class NormedUp(_Normed):
    """The transposed convolution that makes ``stride`` samples of one."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__((width_in, width_out, 2 * stride), width_out)
        self.how = {"stride": stride, "padding": math.ceil(stride / 2), "output_padding": stride % 2}

    def forward(self, x: Tensor) -> Tensor:
        """b c n to b c' n * stride."""
        return functional.conv_transpose1d(x, self.weight, self.bias, **self.how)


class Snake(nn.Module):
    """x + sin^2(e^alpha x) / e^beta, each channel with its own two numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1, width, 1))
        self.beta = nn.Parameter(torch.zeros(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """b c n to b c n."""
        return x + (self.beta.exp() + 1e-9).reciprocal() * torch.sin(self.alpha.exp() * x).square()


class _NextBlock(nn.Module):
    """ConvNeXt over time: each channel alone, then a norm, then all channels of one moment."""

    def __init__(self, width: int) -> None:
        super().__init__()
        alone = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.dwconv = nn.Sequential(nn.Identity(), alone)
        self.norm = nn.LayerNorm(width, eps=1e-5, bias=False)
        self.pwconv1 = nn.Conv1d(width, 4 * width, 1)
        self.act = Snake(4 * width)
        self.pwconv2 = nn.Conv1d(4 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """b c n to b c n; the norm in fp32."""
        last = self.dwconv(x).transpose(1, 2)
        normed = functional.layer_norm(last.float(), self.norm.normalized_shape, self.norm.weight.float(), None, 1e-5)
        return x + self.pwconv2(self.act(self.pwconv1(normed.to(x.dtype).transpose(1, 2))))


class SoundEncoder(nn.Module):
    """A spectrogram of short windows, then ConvNeXt blocks and strided convolutions."""

    def __init__(self, config: SoundVAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = [m * config.enc_dim for m in (*config.enc_c_mults, config.enc_c_mults[-1])]
        layers: list[nn.Module] = [NormedConv(2 * (config.enc_n_fft + 2), widths[0], 1, bias=False)]
        for (a, b), stride in zip(pairwise(widths), config.enc_strides, strict=True):
            layers += [_NextBlock(a) for _ in range(config.enc_num_blocks)]
            layers.append(NormedConv(a, b, 2 * stride, stride=stride))
        layers.append(NormedConv(widths[-1], config.enc_latent_dim, 1, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, sound: Float[Tensor, "b 2 s"]) -> Float[Tensor, "b z n"]:
        """Mean and raw deviation of the latents, one after the other."""
        return self.layers(self.spectrogram(sound).to(sound.dtype))

    def spectrogram(self, sound: Float[Tensor, "b 2 s"]) -> Float[Tensor, "b f n"]:
        """Real, then imaginary parts of one ear, then of the other; computed in fp32."""
        size, hop = self.config.enc_n_fft, self.config.enc_hop_length
        left = (size - hop) // 2
        waves = functional.pad(sound.flatten(0, 1).float(), (left, size - hop - left))
        window = torch.hann_window(size, device=sound.device)
        found = torch.stft(waves, size, hop, window=window, center=False, return_complex=True)  # (b 2) f n
        return torch.cat((found.real, found.imag), dim=1).unflatten(0, (-1, 2)).flatten(1, 2)


class _ResidualUnit(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.snake1 = Snake(width)
        self.conv1 = NormedConv(width, width, 7, dilation=dilation)
        self.snake2 = Snake(width)
        self.conv2 = NormedConv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.snake2(self.conv1(self.snake1(x))))


class _UpBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.snake1 = Snake(width_in)
        self.conv_t1 = NormedUp(width_in, width_out, stride)
        self.res_unit1 = _ResidualUnit(width_out, 1)
        self.res_unit2 = _ResidualUnit(width_out, 3)
        self.res_unit3 = _ResidualUnit(width_out, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_t1(self.snake1(x))
        return self.res_unit3(self.res_unit2(self.res_unit1(x)))


class SoundDecoder(nn.Module):
    """Latents to waves: a block for each stride, the largest first."""

    def __init__(self, config: SoundVAEConfig) -> None:
        super().__init__()
        widths = [m * config.dec_dim for m in (*reversed(config.dec_c_mults), 1)]
        self.conv1 = NormedConv(config.vocoder_input_dim, widths[0], 7)
        strides = reversed(config.dec_strides)
        self.block = nn.ModuleList(_UpBlock(a, b, s) for (a, b), s in zip(pairwise(widths), strides, strict=True))
        self.snake1 = Snake(widths[-1])
        self.conv2 = NormedConv(widths[-1], 2, 7, bias=False)

    def forward(self, latents: Float[Tensor, "b z n"]) -> Float[Tensor, "b 2 s"]:
        """Waves, not clamped."""
        x = self.conv1(latents)
        for block in self.block:
            x = block(x)
        return self.conv2(self.snake1(x))
