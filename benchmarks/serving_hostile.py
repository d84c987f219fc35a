"""Twelve classes of what strangers may send, drawn from seeds: the answer that each must get, and what stays behind.

    python -m benchmarks.serving_hostile --cases 100

``CLASSES`` names them; each case is a function of a ``Door`` and a chance, and an ``AssertionError`` if the answer is
wrong. One line goes to ``results.jsonl``: wrong answers of each class, and the memory that the server's processes hold
after the first 200 cases and after all.
"""

import base64
import io
import json
import socket
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import tyro
import websockets.sync.client
from benchmarks.measure import record
from benchmarks.serving_process import Server, running, told
from PIL import Image

from armillary.media import write_video
from armillary.serving.wire import pack, unpack

Chance = np.random.Generator
EARLY = 200  # cases after which memory is looked at first
JSON = {"Content-Type": "application/json"}
SECRET = "root:"  # what /etc/passwd begins with
OPTIONS = "embodiment=pusht&steps=1&horizon=4"


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where strangers knock. ``film``: a good MP4."""

    client: httpx.Client
    port: int
    film: bytes


@contextmanager
def door_of(server: Server) -> Iterator[Door]:
    """The door of a server that runs."""
    pixels = np.random.default_rng(1).integers(0, 256, (9, 64, 64, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        film = write_video(Path(folder) / "film.mp4", pixels, 10.0).read_bytes()
    with httpx.Client(base_url=server.url, timeout=300) as client:
        yield Door(client=client, port=server.port, film=film)


def refused(answer: httpx.Response, *codes: str, status: int = 400) -> None:
    """The answer is our envelope with that status and one of these codes, and tells nothing of the machine."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:200]}"
    assert SECRET not in answer.text
    code = told(answer)["code"]
    assert not codes or code in codes, answer.text[:200]


def look_at(door: Door, data: bytes, kind: str = "image") -> httpx.Response:
    """A chat about bytes."""
    url = f"data:{'image/png' if kind == 'image' else 'video/mp4'};base64,{base64.b64encode(data).decode()}"
    content = [{"type": f"{kind}_url", f"{kind}_url": {"url": url}}, {"type": "text", "text": "?"}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    return door.client.post("/v1/chat/completions", json=body)


def truncated(door: Door, rng: Chance) -> None:
    """A picture or film that is cut is refused; a scrambled one is refused or seen."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
    kind, good = (("image", buffer.getvalue()), ("video", door.film))[int(rng.integers(2))]
    refused(look_at(door, good[: int(rng.integers(4, len(good) * 3 // 4))], kind), "bad_media", "invalid_request")
    scrambled = bytearray(good)
    for place in rng.integers(8, len(good), 20):
        scrambled[place] = rng.integers(256)
    assert look_at(door, bytes(scrambled), kind).status_code in (200, 400)


def bomb(door: Door, rng: Chance) -> None:
    """A small file that promises a huge picture is refused by its head."""
    width, height = (int(side) for side in rng.integers(10_000, 60_000, 2))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(2**20))), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    if rng.integers(2):
        answer = look_at(door, data)
    else:
        files = {"input_reference": ("x.png", data)}
        answer = door.client.post("/v1/videos/sync", data={"prompt": "x"}, files=files)
    refused(answer)
    assert f"{width}x{height}" in answer.text


def giant_header(door: Door, rng: Chance) -> None:
    """Headers of more than 32 KiB, one or many."""
    length, parts = int(rng.integers(40_000, 400_000)), int(rng.integers(1, 60))
    lines = b"".join(b"X-Long-%d: %s\r\n" % (n, b"a" * (length // parts)) for n in range(parts))
    with socket.create_connection(("127.0.0.1", door.port), 60) as line:
        try:
            line.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")
            assert line.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 431")
        except (BrokenPipeError, ConnectionResetError):
            return  # it had hung up already


def no_number(door: Door, rng: Chance) -> None:
    """NaN, infinities and their like, in a field or among actions."""
    word = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"NaN"', '"inf"'])
    field = rng.choice(["guidance", "fps", "shift", "guidance_scale", "flow_shift", "seconds"])
    for body in (f'"{field}": {word}', f'"mode": "forward-dynamics", "embodiment": "pusht", "actions": [[{word}, 1]]'):
        content = f'{{"prompt": "x", {body}}}'
        refused(door.client.post("/v1/videos", headers=JSON, content=content))


@contextmanager
def robot(door: Door, path: str = "/v1/realtime/robot/openpi") -> Iterator[Any]:
    """A policy socket whose first message was read."""
    where = f"ws://127.0.0.1:{door.port}{path}?{OPTIONS}"
    with websockets.sync.client.connect(where, compression=None, open_timeout=120) as one:
        one.recv(120)
        yield one


def wrong_kind(door: Door, rng: Chance) -> None:
    """Arrays of another kind, shape or range are refused, and the socket goes on."""
    kind = str(rng.choice(["i8", "<f8", "i2", "?", "u4", "f2", "u8"]))
    shape = [(8, 8, 3), (8, 8), (8, 8, 4), (0, 8, 3), (1, 8, 8, 3)][int(rng.integers(5))]
    with robot(door) as one:
        one.send(pack({"image": (rng.random(shape) * 300 + 20).astype(kind), "prompt": "go"}))
        assert unpack(one.recv(120))["type"] == "error"
        one.send(pack({"image": np.zeros((8, 8, 3), np.uint8), "prompt": "go"}))
        assert unpack(one.recv(120)).shape == (4, 2)


def wrong_endianness(door: Door, rng: Chance) -> None:
    """The other byte order means the same numbers: the same actions for floats; what is refused stays refused."""
    picture = rng.random((8, 8, 3)).astype(str(rng.choice(["f4", "f8"])))
    with robot(door) as one:
        actions = []
        for order in "<>":
            one.send(pack({"endpoint": "reset"}))
            assert unpack(one.recv(120))["status"]
            one.send(pack({"image": picture.astype(picture.dtype.newbyteorder(order)), "prompt": "go", "seed": 3}))
            actions.append(unpack(one.recv(120)))
        assert np.array_equal(*actions)
        one.send(pack({"image": (picture * 9).astype(">i4"), "prompt": "go"}))
        assert unpack(one.recv(120))["type"] == "error"


def huge_prompt(door: Door, rng: Chance) -> None:
    """More words than are read."""
    words = str(rng.choice(["word ", "\u00e4", "\U0001f600 ", "\\n"])) * int(rng.integers(20_001, 200_000))
    if rng.integers(2):
        answer = door.client.post("/v1/videos", json={"prompt": words})
    else:
        answer = door.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": words}]})
    refused(answer, "too_large")


def path_probe(door: Door, rng: Chance) -> None:
    """Paths out of the folder, in URLs and in every field that names something."""
    up = "".join(rng.choice(["../", "..%2f", "%2e%2e/", "..%5c", "%252e%252e/", "....//", "%00/"], rng.integers(1, 6)))
    tail = str(rng.choice(["etc/passwd", "jobs.sqlite", "audit.jsonl", "settings.py", "proc/self/environ"]))
    start = str(rng.choice(["/v1/videos/", "/v1/files/", "/v1/models/", "/studio/", "/", "/v1/videos/job_0/content/"]))
    answer = door.client.get(start + up + tail)
    assert answer.status_code in (400, 404), (start + up + tail, answer.status_code)
    assert SECRET not in answer.text
    field = str(rng.choice(["embodiment", "image", "video", "input_reference", "last_image"]))
    refused(door.client.post("/v1/videos", json={"prompt": "x", field: f"{up}{tail}", "mode": "image-to-video"}))


def ssrf_probe(door: Door, rng: Chance) -> None:
    """URLs that lead inside, in many spellings: refused, whether or not the host is allowed."""
    a, b, c, d = (int(part) for part in rng.integers(0, 256, 4))
    inside = [
        f"127.{b}.{c}.{d}",
        f"10.{b}.{c}.{d}",
        f"192.168.{c}.{d}",
        f"172.{16 + b % 16}.{c}.{d}",
        "169.254.169.254",
    ]
    dotted = inside[int(rng.integers(len(inside)))]
    number = int.from_bytes(bytes(int(part) for part in dotted.split(".")))
    hosts = [dotted, str(number), hex(number), f"[::ffff:{dotted}]", "[::1]", "localhost", "LOCALHOST.", "0",
             "metadata.google.internal", f"{dotted}.nip.io", f"example.com@{dotted}", f"user:{a}@{dotted}",
             f"[fe80::{a:x}]"]  # fmt: skip
    scheme = str(rng.choice(["http", "https", "ftp", "file", "gopher", "HTTP"]))
    url = f"{scheme}://{hosts[int(rng.integers(len(hosts)))]}:{door.port}/metrics?{a}"
    content = [{"type": "image_url", "image_url": {"url": url}}]
    answer = door.client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    refused(answer, "url_refused")


def slow_loris(door: Door, rng: Chance) -> None:
    """A head or a body that comes byte by byte and never ends is answered with 408, and the line is closed."""
    head = b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
    body = head + b'\r\n{"prompt": "'
    sent = (head[: int(rng.integers(5, len(head)))], body)[int(rng.integers(2))]
    pause, answer = float(rng.uniform(0.2, 2.0)), b""
    with socket.create_connection(("127.0.0.1", door.port), 300) as line:
        line.sendall(sent)
        line.settimeout(pause)
        until = time.monotonic() + 300
        while time.monotonic() < until:
            try:
                more = line.recv(4096)
            except TimeoutError:
                line.sendall(b"a")
                continue
            except ConnectionResetError:  # a byte of ours crossed the server's last ones
                break
            if not more:
                break
            answer += more
    assert answer.startswith(b"HTTP/1.1 408"), answer[:60]


def bad_messagepack(door: Door, rng: Chance) -> None:
    """Noise, broken observations, objects, extensions, depth and false lengths: one refusal, then the end."""
    good = pack({"image": np.zeros((8, 8, 3), np.uint8), "prompt": "go"})
    deep: Any = 1
    for _ in range(int(rng.integers(50, 400))):
        deep = [deep]
    kind = str(rng.choice(["|O", "c8", "V8", "<M8[s]", "S8", "nonsense", "f8, f8"]))
    broken = [
        rng.bytes(int(rng.integers(1, 2000))),
        good[: int(rng.integers(1, len(good)))],
        msgpack.packb({"image": msgpack.ExtType(int(rng.integers(0, 128)), rng.bytes(9)), "prompt": "go"}),
        msgpack.packb({"image": deep, "prompt": "go"}),
        msgpack.packb({"image": {b"__ndarray__": True, b"data": rng.bytes(8), b"dtype": kind, b"shape": [1]}}),
        b"\xdd" + struct.pack(">I", int(rng.integers(2**20, 2**32))),
    ][int(rng.integers(6))]
    with robot(door, "/") as one:
        one.send(broken)
        assert json.loads(one.recv(120))["error"]["code"] == "invalid_request"
    assert door.client.get("/healthz").text == "OK"


def bad_multipart(door: Door, rng: Chance) -> None:
    """Forms without boundary, with another one, broken, endless, of unknown fields."""
    good = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n'
    broken = bytearray(good)
    for place in rng.integers(0, 50, 4):
        broken[place] = rng.integers(256)
    kind, body = [
        ("multipart/form-data", good), ("multipart/form-data; boundary=other", good),
        ("multipart/form-data; boundary=b", bytes(broken)[: int(rng.integers(5, 45))]),
        ("multipart/form-data; boundary=" + "b" * int(rng.integers(300, 3000)), good),
        ("multipart/form-data; boundary=b", good.replace(b'"prompt"', b'"' + rng.bytes(4).hex().encode() + b'"')),
        ("multipart/form-data; boundary=b", good[:-7] * int(rng.integers(200, 2000))),
    ][int(rng.integers(6))]  # fmt: skip
    refused(door.client.post("/v1/videos", headers={"Content-Type": kind}, content=body))


CLASSES: dict[str, Callable[[Door, Chance], None]] = {
    one.__name__: one
    for one in (truncated, bomb, giant_header, no_number, wrong_kind, wrong_endianness, huge_prompt, path_probe,
                ssrf_probe, slow_loris, bad_messagepack, bad_multipart)
}  # fmt: skip


def wrongs(name: str, door: Door, seed: int) -> list[str]:
    """One case; what was wrong about its answer, if anything."""
    try:
        CLASSES[name](door, np.random.default_rng(seed))
    except AssertionError as wrong:
        return [f"{name} {seed}: {wrong}"]
    return []


def main(*, cases: int = 10, checkpoint: str = "pico", seed: int = 0) -> None:
    """Send every class to a server of our own.

    Args:
        cases: Of each class.
        checkpoint: What is served.
        seed: Of the first case.
    """
    flags = ("--body-seconds", "60", "--fetch-from", "localhost", "127.0.0.1", "169.254.169.254")
    quick = [name for name in CLASSES if name != "slow_loris"]
    found: list[str] = []
    begun, held = time.monotonic(), []
    with (
        tempfile.TemporaryDirectory(prefix="armillary-") as folder,
        running(checkpoint, Path(folder) / "run", *flags) as server,
        door_of(server) as door,
        ThreadPoolExecutor(cases) as pool,
    ):
        workers = server.workers()
        slow = [pool.submit(wrongs, "slow_loris", door, seed + n) for n in range(cases)]
        for done in range(cases * len(quick)):
            found += wrongs(quick[done % len(quick)], door, seed + done // len(quick))
            if (done + 1) % EARLY == 0 or done + 1 == cases * len(quick):
                held.append(server.resident())
        found += [wrong for one in slow for wrong in one.result()]
        held.append(server.resident())
        same = server.workers() == workers
    count = {name: sum(one.startswith(f"{name} ") for one in found) for name in CLASSES}
    megabytes = [{name: round(size / 2**20, 1) for name, size in one.items()} for one in held]
    record({"name": "serving_hostile", "checkpoint": checkpoint, "cases_each": cases, "wrong_answers": count,
            "workers_lost": int(not same), "memory_looked_at_every": EARLY, "resident_mb": megabytes,
            "grown": round(sum(held[-1].values()) / sum(held[0].values()) - 1, 4),
            "seconds": round(time.monotonic() - begun)})  # fmt: skip
    for wrong in found:
        print(wrong)


if __name__ == "__main__":
    tyro.cli(main)
