"""Recordings to post-train on where there are none: those who can, those who cannot, and chance, in one folder.

    a world, controllers in turn  ->  a LeRobot folder

From an expert alone a model learns what happens when all goes well; what an action does it learns from the others too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from armillary.datasets.store import EpisodeWriter
from armillary.errors import ConfigError
from armillary.worlds import make_world
from armillary.worlds.lives import ALWAYS_ALIKE, Plan, live


@dataclass(frozen=True, kw_only=True)
class MixedRun:
    """Episodes ``seed`` to ``seed + episodes - 1`` of ``world`` in ``out``, by ``controllers`` in turn."""

    out: Path
    world: str
    episodes: int
    controllers: tuple[str, ...] = ("expert", "expert", "expert", "clumsy", "random")
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1 or not self.controllers:
            raise ConfigError(f"episodes={self.episodes}, controllers={self.controllers}: at least one of each.")

    def start(self, report: Callable[[str], None] = print) -> None:
        """Record what is not there yet."""
        spec = make_world(self.world).spec
        plans = [Plan(world=self.world, controller=c, seed=self.seed, size=spec.size) for c in self.controllers]
        told = ALWAYS_ALIKE[self.world]
        with EpisodeWriter(self.out, fps=spec.fps, cameras=spec.cameras, robot=spec.embodiment, states=told) as writer:
            for number in range(writer.next_index, self.episodes):
                writer.write(live(plans[number % len(plans)], self.seed + number))
                if (number + 1) % 10 == 0:
                    report(f"{number + 1} of {self.episodes} episodes")
