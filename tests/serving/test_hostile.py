"""Strangers send the worst they can think of: each gets the answer it must get, and the server goes on as before.

``ARMILLARY_HOSTILE_CASES`` says how many seeded cases of each class are sent (a few, unless told).
"""

import base64
import io
import json
import os
import socket
import struct
import time
import zlib

import httpx
import numpy as np
import pytest
import websockets.sync.client
from PIL import Image
from servers import told

from armillary.media import write_video
from armillary.serving.wire import pack, unpack

CASES = int(os.environ.get("ARMILLARY_HOSTILE_CASES", "3"))
SEEDS = range(CASES)


def png(side=8):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def png_bomb(width, height):
    """A head that promises a huge picture, and a body that unpacks to more than it says."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")
    )


def look_at(client, data, kind="image"):
    """A chat about bytes; what the server says."""
    url = f"data:{'image/png' if kind == 'image' else 'video/mp4'};base64,{base64.b64encode(data).decode()}"
    part = {"type": f"{kind}_url", f"{kind}_url": {"url": url}}
    content = [part, {"type": "text", "text": "?"}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    return client.post("/v1/chat/completions", json=body)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 64, 64, 3), np.uint8)
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", pixels, 10.0).read_bytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_truncated_and_scrambled_files_are_a_400(client, film, seed):
    rng = np.random.default_rng(seed)
    for kind, good in (("image", png()), ("video", film)):
        cut = good[: int(rng.integers(4, len(good) * 3 // 4))]
        answer = look_at(client, cut, kind)
        assert answer.status_code == 400, (seed, kind)
        assert told(answer)["code"] in ("bad_media", "invalid_request")
        scrambled = bytearray(good)
        for place in rng.integers(8, len(good), 20):
            scrambled[place] = rng.integers(256)
        assert look_at(client, bytes(scrambled), kind).status_code in (200, 400), (seed, kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_bombs_are_refused_by_their_head(client, seed):
    rng = np.random.default_rng(seed)
    side = int(rng.integers(10_000, 60_000))
    begun = time.monotonic()
    answer = look_at(client, png_bomb(side, side))
    assert answer.status_code == 400 and f"{side}x{side}" in told(answer)["message"]
    assert time.monotonic() - begun < 20


def test_a_playlist_in_a_film_s_clothes_opens_nothing(client):
    secret = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST"
    for data in (secret, b"\0\0\0\x18ftypmp42" + secret, b"\x1aE\xdf\xa3" + secret):
        answer = look_at(client, data, "video")
        assert answer.status_code == 400 and "root:" not in answer.text


@pytest.mark.parametrize("seed", SEEDS)
def test_giant_headers_are_refused(server, seed):
    rng = np.random.default_rng(seed)
    with socket.create_connection(("127.0.0.1", server.port), 30) as raw:
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        try:
            raw.sendall(b"a" * int(rng.integers(70_000, 400_000)) + b"\r\n\r\n")
            assert raw.recv(64).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had hung up already


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_that_are_none_are_refused(client, seed):
    rng = np.random.default_rng(seed)
    word = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", '"NaN"', '"inf"'])
    field = rng.choice(["guidance", "fps", "shift", "guidance_scale", "flow_shift"])
    answer = client.post("/v1/videos", headers={"Content-Type": "application/json"},
                         content=f'{{"prompt": "x", "{field}": {word}}}')  # fmt: skip
    assert answer.status_code == 400 and told(answer)["type"] == "invalid_request_error"
    answer = client.post("/v1/videos", headers={"Content-Type": "application/json"}, content=(
        f'{{"prompt": "x", "mode": "forward-dynamics", "embodiment": "pusht", "actions": [[{word}, 1]]}}'))  # fmt: skip
    assert answer.status_code == 400


@pytest.mark.parametrize("seed", SEEDS)
def test_arrays_of_the_wrong_kind_are_refused(server, seed):
    rng = np.random.default_rng(seed)
    kind = str(rng.choice([">f4", ">i8", "<f8", "i2", "?", "u4", "f2"]))
    where = f"ws://127.0.0.1:{server.port}/v1/realtime/robot/openpi?embodiment=pusht&steps=1&horizon=4"
    with websockets.sync.client.connect(where, compression=None, open_timeout=60) as robot:
        robot.recv(60)
        robot.send(pack({"image": (rng.random((8, 8, 3)) * 300 - 20).astype(kind), "prompt": "go"}))
        assert unpack(robot.recv(60))["type"] == "error"
        robot.send(pack({"image": np.zeros((8, 8, 3), ">u1"), "prompt": "go"}))
        assert unpack(robot.recv(60)).shape == (4, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_huge_prompts_are_refused(client, seed):
    words = "word " * int(np.random.default_rng(seed).integers(5_000, 200_000))
    answer = client.post("/v1/videos", json={"prompt": words})
    assert (answer.status_code, told(answer)["code"]) == (400, "too_large")
    answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": words}]})
    assert (answer.status_code, told(answer)["code"]) == (400, "too_large")


PATHS = ["/v1/videos/../../etc/passwd", "/v1/videos/..%2f..%2fetc%2fpasswd", "/v1/videos/job_x/content?variant=../x",
         "/v1/videos/%00", "/studio/../settings.py", "/studio/%2e%2e/settings.py", "/v1/files/..%5c..%5cx",
         "//etc/passwd", "/v1/models/..%2f..%2fx", "/.git/config", "/v1/videos/" + "a" * 5000]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_paths_lead_nowhere(client, path):
    assert client.get(path).status_code in (400, 404)


@pytest.mark.parametrize("word", ["../../etc/passwd", "/etc/passwd", "x.toml", "/tmp/evil.toml", "pusht/../x", "\x00"])
def test_names_are_never_paths(client, word):
    for fields in ({"embodiment": word, "mode": "inverse-dynamics"}, {"extra_params": {"domain_name": word}},
                   {"image": word}, {"video": word}, {"input_reference": word}):  # fmt: skip
        answer = client.post("/v1/videos", json={"prompt": "x", **fields})
        assert answer.status_code == 400 and "root:" not in answer.text, fields


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd",
                                 "http://localhost:8000/metrics", "https://example.com/a.png"])  # fmt: skip
def test_urls_are_refused_unless_the_operator_allows_their_host(client, url):
    content = [{"type": "image_url", "image_url": {"url": url}}]
    answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
    assert (answer.status_code, told(answer)["code"]) == (400, "url_refused")


@pytest.mark.parametrize("seed", SEEDS)
def test_bad_messagepack_hangs_up_on_nobody_else(server, seed):
    rng = np.random.default_rng(seed)
    with websockets.sync.client.connect(f"ws://127.0.0.1:{server.port}/", compression=None, open_timeout=60) as robot:
        robot.recv(60)
        robot.send(rng.bytes(int(rng.integers(1, 2000))))
        assert json.loads(robot.recv(60))["error"]["code"] == "invalid_request"
    assert httpx.get(f"{server.url}/healthz", timeout=60).text == "OK"


@pytest.mark.parametrize("seed", SEEDS)
def test_bad_multipart_is_a_400(client, seed):
    rng = np.random.default_rng(seed)
    good = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--b--\r\n'
    broken = bytearray(good)
    for place in rng.integers(0, 50, 4):
        broken[place] = rng.integers(256)
    for kind, body in (
        ("multipart/form-data", good), ("multipart/form-data; boundary=other", good),
        ("multipart/form-data; boundary=b", bytes(broken)[: int(rng.integers(5, 45))]),
        ("multipart/form-data; boundary=" + "b" * 3000, good),
    ):  # fmt: skip
        answer = client.post("/v1/videos", headers={"Content-Type": kind}, content=body)
        assert answer.status_code == 400, (seed, kind[:60], answer.text)
        told(answer)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', b"nul", b"[" * 100_000, b'{"a":' * 5_000, b'{"prompt": "\xff"}', b"\x00" * 100]
)
def test_bad_json_is_a_400(client, body):
    for path in ("/v1/videos", "/v1/chat/completions", "/v1/images/generations"):
        answer = client.post(path, headers={"Content-Type": "application/json"}, content=body)
        assert answer.status_code == 400, (path, answer.text)
        told(answer)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(server):
    with socket.create_connection(("127.0.0.1", server.port), 30) as raw:
        raw.sendall(b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 99999999999\r\n\r\n")  # fmt: skip
        assert raw.recv(64).startswith(b"HTTP/1.1 413")


def test_what_is_too_much_is_refused_before_it_is_made(client):
    for fields, code in (({"size": "99968x99968"}, "too_large"), ({"num_frames": 4001}, "too_large"),
                         ({"num_inference_steps": 900}, "too_large")):  # fmt: skip
        answer = client.post("/v1/videos", json={"prompt": "x", **fields})
        assert (answer.status_code, told(answer)["code"]) == (400, code), fields
