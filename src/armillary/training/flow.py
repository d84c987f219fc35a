"""Flow matching: the straight road from data to noise.

    level 0   data          x = (1 - level) * data + level * noise
    level 1   noise         velocity = dx / dlevel = noise - data

The model learns the velocity. Sampling walks the road backwards, from 1 to 0 (``sampling/solver.py``). Pure
functions; no model, no device, no global state.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def shifted(level: Tensor, shift: float) -> Tensor:
    """Move levels towards noise: shift * u / (1 + (shift - 1) * u) (cosmos3.md 5.2)."""
    return shift * level / (1 + (shift - 1) * level)


def waver(uniform: Tensor) -> Tensor:
    """Heavy-tailed mode sampling for films: [0, 1] to [1, 0], falling (cosmos3.md 5.2; A.2 has its values)."""
    return 1 - uniform - 1.29 * (torch.cos(math.pi / 2 * uniform).square() - 1 + uniform)


def sample_levels(
    samples: int, *, shift: float, generator: torch.Generator, image: bool = False, among: Sequence[float] = ()
) -> Float[Tensor, " b"]:
    """One noise level a sample: logit-normal for pictures, waver for films, then shifted; or one ``among`` these."""
    if among:
        return torch.tensor(among)[torch.randint(len(among), (samples,), generator=generator)]
    if image:
        level = torch.sigmoid(torch.randn(samples, generator=generator))
    else:
        level = waver(torch.rand(samples, generator=generator))
    return shifted(level.clamp(0.0, 1.0), shift)


def mix(
    data: Float[Tensor, "b n d"], noise: Float[Tensor, "b n d"], level: Float[Tensor, "b n"]
) -> Float[Tensor, "b n d"]:
    """The place on the road from ``data`` (level 0, to the bit) to ``noise`` (level 1)."""
    at = level[..., None]
    return torch.where(at > 0, data + at * (noise - data), data)


def flow_loss(
    velocity: Float[Tensor, "b n d"],
    target: Float[Tensor, "b n d"],
    hidden: Bool[Tensor, "b n"],
    weight: Float[Tensor, "#b #n #d"] | Float[Tensor, " d"],
) -> Float[Tensor, ""]:
    """Mean over samples of the weighted mean square error; given elements count in the denominator (5.4).

    ``weight`` is 0 for numbers that do not exist (padded action channels): those leave both sums.
    """
    weight = weight.expand(target.shape).float()
    error = (velocity.float() - target.float()).square() * weight * hidden[..., None]
    size = (weight > 0).float().sum(dim=(1, 2)).clamp(min=1)
    return (error.sum(dim=(1, 2)) / size).mean()


def more_where_moving(video: Float[Tensor, "n m d"], cells: int, by: float) -> Float[Tensor, "n m"]:
    """How much each token of films counts: up to 1 + ``by`` for those that differ from the first frame's ``cells``."""
    still = video[:, :cells].float().repeat(1, video.shape[1] // cells, 1)
    change = (video.float() - still).abs().mean(dim=-1)
    return 1 + by * (change / 0.5).clamp(max=1)


def stretch(whole: Tensor, begins: Tensor, length: int) -> Tensor:
    """Of every sample ``length`` of its numbers b n ..., each from its own beginning on."""
    if not begins.any():
        return whole[:, :length]
    at = begins[:, None] + torch.arange(length)
    return whole[torch.arange(len(whole))[:, None], at]
