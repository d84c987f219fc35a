"""A layer of the reasoner for a few tokens at the speed of memory: ``few_tokens.cpp``, made by this machine's compiler.

    give_few_tokens(layer)    from now on ``Layer.go_on`` is one call

Said word by word, a layer is mostly its matrices being read, once; but for two to sixteen tokens torch's libraries lay
each matrix out anew first, and what stands between two products, norms, rotations, sums, is an operation with a call of
its own. Here all of it is one. What it saves stands in docs/log.md and docs/decisions/0002. Only in float32, on one
thread, for at most sixteen tokens; whatever else comes is worked out by the plain layer.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from armillary.errors import ConfigError
from armillary.model.positions import Rotation
from armillary.model.tower import Layer

MOST = 16  # tokens; a matrix is read once for each eight of them
_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")
_WEIGHTS = ("norm", "q", "k", "v", "norm_q", "norm_k", "out", "after", "gate", "up", "down")
_SIZES = ("width", "heads", "groups", "e", "mlp")


class _Layer(ctypes.Structure):
    """``Layer`` of the source."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _WEIGHTS),
        *((name, ctypes.c_int64) for name in _SIZES),
        ("eps", ctypes.c_float),
    )


def compiler() -> str | None:
    """The C++ compiler, if there is one."""
    return shutil.which("g++") or shutil.which("clang++")


def few_tokens_help(layer: nn.Module) -> bool:
    """Whether the reasoner's weights are such as the code reads: float32, and one thread of a processor at work."""
    assert isinstance(layer, Layer)
    weights = [weight for weight in _weights(layer) if weight is not None]
    plain = all(type(module) is nn.Linear for module in (layer.self_attn.to_q, layer.mlp.up_proj))
    alike = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in weights)
    return plain and alike and torch.get_num_threads() == 1


def give_few_tokens(layer: nn.Module) -> None:
    """Let a loaded layer, for which ``few_tokens_help``, go on so; the reasoner's matrices are laid row by row.

    Raises ``ConfigError`` if the compiler cannot make what is needed.
    """
    assert isinstance(layer, Layer)
    _made()
    a, mlp = layer.self_attn, layer.mlp
    for module in (a.to_q, a.to_k, a.to_v, a.to_out, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
        if module is not None:
            module.weight.data = module.weight.data.contiguous()
    layer.lay_side_by_side()
    layer.go_on = _GoesOn(layer)  # type: ignore[method-assign]


class _GoesOn:
    """``Layer.go_on`` of one layer."""

    def __init__(self, layer: Layer) -> None:
        tower = layer.self_attn.tower
        self._plain, self._weights = layer.go_on, _weights(layer)
        self._sizes = (tower.width, tower.heads, tower.kv_heads, tower.head_width, tower.mlp_width, tower.eps)
        self._addresses: tuple[int | None, ...] = ()
        self._how, self._rows = _Layer(), False

    def __call__(self, x: Tensor, where: Rotation, past: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        b, n, _ = x.shape
        keys, values = past
        cos, sin = (part.contiguous() for part in where)
        groups, m, e = keys.shape[1:]
        apart = keys.stride(1)
        lie = keys.stride() == values.stride() == (groups * apart, apart, e, 1)
        addresses = tuple(None if weight is None else weight.data_ptr() for weight in self._weights)
        if addresses != self._addresses:  # somebody laid them elsewhere
            self._how, self._addresses = _Layer(*addresses, *self._sizes), addresses
            self._rows = all(weight is None or weight.is_contiguous() for weight in self._weights)
        alone = torch.get_num_threads() == 1
        if not (alone and self._rows and lie and b * n <= MOST and cos.numel() == b * n * e):
            return self._plain(x, where, past, bias)
        out = x.clone(memory_format=torch.contiguous_format)
        start = None if bias is None else (bias := bias.contiguous()).data_ptr()
        _made().go_on(
            ctypes.byref(self._how),
            out.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            start,
            b,
            n,
            m,
            apart,
        )
        return out


def _weights(layer: Layer) -> Sequence[Tensor | None]:
    """What the code reads, in its order."""
    a, mlp = layer.self_attn, layer.mlp
    parts = (layer.input_layernorm, a.to_q, a.to_k, a.to_v, a.norm_q, a.norm_k, a.to_out,
             layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj, mlp.down_proj)  # fmt: skip
    return [None if part is None else part.weight for part in parts]


@cache
def _made() -> ctypes.CDLL:
    found = compiler()
    if found is None:
        raise ConfigError("few tokens are worked out by code that a C++ compiler makes: install g++.")
    with tempfile.TemporaryDirectory() as room:  # once opened, the file itself is not needed any more
        made = Path(room) / "few_tokens.so"
        done = subprocess.run(
            [found, *_FLAGS, str(_SOURCE), "-o", str(made)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason was given"])[0]
            raise ConfigError(
                f"{found} could not make {_SOURCE.name} ({said}): leave compiled out, or mend the compiler."
            )
        code = ctypes.CDLL(str(made))
    code.go_on.argtypes = [ctypes.c_void_p] * 7 + [ctypes.c_int64] * 4
    code.go_on.restype = None
    return code
