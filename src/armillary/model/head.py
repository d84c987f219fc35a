"""The reasoner's head: every word's score, and the likeliest word without every word's score.

    state d ->  scores v                       the matrix lies in memory as it is multiplied fastest
    state d ->  scores, wrong by so much at most   a product of whole numbers: a quarter of the memory is read
            ->  words whose best case reaches the best worst case, looked at 254 times more finely: mostly one is left
            ->  if not: all scores

For one token a product is as fast as its matrix is read, and of a reasoner of 8 layers and 32,768 words the head is two
fifths. The bounds are those of Cauchy and Schwarz, so the word is that of the exact scores, to their rounding. Where
words are drawn by chance all scores are needed, and there is no shortlist.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from armillary.model.arithmetic import multiplies_whole_numbers
from armillary.model.int8 import TOP, whole_numbers

LEAST = 1 << 22  # numbers in a head; a smaller one is read sooner than all of this is done
_AT_ONCE = 1 << 10  # rows made whole together
_SHARE = 64  # where more than one word in so many could be it, all are scored
_FINER = 2 * TOP
_ROUNDING = 1e-3  # of the bounds: what floating point may add to them is far less
_SUMMING = 2e-6  # of the lengths: what floating point adds to a sum of products


class PackedLinear(nn.Linear):
    """A product without bias whose matrix lies in memory as oneDNN wants it: for few tokens, and not to be learnt.

    ``weight.to_dense()`` gives the numbers back as they were. A large one in float32 has a ``shortlist``, where the
    processor multiplies whole numbers; that takes half as much memory again.
    """

    shortlist: "Shortlist | None" = None

    def take(self, weight: Tensor) -> None:
        """Keep ``weight`` so."""
        self.weight = nn.Parameter(torch.ops.mkldnn._reorder_linear_weight(weight, None), requires_grad=False)
        large = weight.dtype == torch.float32 and weight.numel() >= LEAST
        self.shortlist = Shortlist(weight) if large and multiplies_whole_numbers() else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")

    def likeliest(self, x: Float[Tensor, "... d"]) -> Int[Tensor, " ..."]:
        """The word with the highest score of each state."""
        found = None if self.shortlist is None else self.shortlist.find(x.flatten(0, -2))
        return self(x).argmax(dim=-1) if found is None else found.view(x.shape[:-1])


class Shortlist:
    """A matrix v d in whole numbers, what they lack in finer ones, and how far both are from it."""

    def __init__(self, weight: Float[Tensor, "v d"]) -> None:
        self._whole, self._fine = (torch.empty(weight.shape, dtype=torch.int8) for _ in range(2))
        self._scale, self._left = weight.new_empty(len(weight)), weight.new_empty(len(weight))
        self._bounds = weight.new_empty(2, len(weight))  # the length of each row, and of what whole numbers lack of it
        for start in range(0, len(weight), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            whole, scale = whole_numbers(weight[rows])
            near = whole * scale[:, None]
            lacks = weight[rows] - near
            fine = (lacks / scale[:, None] * _FINER).round_()
            self._whole[rows], self._scale[rows], self._fine[rows] = whole, scale, fine.to(torch.int8)
            self._bounds[0, rows], self._bounds[1, rows] = near.norm(dim=1), lacks.norm(dim=1)
            self._left[rows] = (lacks - fine * scale[:, None] / _FINER).norm(dim=1) + _SUMMING * near.norm(dim=1)
        self._most = self._bounds.amax(dim=1)

    def find(self, x: Float[Tensor, "b d"]) -> Int[Tensor, " b"] | None:
        """The row with the highest product with each state; None if that cannot be told from here."""
        state = x / x.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny).div_(TOP)
        whole, length = state.round(), state.norm(dim=1)
        rough = torch._int_mm(whole.to(torch.int8), self._whole.t()).to(x.dtype).mul_(self._scale)  # b v
        doubt = torch.stack(((state - whole).norm(dim=1), length), dim=1).mul_(1 + _ROUNDING)
        floor = rough.amax(dim=1) - 2 * (doubt @ self._most)
        states, words = _places(rough >= floor[:, None])
        if len(words) > len(self._whole) // _SHARE:  # rows of very different lengths: to each its own doubt
            best = torch.addmm(rough, doubt, self._bounds)
            worst = torch.sub(rough.mul_(2), best)
            states, words = _places(best >= worst.amax(dim=1, keepdim=True))
        each = torch.arange(len(x))
        if torch.equal(states, each):
            return words
        if len(words) > len(self._whole) // _SHARE:
            return None
        near = self._whole[words].float().add_(self._fine[words], alpha=1 / _FINER)  # n d
        score = (near * state[states]).sum(dim=1) * self._scale[words]
        doubt = self._left[words] * length[states]
        floor = torch.full_like(length, float("-inf")).scatter_reduce_(0, states, score - doubt, "amax")
        kept = score + doubt >= floor[states]
        return words[kept] if torch.equal(states[kept], each) else None


def _places(able: Bool[Tensor, "b v"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Rows and columns of what is True. NumPy finds few among many in a tenth of torch's time."""
    flat = torch.from_numpy(able.numpy().ravel().nonzero()[0])
    return flat // able.shape[1], flat % able.shape[1]
