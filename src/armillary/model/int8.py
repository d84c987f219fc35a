"""Matrices in whole numbers from -127 to 127: a quarter of fp32's memory, and faster where the processor multiplies so.

    weight  n k   ->  int8 n k and one scale a row       once, when it is read from its file
    x       b k   ->  int8 b k and one scale a token     at each product ("dynamic")
    product       ->  int32, times both scales

Only the matrices of the towers' layers and the reasoner's head: norms, ports, embeddings, the noise level's vector and
the pictures' tokenizer stay as they are. It is an approximation. One scale for each row and for each token, as in
LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339), without that paper's exact columns for large features.
"""

import torch
from torch import Tensor, nn

from armillary.errors import ConfigError

WEIGHTS = ("plain", "int8")
TOP = 127.0
_AT_ONCE = 256  # tokens: what is worked out between the products then stays in the processor's own memory


def whole_numbers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 n k and the scale fp32 n of each row, for a weight n k of any floating type."""
    exact = weight.detach().float()
    scale = exact.abs().amax(dim=1).clamp_(min=torch.finfo(torch.float32).tiny).div_(TOP)
    return (exact / scale[:, None]).round_().to(torch.int8), scale


def product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x ... k times the weight int8 n k whose rows have ``scale`` n: ... n in x's dtype."""
    rows = x.flatten(0, -2)
    out = rows.new_empty(len(rows), len(weight))
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE].float()
        top = some.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny).div_(TOP)
        whole = (some / top).round_().to(torch.int8)
        out[start : start + _AT_ONCE] = torch._int_mm(whole, weight.t()).to(torch.float32).mul_(top).mul_(scale)
    return out.unflatten(0, x.shape[:-1])


class Int8Linear(nn.Linear):
    """A product without bias whose weight is kept as int8 with one scale a row. It does not learn."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale: Tensor = torch.empty(0)

    def take(self, weight: Tensor) -> None:
        """Keep ``weight``, of any floating type, as whole numbers."""
        numbers, self.scale = whole_numbers(weight)
        self.weight = nn.Parameter(numbers, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.scale)


def check_weights(weights: str, device: torch.device) -> bool:
    """Whether ``weights`` means int8; ``ConfigError`` for an unknown word, or a device without such a product."""
    if weights not in WEIGHTS:
        raise ConfigError(f"weights={weights!r} are not kept here: take {' or '.join(WEIGHTS)}.")
    if weights == "int8" and device.type != "cpu":
        raise ConfigError(
            f"weights='int8' are multiplied on a processor only, not on {device.type}: leave weights out."
        )
    return weights == "int8"


def make_room_for_int8(net: nn.Module) -> None:
    """Exchange the matrices of ``net``'s layers, and its head, for such as keep int8. They are empty until ``take``."""
    for path, module in list(net.named_modules()):
        if type(module) is nn.Linear and (path.startswith("layers.") or path == "lm_head"):
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, Int8Linear(module.in_features, module.out_features))


def round_layer(layer: nn.Module) -> None:
    """Exchange every matrix inside one layer that is loaded for its whole numbers."""
    for path, module in list(layer.named_modules()):
        if type(module) is nn.Linear:
            parent, _, name = path.rpartition(".")
            rounded = Int8Linear(module.in_features, module.out_features)
            rounded.take(module.weight)
            setattr(layer.get_submodule(parent), name, rounded)
