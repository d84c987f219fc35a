"""Killed at random moments, the server loses no job, does none twice in a client's eyes, and serves no half file.

``python -m benchmarks.serving_kills --kills 50`` does the same for longer.
"""

import os
import signal

import httpx
import pytest
from benchmarks.serving_kills import kill_often
from benchmarks.serving_process import Server


@pytest.fixture
def mortal(checkpoint, tmp_path):
    one = Server(checkpoint, tmp_path / "run").wait()
    yield one
    one.stop()


def test_kills_take_nothing(mortal):
    seen = kill_often(mortal, 3)
    assert (seen.lost, seen.twice, seen.in_part) == ([], [], [])
    assert len(seen.jobs) == 6 and seen.fetched >= 6


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
