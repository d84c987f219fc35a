"""A model whose weights lie in files: which of them are in memory is decided from moment to moment.

    hold(kinds)      the weights of these kinds are in memory, the others are not
    stream()         those of the layers come one layer at a time, while the layers are gone through
    wear(adapter)    what an adapter adds is added to its matrices as they come (``low_rank.py``)

Kinds: ``memory`` (what makes the reasoner's memory), ``reasoner`` (that and its head), ``generator``, ``vision``. A
memory once made needs no reasoner: with ``hold`` only one tower need be there at a time, with ``stream`` one layer.
"""

from collections.abc import Collection, Iterator

import torch
from torch import nn

from armillary.errors import ConfigError
from armillary.model.arithmetic import quick
from armillary.model.head import PackedLinear
from armillary.model.int8 import Int8Linear
from armillary.model.low_rank import LowRank
from armillary.model.names import TOWERS, tower_of
from armillary.model.shards import Shards
from armillary.model.two_towers import TwoTowers

OFFLOADS = ("none", "towers", "layers")


def check_offload(offload: str, *, int8: bool) -> str:
    """The same word; ``ConfigError`` if it means nothing, or cannot go with whole numbers."""
    if offload not in OFFLOADS:
        raise ConfigError(f"offload={offload!r} is not a way to save memory: take {', '.join(OFFLOADS)}.")
    if int8 and offload == "layers":
        raise ConfigError(
            "offload='layers' would turn each layer's weights into int8 anew at each step: take offload='towers', "
            "or leave weights out."
        )
    return offload


def needed(name: str, kinds: Collection[str]) -> bool:
    """Whether the tensor ``name`` is one of these kinds."""
    if "_for_gen" not in name:  # those belong to the memory
        if (tower := tower_of(name)) != "reasoner":
            return tower in kinds
        if name in ("lm_head.weight", "norm.weight"):
            return "reasoner" in kinds
    return "memory" in kinds or "reasoner" in kinds


class Stock:
    """A model, at first without any numbers, and the place of each of its tensors in files.

    ``slots``: which module keeps a tensor, under which name; ``where``: the files, and the tensor's name there.
    ``quick``: matrices lie in memory as they are multiplied fastest (``arithmetic.py``), not as they are learnt.
    """

    def __init__(
        self,
        model: TwoTowers,
        slots: dict[str, tuple[nn.Module, str]],
        where: dict[str, tuple[Shards, str]],
        *,
        dtype: torch.dtype,
        device: torch.device,
        quick: bool = False,
    ) -> None:
        self.model = model
        self._quick = quick
        self._slots, self._where = slots, where
        self._dtype, self._device = dtype, device
        self._full: set[str] = set()
        self._passing: list[list[str]] = []  # the tensors of each layer, if layers only pass through memory
        self._kinds: frozenset[str] = frozenset()
        self._worn: LowRank | None = None
        self._empty = {
            name: nn.Parameter(torch.empty(module.get_parameter(leaf).shape, dtype=dtype, device="meta"))
            for name, (module, leaf) in slots.items()
        }
        self._release(slots)

    def hold(self, kinds: Collection[str]) -> TwoTowers:
        """The model with the weights of these kinds in memory, and no others; what is there already stays."""
        self._kinds = frozenset(kinds)
        self.model.towers = frozenset(kinds) & frozenset(TOWERS)
        wanted = self._held()
        self._release(self._full.difference(wanted))
        self._fill(wanted)
        return self.model

    def wear(self, adapter: LowRank | None) -> None:
        """From now on the matrices are as this adapter changes them, None: as they are in their files.

        Those in memory that another one changes are read anew. ``CheckpointError`` for an adapter of another model.
        """
        if adapter is not self._worn:
            if adapter is not None:
                adapter.check({name: tuple(empty.shape) for name, empty in self._empty.items()})
            for one in (adapter, self._worn):
                self._release(self._full & (one.tensors if one is not None else frozenset()))
            self._worn = adapter
        self._fill(self._held())  # and what an earlier change, which failed half-way, has left without weights

    def _held(self) -> list[str]:
        """The tensors of the kinds that are held, but those that only pass through memory."""
        passing = {name for names in self._passing for name in names}
        return [name for name in self._slots if needed(name, self._kinds) and name not in passing]

    def stream(self) -> None:
        """From now on a layer's weights are in memory only while it is its turn."""
        net = self.model.transformer
        begins = [f"layers.{number}." for number in range(len(net.layers))]
        self._passing = [[name for name in self._slots if name.startswith(begin)] for begin in begins]
        net.layers = _Passing(net.layers, self)

    def passing(self, number: int) -> Iterator[None]:
        """The weights of a layer, of the kinds that are held: in memory until the next is asked for."""
        names = [name for name in self._passing[number] if needed(name, self._kinds)]
        self._fill(names)
        try:
            yield
        finally:  # whoever has seen enough asks no further
            self._release(names)

    @torch.inference_mode(False)  # weights outlive the walk in which they were first wanted
    def _fill(self, names: Collection[str]) -> None:
        for name in names:
            if name in self._full:
                continue
            module, leaf = self._slots[name]
            source, stored = self._where[name]
            read = source.read(stored) if self._worn is None else self._worn.added(name, source.read(stored))
            if isinstance(module, Int8Linear):
                module.take(read)
            else:
                kind = torch.float32 if "time_embedder" in name else self._dtype
                tensor = read.to(self._device, kind)
                if isinstance(module, PackedLinear):
                    module.take(tensor)
                else:
                    tensor = quick(tensor) if self._quick and name.startswith("layers.") else tensor
                    module.register_parameter(leaf, nn.Parameter(tensor))
            self._full.add(name)

    def _release(self, names: Collection[str]) -> None:
        for name in names:
            module, leaf = self._slots[name]
            module.register_parameter(leaf, self._empty[name])
            if isinstance(module, PackedLinear):
                module.shortlist = None
        self._full.difference_update(names)


class _Passing(nn.ModuleList):
    """Layers that have their weights only while it is their turn."""

    def __init__(self, layers: nn.ModuleList, stock: Stock) -> None:
        super().__init__(layers._modules.values())
        self._stock = (stock,)  # in a tuple: the model is no part of its own layers

    def __iter__(self) -> Iterator[nn.Module]:
        for number, layer in enumerate(self._modules.values()):
            for _ in self._stock[0].passing(number):
                assert layer is not None
                yield layer
