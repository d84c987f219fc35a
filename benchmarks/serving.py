"""How the server holds under many clients: what batching gives, how fast a robot is answered, who had to wait.

    python -m benchmarks.serving                             a server with Pico, a small measurement
    python -m benchmarks.serving --clients 64 --seconds 600  the long one
    python -m benchmarks.serving --url http://HOST:PORT      a server that runs already

One line for each measurement goes to ``results.jsonl``.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import tyro
import websockets.sync.client
from benchmarks.measure import RESULTS, commit, machine

from armillary.serving.wire import pack, unpack

SMALL = {"prompt": "the arm moves", "size": "64x64", "num_frames": 5, "num_inference_steps": 4}
PICTURE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)


def main(
    *,
    url: str = "",
    checkpoint: str = "pico",
    clients: int = 8,
    seconds: float = 30.0,
    requests: int = 16,
    chunks: int = 20,
) -> None:
    """Measure a server.

    Args:
        url: Of a server that runs already; otherwise two are started, one that batches and one that does not.
        checkpoint: What the started servers serve.
        clients: How many ask at the same time under load.
        seconds: How long they do.
        requests: Small requests that are done batched and one at a time.
        chunks: Chunks of actions that one robot asks for.
    """
    with tempfile.TemporaryDirectory(prefix="armillary-") as folder:
        together = None
        with _server(url, checkpoint, Path(folder) / "many", 8) as where:
            robot(where, chunks)
            together = throughput(where, requests)
            load(where, clients, seconds)
        if not url:
            with _server("", checkpoint, Path(folder) / "one", 1) as where:
                alone = throughput(where, requests)
            print(json.dumps({"batched_against_one_at_a_time": round(together / alone, 2), "requests": requests}))


def robot(url: str, chunks: int) -> None:
    """Chunks of 16 actions at 4 steps for one robot: milliseconds as the robot sees them."""
    times = []
    where = url.replace("http", "ws") + "/?steps=4&horizon=16"
    with websockets.sync.client.connect(where, compression=None, open_timeout=120) as socket:
        unpack(socket.recv(120))
        for number in range(chunks + 3):
            begun = time.perf_counter()
            socket.send(pack({"observation/image": PICTURE, "prompt": "put the red cube on the left tray"}))
            unpack(socket.recv(120))
            if number >= 3:
                times.append((time.perf_counter() - begun) * 1e3)
    _told("serving_policy_chunk", times, steps=4, actions=16, robots=1)


def throughput(url: str, requests: int) -> float:
    """Requests a second, when ``requests`` equal small ones are put on the table at once."""
    with httpx.Client(base_url=url, timeout=600) as client:
        warm = client.post("/v1/videos/sync", json=SMALL)
        warm.raise_for_status()
        begun = time.perf_counter()
        jobs = [client.post("/v1/videos", json={**SMALL, "seed": n}).json()["id"] for n in range(requests)]
        while any(client.get(f"/v1/videos/{job}").json()["status"] != "completed" for job in jobs):
            time.sleep(0.05)
        return requests / (time.perf_counter() - begun)


def load(url: str, clients: int, seconds: float) -> None:
    """Many clients at once; meanwhile somebody asks for health and for a job's status."""
    until = time.monotonic() + seconds
    answers: Counter[int] = Counter()
    health: list[float] = []
    status: list[float] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=900) as client:
            while time.monotonic() < until:
                answer = client.post("/v1/videos/sync", json={**SMALL, "seed": number})
                answers[answer.status_code] += 1
                if answer.status_code == 429:
                    time.sleep(float(answer.headers["retry-after"]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for one in threads:
        one.start()
    with httpx.Client(base_url=url, timeout=60) as client:
        made = client.post("/v1/videos", json=SMALL)
        path = f"/v1/videos/{made.json()['id']}" if made.status_code == 200 else "/v1/videos?limit=1"
        while time.monotonic() < until:
            for times, where in ((health, "/v1/health/live"), (status, path)):
                begun = time.perf_counter()
                client.get(where).raise_for_status()
                times.append((time.perf_counter() - begun) * 1e3)
            time.sleep(0.1)
    for one in threads:
        one.join()
    told = {str(code): count for code, count in sorted(answers.items())}
    _told("serving_health", health, clients=clients, seconds=seconds, answers=told)
    _told("serving_job_status", status, clients=clients, seconds=seconds)


def _told(name: str, times: list[float], **circumstances: object) -> None:
    """A line about times in milliseconds, as the client sees them."""
    low, middle, high = (round(one, 2) for one in statistics.quantiles(times, n=4))
    p99 = round(float(np.quantile(times, 0.99)), 2)
    line = {"name": name, **circumstances, "median_ms": middle, "low_ms": low, "high_ms": high, "p99_ms": p99,
            "repeats": len(times), **machine(), "commit": commit()}  # fmt: skip
    text = json.dumps(line)
    print(text, flush=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text + "\n")


@contextmanager
def _server(url: str, checkpoint: str, folder: Path, batch: int) -> Iterator[str]:
    """The server at ``url``, or one of our own."""
    if url:
        yield url.rstrip("/")
        return
    port = 18000 + batch
    line = [sys.executable, "-c", "from armillary.cli import main; main()", "serve", "--checkpoint", checkpoint,
            "--port", str(port), "--folder", str(folder), "--batch", str(batch)]  # fmt: skip
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        where = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                if httpx.get(f"{where}/v1/health/ready", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        yield where
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    tyro.cli(main)
