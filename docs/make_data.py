"""Puts the table of what Pico learnt from into its card: seeds, how many, how long, and a hash of what they live.

    python docs/make_data.py CHECKPOINT

Eight lives of each set, evenly over its seeds, are simulated again. Their mean length gives the set's hours, at the
rate of its world; the hash is over what is done and said in them (actions to a thousandth, words), so whoever finds
another one has worlds that live otherwise than those Pico learnt from. Pictures depend on who draws them, and are not
in it. Between ``BEGIN`` and ``END`` the card is written anew.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armillary.datasets.raw import load_raw, raw_files
from armillary.media import write_whole
from armillary.records import Episode
from armillary.runs_worlds import READ, TAUGHT
from armillary.training.episodes import DataRun, simulate

BEGIN, END = "| set | seeds |", "\n\n"
LIVES = 8  # of each set that are simulated again


@dataclass(frozen=True, kw_only=True)
class Set:
    """Lives of one kind: ``first`` seeds and how many each, of ``world``, where not all of it was learnt, ``used``."""

    name: str
    learnt_by: str
    seeds: tuple[tuple[int, int], ...]
    world: str = "tabletop"
    controllers: tuple[str, ...] = ()
    stills: bool = False
    laid: bool = False
    used: int | None = None

    @property
    def count(self) -> int:
        """How many lives were learnt from."""
        return sum(many for _, many in self.seeds) if self.used is None else self.used

    @property
    def picked(self) -> list[int]:
        """The seeds that are simulated again."""
        every = [first + i for first, many in self.seeds for i in range(many)]
        return [every[k] for k in np.linspace(0, len(every) - 1, LIVES).astype(int)]


def _read(worlds: Mapping[str, tuple[int, tuple[str, ...]]]) -> Iterator[Set]:
    for world, (many, acting) in worlds.items():
        yield Set(name=world, learnt_by="reasoner", seeds=((10_000, many),), world=world, controllers=acting)


_PUSHED = TAUGHT["pusht"].controllers
SETS = (
    Set(name="table", learnt_by="tokenizers, reasoner, generator", seeds=((0, 2700),)),
    Set(name="table, more", learnt_by="generator", seeds=((700_000, 1350), (710_000, 900), (720_000, 1400))),
    Set(name="table, what comes after an imagined film", learnt_by="generator", seeds=((740_000, 222),)),
    Set(name="table, decoded", learnt_by="decoder", seeds=((730_000, 378), (760_000, 800), (770_000, 240))),
    Set(name="table, for adapters", learnt_by="adapters", seeds=((780_000, 800), (792_000, 1000), (794_000, 1600))),
    Set(name="tables in one picture, with plans", learnt_by="reasoner, generator", stills=True,
        seeds=((100_000, 9000), (600_000, 2825))),
    Set(name="tables as they are laid", learnt_by="reasoner, generator", laid=True, seeds=((200_000, 2000),)),
    Set(name="PushT", learnt_by="tokenizer, generator", seeds=((0, 900),), world="pusht", controllers=_PUSHED,
        used=640),
    Set(name="PushT, more", learnt_by="generator, adapters", seeds=((4000, 480), (6000, 480)), world="pusht"),
    Set(name="PushT, decoded", learnt_by="decoder", seeds=((2000, 300),), world="pusht", controllers=_PUSHED),
    *_read(READ),
)  # fmt: skip


def lived(one: Set, folder: Path) -> list[Episode]:
    """``LIVES`` of its lives, simulated into ``folder``."""
    for seed in one.picked:
        turn = one.controllers
        simulate(
            DataRun(
                out=folder, episodes=1, seed=seed, world=one.world, controllers=turn, stills=one.stills, laid=one.laid
            ),
            lambda line: None,
        )
    return [load_raw(path) for path in raw_files(folder)]


def hash_of(lives: list[Episode]) -> str:
    """Over what is done, to a thousandth, and what is said."""
    whole = hashlib.sha256()
    for life in lives:
        done = np.round(np.asarray(life.actions, np.float64) * 1000).astype(np.int64) + 0
        whole.update(json.dumps([done.tolist(), life.instruction, life.captions], sort_keys=True).encode())
    return whole.hexdigest()[:8]


def row(one: Set, lives: list[Episode]) -> str:
    """A line of the table."""
    hours = one.count * float(np.mean([len(life.actions) / life.fps for life in lives])) / 3600
    seeds = ", ".join(f"{first:,} to {first + many - 1:,}" for first, many in one.seeds)
    some = f"{one.count:,}" + (" of these" if one.used is not None else "")
    long = "pictures" if one.stills or one.laid else f"{hours:.1f}"
    return f"| {one.name} | {seeds} | {some} | {long} | `{hash_of(lives)}` | {one.learnt_by} |\n"


def main(checkpoint: Path) -> None:
    """Write the table into the card."""
    table = f"{BEGIN} lives | hours | hash | learnt by |\n|---|---|---|---|---|---|\n"
    for one in SETS:
        with tempfile.TemporaryDirectory() as folder:
            table += row(one, lived(one, Path(folder)))
        print(table.splitlines()[-1], flush=True)
    card = checkpoint / "README.md"
    above, rest = card.read_text("utf-8").split(BEGIN)
    text = above + table.rstrip("\n") + END + rest.partition(END)[2]
    write_whole(card, lambda draft: draft.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
