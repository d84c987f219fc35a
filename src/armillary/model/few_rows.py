"""A few tokens times a matrix at the speed of memory: ``few_rows.cpp``, made by this machine's C++ compiler.

    give_few_rows(layer)      from now on the reasoner's matrices of a layer multiply so

One token is multiplied as fast as the matrix is read. For two to sixteen torch's libraries first lay the matrix out
anew, each time, which takes as long again: eight tokens and a matrix of 3072 x 512 took 1.04 ms, here 0.60, and mere
reading 0.47. Only in float32 and on one thread; more tokens, such as a prompt's, are multiplied as ever.
"""

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import ConfigError

MOST = 16  # tokens; the matrix is read once for each eight of them
_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")
_OPS = torch.library.Library("armillary", "DEF")
_OPS.define("few_rows(Tensor x, Tensor weight) -> Tensor")


def compiler() -> str | None:
    """The C++ compiler, if there is one."""
    return shutil.which("g++") or shutil.which("clang++")


class FewRows(nn.Linear):
    """A product without bias that is quick for few tokens. It does not learn."""

    def forward(self, x: Tensor) -> Tensor:
        return multiplied(x, self.weight)


def multiplied(x: Tensor, weight: Tensor) -> Tensor:
    """x ... k times the weight n k, which lies row by row: ... n."""
    return torch.ops.armillary.few_rows(x, weight)


def give_few_rows(layer: nn.Module) -> None:
    """Exchange the reasoner's matrices of a layer that is loaded, float32 and without gradients. Others are left.

    Raises ``ConfigError`` if the compiler cannot make what is needed.
    """
    _made()
    for part in ("self_attn", "mlp"):
        whole = layer.get_submodule(part)
        for name, module in list(whole.named_children()):
            if (
                type(module) is not nn.Linear
                or module.weight is None
                or name.startswith("add_")
                or name == "to_add_out"
            ):
                continue
            if module.weight.dtype == torch.float32 and module.weight.device.type == "cpu":
                few = FewRows(module.in_features, module.out_features, bias=False, device="meta")
                few.weight = nn.Parameter(module.weight.detach().contiguous(), requires_grad=False)
                setattr(whole, name, few)


@cache
def _made() -> ctypes.CDLL:
    found = compiler()
    if found is None:
        raise ConfigError("few tokens are multiplied by code that a C++ compiler makes: install g++.")
    with tempfile.TemporaryDirectory() as room:  # once opened, the file itself is not needed any more
        made = Path(room) / "few_rows.so"
        done = subprocess.run(
            [found, *_FLAGS, str(_SOURCE), "-o", str(made)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason was given"])[0]
            raise ConfigError(
                f"{found} could not make {_SOURCE.name} ({said}): leave compiled out, or mend the compiler."
            )
        code = ctypes.CDLL(str(made))
    code.few_rows.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 3
    code.few_rows.restype = None
    return code


def _on_a_processor(x: Tensor, weight: Tensor) -> Tensor:
    n, k = weight.shape
    b = x.numel() // k
    if b > MOST or torch.get_num_threads() > 1:
        return functional.linear(x, weight)
    x, out = x.contiguous(), x.new_empty(*x.shape[:-1], n)
    few, size = _made().few_rows, x.element_size()
    for begin in range(0, b, 8):
        few(
            x.data_ptr() + begin * k * size,
            weight.data_ptr(),
            out.data_ptr() + begin * n * size,
            min(8, b - begin),
            n,
            k,
        )
    return out


def _its_shape(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


_OPS.impl("few_rows", _on_a_processor, "CPU")
torch.library.register_fake("armillary::few_rows", _its_shape)
