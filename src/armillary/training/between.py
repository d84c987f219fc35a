"""Weights between two checkpoints of one model: where learning begins again that shall keep what both know.

    before a lesson  ----+----  after it, when what it did not ask has been forgotten
                       share

A straight line between weights of which one was trained from the other loses little on the way, on either task
(Wortsman et al. 2022, arXiv 2109.01903); a few steps of everything then bring back more than they would from either
end (docs/log.md).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from armillary.errors import CheckpointError, ConfigError
from armillary.model.layouts import fresh_folder, move_in
from armillary.model.weights import load_model, save_model
from armillary.training.loop import Report


@dataclass(frozen=True, kw_only=True)
class BetweenRun:
    """The checkpoint ``before``, its weights moved towards those of ``after`` by ``share`` of the way.

    Embodiments are those of ``after``, whose statistics its weights have learnt; all else is that of ``before``.
    """

    before: Path
    after: Path
    out: Path
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share={self.share}: it is how far the weights go from before to after, from 0 to 1.")

    def start(self, report: Report = print) -> None:
        """Write ``out``. ``CheckpointError`` where the two are not of one shape."""
        between(self)
        report(f"{self.out}: {self.share:.0%} of the way from {self.before} to {self.after}")


@torch.no_grad()
def between(run: BetweenRun) -> None:
    """Do as ``run`` says; the folder appears whole or not at all."""
    model = load_model(run.before, dtype=torch.float32)
    own, others = model.state_dict(), load_model(run.after, dtype=torch.float32).state_dict()
    for name, weights in own.items():
        if name not in others or others[name].shape != weights.shape:
            raise CheckpointError(
                f"{run.after} has no {name} of shape {tuple(weights.shape)}, {run.before} has: weights lie between two "
                "checkpoints of one model only."
            )
        weights.lerp_(others[name], run.share)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    fresh = fresh_folder(run.out)
    shutil.copytree(run.before, fresh, dirs_exist_ok=True)
    save_model(fresh, model, dtype=torch.bfloat16)
    shutil.copy(run.after / "embodiments.json", fresh)
    move_in(fresh, run.out)
