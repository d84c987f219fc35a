"""How tokens look at one another: the reasoner backwards only, the generator everywhere.

    reasoner    token i sees tokens 0…i             never the generator
    generator   every token sees the whole memory   and every token of its own tower
    controls    with shares, each apart             a film under several controls is what each alone makes of it, mixed

Both weight sets of a layer live in ``Attention`` because a checkpoint keeps them under one name
(cosmos3.md 1.1); only the reasoner's keys and values pass from one to the other.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.model.arithmetic import in_columns
from armillary.model.int8 import Int8Linear, product
from armillary.model.positions import Rotation, rotate
from armillary.model.sizes import TowerConfig

PLAIN_LIMIT = 1 << 21  # scores a head; beyond that their memory costs more than the kernel's slowness


class RMSNorm(nn.Module):
    """Divide by the root mean square, then scale. The weight is cast, which keeps torch's fused kernel.

    The kernel works in fp32 and rounds once, at the end: Edge's rule. The Qwen family's public implementations
    round before they scale, which in bfloat16 differs by one unit of the last place.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(Tensor(width).fill_(1.0))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def attend(
    q: Float[Tensor, "b n k e"],
    k: Float[Tensor, "b g m e"],
    v: Float[Tensor, "b g m e"],
    *,
    causal: bool = False,
    mask: Bool[Tensor, " b #n m"] | None = None,
) -> Float[Tensor, "b n d"]:
    """Grouped-query attention; each key-value head serves k/g query heads. ``mask`` is True where one may look.

    Torch's own kernel, except for bfloat16 on a CPU: there it does not use the bf16 units, and two plain products
    are about five times faster forward and backward (16 x 166 tokens, one thread: 19 against 110 ms).
    """
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and q.shape[1] * k.shape[2] <= PLAIN_LIMIT:
        return _attend_plainly(q, k, v, causal=causal, mask=mask)
    seen = functional.scaled_dot_product_attention(
        q.transpose(1, 2),  # b k n e, as torch wants
        k,
        v,
        attn_mask=None if mask is None else mask[:, None],
        is_causal=causal,
        enable_gqa=True,
    )
    return seen.transpose(1, 2).flatten(2)  # b n (k e)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """Controls that stand before the film they hold, seen one at a time.

    ``sizes``: tokens of each control, in order. ``target``: tokens of all that comes after them. ``weights`` b c: how
    much each control's view counts, together 1.
    """

    sizes: tuple[int, ...]
    target: int
    weights: Float[Tensor, "b c"]


def attend_apart(
    q: Float[Tensor, "b n k e"],
    k: Float[Tensor, "b g m e"],
    v: Float[Tensor, "b g m e"],
    shares: Shares,
    *,
    mask: Bool[Tensor, "b 1 m"] | None = None,
) -> Float[Tensor, "b n d"]:
    """``attend`` once for each control, which sees the memory, itself and the target; the target's views are mixed.

    Queries are those of all the generator's tokens, or of tokens of the target alone.
    """
    after = sum(shares.sizes)
    read = k.shape[2] - after - shares.target
    asking = after if q.shape[1] > shares.target else 0  # of the queries: controls, or none of them
    whole = torch.arange(k.shape[2], device=k.device)
    views, mixed = [], torch.zeros((), dtype=q.dtype, device=q.device)
    at = 0
    for number, size in enumerate(shares.sizes):
        seen = torch.cat((whole[:read], whole[read + at : read + at + size], whole[read + after :]))
        queries = torch.cat((q[:, at : at + size], q[:, asking:]), dim=1) if asking else q
        view = attend(queries, k[:, :, seen], v[:, :, seen], mask=None if mask is None else mask[:, :, seen])
        if asking:
            views.append(view[:, :size])
            view = view[:, size:]
        mixed = mixed + view * shares.weights[:, number, None, None].to(view.dtype)
        at += size
    return torch.cat((*views, mixed), dim=1)


def _attend_plainly(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, mask: Tensor | None) -> Tensor:
    """The same with two products and all scores in memory; query heads of one key head stand below one another."""
    n, heads, e = q.shape[1:]
    g, m = k.shape[1:3]
    rows = _below_one_another(q * e**-0.5, g)
    scores = rows @ k.transpose(-1, -2)  # b g (r n) m
    if causal:
        mask = torch.ones(1, n, m, dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, float("-inf"))[:, None, None]
        scores = (scores.unflatten(2, (heads // g, n)) + bias).flatten(2, 3)
    seen = scores.softmax(dim=-1) @ v  # b g (r n) e
    return seen.unflatten(2, (heads // g, n)).permute(0, 3, 1, 2, 4).flatten(2)  # b n (g r e)


def look_back(
    q: Float[Tensor, "b n k e"],
    k: Float[Tensor, "b g m e"],
    v: Float[Tensor, "b g m e"],
    bias: Float[Tensor, "bg rn m"] | None,
) -> Float[Tensor, "b n d"]:
    """``attend`` for a few tokens that look at many kept ones: no key is repeated, and two products are all there is.

    ``bias`` is added to the scores, query heads of one key head below one another (None: all may be seen).
    """
    b, n, heads, e = q.shape
    g = k.shape[1]
    rows = q.reshape(b * g, -1, e) if n == 1 else _below_one_another(q, g).flatten(0, 1)  # (b g) (r n) e
    start = q.new_zeros(()) if bias is None else bias
    scores = torch.baddbmm(start, rows, k.flatten(0, 1).transpose(1, 2), alpha=e**-0.5)
    seen = torch.bmm(scores.softmax(dim=-1), v.flatten(0, 1))  # (b g) (r n) e
    if n == 1:
        return seen.view(b, 1, -1)
    return seen.view(b, g, heads // g, n, e).permute(0, 3, 1, 2, 4).flatten(2)  # b n (g r e)


def _below_one_another(q: Tensor, g: int) -> Tensor:
    """Queries b n k e as b g (r n) e: those of the heads that share a key head stand below one another."""
    b, _, heads, e = q.shape
    return q.unflatten(2, (g, heads // g)).permute(0, 2, 3, 1, 4).reshape(b, g, -1, e)


class Joint:
    """Products of one input with several matrices: one product, once ``lay`` has put the matrices below one another.

    ``lay`` moves weights, it does not copy them: each stays a parameter of its own, a part of the whole. Weights that
    were moved or exchanged since are found out and multiplied one by one, as they are where nobody ever called it, and
    where somebody learns: the whole has no gradient.
    """

    def __init__(self) -> None:
        self._laid: dict[tuple[int, ...], tuple[Tensor, Tensor | None, list[int]]] = {}  # by addresses

    def lay(self, *parts: nn.Linear) -> None:
        """Put the weights of ``parts``, which are without biases, below one another in memory; columns side by side."""
        weights = [part.weight.detach() for part in parts]
        columns = all(in_columns(weight) for weight in weights)
        whole = torch.cat([weight.t() for weight in weights], dim=1).t() if columns else torch.cat(weights)
        rows = [len(part.weight) for part in parts]
        for part, weight in zip(parts, whole.split(rows), strict=True):
            part.weight.data = weight
        scales = [part.scale for part in parts if isinstance(part, Int8Linear)]
        self._laid[_addresses(parts)] = (whole, torch.cat(scales) if scales else None, rows)

    def __call__(self, x: Tensor, *parts: nn.Linear) -> tuple[Tensor, ...]:
        """Each part's product with x."""
        apart = not self._laid or torch.is_grad_enabled() or torch.compiler.is_compiling()  # that knows no addresses
        if apart or (laid := self._laid.get(_addresses(parts))) is None:
            return tuple(part(x) for part in parts)
        whole, scale, rows = laid
        if scale is not None:
            return product(x, whole, scale).split(rows, dim=-1)
        return functional.linear(x, whole).split(rows, dim=-1)

    def forget(self) -> None:
        """Nothing lies side by side any more; what did takes no memory."""
        self._laid.clear()


def _addresses(parts: tuple[nn.Linear, ...]) -> tuple[int, ...]:
    return tuple(part.weight.data_ptr() for part in parts)


class Attention(nn.Module):
    """The projections of one layer, for both towers; names as in Diffusers."""

    def __init__(self, tower: TowerConfig) -> None:
        super().__init__()
        q_width, kv_width = tower.heads * tower.head_width, tower.kv_heads * tower.head_width
        self.tower = tower
        self.to_q = nn.Linear(tower.width, q_width, bias=False)
        self.to_k = nn.Linear(tower.width, kv_width, bias=False)
        self.to_v = nn.Linear(tower.width, kv_width, bias=False)
        self.to_out = nn.Linear(q_width, tower.width, bias=False)
        self.norm_q = RMSNorm(tower.head_width, tower.eps) if tower.text_norms else None
        self.norm_k = RMSNorm(tower.head_width, tower.eps) if tower.text_norms else None
        self.k_norm_und_for_gen = RMSNorm(tower.head_width, tower.eps) if tower.memory_norms else None
        self.add_q_proj = nn.Linear(tower.width, q_width, bias=False)
        self.add_k_proj = nn.Linear(tower.width, kv_width, bias=False)
        self.add_v_proj = nn.Linear(tower.width, kv_width, bias=False)
        self.to_add_out = nn.Linear(q_width, tower.width, bias=False)
        self.norm_added_q = RMSNorm(tower.head_width, tower.eps)
        self.norm_added_k = RMSNorm(tower.head_width, tower.eps)
        self.joint = Joint()

    def reasoner_heads(self, x: Tensor, where: Rotation) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Query b n k e, and key and value b g n e, of the reasoner's tokens; last the keys as the generator sees them.

        Those are the same keys, except where they are normalised for the generator alone (Edge).
        """
        q, raw, v = self._split(*self.joint(x, self.to_q, self.to_k, self.to_v))
        q, k = (x if norm is None else norm(x) for norm, x in ((self.norm_q, q), (self.norm_k, raw)))
        k = rotate(k, where).transpose(1, 2)
        shown = k
        if self.k_norm_und_for_gen is not None:
            shown = rotate(self.k_norm_und_for_gen(raw), where).transpose(1, 2)
        return rotate(q, where), k, v.transpose(1, 2), shown

    def next_heads(self, x: Tensor, where: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Query b n k e, and key and value b g n e, of a few of the reasoner's tokens that nobody else will see."""
        q, k, v = self._split(*self.joint(x, self.to_q, self.to_k, self.to_v))
        q, k = (x if norm is None else norm(x) for norm, x in ((self.norm_q, q), (self.norm_k, k)))
        both = rotate(torch.cat((q, k), dim=2), where)
        return both[:, :, : self.tower.heads], both[:, :, self.tower.heads :].transpose(1, 2), v.transpose(1, 2)

    def generator_heads(self, x: Tensor, where: Rotation, only: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Query b n k e, and key and value b g n e, of the generator's tokens; queries of the tokens ``only`` names."""
        there = where
        if only is None:
            q, k, v = self._split(*self.joint(x, self.add_q_proj, self.add_k_proj, self.add_v_proj))
        else:
            q, k, v = self._split(self.add_q_proj(x[:, only]), self.add_k_proj(x), self.add_v_proj(x))
            there = (where[0][:, only], where[1][:, only])
        q, k = rotate(self.norm_added_q(q), there), rotate(self.norm_added_k(k), where)
        return q, k.transpose(1, 2), v.transpose(1, 2)

    def _split(self, *heads: Tensor) -> list[Tensor]:
        """b n d to b n k e."""
        return [x.unflatten(-1, (-1, self.tower.head_width)) for x in heads]
