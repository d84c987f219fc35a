"""What the reasoner leaves behind: the keys and values of every layer, for the generator or for its next word.

A memory depends on the text alone, not on noise, level or seed: compute it once a prompt and use it for every
step, seed and chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """Keys and values b g m e of each layer, after norm and rotation.

    ``mask`` b m: True where a real token stands; ``lengths`` b: how many do. ``padded``: whether any does not.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor
    lengths: Tensor
    padded: bool

    def expand(self, b: int) -> "Memory":
        """The memory of one sample, for ``b`` samples, without a copy."""
        return Memory(
            keys=tuple(key.expand(b, -1, -1, -1) for key in self.keys),
            values=tuple(value.expand(b, -1, -1, -1) for value in self.values),
            mask=self.mask.expand(b, -1),
            lengths=self.lengths.expand(b),
            padded=self.padded,
        )

    def select(self, index: Tensor) -> "Memory":
        """The memories of the samples ``index`` names (integers, in any order and number)."""
        return _trimmed(
            keys=tuple(key[index] for key in self.keys),
            values=tuple(value[index] for value in self.values),
            mask=self.mask[index],
        )

    @staticmethod
    def stack(memories: "Sequence[Memory]") -> "Memory":
        """Several memories as one batch, in order; shorter ones are padded on the right."""
        longest = max(memory.mask.shape[1] for memory in memories)

        def joined(parts: list[Tensor]) -> Tensor:
            return torch.cat([functional.pad(x, (0, 0, 0, longest - x.shape[2])) for x in parts])

        masks = [functional.pad(memory.mask, (0, longest - memory.mask.shape[1])) for memory in memories]
        return _trimmed(
            keys=tuple(joined(list(layer)) for layer in zip(*(memory.keys for memory in memories), strict=True)),
            values=tuple(joined(list(layer)) for layer in zip(*(memory.values for memory in memories), strict=True)),
            mask=torch.cat(masks),
        )


def _trimmed(*, keys: tuple[Tensor, ...], values: tuple[Tensor, ...], mask: Tensor) -> Memory:
    """A right-padded memory without the columns that nobody uses."""
    lengths = mask.sum(dim=1)
    longest = int(lengths.max())
    return Memory(
        keys=tuple(key[:, :, :longest] for key in keys),
        values=tuple(value[:, :, :longest] for value in values),
        mask=mask[:, :longest],
        lengths=lengths,
        padded=bool((lengths < longest).any()),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeCache:
    """What the reasoner has read and said so far, for its next word. ``step`` returns a longer one.

    ``keys`` and ``values`` b g m e of each layer, ``mask`` b m, ``following`` b: the next token's position.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor
    following: Tensor
