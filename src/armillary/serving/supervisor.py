"""Starts the computing processes, listens to their bells, and starts one anew when it ends."""

import asyncio
import json
import logging
import os
import sys
import time
from dataclasses import asdict, replace

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from armillary.errors import ArmillaryError
from armillary.serving.bell import ALL
from armillary.serving.desk import Desk
from armillary.serving.worker import worker_name

LOG = logging.getLogger("armillary.serve")
SWEEP_SECONDS = 30.0
PAUSE_SECONDS = (0.0, 0.5, 2.0, 5.0)  # before a worker that keeps ending is started again


class Supervisor:
    """The worker processes of one server. ``pids``: name -> process id, for whoever watches memory."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tasks: list[asyncio.Task[None]] = []
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    @property
    def pids(self) -> dict[str, int]:
        return {"api": os.getpid()} | {f"worker {n}": one.pid for n, one in self._processes.items()}

    def start(self) -> None:
        count = self._desk.settings.workers if self._desk.settings.role == "all" else 0
        self._tasks = [asyncio.create_task(self._keep_alive(number)) for number in range(count)]
        self._tasks.append(asyncio.create_task(self._sweep()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()

    def ring(self) -> None:
        """Tell the workers that there is something to do."""
        for process in self._processes.values():
            if process.stdin is not None and not process.stdin.is_closing():
                process.stdin.write(b"\n")

    async def _keep_alive(self, number: int) -> None:
        ended = 0
        while True:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "armillary.serving.worker",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": str(self._desk.settings.threads)},
            )  # fmt: skip
            self._processes[number] = process
            assert process.stdin is not None and process.stdout is not None
            told = asdict(replace(self._desk.settings, folder=self._desk.settings.folder.resolve()))
            process.stdin.write(json.dumps(told, default=str).encode() + b"\n")
            try:
                while line := await process.stdout.readline():
                    self._desk.bell.ring(line.decode().strip())
                    if line == b"ready\n":
                        seconds = round(time.monotonic() - began, 1)
                        LOG.info(json.dumps({"worker": number, "pid": process.pid, "ready_after_seconds": seconds}))
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
            try:
                await run_in_threadpool(self._desk.jobs.release, worker_name(process.pid))
            except SQLAlchemyError as lost:  # what it held waits again when its lease is over
                LOG.error("the job table does not answer: %s", lost)
            self._desk.bell.ring(ALL)
            ended = 0 if time.monotonic() - began > 60 else ended + 1
            self._desk.metrics.restarts.inc()
            LOG.warning(json.dumps({"worker": number, "pid": process.pid, "ended_with": code, "times": ended}))
            await asyncio.sleep(PAUSE_SECONDS[min(ended, len(PAUSE_SECONDS)) - 1] if ended else 0.0)

    async def _sweep(self) -> None:
        while True:
            try:
                await run_in_threadpool(self._desk.sweep)
            except (SQLAlchemyError, ArmillaryError, OSError) as broken:
                LOG.error("nothing could be swept: %s", broken)
            await asyncio.sleep(SWEEP_SECONDS)
