"""The eyes learn to speak the reasoner's words, before anybody talks about pictures.

    in    frames of raw episodes with the boxes of what is seen, a model that already knows the words
    out   a vision tower: the token of a cell is the sum of the word vectors of what has its middle there

A reasoner that reads well answers from habit, and what a fresh vision tower could add never gets through: three runs
talked for half an hour each and saw nothing (docs/log.md). With tokens that look like words it has read, it uses
them within a few hundred steps. A linear head that learns where in the picture the thing of a cell is keeps places
readable for whoever comes after; the head is thrown away.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from armillary.datasets.raw import load_raw, raw_files
from armillary.model import TwoTowers, fit_for_eyes, patchify_images
from armillary.tokenizers.text import TextTokenizer
from armillary.training.loop import Report, Stage, train_stage

UNIT = 32  # pixels, as the eyes see them, of one token on each side
PLACE_WEIGHT, EMPTY_WEIGHT = 1.0, 0.5


def as_seen(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames t h w 3 as the eyes take them."""
    return fit_for_eyes(frames, most=max(frames.shape[1:3]), unit=UNIT)


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
        self.names = sorted({name for boxes in found for name in boxes})
        self.frames = np.stack(frames)
        self._found = found

    def batch(self, rng: np.random.Generator, samples: int) -> tuple[NDArray[np.uint8], Tensor, Tensor]:
        """Frames as the eyes see them b y x 3, presence b c k, places b c k 2 (x, y in cells from the middle)."""
        rows = rng.integers(len(self.frames), size=samples)
        frames = as_seen(self.frames[rows])
        lines, columns = (side // UNIT for side in frames.shape[1:3])
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


def word_vectors(model: TwoTowers, tokenizer: TextTokenizer, names: Sequence[str]) -> Float[Tensor, "k d"]:
    """What the reasoner takes each name for: the sum of its words' vectors."""
    with torch.no_grad():
        table = model.transformer.embed_tokens.weight
        return torch.stack([table[tokenizer.encode(f" {name}")].sum(dim=0) for name in names]).float()


def sight_loss(
    model: TwoTowers, head: nn.Linear, words: Float[Tensor, "k d"], seen: tuple[NDArray[np.uint8], Tensor, Tensor]
) -> dict[str, Tensor]:
    """Distance to the word vectors (empty cells: to 0) and of places; ``right``: cells whose best word is true."""
    frames, present, places = seen
    dtype = model.transformer.embed_tokens.weight.dtype
    tokens, extra = model.visual(patchify_images(frames), dtype)
    cells = tokens.float().unflatten(0, present.shape[:2])
    distance = (cells - present @ words).square().sum(dim=-1) / words.square().sum(dim=-1).mean()
    full = present.sum(dim=-1) > 0
    align = distance[full].mean() + EMPTY_WEIGHT * distance[~full].mean()
    best = (cells @ functional.normalize(words, dim=-1).T).argmax(dim=-1, keepdim=True)
    told = head(sum(extra, tokens).float()).unflatten(0, present.shape[:2]).unflatten(-1, (len(words), 2))
    place = ((told - places).abs().sum(-1) * present).sum() / present.sum().clamp(min=1)
    return {
        "loss": align + PLACE_WEIGHT * place, "align": align.detach(), "place": place.detach(),
        "right": present.gather(-1, best)[..., 0][full].mean(),
    }  # fmt: skip


def open_eyes(
    model: TwoTowers, tokenizer: TextTokenizer, data: Path, stage: Stage, folder: Path, report: Report = print
) -> bool:
    """Teach the model's vision tower for one stage; the head is not kept. True once the steps are done."""
    source = SightSource(data)
    report(f"{len(source.frames)} frames, {len(source.names)} kinds of things")
    words = word_vectors(model, tokenizer, source.names)
    head = nn.Linear(model.config.tower.width, 2 * len(source.names))
    parameters = [*model.visual.named_parameters(prefix="visual"), *head.named_parameters(prefix="head")]

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([stage.seed, step])
        return sight_loss(model, head, words, source.batch(rng, stage.batch))

    return train_stage(stage, folder, parameters, losses, report)
