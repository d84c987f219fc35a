"""The reasoner's eyes: pictures to a few tokens, in the layout of Qwen3-VL's vision tower.

    picture -> 16x16 patches of two frames -> blocks of attention within one picture -> 2x2 patches merged to a token

``patchify_images`` and ``patchify_video`` turn uint8 pictures into a ``Visual``; ``VisionTower`` turns that
into tokens for the reasoner, and into the features that its first layers get besides (DeepStack).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import DataError
from armillary.model.attention import attend
from armillary.model.positions import Grid, Rotation
from armillary.model.sizes import VisionConfig

LEAST_PIXELS = 256 * 256  # what the published preprocessors enlarge smaller pictures to (cosmos3.md 1.6)
LOWER, UPPER = 14, 20  # pixels of a side by which Transformers' bounds stand apart from ours (``preprocessor``)


@dataclass(frozen=True, kw_only=True, eq=False)
class Visual:
    """Pictures ready for the vision tower, in the order in which the text of a whole batch names them.

    ``patches`` n p: numbers of each patch, in merge-block order. ``grids``: frame pairs, rows and columns of
    patches of each picture (one pair) or film.
    """

    patches: Tensor
    grids: tuple[Grid, ...]

    def tokens(self, merge: int = 2) -> list[int]:
        """How many of the reasoner's tokens each picture, or each frame pair of a film, takes."""
        return [h * w // merge**2 for t, h, w in self.grids for _ in range(t)]

    def to(self, *where: Any) -> "Visual":
        """The same pictures on another device or in another dtype."""
        return replace(self, patches=self.patches.to(*where))

    @staticmethod
    def join(visuals: "Sequence[Visual]") -> "Visual":
        """Several samples' pictures, one after the other."""
        grids = tuple(grid for visual in visuals for grid in visual.grids)
        return Visual(patches=torch.cat([visual.patches for visual in visuals]), grids=grids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Pictures that were looked at before, in place of a ``Visual``: their tokens and DeepStack's features, n d."""

    tokens: Tensor
    features: tuple[Tensor, ...]
    grids: tuple[Grid, ...]

    def to(self, *where: Any) -> "Seen":
        """The same on another device or in another dtype."""
        return replace(self, tokens=self.tokens.to(*where), features=tuple(one.to(*where) for one in self.features))

    @staticmethod
    def join(several: "Sequence[Seen]") -> "Seen":
        """Several samples' pictures, one after the other."""
        return Seen(
            tokens=torch.cat([seen.tokens for seen in several]),
            features=tuple(torch.cat(one) for one in zip(*(seen.features for seen in several), strict=True)),
            grids=tuple(grid for seen in several for grid in seen.grids),
        )


def patchify_images(images: Any, *, patch: int = 16, merge: int = 2, temporal_patch: int = 2) -> Visual:
    """Still pictures, uint8 h w 3 each (an array i h w 3, or a list of any sizes).

    With ``temporal_patch`` 2 each is a pair of equal frames (Qwen's eyes), with 1 a lone frame (Edge's).
    Raises ``DataError`` for other dtypes, shapes, or sides that ``patch * merge`` does not divide.
    """
    if isinstance(images, list | tuple):
        how = {"patch": patch, "merge": merge, "temporal_patch": temporal_patch}
        return Visual.join([patchify_images(_as_tensor(image)[None], **how) for image in images])
    pictures = _checked(images, patch * merge)
    frames = pictures[:, None].expand(-1, temporal_patch, -1, -1, -1)
    patches, (rows, columns) = _cut(frames, patch, merge)
    return Visual(patches=patches, grids=((1, rows, columns),) * len(pictures))


def patchify_video(frames: Any, *, patch: int = 16, merge: int = 2, temporal_patch: int = 2) -> Visual:
    """A film, uint8 t h w 3, as one grid of frame pairs (of frames, for Edge); an odd last frame is doubled.

    Errors as for pictures.
    """
    film = _checked(frames, patch * merge)
    if missing := -len(film) % temporal_patch:
        film = torch.cat((film, film[-1:].expand(missing, -1, -1, -1)))
    patches, (rows, columns) = _cut(film.unflatten(0, (-1, temporal_patch)), patch, merge)
    return Visual(patches=patches, grids=((len(film) // temporal_patch, rows, columns),))


def fit_for_eyes(frames: UInt8[np.ndarray, "t h w 3"], *, most: int, unit: int) -> UInt8[np.ndarray, "t y x 3"]:
    """Whole pictures as the eyes take them: both sides multiples of ``unit``, the shape kept as nearly as those allow.

    A small picture is enlarged to ``LEAST_PIXELS`` pixels, a large one shrunk to about ``most`` squared.
    """
    h, w = frames.shape[1:3]
    scale = math.sqrt(min(max(h * w, LEAST_PIXELS), max(most**2, LEAST_PIXELS)) / (h * w))
    rows, columns = (max(1, round(scale * edge / unit)) * unit for edge in (h, w))
    if (rows, columns) == (h, w):
        return frames
    pixels = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float()
    pixels = functional.interpolate(pixels, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def preprocessor(vision: VisionConfig, *, most: int) -> dict[str, Any]:
    """What Transformers must be told to prepare pictures as ``fit_for_eyes`` does, for eyes of kind ``qwen``.

    It rounds the sides of what it enlarges up and of what it shrinks down, we to the nearest: hence ``LOWER`` and
    ``UPPER``. Its processor of that name widens ``<|image_pad|>`` and wants no torchvision; films it leaves out.
    """
    least = math.isqrt(LEAST_PIXELS)
    return {
        "processor_class": "PaddleOCRVLProcessor",
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": {"shortest_edge": (least - LOWER) ** 2, "longest_edge": (max(most, least) + UPPER) ** 2},
        "resample": 2,  # bilinear
        "patch_size": vision.patch,
        "merge_size": vision.merge,
        "temporal_patch_size": vision.temporal_patch,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def _as_tensor(pictures: Any) -> Tensor:
    return pictures if isinstance(pictures, Tensor) else torch.from_numpy(np.array(pictures))


def _checked(pictures: Any, unit: int) -> Tensor:
    pixels = _as_tensor(pictures)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise DataError(f"pictures came as {pixels.dtype} {tuple(pixels.shape)}: they must be uint8, t h w 3.")
    if pixels.shape[1] % unit or pixels.shape[2] % unit:
        raise DataError(
            f"a picture of {pixels.shape[1]}x{pixels.shape[2]} pixels: both sides must be multiples of {unit}. "
            "Resize it first."
        )
    return pixels


def _cut(pairs: Tensor, patch: int, merge: int) -> tuple[Tensor, tuple[int, int]]:
    """uint8 f k h w 3 to patches n p, scaled to -1…1; order: block row, block column, row, column in the block.

    A patch's numbers: colour, frame, row, column; of a lone frame (k = 1, Edge's) row, column, colour.
    """
    f, k, h, w, _ = pairs.shape
    rows, columns = h // patch, w // patch
    cut = pairs.reshape(f, k, rows // merge, merge, patch, columns // merge, merge, patch, 3)
    inner = (8, 1, 4, 7) if k > 1 else (4, 7, 8, 1)
    cut = cut.permute(0, 2, 5, 3, 6, *inner)  # f block-row block-column row column, then the patch's numbers
    return cut.reshape(f * rows * columns, -1).float() / 127.5 - 1.0, (rows, columns)


class PatchEmbed(nn.Module):
    """A patch's numbers to one vector; stored as the convolution it equals."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        kernel = (vision.temporal_patch, vision.patch, vision.patch)
        self.proj = nn.Conv3d(3, vision.width, kernel_size=kernel, stride=kernel)

    def forward(self, patches: Tensor) -> Tensor:
        return functional.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class VisionAttention(nn.Module):
    """Full attention within one picture."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.heads = vision.heads
        self.qkv = nn.Linear(vision.width, 3 * vision.width)
        self.proj = nn.Linear(vision.width, vision.width)

    def forward(self, x: Tensor, where: Rotation, lengths: list[int]) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)  # n k e
        q, k = (_turn(head, where) for head in (q, k))
        return self.proj(look_within(q, k, v, lengths))


def look_within(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """Full attention within each frame of ``lengths`` patches, equal neighbours at once: heads n k e to n (k e)."""
    seen, start = [], 0
    for length, same in groupby(lengths):
        count = len(list(same))
        rows = slice(start, start + count * length)
        query, key, value = (h[rows].unflatten(0, (count, length)) for h in (q, k, v))  # f n k e
        seen.append(attend(query, key.transpose(1, 2), value.transpose(1, 2)).flatten(0, 1))  # n (k e)
        start = rows.stop
    return torch.cat(seen)


def _turn(x: Tensor, where: Rotation) -> Tensor:
    cos, sin = (table.to(x.dtype) for table in where)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class VisionMLP(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(vision.width, vision.mlp_width)
        self.linear_fc2 = nn.Linear(vision.mlp_width, vision.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_fc2(functional.gelu(self.linear_fc1(x), approximate="tanh"))


class VisionBlock(nn.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, vision: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(vision.width, eps=1e-6)
        self.norm2 = nn.LayerNorm(vision.width, eps=1e-6)
        self.attn = VisionAttention(vision)
        self.mlp = VisionMLP(vision)

    def forward(self, x: Tensor, where: Rotation, lengths: list[int]) -> Tensor:
        x = x + self.attn(self.norm1(x), where, lengths)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nn.Module):
    """merge x merge patches, which stand together, to one token; DeepStack normalises after joining them."""

    def __init__(self, vision: VisionConfig, width: int, *, after: bool) -> None:
        super().__init__()
        self.joined, self.after = vision.width * vision.merge**2, after
        self.norm = nn.LayerNorm(self.joined if after else vision.width, eps=1e-6)
        inner = vision.projector or self.joined
        self.linear_fc1 = nn.Linear(self.joined, inner)
        self.linear_fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.reshape(-1, self.joined)) if self.after else self.norm(x).reshape(-1, self.joined)
        return self.linear_fc2(functional.gelu(self.linear_fc1(x)))


class VisionTower(nn.Module):
    """Pictures to tokens of the reasoner's width. Tensor names are those of Transformers' ``Qwen3VLVisionModel``."""

    def __init__(self, vision: VisionConfig, width: int) -> None:
        super().__init__()
        self.vision = vision
        self.patch_embed = PatchEmbed(vision)
        self.pos_embed = nn.Embedding(vision.grid_side**2, vision.width)
        self.blocks = nn.ModuleList(VisionBlock(vision) for _ in range(vision.depth))
        self.merger = PatchMerger(vision, width, after=False)
        self.deepstack_merger_list = nn.ModuleList(PatchMerger(vision, width, after=True) for _ in vision.deepstack)

    @property
    def first(self) -> nn.Module:
        """What turns a patch's numbers into the tower's width."""
        return self.patch_embed.proj

    def forward(self, visual: Visual | Seen, dtype: torch.dtype) -> tuple[Float[Tensor, "n d"], list[Tensor]]:
        """Tokens n d, and for each DeepStack block features n d, computed in ``dtype``."""
        if isinstance(visual, Seen):
            return visual.tokens.to(dtype), [feature.to(dtype) for feature in visual.features]
        device = visual.patches.device
        frames = [(h, w) for t, h, w in visual.grids for _ in range(t)]
        index, weight, cos, sin = (
            torch.cat(part).to(device) for part in zip(*(_places(h, w, self.vision) for h, w in frames), strict=True)
        )
        place = (self.pos_embed(index) * weight[..., None]).sum(1)
        x = self.patch_embed(visual.patches.to(dtype)) + place.to(dtype)
        lengths = [h * w for h, w in frames]
        extra: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x, (cos, sin), lengths)
            if number in self.vision.deepstack:
                extra.append(self.deepstack_merger_list[len(extra)](x))
        return self.merger(x), extra


@lru_cache(maxsize=64)
def _places(h: int, w: int, vision: VisionConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a picture of h x w patches, in merge-block order: which four learned places each patch mixes (n 4), with
    which weights (n 4), and its rotation's cosine and sine (n 1 e)."""
    m, side = vision.merge, vision.grid_side
    row, column = (
        axis.reshape(h // m, m, w // m, m).transpose(1, 2).flatten()
        for axis in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    )

    def taps(at: Tensor, count: int) -> tuple[Tensor, Tensor]:
        exact = at.float() * ((side - 1) / max(count - 1, 1))
        low = exact.floor().long().clamp(max=side - 1)
        part = exact - low
        return torch.stack((low, (low + 1).clamp(max=side - 1)), -1), torch.stack((1 - part, part), -1)

    (rows, row_weight), (columns, column_weight) = taps(row, h), taps(column, w)
    index = (rows[:, :, None] * side + columns[:, None, :]).flatten(1)
    weight = (row_weight[:, :, None] * column_weight[:, None, :]).flatten(1)
    half = vision.width // vision.heads // 2
    frequency = 1.0 / (10000.0 ** (torch.arange(0, half, 2, dtype=torch.float32) / half))
    angle = torch.cat((row[:, None] * frequency, column[:, None] * frequency), dim=-1)
    angle = torch.cat((angle, angle), dim=-1)[:, None]
    return index, weight, angle.cos(), angle.sin()
