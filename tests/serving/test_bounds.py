"""Nobody takes more than his share: bytes kept, seconds of sound, sizes of a world, one key for two requests."""

import io
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from armillary.serving.app import make_app
from armillary.serving.problems import MOST_WORDS
from armillary.serving.settings import Limits, ServeSettings


@pytest.fixture
def door(checkpoint, tmp_path):
    """The answering half alone: nothing is computed."""
    limits = Limits(kept_mb=1)
    settings = ServeSettings(checkpoint=str(checkpoint), folder=tmp_path / "run", role="api", limits=limits)
    with TestClient(make_app(settings), base_url="http://127.0.0.1") as one:
        yield one


def noise(side, seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def refused(answer, status, code):
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (status, code), told
    return told


def test_uploads_are_kept_up_to_a_sum_and_deleting_makes_room(door):
    first = door.post("/v1/files", files={"file": ("a.png", noise(500))})
    assert first.status_code == 200 and 2**19 < first.json()["bytes"] < 2**20
    refused(door.post("/v1/files", files={"file": ("b.png", noise(500, 1))}), 429, "quota_exceeded")
    door.delete(f"/v1/files/{first.json()['id']}")
    assert door.post("/v1/files", files={"file": ("b.png", noise(500, 1))}).status_code == 200


def test_what_came_with_a_cancelled_job_is_kept_as_long_as_a_finished_one_s(door):
    desk = door.app.state.desk
    made = door.post("/v1/videos", data={"prompt": "x"}, files={"image": ("a.png", noise(64))}).json()["id"]
    told = door.post(f"/v1/videos/{made}/cancel").json()
    assert told["error"]["code"] == "cancelled"
    assert 0 <= told["expires_at"] - told["created_at"] - desk.limits.keep_hours * 3600 <= 60
    desk.sweep()
    assert made in desk.files.tops()
    desk.limits = replace(desk.limits, keep_hours=0.0)
    desk.sweep()
    assert made not in desk.files.tops() and door.get(f"/v1/videos/{made}").status_code == 404


def test_a_slow_film_is_no_way_to_endless_sound(door):
    ask = {"prompt": "x", "generate_sound": True, "num_frames": 17, "fps": 0.01}
    assert "120 s are made" in refused(door.post("/v1/videos", json=ask), 400, "too_large")["message"]


def test_one_key_is_one_request(door):
    head, ask = {"Idempotency-Key": "a"}, {"prompt": "x", "image": None, "num_frames": 5}
    first = door.post("/v1/videos", json=ask, headers=head)
    assert door.post("/v1/videos", json=ask, headers=head).json()["id"] == first.json()["id"]
    refused(door.post("/v1/videos", json={**ask, "prompt": "y"}, headers=head), 409, "idempotency_conflict")
    pictures = [door.post("/v1/videos", data={"prompt": "x"}, files={"image": ("a.png", noise(64, n))},
                          headers={"Idempotency-Key": "b"}).status_code for n in (1, 1, 2)]  # fmt: skip
    assert pictures == [200, 200, 409], "another picture is another request"


@pytest.mark.parametrize("size", [(10**6, 10**6), (65, 64), (0, 64), (-64, 64), (8192, 8192)])
def test_a_world_of_an_impossible_size_is_not_begun(door, size):
    start = {"type": "session.start", "width": size[0], "height": size[1], "embodiment": "tabletop",
             "image": "data:image/png;base64,AAAA"}  # fmt: skip
    with door.websocket_connect("/v1/realtime/video", headers={"host": "127.0.0.1"}) as line:
        line.send_json(start)
        told = line.receive_json()["error"]
    assert told["code"] in ("invalid_request", "too_large", "no_memory")


def test_what_a_client_wrote_is_not_sent_back_by_the_megabyte(door):
    answer = door.post("/v1/videos", json={"prompt": "x", "embodiment": "x" * 2**20, "mode": "policy"})
    assert answer.status_code == 400 and len(answer.content) < MOST_WORDS + 500
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_nothing_is_computed_for_who_hung_up(server, client):
    def cancelled():
        lines = client.get("/metrics").text.splitlines()
        return sum(float(one.split()[-1]) for one in lines if one.startswith('armillary_jobs{status="cancelled"}'))

    before = cancelled()
    body = b'{"prompt": "x", "size": "256x256", "num_inference_steps": 100}'
    with socket.create_connection(("127.0.0.1", server.port), 60) as line:
        line.sendall(b"POST /v1/videos/sync HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body) + body)  # fmt: skip
        until = time.monotonic() + 60
        while not any(client.get("/metrics").text.count(f'armillary_jobs{{status="{one}"}} 1.0')
                      for one in ("queued", "in_progress")) and time.monotonic() < until:  # fmt: skip
            time.sleep(0.05)
    until = time.monotonic() + 60
    while cancelled() == before and time.monotonic() < until:
        time.sleep(0.05)
    assert cancelled() == before + 1
