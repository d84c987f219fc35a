"""The bell between the processes: a line through a pipe says that the job table has news.

The table is the truth; the bell only spares waiting. Where there is none (a worker on another machine), both sides
look at the table now and then.
"""

import asyncio
import os
import select
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import IO

ALL = "*"
LOOK_SECONDS = 0.5
FEW = 8


class Bell:
    """On the answering side: who waits for a job is woken when a worker rings for it."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ring(self, job_id: str) -> None:
        """Wake everybody who waits for this job, or for any with ``ALL``."""
        names = list(self._waiting) if job_id == ALL else [job_id]
        for name in names:
            for event in self._waiting.get(name, ()):
                event.set()

    @property
    def patience(self) -> float:
        """How many seconds to wait for the bell before a look at the table, which workers elsewhere may have changed.

        The longer, the more wait: all who wait look about as often together as eight of them would.
        """
        return LOOK_SECONDS * max(1.0, sum(map(len, self._waiting.values())) / FEW)

    @contextmanager
    def listening(self, job_id: str) -> Iterator[Callable[[], Awaitable[None]]]:
        """Gives ``news``: awaited, it returns once it has rung since the last news, or patience is over.

        What rings while the listener looks at the table is not lost.
        """
        event = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(event)

        async def news() -> None:
            try:
                await asyncio.wait_for(event.wait(), self.patience)
            except TimeoutError:
                return
            event.clear()

        try:
            yield news
        finally:
            others = self._waiting[job_id]
            others.discard(event)
            if not others:
                del self._waiting[job_id]


class WorkerBell:
    """On the computing side: its input tells of new jobs and ends with the server, its output tells of progress."""

    def __init__(self, *, connected: bool) -> None:
        self._connected = connected
        self._out: IO[bytes] | None = os.fdopen(os.dup(1), "wb", buffering=0) if connected else None
        if connected:
            os.dup2(2, 1)  # whatever prints must not ring

    def ring(self, job_id: str) -> None:
        if self._out is None:
            return
        try:
            self._out.write(f"{job_id}\n".encode())
        except BrokenPipeError:
            self.gone()

    def wait(self, seconds: float) -> None:
        """Until somebody rings or the time is over; leaves the process if the server is gone."""
        if not self._connected:
            select.select([], [], [], min(seconds, 0.05))
            return
        ready, _, _ = select.select([0], [], [], seconds)
        if ready and not os.read(0, 65536):
            self.gone()

    def gone(self) -> None:
        """The server has ended: so does its worker, at once; what it held is given to the next one."""
        sys.stderr.flush()
        os._exit(0)
