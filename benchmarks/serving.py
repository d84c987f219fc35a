"""How the server holds under many clients: what batching gives, how fast a robot is answered, who had to wait.

    python -m benchmarks.serving                             a server with Pico, a small measurement
    python -m benchmarks.serving --clients 64 --seconds 600  the long one
    python -m benchmarks.serving --url http://HOST:PORT      a server that runs already

One line for each measurement goes to ``results.jsonl``. Where the server is one of ours, the processor time of its
processes is told beside the clock's: on a busy machine the clock tells about the neighbours too.
"""

import statistics
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import tyro
import websockets.sync.client
from benchmarks.measure import record
from benchmarks.serving_process import Server, running

from armillary.serving.wire import pack, unpack

SMALL = {"prompt": "the arm moves", "size": "64x64", "num_frames": 5, "num_inference_steps": 4}
PICTURE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
TOGETHER = 8


def main(
    *,
    url: str = "",
    checkpoint: str = "pico",
    clients: int = 8,
    seconds: float = 30.0,
    rounds: int = 3,
    chunks: int = 20,
    niceness: int = 10,
) -> None:
    """Measure a server.

    Args:
        url: Of a server that runs already; otherwise two are started, one that batches and one that does not.
        checkpoint: What the started servers serve.
        clients: How many ask at the same time under load; nobody does if 0.
        seconds: How long they do.
        rounds: How often eight small requests are done batched, and one at a time, in turns; not at all if 0.
        chunks: Chunks of actions that one robot asks for; none if 0.
        niceness: How much the started servers' computing stands back behind their answering, as of ``serve``.
    """
    with ExitStack() as stack:
        server = None
        if not url:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="armillary-")))
            nice = ("--niceness", str(niceness))
            server = stack.enter_context(running(checkpoint, folder / "many", "--batch", str(TOGETHER), *nice))
        where = url.rstrip("/") if server is None else server.url
        if chunks:
            robot(where, chunks, server)
        if server is not None and rounds:
            batching(server, stack.enter_context(running(checkpoint, folder / "one", "--batch", "1", *nice)), rounds)
        if clients:
            load(where, clients, seconds)


def robot(url: str, chunks: int, server: Server | None) -> None:
    """Chunks of 16 actions at 4 steps for one robot: milliseconds as the robot sees them."""
    times = []
    spent = 0.0
    where = url.replace("http", "ws", 1) + "/?steps=4&horizon=16"
    with websockets.sync.client.connect(where, compression=None, open_timeout=120) as socket:
        unpack(socket.recv(120))
        for number in range(chunks + 3):
            if server is not None and number == 3:
                spent = server.processor_seconds()
            begun = time.perf_counter()
            socket.send(pack({"observation/image": PICTURE, "prompt": "put the red cube on the left tray"}))
            unpack(socket.recv(120))
            if number >= 3:
                times.append((time.perf_counter() - begun) * 1e3)
    busy = {} if server is None else {"processor_ms": round((server.processor_seconds() - spent) / chunks * 1e3, 1)}
    _told("serving_policy_chunk", times, steps=4, actions=16, robots=1, **busy)


def batching(many: Server, one: Server, rounds: int) -> None:
    """Eight equal small requests put on the table at once, of a server that batches and of one that does not."""
    clocks: dict[str, list[float]] = {"together": [], "alone": []}
    spent: dict[str, list[float]] = {"together": [], "alone": []}
    for number in range(rounds + 1):
        for name, server in (("together", many), ("alone", one)):
            busy, begun = server.processor_seconds(), time.perf_counter()
            _throughput(server.url, seed=number * TOGETHER)
            if number:  # the first round warms both
                clocks[name].append(time.perf_counter() - begun)
                spent[name].append(server.processor_seconds() - busy)
    middle = {name: statistics.median(times) for name, times in clocks.items()}
    busy_middle = {name: statistics.median(times) for name, times in spent.items()}
    record({"name": "serving_batching", "requests": TOGETHER, "rounds": rounds,
            "seconds": {name: round(time, 3) for name, time in middle.items()},
            "processor_seconds": {name: round(time, 3) for name, time in busy_middle.items()},
            "times_the_throughput": round(middle["alone"] / middle["together"], 2),
            "times_by_processor": round(busy_middle["alone"] / busy_middle["together"], 2)})  # fmt: skip


def _throughput(url: str, seed: int) -> None:
    with httpx.Client(base_url=url, timeout=600) as client:
        jobs = [client.post("/v1/videos", json={**SMALL, "seed": seed + n}).json()["id"] for n in range(TOGETHER)]
        for job in jobs:
            while client.get(f"/v1/videos/{job}").json()["status"] != "completed":
                time.sleep(0.05)


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
    record({"name": name, **circumstances, "median_ms": middle, "low_ms": low, "high_ms": high, "p99_ms": p99,
            "repeats": len(times)})  # fmt: skip


if __name__ == "__main__":
    tyro.cli(main)
