"""MessagePack from strangers: arrays come back as they went, and nothing that is no plain number gets through."""

import contextlib

import msgpack
import numpy as np
import pytest

from armillary.errors import RequestError
from armillary.serving.wire import pack, unpack


@pytest.mark.parametrize("kind", ["u1", "i4", "<f4", ">f4", "f8", "?", "f2"])
def test_arrays_come_back_in_native_order(kind):
    sent = {"a": np.arange(24).reshape(2, 3, 4).astype(kind), "n": np.float32(2.5), "text": "ä", "none": None}
    found = unpack(pack(sent))
    assert np.array_equal(found["a"], sent["a"]) and found["a"].dtype.isnative
    assert found["n"] == np.float32(2.5) and found["text"] == "ä" and found["none"] is None


@pytest.mark.parametrize(
    "message",
    [
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "|O", b"shape": (1,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"", b"dtype": "|V8", b"shape": (0,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"\0" * 16, b"dtype": "<c16", b"shape": (1,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<M8", b"shape": (1,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"\0" * 4, b"dtype": "<f4", b"shape": (2**40, 2**40)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"\0" * 4, b"dtype": "<f4", b"shape": (-1,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": "text", b"dtype": "<f4", b"shape": (1,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"", b"dtype": "f4,i4", b"shape": (0,)}}),
        msgpack.packb({"x": {b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": (1,) * 40}}),
        msgpack.packb({"x": {b"__npgeneric__": True, b"data": [1], b"dtype": "<f4"}}),
        msgpack.packb(msgpack.ExtType(4, b"cposix\nsystem\n")),
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb({1: 2}),
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81" * 2000,
        b"\x91" * 100_000,
        b"",
    ],
    ids=range(19),
)
def test_what_could_hurt_is_refused_in_one_sentence(message):
    with pytest.raises(RequestError):
        unpack(message)


def test_seeded_rubbish_never_gets_past_as_anything_but_plain_data():
    rng = np.random.default_rng(0)
    good = pack({"observation/image": np.zeros((4, 4, 3), np.uint8), "prompt": "go"})
    for _ in range(400):
        broken = bytearray(good)
        for place in rng.integers(0, len(good), rng.integers(1, 6)):
            broken[place] = rng.integers(256)
        with contextlib.suppress(RequestError):
            found = unpack(bytes(broken[: rng.integers(1, len(good) + 1)]))
            leaves = found.values() if isinstance(found, dict) else [found]
            assert all(not isinstance(leaf, np.ndarray) or leaf.dtype.kind in "biuf" for leaf in leaves)
