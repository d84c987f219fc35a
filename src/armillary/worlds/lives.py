"""Many lives of a world, one after the other or by several processes: the same episodes either way.

Plan(world=..., controller=..., seed=...)   what is to be recorded, refused at once if it cannot be
lives(plan, seeds, workers)                 the episodes of these seeds, in their order
"""

import json
import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from armillary.errors import ConfigError, RequestError
from armillary.media import write_whole
from armillary.records import Episode
from armillary.worlds import make_world
from armillary.worlds.catalogue import ENTRIES, found

SMALLEST, LARGEST = 32, 1024  # sides of a picture, in pixels
ALWAYS_ALIKE = {name: entry.alike for name, entry in ENTRIES.items()}  # by world, as the catalogue says


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is recorded: a world, who acts in it, the first seed, and the pictures' height and width.

    Raises ``RequestError`` for a world or controller that is unknown, ``ConfigError`` for a size that cannot be.
    """

    world: str
    controller: str
    seed: int
    size: tuple[int, int]

    def __post_init__(self) -> None:
        make_world(self.world).close()
        known, (height, width) = controllers(self.world), self.size
        if self.controller not in known:
            raise RequestError(
                f"controller {self.controller!r} is unknown in {self.world}: it must be one of {', '.join(known)}."
            )
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed}: seeds count from 0 on.")
        if min(self.size) < SMALLEST or max(self.size) > LARGEST or height % 2 or width % 2:
            raise ConfigError(
                f"size={height}x{width}: both sides must be even and between {SMALLEST} and {LARGEST} pixels."
            )
        if ENTRIES[self.world].square and height != width:
            raise ConfigError(
                f"size={height}x{width}: the pictures of {self.world} are square; {height} by {height} would do."
            )


def controllers(world: str) -> tuple[str, ...]:
    """Who may act in that world."""
    kinds: tuple[str, ...] = found(ENTRIES[world].kinds)
    return kinds


def begin(plan: Plan, folder: Path) -> None:
    """Keep the plan beside what will be recorded, as ``simulate.json``.

    Raises ``RequestError`` if the folder holds something else, or was begun with another plan.
    """
    kept = folder / "simulate.json"
    wanted = json.loads(json.dumps(asdict(plan)))
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        changed = [f"{name} {before.get(name)}" for name in wanted if before.get(name) != wanted[name]]
        if changed:
            raise RequestError(
                f"{folder} was begun with {', '.join(changed)}: go on with that, or take another folder."
            )
        return
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise RequestError(f"{folder} is there already: name a new folder, so that nothing is overwritten.")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(kept, lambda draft: draft.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8"))


def live(plan: Plan, seed: int) -> Episode:
    """The episode of one seed."""
    entry = ENTRIES[plan.world]
    episode: Episode = found(entry.record)(seed, plan.controller, size=plan.size[0] if entry.square else plan.size)
    return episode


def lives(plan: Plan, seeds: range, workers: int = 1) -> Iterator[Episode]:
    """The episodes of these seeds, in order. Several processes work only a little ahead of whoever takes them."""
    if workers < 1:
        raise ConfigError(f"workers={workers}: somebody must do it; take 1, or as many as there are cores.")
    if workers == 1 or len(seeds) < 2:
        for seed in seeds:
            yield live(plan, seed)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[Episode]] = deque()
        for seed in seeds:
            waiting.append(pool.submit(live, plan, seed))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
