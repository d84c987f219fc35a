"""What SIGKILL at random moments costs a server's clients: jobs lost, done twice, films served in part.

    python -m benchmarks.serving_kills                                   nine kills: worker, API, both, in turns
    python -m benchmarks.serving_kills --kills 50                        the long one
    python -m benchmarks.serving_kills --database postgresql+psycopg://… the same on Postgres (an empty database)

Two jobs are put on the table before each kill, under names that make asking again the same job; somebody fetches
films all the while. Every second kill waits until a job is being computed. One line goes to ``results.jsonl``.
"""

import io
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
import tyro
from benchmarks.measure import record
from benchmarks.serving_process import Server, running

ASK = {"prompt": "the arm moves", "size": "64x64", "num_frames": 5, "num_inference_steps": 8}
PATIENCE = 600.0
PAGE = 100


@dataclass(kw_only=True)
class Seen:
    """What clients saw. ``jobs``: the id that each name was given first."""

    jobs: dict[str, str] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    while_computing: int = 0
    fetched: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    in_part: list[str] = field(default_factory=list)


def kill_often(server: Server, kills: int, seed: int = 0) -> Seen:
    """Kill a server ``kills`` times while clients ask, then look at everything they were promised."""
    chance, seen, over = random.Random(seed), Seen(), threading.Event()
    reader = threading.Thread(target=_fetch_always, args=(server, seen, over))
    reader.start()
    try:
        for number in range(kills):
            for one in range(2):
                _put(server, seen, f"{number}.{one}")
            if number % 2:
                seen.while_computing += _until_computed(server, seen.jobs[f"{number}.1"])
            time.sleep(chance.random() * (0.3 if number % 2 else 2.0))
            _kill(server, ("worker", "api", "both")[number % 3])
            seen.kills[("worker", "api", "both")[number % 3]] += 1
        server.wait(PATIENCE)
        _look(server, seen)
    finally:
        over.set()
        reader.join()
    return seen


def _kill(server: Server, who: str) -> None:
    if who in ("worker", "both"):
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
    if who in ("api", "both"):
        server.kill()
        server.begin()


def _put(server: Server, seen: Seen, name: str) -> None:
    """Ask until the server says that it has the job."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            answer = httpx.post(f"{server.url}/v1/videos", json=ASK, headers={"Idempotency-Key": name}, timeout=60)
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        answer.raise_for_status()
        if seen.jobs.setdefault(name, answer.json()["id"]) != answer.json()["id"]:
            seen.twice.append(name)
        return
    raise TimeoutError(f"no server for {PATIENCE:g} s: {server.told()}")


def _until_computed(server: Server, job: str) -> bool:
    """Wait until a job is being computed; False if it is done already."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        status = httpx.get(f"{server.url}/v1/videos/{job}", timeout=60).json()["status"]
        if status != "queued":
            return bool(status == "in_progress")
        time.sleep(0.02)
    raise TimeoutError(f"{job} is not begun after {PATIENCE:g} s: {server.told()}")


def _fetch_always(server: Server, seen: Seen, over: threading.Event) -> None:
    """Fetch films while they are made: whatever is answered as a film must be a whole one."""
    chance = random.Random(1)
    while not over.is_set():
        jobs = list(seen.jobs.values())
        if jobs:
            _fetch(server, seen, chance.choice(jobs))
        time.sleep(0.1)


def _fetch(server: Server, seen: Seen, job: str) -> bool:
    """Fetch one film. False if it is not there, or the line broke: then the client knows it."""
    try:
        answer = httpx.get(f"{server.url}/v1/videos/{job}/content", timeout=60)
    except httpx.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    seen.fetched += 1
    try:
        with av.open(io.BytesIO(answer.content)) as container:
            whole = sum(1 for _ in container.decode(video=0)) == ASK["num_frames"]
    except av.FFmpegError:
        whole = False
    if not whole:
        seen.in_part.append(job)
    return whole


def _look(server: Server, seen: Seen) -> None:
    """Ask again for everything, wait for it, fetch it; then see whether the list has anything else."""
    for name in list(seen.jobs):
        _put(server, seen, name)
    for job in seen.jobs.values():
        until = time.monotonic() + PATIENCE
        told: dict[str, Any] = {"status": "queued"}
        while told["status"] in ("queued", "in_progress") and time.monotonic() < until:
            answer = httpx.get(f"{server.url}/v1/videos/{job}", timeout=60)
            told = answer.json() if answer.status_code == 200 else {"status": "gone", "error": answer.text}
            time.sleep(0.05)
        if told["status"] != "completed" or not _fetch(server, seen, job):
            seen.lost.append(f"{job}: {told['status']} {told.get('error')}")
    listed: list[str] = []
    more = True
    while more:
        after = {"after": listed[-1]} if listed else {}
        page = httpx.get(f"{server.url}/v1/videos", params={"limit": PAGE, **after}, timeout=60).json()
        listed += [job["id"] for job in page["data"]]
        more = page["has_more"]
    known = set(seen.jobs.values())
    seen.lost += [f"{job}: not listed" for job in known - set(listed)]
    seen.twice += [job for job in listed if job not in known] + [job for job in known if listed.count(job) > 1]


def main(*, checkpoint: str = "pico", kills: int = 9, seed: int = 0, database: str = "") -> None:
    """Kill a server of our own, again and again.

    Args:
        checkpoint: What it serves.
        kills: How often.
        seed: Of the moments.
        database: URL of the job table; SQLite if empty.
    """
    flags = ("--database", database) if database else ()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="armillary-") as folder:
        with running(checkpoint, Path(folder) / "run", *flags) as server:
            seen = kill_often(server, kills, seed)
    table = database.split(":")[0] or "sqlite"
    figures = {"table": table, "seed": seed, "kills": dict(seen.kills), "while_computing": seen.while_computing,
               "jobs": len(seen.jobs), "films_fetched": seen.fetched, "lost": len(seen.lost),
               "twice": len(seen.twice), "in_part": len(seen.in_part)}  # fmt: skip
    seconds = round(time.monotonic() - begun)
    record({"name": "serving_kills", "checkpoint": checkpoint, **figures, "seconds": seconds})
    for wrong in (*seen.lost, *seen.twice, *seen.in_part):
        print(wrong)


if __name__ == "__main__":
    tyro.cli(main)
