"""Where each token stands: three numbers, for time, row and column, and the rotation they make.

    text            0, 1, 2, …                          the same on all three axes
    a picture       starts at the running count c       time c, row c + y, column c + x; then c jumps past it
    the generator   time = N + margin + seconds * 6     N is the text's length; sound alone runs 24 a second
                    row, column = from 0

The generator's times are computed as Diffusers does (index / tokens a second * units a second + offset, in
fp32): beyond 15000 the next fp32 number is 0.001 away, so another order of the same formula is another place.
Angles are fp32 under any autocast; bfloat16 would merge neighbours from 256 on.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from armillary.errors import DataError
from armillary.model.sizes import ModelConfig, TowerConfig

Rotation = tuple[Tensor, Tensor]  # cos and sin, each b n 1 e
_TABLE = 1024  # places: by how many the table of words grows
Grid = tuple[int, int, int]  # frame pairs, rows, columns, counted in patches


def segment_ids(
    modality: str,
    positions: Float[Tensor, "b n 3"],
    lengths: Int[Tensor, " b"],
    *,
    fps: float | Tensor,
    config: ModelConfig,
) -> Float[Tensor, "b n 3"]:
    """Turn physical places (seconds, row, column) into rotary ids. ``lengths``: the reasoner's tokens a sample.

    ``fps`` is the film's frames a second, one for all or b numbers. One second is 6 units for video and
    actions, 24 for sound (cosmos3.md 2.2).
    """
    rate = torch.as_tensor(fps, dtype=torch.float32, device=positions.device).reshape(-1, 1)
    per_second = {"video": rate / config.tcf, "action": rate, "sound": torch.full_like(rate, config.sound_rate)}[
        modality
    ]
    units = float(config.base_fps) if modality == "sound" else config.base_fps / config.tcf
    exact = positions[..., 0].double() * per_second.double()
    index = torch.where((exact - exact.round()).abs() < 1e-3, exact.round(), exact).float()
    time = index / per_second * units + (lengths[:, None] + config.margin).float()
    return torch.stack((time, positions[..., 1].float(), positions[..., 2].float()), dim=-1)


def text_ids(
    mask: Bool[Tensor, "b m"], visual_at: Bool[Tensor, "b m"] | None, grids: Sequence[Grid], *, merge: int
) -> tuple[Int[Tensor, "b m 3"], Int[Tensor, " b"]]:
    """Rotary ids of the reasoner's tokens, and each sample's next free position.

    ``visual_at`` is True where a picture's token stands; ``grids`` are the pictures in order of appearance over
    the whole batch, a film as one grid whose frame pairs appear one by one, each after words of its own.
    Raises ``DataError`` if the pictures' tokens are not as many as the places kept for them.
    """
    advance = mask.long()
    offset = torch.zeros(*mask.shape, 3, dtype=torch.long, device=mask.device)
    if visual_at is not None:
        frames = [(h, w) for t, h, w in grids for _ in range(t)]
        count = sum(h * w for h, w in frames) // merge**2
        if (places := int(visual_at.sum())) != count:
            raise DataError(
                f"{places} places are kept for pictures, the pictures have {count} tokens: write one pad token for "
                f"each {merge}x{merge} patches."
            )
        tables = [_merged_grid(h // merge, w // merge) for h, w in frames]
        offset[visual_at] = torch.cat([table for table, _ in tables]).to(mask.device)
        advance[visual_at] = torch.cat([step for _, step in tables]).to(mask.device)
    after = advance.cumsum(dim=1)
    return (after - advance)[..., None] + offset, after[:, -1]


@lru_cache(maxsize=64)
def _merged_grid(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Offsets (0, row, column) of a picture's tokens, and how far each moves the count: only the last does."""
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    step = torch.zeros(h * w, dtype=torch.long)
    step[-1] = max(h, w)
    return torch.stack((torch.zeros_like(rows), rows, columns), dim=-1).reshape(-1, 3), step


def rotation(ids: Num[Tensor, "b n 3"], tower: TowerConfig, dtype: torch.dtype) -> Rotation:
    """Cosine and sine of every token's angles, b n 1 e, computed in fp32, given in ``dtype``.

    Frequency i belongs to the row if i % 3 == 1, to the column if i % 3 == 2, as long as that axis has any
    left (``rope_axes``), else to time.
    """
    axis, frequency = _frequencies(tower, ids.device)
    angle = ids.float().index_select(-1, axis) * frequency  # b n half
    angle = torch.cat((angle, angle), dim=-1)[:, :, None]  # b n 1 e
    return angle.cos().to(dtype), angle.sin().to(dtype)


def text_rotation(places: Int[Tensor, "b n"], reach: int, tower: TowerConfig, dtype: torch.dtype) -> Rotation:
    """``rotation`` of words at ``places``, all below ``reach``, out of a table that is made once."""
    cos, sin = _table(tower, -(-reach // _TABLE) * _TABLE, dtype, places.device)
    return cos[places], sin[places]


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def _table(tower: TowerConfig, many: int, dtype: torch.dtype, device: torch.device) -> Rotation:
    """Cosine and sine of the first ``many`` places, each many 1 e."""
    ids = torch.arange(many, device=device)[None, :, None].expand(-1, -1, 3)
    cos, sin = rotation(ids, tower, dtype)
    return cos[0], sin[0]


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _frequencies(tower: TowerConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """The axis each frequency belongs to, and the frequencies, e/2 each."""
    even = torch.arange(0, tower.head_width, 2, dtype=torch.float32, device=device)
    axis = torch.zeros(tower.head_width // 2, dtype=torch.long, device=device)
    axis[1 : 3 * tower.rope_axes[1] : 3] = 1
    axis[2 : 3 * tower.rope_axes[2] : 3] = 2
    return axis, 1.0 / (tower.rope_theta ** (even / tower.head_width))


def rotate(x: Tensor, where: Rotation) -> Tensor:
    """Turn each head (… n k e) by its token's angles: pairs are (i, i + e/2)."""
    cos, sin = where
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def tokens_near(place: tuple[float, float], plane: tuple[int, int], reach: float) -> Bool[Tensor, " n"]:
    """True for those tokens of a picture that lie within ``reach`` of a place, to each side.

    ``place``: column and row, and ``reach``, in shares of the picture; ``plane``: its tokens' rows and columns.
    """
    (from_row, to_row), (from_column, to_column) = (
        [min(max(math.floor((at + by) * count), 0), count - 1) for by in (-reach, reach)]
        for at, count in zip(reversed(place), plane, strict=True)
    )
    near = torch.zeros(plane, dtype=torch.bool)
    near[from_row : to_row + 1, from_column : to_column + 1] = True
    return near.flatten()
