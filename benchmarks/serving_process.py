"""A server in a process of its own, for measurements and tests: started, waited for, watched, killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

CLI = "import sys; from armillary.cli import main; sys.exit(main())"


class Server:
    """A server in a process of its own. ``url`` is where it answers."""

    def __init__(self, checkpoint: Path | str, folder: Path, *flags: str, port: int | None = None) -> None:
        self.folder, self.flags, self.checkpoint = folder, flags, checkpoint
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.begin()

    def begin(self) -> None:
        nice = () if "--niceness" in self.flags else ("--niceness", "0")
        line = [sys.executable, "-c", CLI, "serve", "--checkpoint", str(self.checkpoint), "--port", str(self.port)]
        self.log = (self.folder.with_suffix(".log")).open("ab")
        self.process = subprocess.Popen(
            [*line, "--folder", str(self.folder), *nice, *self.flags], stdout=self.log, stderr=self.log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def wait(self, seconds: float = 600.0) -> "Server":
        until = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, timeout=5) as client:
            while time.monotonic() < until:
                try:
                    if client.get("/v1/health/ready").status_code == 200:
                        return self
                except httpx.HTTPError:
                    pass
                assert self.process.poll() is None, self.told()
                time.sleep(0.2)
        raise AssertionError(f"not ready after {seconds} s: {self.told()}")

    def told(self) -> str:
        return self.folder.with_suffix(".log").read_text()[-3000:]

    def workers(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    def processor_seconds(self) -> float:
        """What the answering and the computing processes have used so far, user and system."""
        spent = 0
        for pid in (self.process.pid, *self.workers()):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
        return spent / os.sysconf("SC_CLK_TCK")

    def resident(self) -> dict[str, int]:
        """Bytes of memory that the answering and the computing processes hold."""
        names = {self.process.pid: "api"} | {pid: f"worker {n}" for n, pid in enumerate(self.workers())}
        pages = {name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid, name in names.items()}
        return {name: count * os.sysconf("SC_PAGE_SIZE") for name, count in pages.items()}

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(checkpoint: Path | str, folder: Path, *flags: str) -> Iterator[Server]:
    one = Server(checkpoint, folder, *flags)
    try:
        yield one.wait()
    finally:
        one.stop()


def told(answer: httpx.Response) -> dict:
    """The error of an answer, after a look at its envelope."""
    body = json.loads(answer.content)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in body["error"]["message"]
    return body["error"]
