"""A checkpoint is a folder: written in one move, read with one complaint that names everything wrong.

    transformer/       both towers and the ports, opened unchanged by Diffusers' Cosmos3OmniTransformer
    vision_encoder/    the reasoner's eyes, named as Transformers' Qwen3VLVisionModel, or as Cosmos3Edge*
    config.json, model.safetensors.index.json      let Transformers open the reasoner; no second copy of weights
    model_index.json, scheduler/                   let Diffusers' Cosmos3OmniPipeline open the whole
    text_tokenizer/preprocessor_config.json        lets Transformers' AutoProcessor open the tokenizer, for pictures too

Two more layouts are read, and written for others: the reasoner alone as Transformers keeps it (``save_reasoner``),
and the native framework's names (``save_native``). The VAE and the text tokenizer are written beside by
``tokenizers/``. Weights are bfloat16 except the noise level's embedder, which is fp32 everywhere (cosmos3.md 12.1).
"""

import difflib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from armillary.errors import CheckpointError
from armillary.model.arithmetic import packs
from armillary.model.head import PackedLinear
from armillary.model.int8 import make_room_for_int8
from armillary.model.layouts import (
    fresh_folder,
    load_config,
    move_in,
    root_config,
    transformer_config,
    vision_config,
    write_json,
    write_model_index,
)
from armillary.model.names import TOWERS, canonical, to_native, to_transformers, tower_of
from armillary.model.shards import KINDS, SHARD_BYTES, Shards, open_shards, save_shards
from armillary.model.sizes import ModelConfig
from armillary.model.stock import Stock, needed
from armillary.model.two_towers import TwoTowers
from armillary.model.vision import preprocessor

__all__ = [
    "load_config",
    "load_model",
    "open_model",
    "save_model",
    "save_native",
    "save_preprocessor",
    "save_reasoner",
    "write_model_index",
]


def save_model(
    folder: str | Path, model: TwoTowers, *, dtype: torch.dtype = torch.bfloat16, largest: int = SHARD_BYTES
) -> None:
    """Write both towers, the eyes and the files that let other libraries open them into ``folder``.

    Each part appears whole or not at all, in files of at most ``largest`` bytes. Raises ``CheckpointError`` for a
    model loaded without some tower.
    """
    _whole(model)
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    siglip = model.config.vision.kind == "siglip"
    parts = {
        "transformer": (model.transformer, "diffusion_pytorch_model", transformer_config(model.config)),
        "vision_encoder": (model.visual, "model", None if siglip else vision_config(model.config)),
    }
    where: dict[str, str] = {}
    total = 0
    for name, (module, stem, config) in parts.items():
        tensors = _stored(module, dtype)
        fresh = fresh_folder(root / name)
        files = save_shards(tensors, fresh, stem, largest=largest)
        if config is not None:
            write_json(fresh / "config.json", config)
        move_in(fresh, root / name)
        for key, tensor in tensors.items():
            if tower_of(key) != "generator":
                where[key] = f"{name}/{files[key]}"
                total += tensor.numel() * tensor.element_size()
    write_json(root / "config.json", root_config(model.config, dtype))
    write_json(root / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def save_reasoner(
    folder: str | Path, model: TwoTowers, *, dtype: torch.dtype = torch.bfloat16, largest: int = SHARD_BYTES
) -> None:
    """Write the reasoner and its eyes alone, as Transformers keeps them: its own names, one folder.

    Raises ``CheckpointError`` for a model loaded without one of the two.
    """
    if missing := {"reasoner", "vision"} - model.towers:
        raise CheckpointError(f"this model was loaded without its {', '.join(sorted(missing))}: load it with both.")
    edge = model.config.vision.kind == "siglip"
    both = _stored(model.transformer, dtype) | _stored(model.visual, dtype)
    named = {to_transformers(name, edge=edge): tensor for name, tensor in both.items()}
    tensors = {name: tensor for name, tensor in named.items() if name is not None}
    _write_beside(Path(folder), tensors, root_config(model.config, dtype), largest)


def save_preprocessor(folder: str | Path, config: ModelConfig, *, most: int) -> None:
    """Write into a text tokenizer's folder how Transformers is to prepare pictures of about ``most`` squared at most.

    ``AutoProcessor`` then opens the folder. One that is there stays; for Edge's eyes, which have a processor of their
    own, none is written.
    """
    path = Path(folder) / "preprocessor_config.json"
    if config.vision.kind == "qwen" and not path.exists():
        write_json(path, preprocessor(config.vision, most=most), compact=True)


def save_native(folder: str | Path, model: TwoTowers, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write every tensor under the native framework's names, with our ``config.json`` of the sizes beside.

    ``load_model(folder, config=...)`` reads such a folder, and any other with these names.
    """
    _whole(model)
    both = _stored(model.transformer, dtype) | _stored(model.visual, dtype)
    tensors = {to_native(name): tensor for name, tensor in both.items()}
    _write_beside(Path(folder), tensors, root_config(model.config, dtype), SHARD_BYTES)


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    towers: Collection[str] = TOWERS,
    device: str | torch.device = "cpu",
    config: ModelConfig | None = None,
    int8: bool = False,
    quick: bool = False,
) -> TwoTowers:
    """Read a model from ``folder``, only the ``towers`` named: reasoner, generator, vision.

    A generator brings along the reasoner's layers, which make its memory, but not its head. Names may be those of
    any layout (``names.py``); ``config`` gives the sizes where no file of the folder does. Each tensor goes from its
    file into its place, so no more memory is used than the weights and one tensor. ``int8``: see ``int8.py``.
    ``quick``: matrices lie in memory as they are multiplied fastest; such a model is not for learning. Raises
    ``CheckpointError`` naming every tensor that is missing, unknown, of another shape or type, and every broken file.
    """
    stock = open_model(folder, dtype=dtype, towers=towers, device=device, config=config, int8=int8, quick=quick)
    return stock.hold(kinds_of(towers))


def open_model(
    folder: str | Path,
    *,
    dtype: torch.dtype,
    towers: Collection[str] = TOWERS,
    device: str | torch.device = "cpu",
    config: ModelConfig | None = None,
    int8: bool = False,
    quick: bool = False,
) -> Stock:
    """The same without reading a single weight: the model, and where in the files its tensors lie."""
    if unknown := set(towers) - set(TOWERS):
        raise CheckpointError(f"towers {sorted(unknown)} are unknown: choose from {', '.join(TOWERS)}.")
    root = Path(folder)
    sizes = load_config(root) if config is None else config
    with torch.device("meta"), Unfilled():
        model = TwoTowers(sizes)
        if int8:
            make_room_for_int8(model.transformer)
        elif quick and packs(torch.device(device)):
            model.transformer.lm_head = PackedLinear(sizes.tower.width, sizes.vocabulary, bias=False)
    model.towers = frozenset(towers)
    apart = (root / "transformer").is_dir()
    if not apart and "generator" not in model.towers:
        _forget_memory_norms(model)  # the reasoner alone has none, and its memory is for nobody
    slots: dict[str, tuple[nn.Module, str]] = {}
    halves: tuple[nn.Module, ...] = (model.transformer, model.visual)
    for module in halves:
        for name, _ in list(module.named_parameters()):
            path, _, leaf = name.rpartition(".")
            if needed(name, kinds_of(towers)):
                slots[name] = (module.get_submodule(path), leaf)
            else:
                module.get_submodule(path).register_parameter(leaf, None)
    shards = [open_shards(root / part if apart else root, part) for part in _parts(slots, apart)]
    where = _checked(root, slots, shards, model.towers)
    return Stock(model, slots, where, dtype=dtype, device=torch.device(device), quick=quick)


class Unfilled(TorchFunctionMode):
    """Within it new weights stay as they are: drawing numbers for tensors without memory takes longer than loading.

    (The first random number on the meta device makes torch import its whole compiler: seconds, and 70 MB.)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func``, unless it only draws numbers into a tensor."""
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


_DRAWS = {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_}
_DRAWS |= {nn.init.kaiming_uniform_}


def _parts(slots: Collection[str], apart: bool) -> list[str]:
    """The folders that hold the tensors ``slots``, or one name for all where they lie in one."""
    needed = {_part(name) for name in slots}
    return [part for part in ("transformer", "vision_encoder") if part in needed] if apart else ["weights"]


def _part(name: str) -> str:
    return "vision_encoder" if tower_of(name) == "vision" else "transformer"


def _checked(
    root: Path, slots: dict[str, tuple[nn.Module, str]], shards: list[Shards], towers: frozenset[str]
) -> dict[str, tuple[Shards, str]]:
    """Where each of ``slots`` lies, and under which name; ``CheckpointError`` with everything that is wrong."""
    faults = [fault for source in shards for fault in source.faults]
    absent: list[str] = []
    where = {canonical(name): (source, name) for source in shards for name in source.tensors if _counts(name)}
    strangers = [name for name in where if name not in slots and needed(name, kinds_of(towers))]
    for name, (module, leaf) in slots.items():
        shape = tuple(module.get_parameter(leaf).shape)
        if name not in where:
            alike = [other for other in strangers if where[other][0].tensors[where[other][1]].shape == shape]
            if near := difflib.get_close_matches(name, alike, n=1):
                faults.append(f"{_part(name)}: {name} is missing (is it {near[0]}, renamed?)")
            else:
                absent.append(name)
            continue
        source, stored_name = where[name]
        stored = source.tensors[stored_name]
        if stored.shape != shape:
            faults.append(f"{_part(name)}: {name} has shape {stored.shape}, not {shape}")
        if stored.kind not in KINDS:
            faults.append(f"{_part(name)}: {name} is stored as {stored.kind}, not as {', '.join(KINDS)}")
    wrong = len(faults) + len(absent) + len(strangers)
    for names, what in ((absent, "is missing"), (strangers, "is unknown")):
        faults += [f"{_part(name)}: {name} {what}" for name in together(names)]
    if wrong:
        raise CheckpointError(
            f"{root} does not hold this model ({wrong} {'fault' if wrong == 1 else 'faults'}): {'; '.join(faults)}."
            + _remedy(absent, slots)
        )
    return where


def together(names: Collection[str]) -> list[str]:
    """The names, those that differ only in their layer or block joined: ``layers.0-7.mlp.up_proj.weight``."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for name in names:
        found = re.fullmatch(r"(.+?\.)(\d+)(\..+)", name)
        numbers.setdefault((found[1], found[3]) if found else (name, ""), []).extend([int(found[2])] if found else [])
    return [before + _runs(found) + after for (before, after), found in numbers.items()]


def _runs(numbers: Collection[int]) -> str:
    """Whole numbers as people list them: 0-3,5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _remedy(absent: Collection[str], slots: Collection[str]) -> str:
    """What would do where nothing is there of a tower that was asked for."""
    lost = [tower for tower in TOWERS if _of(tower, slots) and _of(tower, slots) == _of(tower, absent)]
    left = [tower for tower in TOWERS if tower not in lost and _of(tower, slots)]
    if not lost or not left:
        return ""
    return f" Nothing is here of the {' and '.join(lost)}: load the rest with towers={tuple(left)}."


def _of(tower: str, names: Collection[str]) -> set[str]:
    return {name for name in names if tower_of(name) == tower}


def _counts(name: str) -> bool:
    """Whether a stored tensor belongs to the model: the native framework keeps a running average beside it."""
    return not name.startswith("net_ema.")


def kinds_of(towers: Collection[str]) -> frozenset[str]:
    """What ``towers`` need: a generator brings along whatever makes its memory."""
    return frozenset(towers) | ({"memory"} if "generator" in towers else frozenset())


def _forget_memory_norms(model: TwoTowers) -> None:
    for layer in model.transformer.layers:
        layer.get_submodule("self_attn").k_norm_und_for_gen = None  # type: ignore[assignment]


def _whole(model: TwoTowers) -> None:
    if missing := set(TOWERS) - model.towers:
        raise CheckpointError(
            f"this model was loaded without its {', '.join(sorted(missing))}: only a whole one is saved."
        )


def _stored(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as they go to disk, each in memory of its own."""
    stored = {
        name: (tensor.to_dense() if tensor.is_mkldnn else tensor.detach())
        .to("cpu", torch.float32 if "time_embedder" in name else dtype)
        .contiguous()
        for name, tensor in module.state_dict().items()
    }
    return {name: x if x.nbytes == x.untyped_storage().nbytes() else x.clone() for name, x in stored.items()}


def _write_beside(root: Path, tensors: dict[str, Tensor], config: dict[str, Any], largest: int) -> None:
    """One folder with ``model.safetensors``, in one file or several, and ``config.json``; it appears in one move."""
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh = fresh_folder(root)
    save_shards(tensors, fresh, "model", largest=largest)
    write_json(fresh / "config.json", config)
    move_in(fresh, root)
