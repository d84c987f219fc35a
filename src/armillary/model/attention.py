"""How tokens look at one another: the reasoner backwards only, the generator everywhere.

    reasoner    token i sees tokens 0…i             never the generator
    generator   every token sees the whole memory   and every token of its own tower

Both weight sets of a layer live in ``Attention`` because a checkpoint keeps them under one name
(cosmos3.md 1.1); only the reasoner's keys and values pass from one to the other.
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.model.positions import Rotation, rotate
from armillary.model.sizes import TowerConfig


class RMSNorm(nn.Module):
    """Divide by the root mean square, then scale. The weight is cast, which keeps torch's fused kernel."""

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
    mask: Bool[Tensor, "b #n m"] | None = None,
) -> Float[Tensor, "b n d"]:
    """Grouped-query attention; each key-value head serves k/g query heads. ``mask`` is True where one may look."""
    seen = functional.scaled_dot_product_attention(
        q.transpose(1, 2),  # b k n e, as torch wants
        k,
        v,
        attn_mask=None if mask is None else mask[:, None],
        is_causal=causal,
        enable_gqa=True,
    )
    return seen.transpose(1, 2).flatten(2)  # b n (k e)


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
        self.norm_q = RMSNorm(tower.head_width, tower.eps)
        self.norm_k = RMSNorm(tower.head_width, tower.eps)
        self.add_q_proj = nn.Linear(tower.width, q_width, bias=False)
        self.add_k_proj = nn.Linear(tower.width, kv_width, bias=False)
        self.add_v_proj = nn.Linear(tower.width, kv_width, bias=False)
        self.to_add_out = nn.Linear(q_width, tower.width, bias=False)
        self.norm_added_q = RMSNorm(tower.head_width, tower.eps)
        self.norm_added_k = RMSNorm(tower.head_width, tower.eps)

    def reasoner_heads(self, x: Tensor, where: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Query b n k e, and key and value b g n e, of the reasoner's tokens."""
        heads = (self.to_q(x), self.to_k(x), self.to_v(x))
        return self._place(heads, (self.norm_q, self.norm_k), where)

    def generator_heads(self, x: Tensor, where: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Query b n k e, and key and value b g n e, of the generator's tokens."""
        heads = (self.add_q_proj(x), self.add_k_proj(x), self.add_v_proj(x))
        return self._place(heads, (self.norm_added_q, self.norm_added_k), where)

    def _place(
        self, heads: tuple[Tensor, Tensor, Tensor], norms: tuple[nn.Module, nn.Module], where: Rotation
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Split into heads, normalise query and key, turn them to their places."""
        q, k, v = (x.unflatten(-1, (-1, self.tower.head_width)) for x in heads)  # b n k e
        q, k = rotate(norms[0](q), where), rotate(norms[1](k), where)
        return q, k.transpose(1, 2), v.transpose(1, 2)
