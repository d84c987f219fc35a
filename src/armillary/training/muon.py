"""Muon: steps of equal size in every direction for kernels and matrices, AdamW for all that is not one.

    momentum of the gradient  ->  nearest orthogonal matrix (five Newton-Schulz rounds)  ->  step

A gradient of a convolution has a few strong directions and many weak ones; making them equally strong learns small
convolutional networks in fewer steps. The step is scaled to the size AdamW's would have, so one learning
rate serves both. Source: Jordan et al. 2024; the scale is that of Liu et al. 2025 (arXiv 2502.16982).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_ROUNDS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon:
    """Updates ``parameters`` (two axes or more, the first is the output) from their ``grad``."""

    def __init__(self, parameters: Sequence[Tensor], *, momentum: float = 0.9, weight_decay: float = 0.01) -> None:
        self.parameters = list(parameters)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.averages = [torch.zeros_like(part) for part in self.parameters]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update; a parameter without a gradient stays."""
        for part, average in zip(self.parameters, self.averages, strict=True):
            if part.grad is None:
                continue
            average.lerp_(part.grad, 1.0 - self.momentum)
            update = orthogonal(part.grad.lerp(average, self.momentum).flatten(1))
            part.mul_(1.0 - self.weight_decay * learning_rate)
            part.sub_(update.view_as(part), alpha=learning_rate * 0.2 * max(update.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """A float32 matrix with about the same directions as ``matrix`` and singular values near one (0.7 to 1.2)."""
    one, three, five = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).bfloat16()
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = one * x + (three * square + five * square @ square) @ x
    return (x.T if tall else x).float()
