"""Strangers send the worst they can think of: each gets the answer it must get, and the server goes on as before.

``python -m benchmarks.serving_hostile --cases 100`` sends more of each class, and looks at the server's memory.
"""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks.serving_hostile import CLASSES, SECRET, door_of, look_at, wrongs
from benchmarks.serving_process import told

CASES = 3


@pytest.fixture(scope="module")
def door(server):
    with door_of(server) as one:
        yield one


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "slow_loris"])
def test_every_case_of_a_class_gets_the_answer_it_must_get(door, name):
    assert [wrong for seed in range(CASES) for wrong in wrongs(name, door, seed)] == []


def test_slow_clients_are_answered_with_408_and_keep_nobody_waiting(door):
    with ThreadPoolExecutor(16) as pool:
        slow = [pool.submit(wrongs, "slow_loris", door, seed) for seed in range(16)]
        assert door.client.get("/v1/health/live").status_code == 200
        assert not any(one.done() for one in slow)
        assert [wrong for one in slow for wrong in one.result()] == []


def test_a_playlist_in_a_film_s_clothes_opens_nothing(door):
    secret = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST"
    for data in (secret, b"\0\0\0\x18ftypmp42" + secret, b"\x1aE\xdf\xa3" + secret):
        answer = look_at(door, data, "video")
        assert answer.status_code == 400 and SECRET not in answer.text


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
        assert answer.status_code == 400 and SECRET not in answer.text, fields


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
