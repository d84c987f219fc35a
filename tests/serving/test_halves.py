"""One process answers, another, which it did not start, computes: they share a table and a folder and nothing else."""

import os
import subprocess
import sys

import httpx
from benchmarks.serving_process import CLI, Server


def test_a_worker_of_its_own_serves_an_api_of_its_own(checkpoint, tmp_path):
    folder = tmp_path / "run"
    api = Server(checkpoint, folder, "--role", "api")
    line = [sys.executable, "-c", CLI, "serve", "--checkpoint", str(checkpoint), "--folder", str(folder)]
    worker = subprocess.Popen(
        [*line, "--role", "worker", "--niceness", "0"], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        api.wait()
        assert api.workers() == []
        ask = {"prompt": "the arm moves", "size": "64x64", "num_frames": 5, "num_inference_steps": 1}
        answer = httpx.post(f"{api.url}/v1/videos/sync", json=ask, timeout=120)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    finally:
        worker.kill()
        worker.wait()
        api.stop()
