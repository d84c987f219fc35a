"""Which shape a coloured patch has, judged from its outline and shading alone.

    true pictures, their objects' boxes   --ShapeJudge.fit-->   a judge
    a picture, a colour                   --judge.things-->     the shapes of that colour's patches

The judge knows nothing of any model: a linear classifier on the patch, shrunk to 12x12, fitted on true pictures of
training seeds, sharp and blurred. How often it is right on true held-out pictures is reported beside whatever it
judges, since no film can score above it.

Only the largest patches of a colour count, as many as things of it are named, if they are as large as things are and
hold most of that colour: noise has patches of every colour and shape, and must not pass for a table full of things.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from armillary.errors import DataError
from armillary.evaluation.held_out import CAMERA
from armillary.evaluation.pixels import Mask, blobs_of, mask_of, within
from armillary.records import Array, Episode
from armillary.worlds.tabletop_tasks import SHAPES

SIDE = 12  # of the shrunken patch
LEAST_PIXELS = 30  # from which on a patch counts as a thing
MOST_OF_COLOUR = 0.5  # the share of a colour's pixels that its counted patches must hold
BLURS = (0, 1, 3)  # how often the pictures that the judge learns from are blurred
RIDGE = 10.0
Boxes = Mapping[str, tuple[int, int, int, int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapeJudge:
    """A fitted judge: ``weights`` k shapes, for features that had ``offset`` and ``scale``.

    ``largest``: pixels beyond which a patch is no thing, one and a half times the largest that it learnt from.
    """

    weights: NDArray[np.float64]
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    largest: float

    @classmethod
    def fit(cls, pictures: Iterable[tuple[Array, Boxes]]) -> "ShapeJudge":
        """From true pictures h w 3 and the boxes of their objects by name. ``DataError`` if a shape is never seen."""
        rows, names, areas = [], [], []
        for picture, boxes in pictures:
            for version in (blurred(picture, times) for times in BLURS):
                for name, box in boxes.items():
                    colour, shape = name.split()
                    mask = within(mask_of(version, colour), box)
                    if mask.sum() >= LEAST_PIXELS:
                        rows.append(describe(version, mask))
                        names.append(SHAPES.index(shape))
                        areas.append(float(mask.sum()))
        if set(names) != set(range(len(SHAPES))):
            missing = [shape for i, shape in enumerate(SHAPES) if i not in names]
            raise DataError(f"no {', '.join(missing)} in the pictures a judge is to learn from: give more pictures.")
        table, wanted = np.stack(rows), 2.0 * np.eye(len(SHAPES))[names] - 1
        offset, scale = table.mean(axis=0), table.std(axis=0) + 1e-3
        clean = np.concatenate([(table - offset) / scale, np.ones((len(table), 1))], axis=1)
        square = clean.T @ clean + RIDGE * np.eye(clean.shape[1])
        weights = np.linalg.solve(square, clean.T @ wanted)
        return cls(weights=weights, offset=offset, scale=scale, largest=1.5 * max(areas))

    @classmethod
    def of_lives(cls, lives: Iterable[Episode]) -> "ShapeJudge":
        """From the first, the middle and the last frame of each life that has boxes; ``DataError`` as ``fit``."""
        return cls.fit((life.frames[CAMERA][i], life.boxes[i]) for life in lives if life.boxes
                       for i in (0, len(life.boxes) // 2, len(life.boxes) - 1))  # fmt: skip

    def shape(self, picture: Array, mask: Mask) -> str:
        """The likeliest shape of the patch ``mask`` h w of a picture h w 3."""
        clean = np.append((describe(picture, mask) - self.offset) / self.scale, 1.0)
        return SHAPES[int((clean @ self.weights).argmax())]

    def things(self, picture: Array, colour: str, *, named: int = 1) -> list[str]:
        """The shapes of the ``named`` largest patches of that colour; none if they are not what things look like."""
        patches = blobs_of(picture, colour, least=LEAST_PIXELS)[:named]
        areas = [float(patch.sum()) for patch in patches]
        if not areas or max(areas) > self.largest or sum(areas) < MOST_OF_COLOUR * mask_of(picture, colour).sum():
            return []
        return [self.shape(picture, patch) for patch in patches]


def describe(picture: Array, mask: Mask) -> NDArray[np.float64]:
    """A patch as numbers: its outline and its shading on 12x12, its proportions, how much of its box it fills."""
    rows, columns = np.nonzero(mask)
    cut = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    own = mask[cut].astype(np.float32)
    light = picture[cut].max(axis=-1).astype(np.float32)
    inside = light[mask[cut]]
    light = np.where(mask[cut], (light - inside.mean()) / (inside.std() + 4.0), 0.0)
    height, width = own.shape
    plain = [height / width, own.mean(), own[: height // 2 + 1].mean(), own[:, : width // 2 + 1].mean()]
    return np.concatenate([_shrunk(own), _shrunk(light), plain])


def blurred(picture: Array, times: int = 1) -> Array:
    """The picture h w 3, each pixel mixed with its neighbours (1 2 1) so many times, as a small tokenizer leaves it."""
    for _ in range(times):
        padded = np.pad(picture.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
        mixed = padded[:-2] + 2 * padded[1:-1] + padded[2:]
        mixed = mixed[:, :-2] + 2 * mixed[:, 1:-1] + mixed[:, 2:]
        picture = np.round(mixed / 16).astype(np.uint8)
    return picture


def _shrunk(values: NDArray[np.float32]) -> NDArray[np.float64]:
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64).ravel()
