"""The model pushes the T by itself, and what happened is kept: moments that no planner would have come to.

a checkpoint and boards  ->  raw episodes of PushT with their states, as ``replanned`` reads them
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from armillary.closed_loop.policies import Chunks
from armillary.datasets.raw import save_raw
from armillary.embodiments import load_embodiments
from armillary.errors import ConfigError
from armillary.evaluation.held_out import HELD_OUT
from armillary.evaluation.pushing import TOGETHER, pushing_together
from armillary.records import Episode, Moment
from armillary.sampling.omni import load
from armillary.steps import body_in
from armillary.training.episodes import check_share
from armillary.training.loop import Report
from armillary.training.made_from import begin
from armillary.worlds.pusht import SPEC


@dataclass(frozen=True, kw_only=True)
class OwnLivesRun:
    """Lives on the boards of ``seed`` to ``seed + lives - 1``, of at most ``most_steps`` steps; none is held out.

    ``execute``: how many actions of a plan are done; None: as the checkpoint does.
    """

    origin: Path
    out: Path
    lives: int
    seed: int
    most_steps: int = 200
    execute: int | None = None
    share: tuple[int, int] = (0, 1)
    threads: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)
        if min(self.lives, self.most_steps) < 1 or not 0 <= self.seed <= HELD_OUT - self.lives:
            raise ConfigError(
                f"lives={self.lives}, most_steps={self.most_steps}, seed={self.seed}: at least one life of one step, "
                f"and seeds from 0 to {HELD_OUT - 1}, since those above are held out."
            )

    def start(self, report: Report = print) -> None:
        """Live what was not lived yet; a life's file appears whole. ``ConfigError`` if it does not know PushT, or where
        another checkpoint has lived in ``out``."""
        torch.set_num_threads(self.threads)
        self.out.mkdir(parents=True, exist_ok=True)
        omni = load(self.origin)
        bodies = load_embodiments(omni.parts.folder)
        body = body_in(SPEC.embodiment, bodies)
        if body is None:
            raise ConfigError(
                f"{self.origin} knows the bodies {', '.join(sorted(bodies)) or 'none'}: to push it must know "
                f"{SPEC.embodiment}; post-train it there first."
            )
        planner = Chunks(omni=omni, embodiment=body.name, camera=SPEC.cameras[0], execute=self.execute)
        share = range(self.seed + self.share[0], self.seed + self.lives, self.share[1])
        mine = [seed for seed in share if not self._file(seed).exists()]
        for first in range(0, len(mine), TOGETHER):
            seeds = mine[first : first + TOGETHER]
            lived: list[list[Moment]] = [[] for _ in seeds]
            for i, moment in pushing_together(planner, seeds, max_steps=self.most_steps, body=body):
                lived[i].append(moment)
            begin(self.out, omni.parts.made_from, "episode_*.npz")
            for seed, moments in zip(seeds, lived, strict=True):
                save_raw(self._file(seed), _kept(seed, moments))
            report(f"{first + len(seeds)} of {len(mine)} lives")

    def _file(self, seed: int) -> Path:
        return self.out / f"episode_{seed:06d}.npz"


def _kept(seed: int, moments: Sequence[Moment]) -> Episode:
    """The pictures and states of a life; what was done is not kept, since nobody is to learn it."""
    return Episode(
        world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
        frames={camera: np.stack([moment.frames[camera] for moment in moments]) for camera in SPEC.cameras},
        actions=np.zeros((0, SPEC.action_size), np.float32), instruction=moments[0].instruction,
        states={name: np.stack([moment.state[name] for moment in moments]) for name in moments[0].state},
        captions={"dense": "", "scene": "", "short": ""}, success=moments[-1].success,
        recipe={"world": SPEC.name, "seed": seed, "controller": "model"},
    )  # fmt: skip
