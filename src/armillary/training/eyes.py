"""The eyes learn to speak the reasoner's words, before anybody talks about pictures.

    in    frames of raw episodes with the boxes of what is seen, a model that already knows the words
    out   a vision tower: the token of a cell is the sum of the word vectors of what has its middle there

A reasoner that reads well answers from habit, and what a fresh vision tower could add never gets through: three runs
talked for half an hour each and saw nothing (docs/log.md). With tokens that look like words it has read, it uses
them within a few hundred steps. Where the thing is, DeepStack tells: from its features a linear head must name the
digits of its box, as the reasoner will have to write them. The head is thrown away, and the features, which are added
to states thirty times larger, are made loud enough to be heard (docs/log.md).
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
PLACE_WEIGHT, EMPTY_WEIGHT = 0.5, 0.5
NUMBERS = 6  # that tell a place, each two digits: left, top, right, bottom and middle of the box, hundredths
LOUD = 10.0  # the size of DeepStack's features after the lessons; the states they are added to have about 20


class SightSource:
    """Frames with, for each cell, which things have their middle there and the numbers of their box."""

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
        """Frames as the eyes see them b y x 3, presence b c k, numbers b c 6 (-1 where there is nothing)."""
        rows = rng.integers(len(self.frames), size=samples)
        frames = fit_for_eyes(self.frames[rows], most=max(self.frames.shape[1:3]), unit=UNIT)
        lines, columns = (side // UNIT for side in frames.shape[1:3])
        present = torch.zeros(samples, lines * columns, len(self.names))
        numbers = torch.full((samples, lines * columns, NUMBERS), -1)
        size = np.array(self.frames.shape[1:3][::-1])  # width, height
        for i, row in enumerate(rows):
            for name, box in self._found[row].items():
                corners = np.array(box).reshape(2, 2)
                middle = corners.mean(axis=0)
                x, y = np.minimum(middle / size * (columns, lines), (columns - 1, lines - 1)).astype(int)
                present[i, y * columns + x, self.names.index(name)] = 1
                told = np.concatenate((corners, middle[None])) / size
                numbers[i, y * columns + x] = torch.from_numpy(
                    np.minimum(99, np.rint(100 * told)).astype(int)
                ).flatten()
        return frames, present, numbers


def word_vectors(model: TwoTowers, tokenizer: TextTokenizer, names: Sequence[str]) -> Float[Tensor, "k d"]:
    """What the reasoner takes each name for: the sum of its words' vectors."""
    with torch.no_grad():
        table = model.transformer.embed_tokens.weight
        return torch.stack([table[tokenizer.encode(f" {name}")].sum(dim=0) for name in names]).float()


def sight_loss(
    model: TwoTowers, head: nn.Linear, words: Float[Tensor, "k d"], seen: tuple[NDArray[np.uint8], Tensor, Tensor]
) -> dict[str, Tensor]:
    """Distance to the word vectors (empty cells: to 0), and of the digits; ``right``, ``digits``: how many are true."""
    frames, present, numbers = seen
    dtype = model.transformer.embed_tokens.weight.dtype
    tokens, extra = model.visual(patchify_images(frames), dtype)
    cells = tokens.float().unflatten(0, present.shape[:2])
    distance = (cells - present @ words).square().sum(dim=-1) / words.square().sum(dim=-1).mean()
    full = present.sum(dim=-1) > 0
    align = distance[full].mean() + EMPTY_WEIGHT * distance[~full].mean()
    best = (cells @ functional.normalize(words, dim=-1).T).argmax(dim=-1, keepdim=True)
    loss, right = align, {"align": align.detach(), "right": present.gather(-1, best)[..., 0][full].mean()}
    if extra:
        told = head(sum(extra).float()).unflatten(0, present.shape[:2])[full].unflatten(-1, (2 * NUMBERS, 10))
        digits = torch.cat((numbers[full] // 10, numbers[full] % 10), dim=-1)
        loss = loss + PLACE_WEIGHT * functional.cross_entropy(told.flatten(0, 1), digits.flatten())
        right["digits"] = (told.argmax(dim=-1) == digits).float().mean()
    return {"loss": loss} | right


def open_eyes(
    model: TwoTowers, tokenizer: TextTokenizer, data: Path, stage: Stage, folder: Path, report: Report = print
) -> bool:
    """Teach the model's vision tower for one stage; the head is not kept. True once the steps are done."""
    source = SightSource(data)
    report(f"{len(source.frames)} frames, {len(source.names)} kinds of things")
    words = word_vectors(model, tokenizer, source.names)
    head = nn.Linear(model.config.tower.width, 2 * NUMBERS * 10)
    parameters = [*model.visual.named_parameters(prefix="visual"), *head.named_parameters(prefix="head")]

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([stage.seed, step])
        return sight_loss(model, head, words, source.batch(rng, stage.batch))

    finished = train_stage(stage, folder, parameters, losses, report)
    if finished:
        speak_up(model, source.batch(np.random.default_rng(stage.seed), 32)[0])
    return finished


@torch.no_grad()
def speak_up(model: TwoTowers, frames: NDArray[np.uint8]) -> None:
    """Scale what DeepStack adds until its features of ``frames`` b y x 3 have the size ``LOUD``."""
    _, extra = model.visual(patchify_images(frames), model.transformer.embed_tokens.weight.dtype)
    named = dict(model.visual.named_parameters())
    for number, features in enumerate(extra):
        factor = LOUD / features.float().square().mean().sqrt()
        for part in ("weight", "bias"):
            named[f"deepstack_merger_list.{number}.linear_fc2.{part}"].mul_(factor)
