"""Adapters: a small change of a model's matrices, kept apart from them (LoRA, Hu et al., arXiv 2106.09685).

    adapter_config.json, adapter_model.safetensors      as PEFT keeps them: it opens ours, and ours opens its
    W + alpha / r * B A                                 what is multiplied with: A r k, B n r for a matrix W n k

An adapter is worn by adding it to the matrices as they come from their files (``Stock.wear``), so that wearing one
costs nothing afterwards and taking it off gives back the very same weights. While it is learnt (``learning``) each
matrix is made from its parts at every step, and only A and B learn.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import CheckpointError, ConfigError
from armillary.model.layouts import fresh_folder, move_in, read_json, write_json
from armillary.model.names import canonical, tower_of
from armillary.model.shards import KINDS, open_shards
from armillary.model.two_towers import TwoTowers

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model"
ATTENTION = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")  # q, k, v, o of the generator, as Cosmos has it
MATRICES = (*ATTENTION, "mlp_moe_gen.gate_proj", "mlp_moe_gen.up_proj", "mlp_moe_gen.down_proj")
_BEFORE = "base_model.model."
_CHANGES_THE_REST = ("pissa", "olora", "corda", "loftq", "lora_ga")  # ways of beginning that change W itself
_NAME = re.compile(rf"{re.escape(_BEFORE)}(?:transformer\.)?(.+)\.lora_(A|B)(?:\.default)?\.weight")


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """Of each matrix that is changed (its name without ``.weight``) the two factors A r k and B n r, float32.

    ``alpha``: by how much of the rank their product counts; ``targets``: the endings of the matrices' names;
    ``where``: whose it is, in sentences.
    """

    alpha: float
    targets: tuple[str, ...]
    pairs: Mapping[str, tuple[Tensor, Tensor]]
    where: str = "this adapter"

    @property
    def rank(self) -> int:
        """r."""
        return next(iter(self.pairs.values()))[0].shape[0]

    @property
    def tensors(self) -> frozenset[str]:
        """The names of the tensors that it changes."""
        return frozenset(f"{name}.weight" for name in self.pairs)

    def added(self, name: str, weight: Tensor) -> Tensor:
        """The tensor ``name`` with what is added to it, in float32; as it is where nothing is."""
        pair = self.pairs.get(name.removesuffix(".weight"))
        if pair is None:
            return weight
        a, b = pair
        return weight.float() + self.alpha / len(a) * (b @ a).to(weight.device)

    def cut(self, rank: int) -> "LowRank":
        """What of each product ``rank`` factors can hold (its largest singular values); as it is if it has no more."""
        if rank < 1:
            raise ConfigError(f"rank={rank}: an adapter has a rank from 1 on.")
        if rank >= self.rank:
            return self
        pairs = {}
        for name, (a, b) in self.pairs.items():
            (left, rows), (right, columns) = torch.linalg.qr(b), torch.linalg.qr(a.t())
            u, values, v = torch.linalg.svd(rows @ columns.t())
            root = values[:rank].sqrt()
            pairs[name] = (root[:, None] * (v[:rank] @ right.t()), left @ u[:, :rank] * root)
        return replace(self, alpha=self.alpha * rank / self.rank, pairs=pairs)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """``CheckpointError`` unless every matrix is a generator's, of a model with tensors of these ``shapes``."""
        for name, (a, b) in self.pairs.items():
            wanted, shape = shapes.get(f"{name}.weight"), (b.shape[0], a.shape[1])
            if wanted is None:
                raise CheckpointError(
                    f"{self.where} changes {name}, which this model does not have: it is for another one."
                )
            if tower_of(f"{name}.weight") != "generator":
                raise CheckpointError(
                    f"{self.where} changes {name}, which is not the generator's: the generator alone wears adapters, "
                    f"so make one of its own matrices ({', '.join(MATRICES)})."
                )
            if wanted != shape or a.shape[0] != b.shape[1]:
                raise CheckpointError(
                    f"{self.where} changes {name} by A {tuple(a.shape)} and B {tuple(b.shape)}, but that matrix has "
                    f"shape {wanted}: it is for another model."
                )

    def save(self, folder: Path, *, base: str = "") -> None:
        """Write the two files; the folder appears whole or not at all. ``base``: whose adapter it is, for readers."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = fresh_folder(folder)
        tensors = {
            f"{_BEFORE}{name}.lora_{letter}.weight": factor.bfloat16().contiguous()
            for name, pair in self.pairs.items()
            for letter, factor in zip("AB", pair, strict=True)
        }
        save_file(tensors, fresh / f"{WEIGHTS}.safetensors", metadata={"format": "pt"})
        write_json(fresh / SETTINGS, {
            "peft_type": "LORA", "base_model_name_or_path": base, "task_type": None, "inference_mode": True,
            "r": self.rank, "lora_alpha": self.alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
            "use_rslora": False, "use_dora": False, "target_modules": sorted(self.targets),
        })  # fmt: skip
        move_in(fresh, folder)

    @classmethod
    def load(cls, folder: Path) -> "LowRank":
        """From a folder as PEFT writes it; ``CheckpointError`` for one that is broken, or of another kind."""
        told = _settings(folder)
        shards = open_shards(folder, "adapter")
        if shards.faults:
            raise CheckpointError(f"{folder} cannot be read: {'; '.join(shards.faults)}.")
        factors: dict[str, dict[str, Tensor]] = {}
        for stored, where in shards.tensors.items():
            found = _NAME.fullmatch(stored)
            if found is None or where.kind not in KINDS or len(where.shape) != 2:
                raise CheckpointError(
                    f"{folder} holds {stored} ({where.kind}, shape {where.shape}), which is no factor of a matrix: "
                    "only plain LoRA of matrices can be worn."
                )
            factor = shards.read(stored).float()
            if not bool(factor.isfinite().all()):
                raise CheckpointError(f"{folder} holds a number in {stored} that is not finite: learn or copy it anew.")
            factors.setdefault(canonical(f"{found[1]}.weight").removesuffix(".weight"), {})[found[2]] = factor
        if lone := [name for name, own in factors.items() if len(own) != 2] or ([] if factors else ["no matrix"]):
            raise CheckpointError(f"{folder} lacks a factor of {lone[0]}: an adapter has A and B of each.")
        pairs = {name: (own["A"], own["B"]) for name, own in sorted(factors.items())}
        if wrong := [name for name, (a, _) in pairs.items() if len(a) != told["r"]]:
            raise CheckpointError(f"{folder} says rank {told['r']}, but {wrong[0]} has {len(pairs[wrong[0]][0])}.")
        return cls(
            alpha=float(told["lora_alpha"]), targets=tuple(told["target_modules"]), pairs=pairs, where=str(folder)
        )


def _settings(folder: Path) -> dict[str, Any]:
    """What ``adapter_config.json`` says, checked: what changes the product and is not done here is refused."""
    path = folder / SETTINGS
    if not path.is_file():
        raise CheckpointError(f"{folder} is no adapter: it lacks {SETTINGS}, which PEFT writes beside the weights.")
    told = read_json(path)
    kind, rank, alpha = told.get("peft_type"), told.get("r"), told.get("lora_alpha")
    if kind != "LORA":
        raise CheckpointError(f"{path} says peft_type {kind!r}: only LORA can be worn.")
    for name in ("use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if told.get(name):
            raise CheckpointError(f"{path} says {name} {told[name]!r}: only plain LoRA, one rank for all, can be worn.")
    if str(begun := told.get("init_lora_weights")).lower().startswith(_CHANGES_THE_REST):
        raise CheckpointError(
            f"{path} says init_lora_weights {begun!r}: that belongs to weights which were changed with it. Save it as "
            "plain LoRA (PEFT's path_initial_model_for_weight_conversion)."
        )
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise CheckpointError(f"{path} says r {rank!r} and lora_alpha {alpha!r}: give a rank from 1 on and a number.")
    targets = told.get("target_modules") or ()
    return {"r": rank, "lora_alpha": alpha, "target_modules": [targets] if isinstance(targets, str) else list(targets)}


class Lowered(nn.Linear):
    """A matrix without bias, which stays as it is, and two factors of what is added to it, which learn.

    One class for all of them, so that compiled layers (``compiled.py``) are compiled once.
    """

    def __init__(self, plain: nn.Linear, rank: int, alpha: float, chance: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.scale = plain.weight, alpha / rank
        self.register_parameter("bias", None)
        bound = 1 / math.sqrt(plain.in_features)  # as PEFT begins: A Kaiming-uniform with a = sqrt(5), B zero
        first = torch.empty(rank, plain.in_features).uniform_(-bound, bound, generator=chance)
        self.lora_a = nn.Parameter(first.to(plain.weight))
        self.lora_b = nn.Parameter(torch.zeros(plain.out_features, rank).to(plain.weight))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight + self.scale * (self.lora_b @ self.lora_a))


@contextmanager
def learning(
    model: TwoTowers, *, rank: int, alpha: float, targets: Iterable[str] = MATRICES, seed: int = 0
) -> Iterator[dict[str, nn.Parameter]]:
    """Within it only A and B of the generator's matrices ``targets`` learn, begun so that nothing is changed yet.

    ``MATRICES`` are as many of them as it has: Edge's layers have no gate. Yields these parameters by name; ``learnt``
    makes an adapter of what they are by then. Afterwards the model's matrices are plain again, and as they were.
    ``ConfigError`` for a rank below 1 and for targets it does not have.
    """
    endings = tuple(targets)
    if rank < 1 or not alpha > 0:
        raise ConfigError(f"rank={rank}, alpha={alpha}: an adapter has a rank from 1 on, and an alpha above 0.")
    found = {
        name: module for name, module in model.transformer.named_modules()
        if isinstance(module, nn.Linear) and module.bias is None and name.endswith(endings)
        and tower_of(f"{name}.weight") == "generator"
    }  # fmt: skip
    missing = [ending for ending in endings if not any(name.endswith(ending) for name in found)]
    if missing and (endings != MATRICES or not found):
        raise ConfigError(f"targets names {missing[0]!r}, but no matrix of this generator ends so: take of {MATRICES}.")
    learns = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.requires_grad_(False)
    chance = torch.Generator().manual_seed(seed)
    try:
        for name, module in found.items():
            _put(model, name, Lowered(module, rank, alpha, chance))
        yield {name: p for name, p in model.named_parameters() if name.rsplit(".", 1)[1] in ("lora_a", "lora_b")}
    finally:
        for name, module in found.items():
            _put(model, name, module)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(learns[name])


def learnt(model: TwoTowers, targets: Iterable[str] = MATRICES) -> LowRank:
    """The adapter of a model whose factors learn (``learning``), as they are now."""
    pairs, alpha = {}, 1.0
    for name, module in model.transformer.named_modules():
        if isinstance(module, Lowered):
            a, b = (factor.detach().float().cpu().clone() for factor in (module.lora_a, module.lora_b))
            pairs[name], alpha = (a, b), module.scale * len(a)
    if not pairs:
        raise ConfigError("no factor learns in this model: make an adapter of it within learning(...).")
    changed = tuple(ending for ending in targets if any(name.endswith(ending) for name in pairs))
    return LowRank(alpha=alpha, targets=changed, pairs=pairs)


def _put(model: TwoTowers, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.transformer.get_submodule(parent), leaf, module)
