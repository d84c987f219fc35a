"""How a modality's numbers become the generator's tokens, and how its tokens become velocities again.

    video    a 2x2 patch of latents, 192 numbers      Linear in, Linear out
    action   64 numbers, an embodiment's slot each    one matrix a slot, and a word that says "I am an action"
    sound    64 numbers                               Linear, and a word of its own

A hidden token also gets its noise level as a vector; a given token gets none, not that of level 0.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


class TimeEmbedder(nn.Module):
    """Noise level to a vector: 128 cosines, 128 sines, two layers. Always fp32 (cosmos3.md 3.2)."""

    WAVES = 128

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(2 * self.WAVES, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, level: Float[Tensor, "..."]) -> Float[Tensor, "... d"]:
        power = -math.log(10000.0) * torch.arange(self.WAVES, dtype=torch.float32, device=level.device) / self.WAVES
        with torch.autocast(level.device.type, enabled=False):
            angle = level.float()[..., None] * power.exp()
            wave = torch.cat((angle.cos(), angle.sin()), dim=-1)
            inner = functional.silu(functional.linear(wave, self.linear_1.weight.float(), self.linear_1.bias.float()))
            return functional.linear(inner, self.linear_2.weight.float(), self.linear_2.bias.float())


class DomainLinear(nn.Module):
    """A linear map with weights of its own for each embodiment's slot; input-major rows, as stored."""

    def __init__(self, inputs: int, outputs: int, domains: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.fc = nn.Embedding(domains, inputs * outputs)
        self.bias = nn.Embedding(domains, outputs)

    def forward(self, x: Float[Tensor, "b n i"], domain: Int[Tensor, " b"]) -> Float[Tensor, "b n o"]:
        weight = self.fc(domain).view(-1, self.inputs, self.outputs).to(x.dtype)
        return torch.baddbmm(self.bias(domain)[:, None].to(x.dtype), x, weight)


def level_vectors(
    embedder: TimeEmbedder, level: Float[Tensor, "b n"], dtype: torch.dtype
) -> Float[Tensor, " b #n d"] | Float[Tensor, "b n d"]:
    """Each token's vector of its noise level, exact zeros where it is given (level 0).

    When the hidden tokens of each sample share one level, as they mostly do, it is computed once a sample.
    """
    hidden = level > 0
    top = level.amax(dim=1, keepdim=True)
    shared = bool(((level == top) | ~hidden).all())
    vectors = embedder(top if shared else level).to(dtype)
    return vectors * hidden[..., None].to(dtype)


def patchify(latents: Float[Tensor, "b c t h w"], patch: int) -> Float[Tensor, "b n d"]:
    """Latents to video tokens: time, then row, then column; numbers of a token ordered (dy, dx, channel).

    An odd side is padded with zeros at the bottom or right.
    """
    b, c, t, h, w = latents.shape
    latents = functional.pad(latents, (0, -w % patch, 0, -h % patch))
    rows, columns = latents.shape[3] // patch, latents.shape[4] // patch
    cut = latents.reshape(b, c, t, rows, patch, columns, patch)
    return cut.permute(0, 2, 3, 5, 4, 6, 1).reshape(b, t * rows * columns, patch * patch * c)


def unpatchify(tokens: Float[Tensor, "b n d"], size: tuple[int, int, int], patch: int) -> Float[Tensor, "b c t h w"]:
    """The way back from ``patchify``; ``size`` is the latents' t, h, w, and padding is cut off."""
    t, h, w = size
    rows, columns = -(-h // patch), -(-w // patch)
    channels = tokens.shape[-1] // patch**2
    cut = tokens.reshape(len(tokens), t, rows, columns, patch, patch, channels).permute(0, 6, 1, 2, 4, 3, 5)
    return cut.reshape(len(tokens), channels, t, rows * patch, columns * patch)[..., :h, :w]


def video_positions(size: tuple[int, int, int], *, fps: float, patch: int = 2, tcf: int = 4) -> Float[Tensor, "n 3"]:
    """Physical places (seconds, row, column) of the tokens of latents of ``size`` t, h, w, in ``patchify``'s order."""
    t, h, w = size
    axes = (torch.arange(t) * (tcf / fps), torch.arange(-(-h // patch)).float(), torch.arange(-(-w // patch)).float())
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def action_positions(count: int, *, fps: float, state: bool = False) -> Float[Tensor, "n 3"]:
    """Physical places of actions 0…count-1: action i leads to frame i+1, and stands there; row and column 0.

    ``state``: before them stands where the body is, at the first frame (cosmos3.md 2.2).
    """
    seconds = torch.arange(0 if state else 1, count + 1) / fps
    return torch.stack((seconds, torch.zeros_like(seconds), torch.zeros_like(seconds)), dim=-1)


def sound_positions(count: int, *, rate: float) -> Float[Tensor, "n 3"]:
    """Physical places of sound tokens 0…count-1, ``rate`` of them a second; row and column 0."""
    seconds = torch.arange(count) / rate
    return torch.stack((seconds, torch.zeros(count), torch.zeros(count)), dim=-1)


def channel_weights(width: int, action_dim: int) -> Float[Tensor, " a"]:
    """1 for the channels an embodiment uses, 0 for the padding behind them."""
    return (torch.arange(action_dim) < width).float()
