"""MessagePack with arrays, as openpi's clients speak it, and nothing that could run: no objects, no extensions.

An array is ``{b"__ndarray__": True, b"data", b"dtype", b"shape"}``, a scalar ``{b"__npgeneric__": True, ...}``.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from armillary.errors import RequestError

KINDS = "biuf"  # bool, whole numbers, floats; never objects, records, complex numbers, text or times
MOST_AXES = 8
MOST_ENTRIES = 4096
DEEPEST = 16


def pack(value: Any) -> bytes:
    """Plain data and arrays as bytes."""
    packed: bytes = msgpack.packb(value, default=_packed)
    return packed


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        data = np.ascontiguousarray(value)
        return {b"__ndarray__": True, b"data": data.tobytes(), b"dtype": data.dtype.str, b"shape": data.shape}
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} has no form on this wire")


def unpack(data: bytes) -> Any:
    """Plain data and arrays from bytes; ``RequestError`` for anything else."""
    try:
        found = msgpack.unpackb(
            data, raw=False, strict_map_key=True, max_array_len=MOST_ENTRIES, max_map_len=MOST_ENTRIES, max_ext_len=0,
            max_str_len=2**20, max_bin_len=len(data), object_hook=_opened,
        )  # fmt: skip
    except RequestError:
        raise
    except (ValueError, TypeError, RecursionError, MemoryError, OverflowError, msgpack.UnpackException) as broken:
        raise RequestError(
            f"the message is no MessagePack of plain data and arrays ({type(broken).__name__})."
        ) from broken
    _measure(found, 0)
    return found


def _opened(found: Mapping[Any, Any]) -> Any:
    marks = {name: found.get(name, found.get(name.decode())) for name in (b"__ndarray__", b"__npgeneric__")}
    if not any(marks.values()):
        return found
    get = {str(k, "latin-1") if isinstance(k, bytes) else k: v for k, v in found.items()}
    kind = _dtype(get.get("dtype"))
    if marks[b"__npgeneric__"]:
        value = get.get("data")
        if not isinstance(value, (bool, int, float)):
            raise RequestError("a scalar on the wire must be a number.")
        return kind.type(value)
    shape, body = get.get("shape"), get.get("data")
    if not isinstance(shape, (list, tuple)) or len(shape) > MOST_AXES or not isinstance(body, bytes):
        raise RequestError("an array on the wire needs data and a shape of at most eight numbers.")
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
        raise RequestError(f"an array of shape {shape!r} cannot be: every side must be a whole number from 0 on.")
    if math.prod(shape) * kind.itemsize != len(body):
        needed = math.prod(shape) * kind.itemsize
        raise RequestError(f"an array of shape {list(shape)} and {kind} needs {needed} bytes: {len(body)} came.")
    array = np.frombuffer(body, dtype=kind).reshape(shape)
    return array.astype(kind.newbyteorder("="), copy=False)


def _dtype(name: Any) -> np.dtype[Any]:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    if not isinstance(text, str) or len(text) > 8:
        raise RequestError(f"dtype {name!r} is no kind of number.")
    try:
        kind = np.dtype(text)
    except (TypeError, ValueError, SyntaxError) as unknown:
        raise RequestError(f"dtype {text!r} is no kind of number.") from unknown
    if kind.kind not in KINDS or kind.itemsize > 8:
        raise RequestError(f"arrays of {kind} are not taken: send bool, whole numbers or floats of at most 8 bytes.")
    return kind


def _measure(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise RequestError(f"the message is nested more than {DEEPEST} deep: send plain fields.")
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for one in inner:
        _measure(one, depth + 1)
