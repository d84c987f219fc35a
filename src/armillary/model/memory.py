"""What the reasoner leaves behind: the keys and values of every layer, for the generator or for its next word.

A memory depends on the text alone, not on noise, level or seed: compute it once a prompt and use it for every
step, seed and chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

    ``keys`` and ``values`` b g room e of each layer, filled as far as ``mask`` b m reaches; the rest is room for what
    is said next, so a longer cache mostly lies in the same memory: only the latest of a line may go on. ``following``
    b: the next token's position, none beyond ``reach``. ``padded``: whether ``mask`` is anywhere False.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor
    following: Tensor
    reach: int
    padded: bool

    def longer(self, mask: Tensor, following: Tensor, *, padded: bool) -> "DecodeCache":
        """Room for the tokens of ``mask`` b n as well; they are written by whoever works them out (``at``)."""
        seen = torch.cat((self.mask, mask), dim=1)
        keys, values = self.keys, self.values
        if seen.shape[1] > keys[0].shape[2]:
            more = max(keys[0].shape[2], seen.shape[1] - keys[0].shape[2])
            keys, values = (tuple(functional.pad(x, (0, 0, 0, more)) for x in kind) for kind in (keys, values))
        return DecodeCache(
            keys=keys,
            values=values,
            mask=seen,
            following=following,
            reach=self.reach + mask.shape[1],
            padded=self.padded or padded,
        )

    def at(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values b g m e of a layer, as far as they are taken."""
        m = self.mask.shape[1]
        return self.keys[layer].narrow(2, 0, m), self.values[layer].narrow(2, 0, m)

    def bias(self, n: int, heads: int) -> Tensor | None:
        """What is added to the scores (b g) (r n) m of the last ``n`` tokens; None: nothing, they may see all.

        Zero where one may look, else minus infinity. A padded token sees itself; nobody reads it.
        """
        if n == 1 and not self.padded:
            return None
        (b, m), g = self.mask.shape, self.keys[0].shape[1]
        causal = torch.ones(n, m, dtype=torch.bool, device=self.mask.device).tril(m - n)
        allowed = (causal & self.mask[:, None]) | causal.triu(m - n)
        bias = torch.zeros(b, n, m, dtype=self.keys[0].dtype, device=self.mask.device)
        bias.masked_fill_(~allowed, float("-inf"))
        return bias[:, None, None].expand(b, g, heads // g, n, m).reshape(b * g, -1, m)

    def shorter(self, by: int) -> "DecodeCache":
        """As it was before the latest ``by`` tokens of each sample, all of them real."""
        if not by:
            return self
        return replace(self, mask=self.mask[:, :-by], following=self.following - by, reach=self.reach - by)

    def select(self, index: Tensor) -> "DecodeCache":
        """That of the samples ``index`` names."""
        return replace(
            self,
            keys=tuple(x[index] for x in self.keys),
            values=tuple(x[index] for x in self.values),
            mask=self.mask[index],
            following=self.following[index],
        )
