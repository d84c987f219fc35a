"""Training on several processes: each keeps a part of what learns, and asks the model about a part of every batch.

    torchrun --nproc-per-node 2 -m armillary train NAME      the same run as      armillary train NAME

    company()     which of how many processes this is; alone it is 0 of 1, and everything here does nothing
    spread        puts the generator's weights on all of them, layer by layer (torch's FSDP2); the model does not know
    gathered      whole numbers from everybody's parts      part_like      one's own part of whole numbers

Every process draws the whole batch, which is a function of (seed, step), and asks about its own rows. Its losses are
means over all rows with the gradient of its own, so losses and gradients are those of one process up to rounding.
The reasoner, which does not learn meanwhile, is whole on every process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from armillary.errors import ArmillaryError, ConfigError
from armillary.model import TwoTowers
from armillary.records import Segment

WAIT = timedelta(minutes=10)  # for one that says nothing; one that has ended is noticed at once
LOST = ("Connection closed", "Connection reset", "Broken pipe", "Timed out", "timed out")  # what gloo says then


@dataclass(frozen=True, kw_only=True, slots=True)
class Company:
    """Which process this is (``rank``, from 0), of how many that do one run together (``size``)."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    def rows(self, samples: int) -> slice:
        """Which of a batch's samples it asks the model about: its own, or if none is left for it the first."""
        return slice(self.rank, None, self.size) if self.rank < samples else slice(0, 1)

    def mean(self, own: Tensor, samples: int) -> Tensor:
        """The mean over a batch of ``samples``, from that over this process's own rows, whose gradient it keeps."""
        if self.size == 1:
            return own
        counted = len(range(self.rank, samples, self.size))  # 0 where none was left
        return _Summed.apply(own * (counted / samples), self.size)

    def leader_says(self, wish: bool) -> bool:
        """What the first process wishes: clocks differ, and all must do the same."""
        if self.size == 1:
            return wish
        said = torch.tensor(int(wish))
        distributed.broadcast(said, src=0)
        return bool(said)

    def wait(self) -> None:
        """Until all have come this far."""
        if self.size > 1:
            distributed.barrier()

    def check_batch(self, samples: int) -> None:
        """``ConfigError`` for a batch that leaves some process without a row."""
        if samples < self.size:
            raise ConfigError(
                f"a batch of {samples} cannot be shared by {self.size} processes: each asks the model about one sample "
                f"at least; take a batch of {self.size} or more, or start {samples} at most."
            )


class _Summed(torch.autograd.Function):
    """The sum of everybody's number. FSDP takes the mean of all gradients, hence each is ``size`` times as large."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, size: int) -> Tensor:
        ctx.size = size
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.size, None


def company() -> Company:
    """The processes that are doing this run together (``together``); alone, where nobody has brought them together."""
    if not distributed.is_initialized():
        return Company()
    return Company(rank=distributed.get_rank(), size=distributed.get_world_size())


def launched() -> Company:
    """What torchrun's environment says of this process; ``ConfigError`` where it says but half of it."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return Company()
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise ConfigError(
            f"WORLD_SIZE={size} is set without {', '.join(missing)}: start several processes with "
            "`torchrun --nproc-per-node N -m armillary train NAME`, or unset WORLD_SIZE for one."
        )
    return Company(rank=int(os.environ["RANK"]), size=int(size))


@contextmanager
def together() -> Iterator[Company]:
    """Within it the processes that torchrun started know one another. One that is left by another says so and ends."""
    if launched().size == 1:
        yield Company()
        return
    distributed.init_process_group("gloo", timeout=WAIT)
    here = company()
    try:
        yield here
    except RuntimeError as broken:
        if not any(sign in str(broken) for sign in LOST):
            raise
        raise ArmillaryError(
            f"process {here.rank + 1} of {here.size} has lost another, which ended early and says why: "
            "mend that and start the run again, it goes on from its last state."
        ) from broken
    finally:
        distributed.destroy_process_group()


def spread(model: TwoTowers, here: Company) -> None:
    """Put what learns of ``model`` on all processes, in place: its parameters become parts. Alone: no change.

    What does not learn stays whole everywhere. Each layer is gathered when it generates, and again for its gradient.
    """
    if here.size == 1:
        return
    if (kind := model.device.type) != "cpu":
        raise ConfigError(
            f"{here.size} processes and device {kind!r}: several processes learn on the CPU only; start one."
        )
    mesh = init_device_mesh("cpu", (here.size,))
    still = {parameter for parameter in model.parameters() if not parameter.requires_grad}
    for layer in model.transformer.layers:
        fully_shard(layer, mesh=mesh, ignored_params=still)
        register_fsdp_forward_method(layer, "generate")
    fully_shard(model, mesh=mesh, ignored_params=still)
    register_fsdp_forward_method(model, "velocity")


def joined(model: TwoTowers) -> TwoTowers:
    """The same model, whole on each process; one that was never spread is handed back. Everybody must ask."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    with torch.device("meta"):
        whole = TwoTowers(model.config)
    whole.load_state_dict({name: gathered(tensor) for name, tensor in model.state_dict().items()}, assign=True)
    whole.towers = model.towers
    return whole


def rows_of(part: Segment, rows: slice, device: torch.device) -> Segment:
    """The samples ``rows`` of a segment, on a device."""
    tokens, positions, level = (x[rows].to(device) for x in (part.tokens, part.positions, part.level))
    domain = None if part.domain is None else part.domain[rows].to(device)
    return replace(part, tokens=tokens, positions=positions, level=level, domain=domain)


def gathered(x: Tensor) -> Tensor:
    """Whole numbers, of which every process may keep a part; everybody must ask for them."""
    x = x.detach()
    return x.full_tensor() if isinstance(x, DTensor) else x


def part_like(whole: Tensor, like: Tensor) -> Tensor:
    """This process's part of whole numbers, kept where and as those of ``like`` are, in memory of its own."""
    if not isinstance(like, DTensor):
        return whole.to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None).clone()


def own_part(x: Tensor) -> Tensor:
    """The numbers that lie here, to be changed in place; all of them where nothing is spread."""
    x = x.detach()
    return x.to_local() if isinstance(x, DTensor) else x
