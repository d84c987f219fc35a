"""The eyes learn to see the hand, beside what they see already.

    in    a model whose eyes speak its words (``eyes.py``), frames of the table and where its gripper is
    out   the same eyes: the cell of the gripper's tip and the cell of the table's place below it say so, and where

What has no box, the eyes were taught to call nothing, and so the reasoner did not know the gripper: asked what was left
to do, it said the same whether that was open or shut (docs/log.md). What the eyes said before stays: what they are to
say is that, and of these two cells more: the words for an open or a shut gripper and for *above*, as loud as names
of things, and the two places in directions which nothing that they said before uses.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from armillary.datasets.hands import Hands, hands_of
from armillary.datasets.raw import raw_files
from armillary.errors import ConfigError
from armillary.model import TwoTowers
from armillary.model.arithmetic import usable_device
from armillary.tokenizers.text import TextTokenizer
from armillary.training.eyes import (
    PERIODS,
    Said,
    SightSource,
    as_seen,
    directions_beside,
    grid_of,
    mean_where,
    seen_by,
    spoke,
    strayed,
    waves_of,
    word_vectors,
)
from armillary.training.loop import Report, Stage, train_stage

WORDS = ("open gripper", "closed gripper", "above")
PROBES, FAINT = 384, 0.012  # frames that tell what the eyes say, and below what share of a word it is nothing
BESIDE = 1.0  # cells by which a place may lie outside the picture and still be told apart
STAYS, DEEP = 6.0, 0.3  # weights of the cells that said something or nothing, and of the features for deeper layers


@dataclass(frozen=True, kw_only=True, eq=False)
class HandWords:
    """``words`` 3 d: of ``WORDS``; ``waves`` 2 w d: of the place of the tip, and of that below it."""

    words: Float[Tensor, "3 d"]
    waves: Float[Tensor, "2 w d"]

    @staticmethod
    def beside(model: TwoTowers, tokenizer: TextTokenizer, probe: SightSource) -> "HandWords":
        """Words as loud as the eyes' own, places where they say nothing yet.

        What they say is the least squares fit of their tokens to names and places. ``ConfigError`` if nothing is free.
        """
        said, names = _said(model, probe), len(probe.names)
        words = functional.normalize(word_vectors(model, tokenizer, WORDS), dim=-1)
        loudness = said[:names].square().sum(dim=-1).mean().sqrt()
        _, sizes, rows = torch.linalg.svd(torch.cat([said, words * loudness]), full_matrices=False)
        spanned, count = rows[sizes > FAINT * loudness], 4 * len(PERIODS)
        if len(spanned) + 2 * count > said.shape[1]:
            raise ConfigError(
                f"the reasoner is {said.shape[1]} wide: {len(spanned)} directions that the eyes use and {2 * count} of "
                "the hand's places must fit in. Take a wider one."
            )
        waves = directions_beside(spanned, 2 * count, seed=3).unflatten(0, (2, count))
        return HandWords(words=words * loudness, waves=waves * loudness / math.sqrt(2 * len(PERIODS)))


def _said(model: TwoTowers, probe: SightSource) -> Tensor:
    """What the eyes add to a token for each name and for each wave of its place: k + w, d."""
    rng, wanted, given = np.random.default_rng(0), list[Tensor](), list[Tensor]()
    for _ in range(PROBES // 32):
        frames, present, places = probe.batch(rng, 32)
        with torch.no_grad():
            tokens = seen_by(model.visual, frames)[0].unflatten(0, present.shape[:2])
        alone = present.sum(dim=-1) == 1
        where = (places * present[..., None]).sum(dim=-2)[alone]
        wanted.append(tokens[alone])
        given.append(torch.cat([present[alone], waves_of(where)], dim=-1))
    # of names that no probe shows, the smallest answer: nothing
    return torch.linalg.lstsq(torch.cat(given), torch.cat(wanted), driver="gelsd").solution


class HandSource:
    """Frames, and what is to be added to what the eyes say of them."""

    def __init__(self, hands: Hands, words: HandWords) -> None:
        self._hands, self._words = hands, words
        frames = as_seen(hands.frames[:1])
        self._grid = grid_of(frames)

    def batch(self, rng: np.random.Generator, samples: int) -> tuple[np.ndarray, Tensor, Tensor]:
        """Frames as the eyes see them b y x 3, tokens to add b c d, and which cells they are of b c."""
        rows, words = rng.integers(len(self._hands.frames), size=samples), self._words
        added = torch.zeros(samples, int(self._grid.prod()), words.words.shape[1])
        marked = torch.zeros(added.shape[:2], dtype=torch.bool)
        shut = torch.from_numpy(1 - self._hands.open[rows])[:, None]
        gripper = (1 - shut) * words.words[0] + shut * words.words[1]
        every = torch.arange(samples)
        for number, places in enumerate((self._hands.tip[rows], self._hands.below[rows])):
            at = places * self._grid
            x, y = np.clip(at, 0, self._grid - 1e-3).astype(int).T
            cell = torch.from_numpy(y * self._grid[0] + x)
            where = torch.from_numpy(np.clip(at, -BESIDE, self._grid + BESIDE) - self._grid / 2).float()
            added[every, cell] += (words.words[2] if number else gripper) + waves_of(where) @ words.waves[number]
            marked[every, cell] = True
        return as_seen(self._hands.frames[rows]), added, marked


def hand_loss(said: Said, before: Said, added: Tensor, marked: Tensor, loudness: Tensor) -> dict[str, Tensor]:
    """How far tokens are from what they were and what is added, a word being 1.

    ``hand``: of the hand's cells, ``kept``: of others that said something, ``silent``: of the rest. Things fill one
    cell in a dozen: in one mean with the silent ones they are lost while it looks small (docs/log.md).
    """
    then = before[0].float().unflatten(0, marked.shape)
    distance = (said[0].float().unflatten(0, marked.shape) - then - added).square().sum(dim=-1) / loudness**2
    speaking, deep = ~marked & spoke(then, loudness), strayed(said, before).sum()
    hand, kept, silent = (mean_where(distance, which) for which in (marked, speaking, ~marked & ~speaking))
    told = {"hand": hand.detach(), "kept": kept.detach(), "silent": silent.detach(), "deep": deep.detach()}
    return {"loss": hand + STAYS * (kept + silent) + DEEP * deep} | told


def notice_hand(
    model: TwoTowers, tokenizer: TextTokenizer, folders: Sequence[Path], stage: Stage, folder: Path,
    report: Report = print,
) -> bool:  # fmt: skip
    """Teach the model's eyes for one stage, from raw episodes of ``folders``. True once the steps are done."""
    hands = hands_of([path for one in folders for path in raw_files(one)])
    report(f"{len(hands.frames)} frames with a hand")
    before = copy.deepcopy(model.to(usable_device(stage.device)).visual).requires_grad_(False)
    words = HandWords.beside(model, tokenizer, SightSource(folders[0], every=8))
    source, loudness = HandSource(hands, words), words.words.norm(dim=-1).mean()

    def losses(step: int) -> Mapping[str, Tensor]:
        frames, added, marked = source.batch(np.random.default_rng([stage.seed, step]), stage.batch)
        with torch.no_grad():
            then = seen_by(before, frames)
        return hand_loss(seen_by(model.visual, frames), then, added, marked, loudness)

    return train_stage(stage, folder, [*model.visual.named_parameters(prefix="visual")], losses, report)
