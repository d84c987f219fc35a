"""Stage zero: the eyes learn what stands where, before anybody talks about it.

    in    frames of raw episodes with the boxes of what is seen
    out   a vision tower whose tokens tell which things have their middle in their cell, and where in it

A reasoner that knows the words well answers from habit, and the little that a fresh vision tower could add never
gets through: two runs talked for half an hour and saw nothing. So the tower is taught directly, through a linear
head that is thrown away afterwards; the reasoner then finds tokens worth reading.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.datasets.raw import load_raw, raw_files
from armillary.model import TwoTowers, patchify_images
from armillary.training.loop import Report, Stage, train_stage

CELL = 32  # pixels a token of the reasoner sees on each side
PLACE_WEIGHT = 2.0


class SightSource:
    """Frames with, for each cell, which things have their middle there (n c k) and where in it (n c k 2)."""

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

    def batch(self, rng: np.random.Generator, samples: int) -> tuple[np.ndarray, Tensor, Tensor]:
        """Frames b h w 3, presence b c k, places b c k 2 in shares of a cell."""
        rows = rng.integers(len(self.frames), size=samples)
        height, width = self.frames.shape[1:3]
        columns = width // CELL
        present = torch.zeros(samples, (height // CELL) * columns, len(self.names))
        places = torch.zeros(*present.shape, 2)
        for i, row in enumerate(rows):
            for name, (left, top, right, bottom) in self._found[row].items():
                x, y = (left + right) / 2 / CELL, (top + bottom) / 2 / CELL
                cell, thing = (
                    min(int(y), height // CELL - 1) * columns + min(int(x), columns - 1),
                    self.names.index(name),
                )
                present[i, cell, thing] = 1
                places[i, cell, thing] = torch.tensor((x % 1, y % 1))
        return self.frames[rows], present, places


def sight_loss(model: TwoTowers, head: nn.Linear, seen: tuple[np.ndarray, Tensor, Tensor]) -> dict[str, Tensor]:
    """Presence by cross-entropy, place by absolute error where a thing is; ``found``: share of things told right."""
    frames, present, places = seen
    weight = model.visual.patch_embed.proj.weight
    tokens, extra = model.visual(patchify_images(frames), weight.dtype)
    told = head(sum(extra, tokens).float()).unflatten(0, present.shape[:2])
    things = present.shape[-1]
    scores, where = told[..., :things], told[..., things:].unflatten(-1, (things, 2))
    presence = functional.binary_cross_entropy_with_logits(scores, present, pos_weight=torch.tensor(8.0))
    place = ((where - places).abs().sum(-1) * present).sum() / present.sum().clamp(min=1)
    found = ((scores > 0).float() * present).sum() / ((scores > 0).float() + present - (scores > 0) * present).sum()
    return {
        "loss": presence * 4 + PLACE_WEIGHT * place, "place": place.detach(), "found": found.detach(),
        "size": tokens.detach().float().square().mean().sqrt(),
    }  # fmt: skip


def open_eyes(model: TwoTowers, data: Path, stage: Stage, folder: Path, report: Report = print) -> bool:
    """Teach the model's vision tower for one stage; the head is not kept. True once the steps are done."""
    source = SightSource(data)
    report(f"{len(source.frames)} frames, {len(source.names)} kinds of things")
    head = nn.Linear(model.config.tower.width, 3 * len(source.names))
    parameters = [*model.visual.named_parameters(prefix="visual"), *head.named_parameters(prefix="head")]

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([stage.seed, step])
        return sight_loss(model, head, source.batch(rng, stage.batch))

    return train_stage(stage, folder, parameters, losses, report)
