"""Runs whose length is given in minutes or in steps: how far they are, and how fast they learn there.

Both tokenizers' trainings are such; the stages of the towers (``loop.py``) count steps alone.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Timed(Protocol):
    """What such a run says of itself."""

    @property
    def minutes(self) -> float: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def final_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def ema(self) -> float: ...


def progress_of(run: Timed, step: int, seconds: float) -> float:
    """How much of the run is done, 0 to 1."""
    return min(1.0, step / run.steps if run.steps is not None else seconds / (60 * run.minutes))


def take_step(
    run: Timed, optimizers: Iterable[torch.optim.Optimizer], grad_norm: Tensor, *, step: int, progress: float
) -> None:
    """Let the optimizers step at the rate of this place in the run; gradients that are not finite are left out."""
    fall = run.final_rate + (1 - run.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    rate = run.learning_rate * fall * min(1.0, (step + 1) / run.warmup_steps)
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = rate
        if torch.isfinite(grad_norm):
            optimizer.step()


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of the shape and on the device of ``x``, drawn on the CPU, so the same on every device."""
    return torch.empty_like(x, device="cpu").normal_(generator=generator).to(x.device)


def brought(state: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """What an optimizer remembers of a parameter, on its device; counts stay on the CPU."""
    return {name: value.to(device) if value.ndim else value for name, value in state.items()}


def average_share(run: Timed, step: int) -> float:
    """How far the average of the weights moves towards them after ``step`` steps: faster in the beginning."""
    return max(1.0 - run.ema, 9.0 / (9.0 + step))
