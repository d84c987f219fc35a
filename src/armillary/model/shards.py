"""Tensors in safetensors files, read one by one, straight into the memory where they stay.

    open_shards(folder)  ->  Shards      headers only: what is there, in which file, of which type and shape
    Shards.read(name)    ->  a tensor    its bytes go from the file into place, nothing is mapped or kept besides

So loading never holds more than the weights and one tensor, and a file may be replaced while its weights are in
use. A header that lies, or a file that ends early, is a fault with a sentence, not a crash. Nothing is unpickled.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from armillary.errors import CheckpointError

KINDS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SHARD_BYTES = 5_000_000_000
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Where one tensor lies: its file, the first of its bytes there, its type as written, and its shape."""

    file: Path
    begin: int
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The tensors of a folder, by name, and what is wrong with its files."""

    tensors: dict[str, Stored] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self, name: str) -> Tensor:
        """One tensor, in the type in which it is stored."""
        stored = self.tensors[name]
        tensor = torch.empty(stored.shape, dtype=KINDS[stored.kind])
        if tensor.numel():
            with stored.file.open("rb", buffering=0) as file:
                file.seek(stored.begin)
                place = tensor.view(-1).view(torch.uint8).numpy()
                _fill(file, memoryview(place))  # type: ignore[arg-type]
        return tensor


def open_shards(folder: Path, part: str) -> Shards:
    """Look into every safetensors file of ``folder``; with an index, into those that it names.

    ``CheckpointError`` if there is none at all; ``part`` says what the checkpoint then lacks.
    """
    shards = Shards()
    files = sorted(folder.glob("*.safetensors"))
    for index in sorted(folder.glob("*.safetensors.index.json")):
        try:
            named = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            shards.faults.append(f"{part}: {index.name} is no JSON with a weight_map")
            continue
        shards.faults.extend(f"{part}: {name} is missing, {index.name} names it" for name in named
                             if not (folder / name).is_file())  # fmt: skip
        files = [folder / name for name in named if (folder / name).is_file()]
    if not files and not shards.faults:
        pickled = [path.name for path in folder.glob("*.bin")] + [path.name for path in folder.glob("*.pt*")]
        rather = f", only {pickled[0]}, which is pickled and is not opened" if pickled else ""
        raise CheckpointError(f"{folder} holds no .safetensors file{rather}: the checkpoint lacks its {part}.")
    for file in files:
        _look_into(file, part, shards)
    return shards


def save_shards(tensors: dict[str, Tensor], folder: Path, stem: str, *, largest: int = SHARD_BYTES) -> dict[str, str]:
    """Write tensors as ``stem.safetensors``, or as several files and an index beyond ``largest`` bytes each.

    Returns the file of each tensor.
    """
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        count = tensor.numel() * tensor.element_size()
        if groups[-1] and size + count > largest:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += count
    where: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        many = f"-{number:05d}-of-{len(groups):05d}" if len(groups) > 1 else ""
        save_file(group, folder / f"{stem}{many}.safetensors", metadata={"format": "pt"})
        where |= dict.fromkeys(group, f"{stem}{many}.safetensors")
    if len(groups) > 1:
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return where


def _fill(file: Any, place: memoryview) -> None:
    """Read until ``place`` is full; a system may give less than was asked for."""
    at = 0
    while at < len(place):
        got = file.readinto(place[at:])
        if not got:
            raise CheckpointError(f"{file.name} ended while it was read: somebody is writing it. Copy it again.")
        at += got


def _look_into(file: Path, part: str, shards: Shards) -> None:
    """Add what one file holds, and its faults."""
    header = _header(file)
    if isinstance(header, str):
        shards.faults.append(f"{part}: {file.name} {header}")
        return
    entries, start, size = header
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            kind, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
        except (KeyError, TypeError, ValueError):
            shards.faults.append(f"{part}: {file.name} says nothing usable about {name}")
            continue
        if start + end > size:
            shards.faults.append(f"{part}: {file.name} is cut off at byte {size}, {name} would end at {start + end}")
        elif kind in KINDS and end - begin != math.prod(shape) * KINDS[kind].itemsize:
            shards.faults.append(f"{part}: {name} has {end - begin} bytes, which do not make {kind} of shape {shape}")
        elif name in shards.tensors:
            shards.faults.append(f"{part}: {name} stands in {file.name} and in {shards.tensors[name].file.name}")
        shards.tensors.setdefault(name, Stored(file=file, begin=start + begin, kind=kind, shape=shape))


def _header(file: Path) -> tuple[dict[str, Any], int, int] | str:
    """The entries, where the data begin and how long the file is; or what is wrong."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            return f"is cut off within its header, at byte {size}"
        try:
            entries = json.loads(opened.read(length))
        except (UnicodeDecodeError, json.JSONDecodeError):
            return "has a header that is no JSON: it is not a safetensors file"
    return (entries, 8 + length, size) if isinstance(entries, dict) else "has a header that names no tensors"
