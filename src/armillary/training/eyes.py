"""The eyes learn to speak the reasoner's words, before anybody talks about pictures.

    in    frames of raw episodes with the boxes of what is seen, a model that already knows the words
    out   a vision tower: the token of a cell is the sum of the word vectors of what has its middle there, and where

A reasoner that reads well answers from habit, and what a fresh vision tower could add never gets through: three runs
talked for half an hour each and saw nothing (docs/log.md). With tokens that look like words it has read, it uses
them. The place stands in the same token, in directions that no word of a name uses: features that are added to
later layers are too quiet there, and no place was ever read from them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from armillary.datasets.dreamt import NAMES
from armillary.datasets.raw import load_raw, raw_files
from armillary.errors import ConfigError
from armillary.model import TwoTowers, fit_for_eyes, patchify_images, patchify_video
from armillary.model.arithmetic import usable_device
from armillary.tokenizers.text import TextTokenizer
from armillary.training.loop import Report, Stage, train_stage

UNIT = 32  # pixels, as the eyes see them, of one token on each side
PERIODS = (16, 8, 4)  # cells, of the waves that say where something is
EMPTY_WEIGHT = 0.5
SPEAKS = 0.1  # of a word's square: a cell that says more says something
Said = tuple[Tensor, Sequence[Tensor]]  # an eye's tokens, and its features for deeper layers


def as_seen(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames t h w 3 as the eyes take them."""
    return fit_for_eyes(frames, most=max(frames.shape[1:3]), unit=UNIT)


def grid_of(frames: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Columns and lines of the cells of frames as the eyes see them, b y x 3."""
    return np.array((frames.shape[2] // UNIT, frames.shape[1] // UNIT))


class SightSource:
    """Frames with, for each cell, which things have their middle there (n c k) and where that is (n c k 2)."""

    def __init__(self, data: Path, *, camera: str = "front", every: int = 3) -> None:
        frames, found = [], []
        for path in raw_files(data):
            episode = load_raw(path)
            if not episode.boxes:
                continue
            for number in range(0, len(episode.boxes), every):
                frames.append(episode.frames[camera][number])
                found.append(dict(episode.boxes[number]))
        self.names = sorted({*NAMES, *(name for boxes in found for name in boxes)})
        self.frames = np.stack(frames)
        self._found = found

    def batch(self, rng: np.random.Generator, samples: int) -> tuple[NDArray[np.uint8], Tensor, Tensor]:
        """Frames as the eyes see them b y x 3, presence b c k, places b c k 2 (x, y in cells from the middle)."""
        rows = rng.integers(len(self.frames), size=samples)
        frames = as_seen(self.frames[rows])
        columns, lines = grid_of(frames).tolist()
        present = torch.zeros(samples, lines * columns, len(self.names))
        places = torch.zeros(*present.shape, 2)
        scale = np.array([columns / self.frames.shape[2], lines / self.frames.shape[1]])
        for i, row in enumerate(rows):
            for name, (left, top, right, bottom) in self._found[row].items():
                x, y = scale * ((left + right) / 2, (top + bottom) / 2)
                cell, thing = min(int(y), lines - 1) * columns + min(int(x), columns - 1), self.names.index(name)
                present[i, cell, thing] = 1
                places[i, cell, thing] = torch.tensor((x - columns / 2, y - lines / 2))
        return frames, present, places


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """How things should look to the reasoner. ``words`` k d: of each of ``names``; ``waves`` w d: of their places."""

    names: tuple[str, ...]
    words: Float[Tensor, "k d"]
    waves: Float[Tensor, "w d"]

    @staticmethod
    def of(model: TwoTowers, tokenizer: TextTokenizer, names: Sequence[str]) -> "Sight":
        """What the reasoner takes each name for, and directions beside these; ``ConfigError`` if it is too narrow."""
        words = word_vectors(model, tokenizer, names)
        _, sizes, rows = torch.linalg.svd(words, full_matrices=False)
        spanned = rows[sizes > 1e-3 * sizes[0]]
        count = 4 * len(PERIODS)
        if len(spanned) + count > words.shape[1]:
            raise ConfigError(
                f"the reasoner is {words.shape[1]} wide: {len(spanned)} directions of words and {count} of places "
                "must fit in. Take a wider one."
            )
        waves = directions_beside(spanned, count, seed=0)
        loudness = words.square().sum(dim=-1).mean().sqrt() / math.sqrt(2 * len(PERIODS))  # as loud as the words
        return Sight(names=tuple(names), words=words, waves=waves * loudness)

    def at(self, places: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n d"]:
        """What says that something is at x, y, in cells from the middle of the picture."""
        return waves_of(places) @ self.waves

    def tokens(self, present: Float[Tensor, "*c k"], places: Float[Tensor, "*c k 2"]) -> Float[Tensor, "*c d"]:
        """Of every cell: who is there, and where that is (of several things, the mean); nothing where nothing is."""
        count = present.sum(dim=-1, keepdim=True)
        middle = (places * present[..., None]).sum(dim=-2) / count.clamp(min=1)
        return present @ self.words + self.at(middle) * (count > 0)


def directions_beside(taken: Float[Tensor, "n d"], count: int, *, seed: int) -> Float[Tensor, "k d"]:
    """So many orthonormal directions that none of the orthonormal rows ``taken`` uses."""
    free = torch.randn(count, taken.shape[1], generator=torch.Generator().manual_seed(seed)).to(taken)
    return torch.linalg.qr((free - free @ taken.T @ taken).T)[0].T


def waves_of(places: Tensor) -> Tensor:
    """The sines and cosines that say where places *n 2 are, in cells: *n w."""
    turns = [places * (2 * math.pi / period) for period in PERIODS]
    return torch.cat([wave for turn in turns for wave in (turn.sin(), turn.cos())], dim=-1)


def word_vectors(model: TwoTowers, tokenizer: TextTokenizer, names: Sequence[str]) -> Float[Tensor, "k d"]:
    """What the reasoner takes each name for: the sum of its words' vectors."""
    with torch.no_grad():
        table = model.transformer.embed_tokens.weight
        return torch.stack([table[tokenizer.encode(f" {name}")].sum(dim=0) for name in names]).float().cpu()


def seen_by(
    eyes: nn.Module, frames: NDArray[np.uint8], dtype: torch.dtype = torch.float32, *, pairs: bool = False
) -> Said:
    """What eyes say of frames b y x 3, on the CPU: tokens, and the features for deeper layers.

    ``pairs``: of each two frames as one look, as films show them; no pair sees another.
    """
    looks = (patchify_video if pairs else patchify_images)(frames)
    tokens, features = eyes(looks.to(next(eyes.parameters()).device), dtype)
    return tokens.cpu(), [one.cpu() for one in features]


def spoke(tokens: Float[Tensor, "*n d"], loudness: Tensor | float) -> Bool[Tensor, "*n"]:
    """Which tokens say something, a word being ``loudness``."""
    return tokens.square().sum(dim=-1) > SPEAKS * loudness**2


def mean_where(values: Tensor, which: Tensor) -> Tensor:
    """The mean of the values that are marked; 0 where none is."""
    return values[which].sum() / which.sum().clamp(min=1)


def strayed(said: Said, before: Said) -> Float[Tensor, " k"]:
    """How far the features for each deeper layer are from what they were: the relative square error."""
    both = zip(said[1], before[1], strict=True)
    errors = [(now - then).square().mean() / then.square().mean() for now, then in both]
    return torch.stack(errors) if errors else said[0].new_zeros(0)


def sight_loss(model: TwoTowers, sight: Sight, seen: tuple[NDArray[np.uint8], Tensor, Tensor]) -> dict[str, Tensor]:
    """Distance to how things should look, words being 1 (empty cells: to 0).

    ``right``: cells whose best word is true; ``place``: squared error of the waves that can be read back.
    """
    frames, present, places = seen
    dtype = model.transformer.embed_tokens.weight.dtype
    cells = seen_by(model.visual, frames, dtype)[0].float().unflatten(0, present.shape[:2])
    wanted, full = sight.tokens(present, places), present.sum(dim=-1) > 0
    distance = (cells - wanted).square().sum(dim=-1) / sight.words.square().sum(dim=-1).mean()
    best = (cells @ functional.normalize(sight.words, dim=-1).T).argmax(dim=-1, keepdim=True)
    off = ((cells - wanted)[full] @ functional.normalize(sight.waves, dim=-1).T) / sight.waves.norm(dim=-1)
    return {
        "loss": distance[full].mean() + EMPTY_WEIGHT * distance[~full].mean(),
        "place": off.square().mean().detach(),
        "right": present.gather(-1, best)[..., 0][full].mean(),
    }


def open_eyes(
    model: TwoTowers, tokenizer: TextTokenizer, data: Path, stage: Stage, folder: Path, report: Report = print
) -> bool:
    """Teach the model's vision tower for one stage. True once the steps are done."""
    source = SightSource(data)
    report(f"{len(source.frames)} frames, {len(source.names)} kinds of things")
    sight = Sight.of(model, tokenizer, source.names)
    model.to(usable_device(stage.device))
    parameters = [*model.visual.named_parameters(prefix="visual")]

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([stage.seed, step])
        return sight_loss(model, sight, source.batch(rng, stage.batch))

    return train_stage(stage, folder, parameters, losses, report)
