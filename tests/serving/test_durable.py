"""Killed at random moments, the server loses no job, does none twice in a client's eyes, and serves no half file.

``ARMILLARY_KILLS`` says how often (a few, unless told); each time the API, the worker or both get SIGKILL.
"""

import io
import os
import random
import signal
import time

import av
import httpx
import pytest
from servers import Server

KILLS = int(os.environ.get("ARMILLARY_KILLS", "3"))
ASK = {"prompt": "the arm moves", "size": "64x64", "num_frames": 5, "num_inference_steps": 8}


@pytest.fixture
def mortal(checkpoint, tmp_path):
    one = Server(checkpoint, tmp_path / "run").wait()
    yield one
    one.stop()


def put(server, name):
    """Ask until the server says that it has the job; asking again with the same key is the same job."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        try:
            answer = httpx.post(f"{server.url}/v1/videos", json=ASK, headers={"Idempotency-Key": name}, timeout=60)
            if answer.status_code == 200:
                return answer.json()["id"]
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError("the server did not come back")


def whole(data):
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for _ in container.decode(video=0)) == 5


def test_kills_take_nothing(mortal):
    chance = random.Random(0)
    made = {}
    for number in range(KILLS):
        for one in range(2):
            name = f"{number}.{one}"
            made[name] = put(mortal, name)
        time.sleep(chance.random() * 2)
        who = ("worker", "api", "both")[number % 3]
        if who in ("worker", "both"):
            for pid in mortal.workers():
                os.kill(pid, signal.SIGKILL)
        if who in ("api", "both"):
            mortal.kill()
            mortal.begin()
    mortal.wait()
    assert all(put(mortal, name) == job for name, job in made.items()), "asked again, a job is the same job"
    until = time.monotonic() + 300
    with httpx.Client(base_url=mortal.url, timeout=60) as client:
        while time.monotonic() < until:
            jobs = {job: client.get(f"/v1/videos/{job}").json() for job in made.values()}
            if all(job["status"] == "completed" for job in jobs.values()):
                break
            assert not [job for job in jobs.values() if job["status"] == "failed"], jobs
            time.sleep(0.3)
        assert {job["status"] for job in jobs.values()} == {"completed"}
        assert all(whole(client.get(f"/v1/videos/{job}/content").content) for job in made.values())
        listed = [job["id"] for job in client.get("/v1/videos?limit=100").json()["data"]]
    assert sorted(listed) == sorted(made.values()), "nothing more, nothing less"
    assert not list(mortal.folder.glob("files/**/*.tmp")) or KILLS > 0


def test_a_stream_goes_on_where_a_killed_worker_stopped(mortal):
    body = {"messages": [{"role": "user", "content": "what moves?"}], "max_tokens": 200, "temperature": 1.5, "seed": 4}
    whole_reply = httpx.post(f"{mortal.url}/v1/chat/completions", json=body, timeout=300).json()
    expected = whole_reply["choices"][0]["message"]["content"]
    words, killed = "", False
    with httpx.stream("POST", f"{mortal.url}/v1/chat/completions", json={**body, "stream": True}, timeout=300) as told:
        for line in told.iter_lines():
            if line.startswith("data: {"):
                delta = httpx.Response(200, text=line[6:]).json()["choices"][0]["delta"]
                words += delta.get("content", "")
                if words and not killed:
                    killed = True
                    for pid in mortal.workers():
                        os.kill(pid, signal.SIGKILL)
    assert killed and words == expected
