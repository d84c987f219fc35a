"""One layer of both towers, and the stack of them: the part that is most of the model.

    reasoner    x += attention(norm(x));  x += mlp(norm(x))      hands on its keys and values
    generator   the same, with weights of its own                and looks at the reasoner's keys and values

The two never mix except there. Names follow Diffusers' ``Cosmos3OmniTransformer`` (cosmos3.md 8.2).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.model.attention import Attention, Joint, RMSNorm, Shares, attend, attend_apart, look_back
from armillary.model.ports import DomainLinear, TimeEmbedder
from armillary.model.positions import Rotation
from armillary.model.sizes import ModelConfig, TowerConfig


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x)); on Edge down(relu(up(x)) squared)."""

    def __init__(self, tower: TowerConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(tower.width, tower.mlp_width, bias=False) if tower.mlp == "silu" else None
        self.up_proj = nn.Linear(tower.width, tower.mlp_width, bias=False)
        self.down_proj = nn.Linear(tower.mlp_width, tower.width, bias=False)
        self.joint = Joint()

    def forward(self, x: Tensor) -> Tensor:
        if self.gate_proj is None:
            return self.down_proj(functional.relu(self.up_proj(x)).square())
        gate, up = self.joint(x, self.gate_proj, self.up_proj)
        return self.down_proj(functional.silu(gate) * up)


class Layer(nn.Module):
    """One layer of the reasoner and one of the generator, side by side as the checkpoint keeps them."""

    def __init__(self, tower: TowerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(tower)
        self.mlp = MLP(tower)
        self.mlp_moe_gen = MLP(tower)
        self.input_layernorm = RMSNorm(tower.width, tower.eps)
        self.input_layernorm_moe_gen = RMSNorm(tower.width, tower.eps)
        self.post_attention_layernorm = RMSNorm(tower.width, tower.eps)
        self.post_attention_layernorm_moe_gen = RMSNorm(tower.width, tower.eps)

    def read(self, x: Tensor, where: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """The reasoner's layer: x b n d, each token sees the earlier ones; keys and values for the generator."""
        q, k, v, shown = self.self_attn.reasoner_heads(self.input_layernorm(x), where)
        return self._after(x, attend(q, k, v, causal=True)), shown, v

    def read_each(
        self, x: Tensor, where: Rotation, spans: list[tuple[int, int]], *, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same of several texts one behind another in x 1 n d, which do not see one another, and own keys 1 g n e.

        ``spans``: where each begins and ends. ``last``: only the last token of each is worked out, x 1 b d.
        """
        q, k, v, _ = self.self_attn.reasoner_heads(self.input_layernorm(x), where)
        seen = [
            attend(q[:, end - 1 if last else begin : end], k[:, :, begin:end], v[:, :, begin:end], causal=not last)
            for begin, end in spans
        ]
        x = x[:, [end - 1 for _, end in spans]] if last else x
        return self._after(x, torch.cat(seen, dim=1)), k, v

    def go_on(self, x: Tensor, where: Rotation, past: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
        """The reasoner's layer for tokens x b n d that follow others, whose keys and values b g m e are ``past``.

        Room for these n is at its end, and is filled. ``bias``: what is added to the scores (``DecodeCache.bias``).
        """
        q, k, v = self.self_attn.next_heads(self.input_layernorm(x), where)
        for kept, new in zip(past, (k, v), strict=True):
            kept.narrow(2, kept.shape[2] - new.shape[2], new.shape[2]).copy_(new)
        return self._after(x, look_back(q, *past, bias))

    def _after(self, x: Tensor, seen: Tensor) -> Tensor:
        """The reasoner's tokens x with what they have ``seen``, and thought over."""
        x = x + self.self_attn.to_out(seen)
        return x + self.mlp(self.post_attention_layernorm(x))

    def remember(self, x: Tensor, where: Rotation) -> tuple[Tensor, Tensor]:
        """Only what the generator sees: all that anybody wants of the reasoner's last layer when nobody speaks."""
        _, _, v, shown = self.self_attn.reasoner_heads(self.input_layernorm(x), where)
        return shown, v

    def generate(
        self,
        x: Tensor,
        where: Rotation,
        memory: tuple[Tensor, Tensor],
        mask: Tensor | None,
        only: Tensor | None = None,
        shares: Shares | None = None,
    ) -> Tensor:
        """The generator's layer: x b n d, looking at the memory's keys and values b g m e and at itself.

        ``only``: the tokens wanted, by number, the same of each sample; the others are looked at and not worked out.
        ``shares``: the first tokens are controls, each looked at apart (None: everybody sees all).
        """
        q, k, v = self.self_attn.generator_heads(self.input_layernorm_moe_gen(x), where, only)
        k, v = torch.cat((memory[0].to(k.dtype), k), dim=2), torch.cat((memory[1].to(v.dtype), v), dim=2)
        x = x if only is None else x[:, only]
        seen = attend(q, k, v, mask=mask) if shares is None else attend_apart(q, k, v, shares, mask=mask)
        x = x + self.self_attn.to_add_out(seen)
        return x + self.mlp_moe_gen(self.post_attention_layernorm_moe_gen(x))

    def lay_side_by_side(self) -> None:
        """Make one product of queries, keys and values, and one of gate and up, in each tower that is loaded."""
        a = self.self_attn
        groups: list[tuple[Joint, tuple[nn.Linear, ...]]] = [
            (a.joint, (a.to_q, a.to_k, a.to_v)),
            (a.joint, (a.add_q_proj, a.add_k_proj, a.add_v_proj)),
        ]
        groups += [(m.joint, (m.gate_proj, m.up_proj)) for m in (self.mlp, self.mlp_moe_gen) if m.gate_proj is not None]
        for joint, _ in groups:
            joint.forget()
        for joint, parts in groups:
            if parts[0].weight is not None:
                joint.lay(*parts)


class Transformer(nn.Module):
    """Every tensor of ``transformer/``, under Diffusers' names. What is done with them stands in ``two_towers.py``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.tower.width
        self.embed_tokens = nn.Embedding(config.vocabulary, width)
        self.layers = nn.ModuleList(Layer(config.tower) for _ in range(config.tower.layers))
        self.norm = RMSNorm(width, config.tower.eps)
        self.norm_moe_gen = RMSNorm(width, config.tower.eps)
        self.lm_head = nn.Linear(width, config.vocabulary, bias=False)
        self.proj_in = nn.Linear(config.patch_numbers, width)
        self.proj_out = nn.Linear(width, config.patch_numbers)
        self.time_embedder = TimeEmbedder(width)
        self.action_proj_in = DomainLinear(config.action_dim, width, config.domains)
        self.action_proj_out = DomainLinear(width, config.action_dim, config.domains)
        self.action_modality_embed = nn.Parameter(torch.zeros(width))
        if config.sound_dim:
            self.audio_proj_in = nn.Linear(config.sound_dim, width)
            self.audio_proj_out = nn.Linear(width, config.sound_dim)
            self.audio_modality_embed = nn.Parameter(torch.zeros(width))
