"""Lives at the table that last: who succeeds goes on, so that an imagination can be followed for several chunks."""

from dataclasses import dataclass
from pathlib import Path

from armillary.datasets.raw import each_kept
from armillary.errors import ConfigError
from armillary.evaluation.drift import KINDS
from armillary.evaluation.held_out import HELD_OUT, simulated_life
from armillary.records import Episode
from armillary.training.episodes import SAY_EVERY, check_share
from armillary.training.loop import Report


@dataclass(frozen=True, kw_only=True)
class LastingRun:
    """Lives of ``seed`` to ``seed + episodes - 1``, each of ``frames`` frames, two of the expert to a clumsy and a
    random one; seeds lie below those held out, else ``ConfigError``."""

    out: Path
    episodes: int
    seed: int
    frames: int = 65
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.episodes < 1 or self.frames < 2 or not 0 <= self.seed <= HELD_OUT - self.episodes:
            raise ConfigError(
                f"episodes={self.episodes}, frames={self.frames}, seed={self.seed}: at least one life of two frames, "
                f"and seeds from 0 to {HELD_OUT - 1}, since those above are held out."
            )

    def start(self, report: Report = print) -> None:
        """Simulate what is not there yet."""

        def made(seed: int) -> Episode:
            return simulated_life(KINDS[(seed - self.seed) % len(KINDS)], seed, frames=self.frames)

        seeds = range(self.seed + self.share[0], self.seed + self.episodes, self.share[1])
        for count, seed in enumerate(each_kept(self.out, seeds, made), start=1):
            if count % SAY_EVERY == 0:
                report(f"{count} lives, the last with seed {seed}")
