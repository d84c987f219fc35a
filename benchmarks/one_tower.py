"""One dense tower in place of two: the same weights for words and for what is imagined, to compare with.

    share_weights(model)   the generator's layers become the reasoner's own: one set, the ports stay apart
    inner(model)           the layers' weights, which a shared tower learns or keeps
    Afresh(...)            a shelf that keeps nothing: whoever reads is learning, gradients go through the reading

Who sees whom stays as it is: words see earlier words, hidden tokens see all. Only the weights are the same.
"""

from collections.abc import Sequence

import torch
from torch import nn

from armillary.model import TwoTowers
from armillary.model.memory import Memory
from armillary.model.shelf import Shelf

ATTENTION = {
    "add_q_proj": "to_q", "add_k_proj": "to_k", "add_v_proj": "to_v", "to_add_out": "to_out",
    "norm_added_q": "norm_q", "norm_added_k": "norm_k",
}  # fmt: skip
LAYER = ("mlp", "input_layernorm", "post_attention_layernorm")


def share_weights(model: TwoTowers) -> None:
    """Let every part of the generator's layers be the reasoner's. What was the generator's own is dropped."""
    for layer in model.transformer.layers:
        for own, other in ATTENTION.items():
            setattr(layer.self_attn, own, getattr(layer.self_attn, other))
        for name in LAYER:
            setattr(layer, f"{name}_moe_gen", getattr(layer, name))
    model.transformer.norm_moe_gen = model.transformer.norm


def inner(model: TwoTowers) -> list[tuple[str, nn.Parameter]]:
    """The weights of the layers and of the last norm, by name; what is shared counts once."""
    return [
        (name, p)
        for name, p in model.named_parameters()
        if name.startswith(("transformer.layers.", "transformer.norm"))
    ]


class Afresh(Shelf):
    """Reads each batch's prompts anew, each different one once, with gradients."""

    def __init__(self, model: TwoTowers) -> None:
        super().__init__(lambda: model)
        self._model = model

    def read_ahead(self, prompts: Sequence[Sequence[int]]) -> None:
        """Nothing is read before it is needed."""

    def batch(self, prompts: Sequence[Sequence[int]]) -> Memory:
        """The memories of several prompts as one batch, in order, attached to the graph."""
        places = {key: i for i, key in enumerate(dict.fromkeys(tuple(ids) for ids in prompts))}
        longest = max(len(key) for key in places)
        ids = torch.tensor([[*key, *[0] * (longest - len(key))] for key in places])
        mask = torch.arange(longest) < torch.tensor([[len(key)] for key in places])
        return self._model.read(ids, mask).select(torch.tensor([places[tuple(ids)] for ids in prompts]))
