"""A server with keys, a word list and small limits: who may ask, what is refused, who waits, and slow clients."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import websockets.sync.client
from benchmarks.serving_process import Server, running, told

from armillary.errors import ConfigError
from armillary.serving.keys import Keys
from armillary.serving.wire import pack, unpack

ANN, BOB, EYE = "ann-0123456789abcdef", "bob-0123456789abcdef", "eye-0123456789abcdef"
SMALL = {"prompt": "the arm moves", "size": "64x64", "num_frames": 5, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def guarded(checkpoint, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(f"# who may ask\nann {ANN}\nbob {BOB} 5\neye {EYE} 0 0\n")
    (folder / "words").write_text("forbidden thing\n")
    flags = ("--keys", str(folder / "keys"), "--refuse-words", str(folder / "words"), "--queue-of-one", "3",
             "--body-seconds", "9", "--steps", "100")  # fmt: skip
    with running(checkpoint, folder / "run", *flags) as one:
        yield one


def client_of(server, key):
    return httpx.Client(base_url=server.url, timeout=120, headers={"Authorization": f"Bearer {key}"} if key else {})


def test_only_a_known_key_may_ask_and_everybody_may_look_at_health(guarded):
    for key in (None, "wrong", "ann", ANN[:-1], ANN + "x", "\xe4" * 16):
        with httpx.Client(base_url=guarded.url, timeout=60) as client:
            headers = {"Authorization": f"Bearer {key}".encode()} if key else {}
            answer = client.get("/v1/models", headers=headers)
            assert (answer.status_code, told(answer)["code"]) == (401, "invalid_api_key")
            assert client.get("/v1/health/live", headers=headers).status_code == 200
    for scheme in ("Bearer", "Api-Key"):
        assert httpx.get(f"{guarded.url}/v1/models", headers={"Authorization": f"{scheme} {ANN}"}).status_code == 200


def test_nobody_sees_another_s_jobs(guarded):
    with client_of(guarded, ANN) as ann, client_of(guarded, BOB) as bob:
        job = ann.post("/v1/videos", json=SMALL).json()["id"]
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/content")):
            assert bob.request(method, f"/v1/videos/{job}{path}").status_code == 404
        assert job not in [one["id"] for one in bob.get("/v1/videos").json()["data"]]
        assert ann.delete(f"/v1/videos/{job}").json()["deleted"]


def test_words_the_operator_does_not_want_are_refused(guarded):
    with client_of(guarded, ANN) as ann:
        for path, body in (
            ("/v1/videos", {**SMALL, "prompt": "a Forbidden,  THING on a table"}),
            ("/v1/videos", {**SMALL, "negative_prompt": "forbidden thing"}),
            ("/v1/images/generations", {"prompt": "forbidden-thing"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "förbidden thing"}]}),
        ):
            answer = ann.post(path, json=body)
            assert (answer.status_code, told(answer)["code"]) == (400, "refused")


def test_one_client_s_queue_is_bounded_and_the_other_s_is_free(guarded):
    slow = {**SMALL, "num_frames": 65, "size": "256x256", "num_inference_steps": 100}
    with client_of(guarded, ANN) as ann, client_of(guarded, BOB) as bob:
        made = [ann.post("/v1/videos", json=slow) for _ in range(4)]
        assert [one.status_code for one in made] == [200, 200, 200, 429]
        assert told(made[-1])["code"] == "quota_exceeded" and int(made[-1].headers["retry-after"]) > 0
        with client_of(guarded, EYE) as eye:
            assert (eye.get("/metrics").status_code, eye.post("/v1/videos", json=SMALL).status_code) == (200, 429)
        other = bob.post("/v1/videos", json=SMALL)
        assert other.status_code == 200 and other.json()["queue_position"] == 0, "bob's priority is higher"
        running = made[0].json()["id"]
        until = time.monotonic() + 60
        while ann.get(f"/v1/videos/{running}").json()["status"] == "queued" and time.monotonic() < until:
            time.sleep(0.05)
        for one in made[:3]:
            cancelled = ann.post(f"/v1/videos/{one.json()['id']}/cancel").json()
            assert cancelled["status"] == "failed" and cancelled["error"]["code"] == "cancelled"
        begun = time.monotonic()
        while bob.get(f"/v1/videos/{other.json()['id']}").json()["status"] != "completed":
            assert time.monotonic() - begun < 60, "the cancelled job is still being computed"
            time.sleep(0.1)


def test_a_deadline_is_kept(guarded):
    with client_of(guarded, ANN) as ann:
        slow = {**SMALL, "num_frames": 65, "size": "256x256", "num_inference_steps": 100, "deadline_seconds": 0.5}
        answer = ann.post("/v1/videos/sync", json=slow)
        assert (answer.status_code, told(answer)["code"]) == (504, "deadline_exceeded")


def answers_of(line):
    """Statuses of all answers on a line until the server hangs up."""
    text = b""
    while more := line.recv(4096):
        text += more
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", text)]


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", [408]),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HT", [200, 408]),
        (f"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ANN}\r\n"
         "Content-Length: 500\r\nContent-Type: application/json\r\n\r\n{".encode(), [408]),
    ],
    ids=["a head that never ends", "a second head that never ends", "a body that never ends"],
)  # fmt: skip
def test_slow_clients_are_hung_up_on(guarded, sent, statuses):
    with socket.create_connection(("127.0.0.1", guarded.port), 90) as line:
        line.sendall(sent)
        assert answers_of(line) == statuses


def test_a_second_head_that_begins_late_and_never_ends_is_hung_up_on(guarded):
    with socket.create_connection(("127.0.0.1", guarded.port), 90) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = http.client.HTTPResponse(line)
        first.begin()
        assert (first.status, first.read()) == (200, b"OK")
        time.sleep(3.5)  # longer than a head may take: a quiet line is no offence
        line.sendall(b"GET /healthz HT")
        assert answers_of(line) == [408]


def test_a_robot_that_thinks_long_is_not_hung_up_on(guarded):
    """Heads must come within a third of ``body_seconds``; a socket that was opened has no such limit."""
    where = f"ws://127.0.0.1:{guarded.port}/?steps=1&horizon=4"
    headers = {"Authorization": f"Api-Key {ANN}"}
    with websockets.sync.client.connect(where, compression=None, additional_headers=headers, open_timeout=60) as robot:
        robot.recv(60)
        time.sleep(3)
        robot.send(pack({"image": np.zeros((8, 8, 3), np.uint8), "prompt": "go"}))
        assert unpack(robot.recv(60))["actions"].shape == (4, 10)


def test_everything_asked_and_refused_is_in_the_audit_log_without_keys(guarded):
    with client_of(guarded, ANN) as ann:
        ann.post("/v1/videos", json={**SMALL, "user": "reader 7", "colour": 1})
        job = ann.post("/v1/videos", json={**SMALL, "user": "reader 7"}).json()["id"]
        ann.delete(f"/v1/videos/{job}")
    lines = [json.loads(line) for line in (guarded.folder / "audit.jsonl").read_text().splitlines()]
    assert {"POST", "DELETE"} <= {line["method"] for line in lines}
    assert any(line.get("user") == "reader 7" and line["caller"] == "ann" and line["job"] == job
               for line in lines if "job" in line)  # fmt: skip
    assert any(line["status"] == 401 for line in lines)
    text = json.dumps(lines) + guarded.told()
    assert ANN not in text and BOB not in text


@pytest.mark.parametrize("line", ["ann short", f"ann {ANN} high", f"ann {ANN} 1 -2", f"ann {ANN} 1 2 3", "", "ann"])
def test_a_line_of_keys_that_means_nothing_is_said_before_serving(tmp_path, line):
    (tmp_path / "keys").write_text(line)
    with pytest.raises(ConfigError, match="NAME KEY"):
        Keys(tmp_path / "keys")


def test_metrics_count_refusals_and_jobs(guarded):
    with client_of(guarded, ANN) as ann:
        page = ann.get("/metrics").text
    assert 'armillary_refusals_total{code="refused"}' in page
    assert 'armillary_jobs_over_total{mode="text-to-video",status="completed"}' in page
    assert 'armillary_resident_bytes{process="worker 0"}' in page
