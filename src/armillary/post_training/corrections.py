"""The model acts, the expert says what should have been done where the model came to.

    a checkpoint and tables  ->  raw episodes of one picture, each with the expert's plans from there

A policy that only saw an expert's moments does not know what to do after its own first mistake (data set aggregation:
Ross, Gordon and Bagnell, 2011, algorithm 3.1). ``CacheRun(stills=True)`` makes windows of these episodes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from armillary.closed_loop.policies import Chunks
from armillary.datasets.raw import save_raw
from armillary.errors import ConfigError
from armillary.evaluation.behaviour import TOGETHER, tables
from armillary.records import Array, Episode
from armillary.sampling.omni import load
from armillary.training.episodes import check_share
from armillary.training.made_from import begin
from armillary.worlds.record import LEAST_STEPS
from armillary.worlds.tabletop import Tabletop
from armillary.worlds.takeover import corrected


@dataclass(frozen=True, kw_only=True)
class CorrectionsRun:
    """Lives at the tables of ``seed`` to ``seed + lives - 1``, each at most ``most`` plans of ``execute`` actions long.

    ``plans``: instructions that the expert answers at every moment, the one that the model heard among them.
    """

    origin: Path
    out: Path
    lives: int
    seed: int
    most: int = 7
    execute: int = 8
    plans: int = 2
    share: tuple[int, int] = (0, 1)
    threads: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)
        if min(self.lives, self.most, self.execute, self.plans) < 1:
            given = f"lives={self.lives}, most={self.most}, execute={self.execute}, plans={self.plans}"
            raise ConfigError(f"{given}: at least one of each.")

    def start(self, report: Callable[[str], None] = print) -> None:
        """Live what was not lived yet; a life's episodes appear together, the first one last. ``ConfigError`` where
        another checkpoint has lived in ``out``."""
        torch.set_num_threads(self.threads)
        self.out.mkdir(parents=True, exist_ok=True)
        omni = load(self.origin)
        planner = Chunks(omni=omni, embodiment="tabletop", execute=self.execute)
        share = range(self.seed + self.share[0], self.seed + self.lives, self.share[1])
        mine = [seed for seed in share if not self._file(seed, 0).exists()]
        for first in range(0, len(mine), TOGETHER):
            seeds = mine[first : first + TOGETHER]
            with tables(len(seeds), ("segmentation",)) as worlds:
                lives = self._lived(planner, seeds, worlds)
            begin(self.out, omni.parts.made_from, "episode_*.npz")
            for seed, episodes in zip(seeds, lives, strict=True):
                for number, episode in reversed(list(enumerate(episodes))):
                    save_raw(self._file(seed, number), episode)
            report(f"{first + len(seeds)} of {len(mine)} lives")

    def _file(self, seed: int, number: int) -> Path:
        return self.out / f"episode_{seed:07d}{number:02d}.npz"

    def _lived(self, planner: Chunks, seeds: list[int], worlds: list[Tabletop]) -> list[list[Episode]]:
        """The moments of each life at which the model planned, corrected."""
        moments = [world.reset(seed) for world, seed in zip(worlds, seeds, strict=True)]
        done: list[list[Array]] = [[] for _ in seeds]
        kept: list[list[Episode]] = [[] for _ in seeds]
        for turn in range(self.most):
            alive = [i for i, moment in enumerate(moments) if not moment.over]
            if not alive:
                break
            for i in alive:
                now = corrected(worlds[i], moments[i], seeds[i], done[i], plans=self.plans, steps=LEAST_STEPS)
                kept[i].append(now)
            plans = planner([moments[i] for i in alive], [1000 * seeds[i] + turn for i in alive])
            for i, plan in zip(alive, plans, strict=True):
                for action in plan:
                    done[i].append(np.asarray(action, np.float32))
                    moments[i] = worlds[i].step(done[i][-1])
                    if moments[i].over:
                        break
        return kept
