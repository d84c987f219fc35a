"""Lessons without pictures: the reasoner learns what tokens of things and places mean from tables nobody drew.

    in    what things should look like to the reasoner (``eyes.Sight``), tables and questions by chance
    out   conversations of one question each, whose pictures are tokens as perfect eyes would give them

In talk about real pictures every kind of question but one stayed unlearnt for forty thousand of them: looking something
up takes two layers that only help together, one thing among sixty-four tokens is seldom hit by chance, and a dozen
kinds of answers pull at once. Nine tokens, one question, one kind at a time, and each is learnt within some
thousand (docs/log.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from armillary.datasets.dreamt import Table, asked, dreamt
from armillary.model import Seen
from armillary.tokenizers.text import TextTokenizer
from armillary.training.eyes import Sight
from armillary.training.loop import Stage
from armillary.training.talk import Talk, converse, drawn_by_task, padded

HAZE = (0.01, 0.03)  # of empty cells; things are as clear as ``CLARITY``
CLARITY = 0.02


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One stage of dreams: ``shares`` of the tasks that are asked (colour, shape, count, extreme, relation,
    box)."""

    stage: Stage
    shares: Mapping[str, float]
    side: int = 3


class DreamSource:
    """Conversations about dreamt tables."""

    def __init__(self, sight: Sight, tokenizer: TextTokenizer, lesson: Lesson, *, deepstack: int) -> None:
        self._sight, self._lesson, self._deepstack = sight, lesson, deepstack
        self._encode = lru_cache(None)(tokenizer.encode)

    def batch(self, rng: np.random.Generator, samples: int) -> Talk:
        """As many tables, each with one question."""
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows, pictures = [], []
        for _ in range(samples):
            table = dreamt(rng, self._lesson.side)
            chosen = drawn_by_task(asked(table, rng), self._lesson.shares, rng)
            rows.append(converse(self._encode, self._lesson.side**2, [chosen]))
            pictures.append(self._tokens(table, float(rng.choice(HAZE)), noise))
        tokens = torch.cat(pictures)
        side = 2 * self._lesson.side  # patches
        features = (torch.zeros_like(tokens),) * self._deepstack
        return padded(rows, Seen(tokens=tokens, features=features, grids=((1, side, side),) * samples))

    def _tokens(self, table: Table, haze: float, noise: torch.Generator) -> torch.Tensor:
        which = torch.tensor([self._sight.names.index(name) for name in table.names])
        things = self._sight.words[which] + self._sight.at(torch.from_numpy(table.places).float())
        tokens = haze * torch.randn(self._lesson.side**2, things.shape[1], generator=noise)
        tokens[torch.from_numpy(table.cells)] = things + CLARITY * torch.randn(things.shape, generator=noise)
        return tokens
