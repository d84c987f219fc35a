"""The eyes learn other worlds, two moments at a time, beside what they see already.

    in    a model whose eyes speak its words (``eyes.py``, ``hand.py``), lives of other worlds, frames of its table
    out   the same eyes: of two moments of a life a cell says who is there, where, how large, how far it goes until the
          second moment, and, where that cannot be, what happens; of the table they say what they said before

Of a pair of moments a cell says the mean of what it would say of either: a thing that stands still looks as in a
still picture, one that moves is half here and half there. Names that the eyes know already are said as they say
them; new words, sizes and ways go into directions that nothing they said uses (docs/log.md).
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from armillary.datasets.raw import raw_files
from armillary.datasets.whereabouts import LASTS, Thing, Watched, lives_of
from armillary.errors import ConfigError
from armillary.model import TwoTowers
from armillary.model.arithmetic import usable_device
from armillary.tokenizers.text import TextTokenizer
from armillary.training.eyes import Said, as_seen, grid_of, mean_where, seen_by, spoke, strayed, waves_of, word_vectors
from armillary.training.loop import Report, Stage, train_stage
from armillary.training.talk import odds

PROBES = 512  # pictures of the table that tell what the eyes say
LITTLE = ("in", "the", "of")  # words that no token says
WAYS = 8  # directions that say how large something is; as many say how far it goes
NEARBY, FAR = 8.0, 2.0  # periods, in cells, of sizes and ways
STILL = 0.1  # cells within which nothing is said to move
APART = (0, 1, 2, 3, 4, 10)  # moments between the two of a pair
OFTEN = (0.4, 0.3, 0.06, 0.06, 0.06, 0.12)
CONJURED = 0.5  # of the pairs of a conjurer's life those in which it happens
HAPPENS, QUIET = 0.15, 0.5  # weights, beside cells that speak: what cannot be, silent cells
STAYS, DEEP = 3.0, 0.3  # and the table as before, its features for deeper layers
SILENT, SPOKEN, IMPOSSIBLE = 0, 1, 2  # what a cell is marked with


@dataclass(frozen=True, kw_only=True, eq=False)
class AbroadWords:
    """What cells are to say. ``names``: of every name; ``happens``: of every kind of impossible thing, each d.

    ``places`` w d: of where something is; ``sizes`` and ``ways`` 8 d: of how large it is, and how far it goes.
    """

    names: Mapping[str, Tensor]
    happens: Mapping[str, Tensor]
    places: Float[Tensor, "w d"]
    sizes: Float[Tensor, "v d"]
    ways: Float[Tensor, "v d"]
    loudness: float

    @staticmethod
    def beside(
        model: TwoTowers, tokenizer: TextTokenizer, table: Sequence[Watched], names: Sequence[str]
    ) -> "AbroadWords":
        """Known words as the eyes say them at the ``table``, new ones as loud; ``ConfigError`` if nothing is free."""
        known, places, spanned = _said(model, table)
        loudness = float(torch.stack([*known.values()]).norm(dim=-1).mean())
        new = sorted({word for name in names for word in _words(name)} - {*known})
        fresh = functional.normalize(word_vectors(model, tokenizer, [*new, *LASTS]), dim=-1) * loudness
        said = {**known, **dict(zip(new, fresh, strict=False))}
        taken = torch.linalg.qr(torch.cat([spanned.T, fresh.T], dim=1))[0].T
        if len(taken) + 2 * WAYS > taken.shape[1]:
            raise ConfigError(
                f"the reasoner is {taken.shape[1]} wide: {len(taken)} directions of words and places and {2 * WAYS} of "
                "sizes and ways must fit in. Take a wider one."
            )
        free = torch.randn(2 * WAYS, taken.shape[1], generator=torch.Generator().manual_seed(5))
        free = torch.linalg.qr((free - free @ taken.T @ taken).T)[0].T * (loudness / math.sqrt(WAYS / 2))
        return AbroadWords(
            names={name: torch.stack([said[word] for word in _words(name)]).sum(dim=0) for name in names},
            happens=dict(zip(LASTS, fresh[len(new) :], strict=True)),
            places=places, sizes=free[:WAYS], ways=free[WAYS:], loudness=loudness,
        )  # fmt: skip

    def of(self, things: Mapping[str, Thing], grid: NDArray[np.int64]) -> Float[Tensor, "c d"]:
        """What the cells say of one moment; ``grid``: columns, lines."""
        cells = torch.zeros(int(grid.prod()), self.places.shape[1])
        here: dict[int, list[str]] = {}
        for name, thing in things.items():
            here.setdefault(cell_of(thing, grid), []).append(name)
        for cell, several in here.items():
            spread = np.array([[things[n].x, things[n].y, things[n].width, things[n].height] for n in several])
            x, y, w, h = spread.mean(axis=0) * [*grid, *grid]
            middle = torch.tensor((x - grid[0] / 2, y - grid[1] / 2)).float()
            cells[cell] = torch.stack([self.names[name] for name in several]).sum(dim=0)
            cells[cell] += _placed(middle) @ self.places + _turned(torch.tensor((w, h)).float()) @ self.sizes
        return cells


def cell_of(thing: Thing, grid: NDArray[np.int64]) -> int:
    """The cell that a thing's middle is in."""
    x, y = np.clip((thing.x * grid[0], thing.y * grid[1]), 0, grid - 1e-3).astype(int)
    return int(y * grid[0] + x)


def _words(name: str) -> list[str]:
    return [word for word in name.split() if word not in LITTLE]


def _placed(places: Tensor) -> Tensor:
    return torch.cat([waves_of(places), torch.ones(*places.shape[:-1], 1)], dim=-1)


def _turned(lengths: Tensor) -> Tensor:
    """Sines and cosines of two lengths in cells: 8."""
    return torch.cat([wave for period in (NEARBY, FAR) for turn in (lengths * (2 * math.pi / period),)
                      for wave in (turn.sin(), turn.cos())], dim=-1)  # fmt: skip


def _said(model: TwoTowers, table: Sequence[Watched]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What the eyes add to a token for each word at the table and for each wave of its place, and the directions that
    all their tokens use (least squares over cells of one thing; singular values)."""
    rng, given, wanted, spoken = np.random.default_rng(0), list[Tensor](), list[Tensor](), list[Tensor]()
    words = sorted({word for life in table for name in life.things[0] for word in _words(name)})
    for _ in range(PROBES // 32):
        drawn = [table[int(rng.integers(len(table)))] for _ in range(32)]
        moments = [int(rng.integers(len(life.frames))) for life in drawn]
        looks = [life.frames[[moment, moment]] for life, moment in zip(drawn, moments, strict=True)]
        frames = as_pairs(np.stack(looks))
        with torch.no_grad():
            tokens = seen_by(model.visual, frames, pairs=True)[0].float()
        grid = grid_of(frames)
        for said, life, moment in zip(tokens.unflatten(0, (32, -1)), drawn, moments, strict=True):
            spoken.append(said)
            cells = [cell_of(thing, grid) for thing in life.things[moment].values()]
            for cell, (name, thing) in zip(cells, life.things[moment].items(), strict=True):
                if cells.count(cell) == 1:
                    middle = (
                        torch.tensor((thing.x, thing.y)).float() * torch.from_numpy(grid) - torch.from_numpy(grid) / 2
                    )
                    there = torch.tensor([float(word in _words(name)) for word in words])
                    given.append(torch.cat([there, _placed(middle.float())]))
                    wanted.append(said[cell])
    fit = torch.linalg.lstsq(torch.stack(given), torch.stack(wanted), driver="gelsd").solution
    _, sizes, rows = torch.linalg.svd(torch.cat(spoken), full_matrices=False)
    used = int((sizes.square().cumsum(0) < 0.9995 * sizes.square().sum()).sum()) + 1
    return dict(zip(words, fit[: len(words)], strict=True)), fit[len(words) :], rows[:used]


def as_pairs(pairs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pairs of moments b 2 h w 3 as the eyes see them: b*2 y x 3."""
    return as_seen(pairs.reshape(-1, *pairs.shape[2:]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Glance:
    """Pairs of moments as the eyes see them, b*2 y x 3; what to say b c d, and what cells are marked with b c."""

    frames: NDArray[np.uint8]
    wanted: Tensor
    marks: Tensor


class AbroadSource:
    """Pairs of moments of lives, each world as often as ``shares`` says, and what is to be said of them."""

    def __init__(self, lives: Mapping[str, Sequence[Watched]], words: AbroadWords, shares: Mapping[str, float]) -> None:
        self._lives, self._words, self._worlds = lives, words, sorted(lives)
        self._odds = odds(self._worlds, shares)

    def batch(self, rng: np.random.Generator, samples: int) -> Glance:
        """Draw so many pairs."""
        drawn = []
        for world in rng.choice(self._worlds, size=samples, p=self._odds):
            life = self._lives[str(world)][int(rng.integers(len(self._lives[str(world)])))]
            drawn.append((life, *moments_of(life, rng)))
        frames = as_pairs(np.stack([life.frames[[first, last]] for life, first, last in drawn]))
        grid = grid_of(frames)
        told = [self._told(*one, grid) for one in drawn]
        return Glance(
            frames=frames, wanted=torch.stack([wanted for wanted, _ in told]),
            marks=torch.stack([marks for _, marks in told]),
        )  # fmt: skip

    def _told(self, life: Watched, first: int, last: int, grid: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        before, after, words = life.things[first], life.things[last], self._words
        cells = (words.of(before, grid) + words.of(after, grid)) / 2
        marks = (cells.abs().sum(dim=-1) > 0).long()
        for name, thing in before.items():
            if name in after:
                way = np.array((after[name].x - thing.x, after[name].y - thing.y)) * grid
                if np.abs(way).max() > STILL:
                    cells[cell_of(thing, grid)] += _turned(torch.from_numpy(way).float()) @ words.ways
        if life.feat is not None and life.feat.within(first, last):
            seen = before.get(life.feat.name) or before.get(life.feat.after) or after.get(life.feat.after)
            if seen is not None:
                cells[cell_of(seen, grid)] += words.happens[life.feat.kind]
                marks[cell_of(seen, grid)] = IMPOSSIBLE
        return cells, marks


def moments_of(life: Watched, rng: np.random.Generator) -> tuple[int, int]:
    """Two moments of a life, as far apart as films show them; of a conjurer's half of the time about his feat."""
    last = len(life.frames) - 1
    apart = min(int(rng.choice(APART, p=OFTEN)), last)
    if life.feat is not None and rng.random() < CONJURED:
        apart = max(1, apart)
        first = life.feat.step + 1 - int(rng.integers(1, apart + 1))
        return max(0, first), min(last, max(0, first) + apart)
    first = int(rng.integers(last + 1 - apart))
    return first, first + apart


def abroad_loss(said: Said, glance: Glance, loudness: float) -> dict[str, Tensor]:
    """Distance to what the cells should say, a word being 1: of those that speak, of silent ones, of the impossible."""
    distance = (said[0].float().unflatten(0, glance.marks.shape) - glance.wanted).square().sum(dim=-1) / loudness**2
    marks = (glance.marks >= SPOKEN, glance.marks == SILENT, glance.marks == IMPOSSIBLE)
    speaks, silent, happens = (mean_where(distance, which) for which in marks)
    told = {"speaks": speaks.detach(), "silent": silent.detach(), "happens": happens.detach()}
    return {"loss": speaks + QUIET * silent + HAPPENS * happens} | told


def table_loss(said: Said, before: Said, loudness: float) -> dict[str, Tensor]:
    """How far the tokens of the table are from what they were, a word being 1: cells that spoke, silent ones."""
    distance = (said[0].float() - before[0].float()).square().sum(dim=-1) / loudness**2
    speaking, moved = spoke(before[0].float(), loudness), strayed(said, before)
    kept, silent = (mean_where(distance, which) for which in (speaking, ~speaking))
    deep = moved.sum() / max(1, len(moved))
    return {"loss": STAYS * (kept + silent) + DEEP * deep, "kept": kept.detach(), "deep": deep.detach()}


@dataclass(frozen=True, kw_only=True)
class Abroad:
    """What the eyes learn from. ``worlds``: folders of raw episodes of each world; ``shares``: how often each is drawn
    (1 where nothing is said), ``tasks`` how often a task is asked there (as ``ToldAbroad`` does where nothing is said);
    ``table``: the share of a batch that shows the table, which they are not to forget."""

    worlds: Mapping[str, Path]
    shares: Mapping[str, float] = field(default_factory=lambda: {"physics": 4.0})
    tasks: Mapping[str, float] = field(default_factory=dict)
    table: float = 0.35
    tables: int = 600

    def __post_init__(self) -> None:
        if not self.worlds:
            raise ConfigError("worlds is empty: name at least one other world and the folder of its raw episodes.")


def see_abroad(
    model: TwoTowers, tokenizer: TextTokenizer, abroad: Abroad, home: Sequence[Path], stage: Stage, folder: Path,
    report: Report = print,
) -> bool:  # fmt: skip
    """Teach the model's eyes for one stage; ``home``: raw episodes of the table. True once the steps are done."""
    lives = {world: lives_of(raw_files(data)) for world, data in abroad.worlds.items()}
    paths = [path for one in home for path in raw_files(one)]
    chosen = np.random.default_rng(7).permutation(len(paths))[: abroad.tables]
    table = [life for life in lives_of(paths[i] for i in sorted(chosen)) if life.world == "tabletop"]
    names = sorted({name for several in lives.values() for life in several for seen in life.things for name in seen})
    report(", ".join(f"{len(several)} lives of {world}" for world, several in lives.items()) + f"; {len(names)} names")
    model.to(usable_device(stage.device))
    before = copy.deepcopy(model.visual).requires_grad_(False)
    words = AbroadWords.beside(model, tokenizer, table, names)
    source, at_home = AbroadSource(lives, words, abroad.shares), round(stage.batch * abroad.table)

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([stage.seed, step])
        glance = source.batch(rng, stage.batch - at_home)
        drawn = [table[int(rng.integers(len(table)))] for _ in range(at_home)]
        frames = as_pairs(np.stack([life.frames[list(moments_of(life, rng))] for life in drawn]))
        with torch.no_grad():
            then = seen_by(before, frames, pairs=True)
        values = abroad_loss(seen_by(model.visual, glance.frames, pairs=True), glance, words.loudness)
        home_values = table_loss(seen_by(model.visual, frames, pairs=True), then, words.loudness)
        return {**home_values, **values, "loss": values["loss"] + home_values["loss"]}

    return train_stage(stage, folder, [*model.visual.named_parameters(prefix="visual")], losses, report)
