"""In which numbers, and in which order in memory, this processor multiplies matrices fastest.

A CPU with bfloat16 instructions but no tiles (AMX) multiplies large matrices in bfloat16 at little more than half the
speed of float32, so training asks here first. Convolutions are another matter: there bfloat16 was twice as fast on the
same CPU, so the video tokenizer computes in it everywhere; and where few tokens are multiplied, reading weights of half
the size is what counts. Figures stand in docs/log.md.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from armillary.errors import ConfigError


@cache
def _abilities() -> Mapping[str, Any]:
    try:
        return torch.cpu.get_capabilities()
    except AttributeError:  # an older torch
        return {}


def usable_device(name: str) -> torch.device:
    """The device of that name; ``ConfigError`` for one that is not here, or that torch does not know."""
    if name.split(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name!r}, but torch sees no CUDA here: leave device out, or take cpu.")
    try:
        return torch.device(name)
    except RuntimeError as broken:
        raise ConfigError(f"device={name!r} is unknown to torch: take cpu or cuda.") from broken


def fast_dtype(device: torch.device) -> torch.dtype:
    """``torch.bfloat16`` on a GPU, and on a CPU with tiles for it, else ``torch.float32``: for training."""
    return torch.bfloat16 if device.type != "cpu" or _abilities().get("amx_bf16") else torch.float32


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, with tiles or without, else float32: for everything that is loaded."""
    multiplies = device.type != "cpu" or any(_abilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if multiplies else torch.float32


def multiplies_whole_numbers() -> bool:
    """Whether products of int8 are quick here, and exact: older instructions add pairs of them in 16 bits."""
    return any(_abilities().get(name) for name in ("avx512_vnni", "avx_vnni"))


def quick(weight: Tensor) -> Tensor:
    """The matrix n k as its processor multiplies it fastest: on a CPU, float32 by columns, everything else as it is."""
    by_columns = weight.ndim == 2 and weight.dtype == torch.float32 and weight.device.type == "cpu"
    return weight.t().contiguous().t() if by_columns else weight


def in_columns(weight: Tensor) -> bool:
    """Whether the matrix lies in memory column by column."""
    return weight.stride(0) == 1 and not weight.is_contiguous()


@cache
def packs(device: torch.device) -> bool:
    """Whether torch has a product here that wants its matrix in an order of its own."""
    try:
        known = torch.ops.mkldnn._reorder_linear_weight is not None
    except AttributeError:  # an older torch, or one made without oneDNN
        known = False
    return known and device.type == "cpu" and torch.backends.mkldnn.is_available()
