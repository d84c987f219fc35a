"""A codec's folder, for pictures and sound alike: ``config.json`` and one safetensors file, in Diffusers' layout."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from armillary.errors import CheckpointError

WEIGHTS = "diffusion_pytorch_model.safetensors"
Codec = TypeVar("Codec", bound=nn.Module)


def fingerprint(settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """One hash over settings and tensors, these in bfloat16: the same in whichever type they were kept."""
    whole = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        part = tensor.detach().to("cpu", torch.bfloat16).contiguous()
        whole.update(f"{name} {tuple(part.shape)} ".encode() + part.view(torch.int16).numpy().tobytes())
    return whole.hexdigest()


def write_codec(folder: str | Path, codec: nn.Module, config: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Write ``config`` and the codec's weights in ``dtype``; both are whole before either replaces an older one."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: part.detach().to(dtype).cpu().contiguous() for name, part in codec.state_dict().items()}
    drafts = {name: target / f".{name}.{os.getpid()}.tmp" for name in (WEIGHTS, "config.json")}
    try:
        save_file(tensors, drafts[WEIGHTS], metadata={"format": "pt"})
        drafts["config.json"].write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name, draft in drafts.items():
            draft.replace(target / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def read_codec(
    folder: str | Path, what: str, make: Callable[[dict[str, Any], Collection[str]], Codec], dtype: torch.dtype
) -> Codec:
    """The codec that ``make`` builds of the configuration and the tensors' names, with its weights in ``dtype``.

    ``CheckpointError`` if something is missing or broken, or the two do not fit; ``what`` names the codec in it.
    """
    source = Path(folder)
    try:
        values = json.loads((source / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(source / WEIGHTS)
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(
            f"no {what} could be read in {source}: it must hold config.json and {WEIGHTS} ({error})."
        ) from error
    with torch.device("meta"):
        codec = make(values, tensors)
    expected = {name: part.shape for name, part in codec.state_dict().items()}
    if expected != {name: part.shape for name, part in tensors.items()}:
        odd = sorted(expected.keys() ^ tensors.keys()) or "shapes"
        raise CheckpointError(
            f"the weights in {source} do not fit its config.json ({odd}): take both from one checkpoint."
        )
    codec.load_state_dict({name: part.to(dtype) for name, part in tensors.items()}, assign=True)
    return codec.eval()
