"""Muon: steps of equal size in every direction for kernels and matrices, AdamW for all that is not one.

    momentum of the gradient  ->  nearest orthogonal matrix (five Newton-Schulz rounds)  ->  step

A gradient of a convolution has a few strong directions and many weak ones; making them equally strong learns small
convolutional networks in fewer steps. The step is scaled to the size AdamW's would have, so one learning
rate serves both. Where parts of a matrix lie on several processes, its direction is gathered and each keeps its part
of the step. Source: Jordan et al. 2024; the scale is that of Liu et al. 2025 (arXiv 2502.16982).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from armillary.model.arithmetic import fast_dtype
from armillary.training.parallel import gathered, own_part, part_like

_ROUNDS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Updates parameters (two axes or more, the first is the output) from their ``grad``.

    ``bf16``: directions are found in bfloat16 where that is faster; else in float32, so that differences in the last
    places of a gradient stay as small.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        bf16: bool = True,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._bf16 = bf16

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; a parameter without a gradient stays. Matrices of one shape are made orthogonal together."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for part in group["params"]:
                if part.grad is not None:
                    shapes.setdefault(tuple(part.shape), []).append(part)
            for parts in shapes.values():
                self._update(parts, group)

    def _update(self, parts: list[Tensor], group: dict[str, Any]) -> None:
        directions = []
        for part in parts:
            if "average" not in self.state[part]:
                self.state[part]["average"] = torch.zeros_like(part)
            average = self.state[part]["average"]
            assert part.grad is not None
            own_part(average).lerp_(own_part(part.grad), 1.0 - group["momentum"])
            directions.append(gathered(part.grad.lerp(average, group["momentum"])).flatten(1))
        updates = orthogonal(torch.stack(directions), bf16=self._bf16)
        size = group["lr"] * 0.2 * max(updates.shape[1:]) ** 0.5
        for part, update in zip(parts, updates, strict=True):
            here = own_part(part)
            here.mul_(1.0 - group["weight_decay"] * group["lr"])
            here.sub_(own_part(part_like(update.view(part.shape), part)), alpha=size)


def orthogonal(matrices: Tensor, *, bf16: bool = True) -> Tensor:
    """Float32 matrices (... m n) with about the same directions, singular values near one (0.7 to 1.2).

    ``bf16``: worked out in bfloat16 where that is faster.
    """
    one, three, five = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)).to(fast_dtype(x.device) if bf16 else x.dtype)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = one * x + (three * square + five * square @ square) @ x
    return (x.mT if tall else x).float()
