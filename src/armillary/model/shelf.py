"""Prompts already read: the reasoner's memory of each, kept so that no text is read twice.

    prompt ids -> Shelf.of -> Memory of one sample      the most recent ones stay on the shelf
    many       -> Shelf.batch -> one Memory, padded     for samples of one layout

The memory of a prompt depends on nothing else, so seeds, steps, stretches and requests share it. A fixed task
text, a negative prompt and the empty string are read once in the life of a loaded model.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from armillary.errors import RequestError
from armillary.model.memory import Memory
from armillary.model.two_towers import TwoTowers

LONGEST_PROMPT = 4096  # ids, the most that published models were trained on


class Shelf:
    """The memories of the latest ``room`` prompts; ``reader`` brings the model when there is something to read."""

    def __init__(self, reader: Callable[[], TwoTowers], *, room: int = 64) -> None:
        self._reader = reader
        self._room = room
        self._kept: OrderedDict[tuple[int, ...], Memory] = OrderedDict()
        self.reads = 0  # how often the reasoner ran

    @torch.no_grad()
    def of(self, ids: Sequence[int]) -> Memory:
        """The memory of one prompt's ids, read now or kept from before. ``RequestError`` if the prompt is too long."""
        key = tuple(ids)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        (memory,) = self._read([key])
        return memory

    @torch.no_grad()
    def read_ahead(self, prompts: Sequence[Sequence[int]]) -> None:
        """Read those of the prompts that are not on the shelf, all at once: for training, where most are new.

        The memories are those of ``of`` up to rounding. ``RequestError`` if a prompt is too long.
        """
        new = list(dict.fromkeys(tuple(ids) for ids in prompts if tuple(ids) not in self._kept))
        if new:
            self._read(new)

    def _read(self, new: list[tuple[int, ...]]) -> list[Memory]:
        """The memories of prompts that are not on the shelf, read in one batch and put there."""
        longest = max(len(ids) for ids in new)
        if longest > LONGEST_PROMPT:
            raise RequestError(f"the prompt has {longest} tokens: at most {LONGEST_PROMPT} are read, shorten it.")
        model = self._reader()
        device = model.device
        rows = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in new], device=device)
        mask = torch.arange(longest, device=device) < torch.tensor([[len(ids)] for ids in new], device=device)
        read = model.read(rows, mask)
        self.reads += 1
        memories = [read] if len(new) == 1 else [_alone(read, i) for i in range(len(new))]
        for ids, memory in zip(new, memories, strict=True):
            self._kept[ids] = memory
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)
        return memories

    def forget(self) -> None:
        """Keep nothing: the next prompt is read anew."""
        self._kept.clear()

    def batch(self, prompts: Sequence[Sequence[int]]) -> Memory:
        """The memories of several prompts as one batch, in order."""
        first = tuple(prompts[0])
        if all(tuple(ids) == first for ids in prompts):
            memory = self.of(first)
            return memory if len(prompts) == 1 else memory.expand(len(prompts))
        return Memory.stack([self.of(ids) for ids in prompts])


def _alone(read: Memory, sample: int) -> Memory:
    """One sample of a batch, in memory of its own: a view would hold on to the whole batch."""
    one = read.select(torch.tensor([sample], device=read.mask.device))
    keys, values = (tuple(x.clone() for x in layers) for layers in (one.keys, one.values))
    return replace(one, keys=keys, values=values)
