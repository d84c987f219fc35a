"""The process that has the model: it claims jobs in batches, computes, and writes what came of them.

Started by the server, it runs at lower priority and ends with it. What it opens are strangers' files; if one of them
takes the process along, the server goes on, the job is tried again elsewhere, and after three times it has failed.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from armillary.errors import ArmillaryError, CheckpointError, RequestError
from armillary.modes import MODES
from armillary.records import Array, Rollout
from armillary.sampling.imagine import CancelledError
from armillary.sampling.omni import Omni, UntrainedWarning, load
from armillary.sampling.pictures import fit_picture
from armillary.sampling.requests import check_request
from armillary.sampling.speak import hear
from armillary.serving import logs
from armillary.serving.bell import WorkerBell
from armillary.serving.decode import check_heard, most_made, open_film, open_picture, open_sound
from armillary.serving.files import Files
from armillary.serving.held import gathered, tells_length
from armillary.serving.jobs import LEASE_SECONDS, Job, Jobs
from armillary.serving.results import keep_piece, keep_result, preview
from armillary.serving.settings import Limits, ServeSettings, chosen_checkpoint

LOG = logging.getLogger("armillary.worker")
TOLD_EVERY_SECONDS = 0.1
IDLE_SECONDS = 0.5
OURS = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    OSError,
)
SORRY = "a mistake of ours while computing: the operator's log says more. Ask again, or ask for something smaller."


@dataclass(kw_only=True)
class Worker:
    """One process' model, and the table it takes its work from."""

    omni: Omni
    jobs: Jobs
    files: Files
    bell: WorkerBell
    limits: Limits
    name: str = field(default_factory=lambda: worker_name(os.getpid()))

    def run(self) -> None:
        """Work until the server is gone. A table that cannot be reached is waited for."""
        threading.Thread(target=self._beat, daemon=True).start()
        while True:
            try:
                self.jobs.release(self.name)  # what a process of this name held before is held no more
                self.jobs.renew(self.name)
                self.bell.ring("ready")
                while True:
                    if not self.once():
                        self.bell.wait(IDLE_SECONDS)
            except SQLAlchemyError as lost:
                LOG.error("the job table does not answer: %s", lost)
                time.sleep(IDLE_SECONDS)

    def once(self) -> bool:
        """Claim and do one batch; False if there was nothing to do."""
        batch = self.jobs.claim(self.name, self.limits.batch)
        if not batch:
            return False
        for job in batch:
            self.bell.ring(job.id)
        self._do(batch)
        return True

    def _do(self, batch: Sequence[Job]) -> None:
        """Compute a batch. Where that goes wrong, each job alone: what one client asked for harms no other."""
        try:
            if batch[0].kind == "chat":
                self._chat(batch[0])
            elif batch[0].kind == "frame":
                self._frame(batch[0])
            else:
                self._imagine(batch)
        except OURS as wrong:
            LOG.error("job %s: %s", batch[0].id, traceback.format_exc())
            if len(batch) > 1:
                over = self.jobs.abandoned(batch)
                for job in batch:
                    if job.id not in over:
                        self._do([job])
            elif isinstance(wrong, RequestError):
                self._fail(batch[0], "invalid_request", str(wrong))
            else:
                self._fail(batch[0], "server_error", SORRY)

    def _beat(self) -> None:
        while True:
            time.sleep(LEASE_SECONDS / 3)
            try:
                self.jobs.renew(self.name)
            except SQLAlchemyError as lost:
                LOG.error("the job table does not answer: %s", lost)

    def _imagine(self, batch: Sequence[Job]) -> None:
        """Every request of every job in one call; a job that cannot be is taken out beforehand."""
        asked: list[tuple[Job, list[dict[str, Any]]]] = []
        notices: dict[str, str] = {}
        for job in batch:
            try:
                requests = [self._opened(job, request) for request in job.request["asks"]]
                settled = []
                for request in requests:
                    fields = {name: value for name, value in request.items() if name != "mode"}
                    parts = self.omni.parts
                    settled.append(check_request(request["mode"], fields, parts.folder, parts.adapters))
                    check_heard(settled[-1], self.limits)
                notices[job.id] = " ".join(self.omni.doubts(settled))
                asked.append((job, requests))
            except ArmillaryError as wrong:
                self._refuse(job, wrong)
        if not asked:
            return
        running = [job for job, _ in asked]
        watch = _Watch(self.jobs, self.bell, running)
        owners = [job for job, requests in asked for _ in requests]

        def look(number: int, film: Array) -> None:
            job = owners[number]
            self.files.write(f"{job.id}/{job.attempt}/look.webp", preview(film))
            self.jobs.show(job, f"{job.id}/{job.attempt}/look.webp")
            self.bell.ring(job.id)

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UntrainedWarning)  # told by /v1/models and with every result
                flat = [request for _, requests in asked for request in requests]
                rollouts = iter(self.omni.imagine_many(flat, on_progress=watch.tell, cancel=watch.stop, on_look=look))
        except CancelledError:
            for job in running:
                self.bell.ring(job.id)
            return
        for job, requests in asked:
            notice = notices[job.id]
            self._keep(job, requests, [next(rollouts) for _ in requests], batch=len(running), notice=notice)

    def _keep(
        self, job: Job, requests: Sequence[dict[str, Any]], rollouts: Sequence[Rollout], *, batch: int, notice: str
    ) -> None:
        folder, prefix = self.omni.parts.folder, f"{job.id}/{job.attempt}"
        results = [keep_result(self.files, f"{prefix}/{n}", one, folder) for n, one in enumerate(rollouts)]
        result = {**results[0], "all": [one["files"] for one in results]}
        if piece := job.request.get("piece"):
            assert rollouts[0].video is not None
            shown = [requests[0][name] for name in ("image", "video") if name in requests[0]]
            before = [one if one.ndim == 4 else one[None] for one in shown]  # what was seen, as it was
            film = np.concatenate([*before, rollouts[0].video[-piece["keep"] :]])
            result["files"] = keep_piece(self.files, prefix, film, piece)
        if notice:
            result["notice"] = notice
        if not self.jobs.complete(job, result, keep_seconds=self.limits.keep_hours * 3600, batch=batch):
            self.files.remove(prefix)  # cancelled or given to another meanwhile
        self.bell.ring(job.id)

    def _frame(self, job: Job) -> None:
        """A picture that begins a world session: opened, cut to size, as a film of one frame."""
        named = job.request["image"]
        try:
            data = self.files.read(f"{job.id}/in/{named['input']}")
            picture = fit_picture(open_picture(data, named["field"], self.limits), tuple(job.request["size"]))
        except ArmillaryError as wrong:
            self._refuse(job, wrong)
            return
        made = keep_piece(self.files, f"{job.id}/{job.attempt}", picture[None], job.request["piece"])
        self.jobs.complete(job, {"files": made}, keep_seconds=self.limits.keep_hours * 3600, batch=1)
        self.bell.ring(job.id)

    def _refuse(self, job: Job, wrong: ArmillaryError) -> None:
        self._fail(job, wrong.code if wrong.code in ("refused", "too_large") else "invalid_request", str(wrong))

    def _fail(self, job: Job, code: str, message: str) -> None:
        self.jobs.fail(job, code, message, keep_seconds=self.limits.keep_hours * 3600)
        self.bell.ring(job.id)

    def _opened(self, job: Job, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request with its pictures and films in place of their names."""
        found = dict(request)
        fps, size = request.get("fps") or self._rate(request), request.get("size") or self.omni.parts.defaults.size
        most = most_made(MODES[request["mode"]], size, fps, self.limits)
        for name, value in request.items():
            if isinstance(value, Mapping) and "input" in value:
                one = self._input(job, value, fps, most if tells_length(request, name) else None)
                found[name] = one.reshape(-1, *request["size"], 3) if value["kind"] == "strip" else one
            elif name == "size":
                found[name] = tuple(value)
        return gathered(found)

    def _rate(self, request: Mapping[str, Any]) -> float:
        """Frames a second of a request that names none."""
        plain = {k: v for k, v in request.items() if k in ("embodiment",)}
        if not plain:
            return self.omni.parts.defaults.fps
        from armillary.embodiments import load_embodiment

        return load_embodiment(plain["embodiment"], self.omni.parts.folder).rate_hz

    def _input(self, job: Job, named: Mapping[str, Any], fps: float, most: int | None) -> Array:
        data = self.files.read(f"{job.id}/in/{named['input']}")
        if named["kind"] in ("image", "strip"):
            return open_picture(data, named["field"], self.limits)
        if named["kind"] == "sound":
            return open_sound(data, named["field"], self.limits)
        return open_film(data, named["field"], self.limits, fps=fps, most=most)[0]

    def _chat(self, job: Job) -> None:
        how = job.request
        try:
            messages = [{**turn, "content": [self._part(job, part) for part in turn["content"]]}
                        for turn in how["messages"]]  # fmt: skip
            spoken = len(self.omni.parts.text.encode(hear(self.omni.parts, messages)[0]))
            reply, number, told = "", 0, 0.0
            waiting = ""
            for piece in self.omni.chat(messages, stream=True, **how["manner"]):
                reply += piece
                waiting += piece
                if any(stop in reply for stop in how["stops"]):
                    break
                if time.monotonic() - told > TOLD_EVERY_SECONDS / 4:
                    told = time.monotonic()
                    if self.jobs.abandoned([job]):
                        return
                    self.jobs.say(job, number, waiting)
                    number, waiting = number + 1, ""
                    self.bell.ring(job.id)
            if waiting:
                self.jobs.say(job, number, waiting)
        except ArmillaryError as wrong:
            self._refuse(job, wrong)
            return
        counted = min(len(self.omni.parts.text.encode(reply)), how["manner"]["longest"])
        usage = {"prompt_tokens": spoken, "completion_tokens": counted, "total_tokens": spoken + counted}
        ended = "length" if counted >= how["manner"]["longest"] else "stop"
        result = {"text": reply, "usage": usage, "finish_reason": ended, "weights": self.omni.parts.weights_sha256}
        self.jobs.complete(job, result, keep_seconds=self.limits.keep_hours * 3600, batch=1)
        self.bell.ring(job.id)

    def _part(self, job: Job, part: Mapping[str, Any]) -> dict[str, Any]:
        kind = part["type"]
        if kind == "text":
            return dict(part)
        data = self.files.read(f"{job.id}/in/{part[kind]['input']}")
        field_name = part[kind]["field"]
        if kind == "image":
            return {"type": "image", "image": open_picture(data, field_name, self.limits)}
        if (count := part.get("num_frames")) is not None:
            film, fps = picked(*open_film(data, field_name, self.limits), count)
        else:
            fps = part.get("fps", self.omni.parts.defaults.fps)
            film, fps = open_film(data, field_name, self.limits, fps=fps)
        return {"type": "video", "video": film, "fps": fps}


def picked(film: Array, rate: float, count: int) -> tuple[Array, float]:
    """``count`` frames of a film, its first and last among them, or all of one that has fewer; and frames a second."""
    count = min(count, len(film))
    chosen = [round(i * (len(film) - 1) / max(1, count - 1)) for i in range(count)]
    return film[chosen], count * rate / len(film)


class _Watch:
    """Tells the table how far a batch is, and stops it once nobody waits for any of it."""

    def __init__(self, jobs: Jobs, bell: WorkerBell, running: list[Job]) -> None:
        self._jobs, self._bell, self._running, self._told = jobs, bell, running, 0.0

    def tell(self, share: float) -> None:
        if time.monotonic() - self._told > TOLD_EVERY_SECONDS:
            self._told = time.monotonic()
            self._jobs.progress(self._running, share)
            for job in self._running:
                self._bell.ring(job.id)

    def stop(self) -> bool:
        return len(self._jobs.abandoned(self._running)) == len(self._running)


def worker_name(pid: int) -> str:
    """What a worker process of this machine is called in the table."""
    return f"{socket.gethostname()[:40]}-{pid}"


def opened(settings: ServeSettings) -> Omni:
    """The checkpoint as the operator wants it; nothing of it is loaded. Raises what ``armillary.load`` raises."""
    return load(
        chosen_checkpoint(settings)[0],
        device=settings.device,
        dtype=settings.dtype,
        weights=settings.weights,
        compiled=settings.compiled,
        adapter=settings.adapter or None,
    )


def work(settings: ServeSettings, *, connected: bool) -> None:
    """Open the model and work: ``connected`` to the server that started this process, or on its own."""
    import torch

    torch.set_num_threads(settings.threads)
    os.nice(settings.niceness)
    bell = WorkerBell(connected=connected)
    jobs, files = Jobs(settings.database_url), Files(settings.files_url)
    omni = opened(settings)
    try:
        warm(omni)
    except CheckpointError as broken:
        raise SystemExit(f"armillary: {broken}") from broken
    name = worker_name(os.getpid())  # by which the server that started it gives back its jobs
    if not connected:
        name += f"-{uuid.uuid4().hex[:8]}"  # elsewhere may be a machine and a process of the same name
    worker = Worker(omni=omni, jobs=jobs, files=files, bell=bell, limits=settings.limits, name=name)
    if not connected:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container hears it only so
        LOG.info(json.dumps({"worker": name, "pid": os.getpid(), "ready": True}))
    try:
        worker.run()
    finally:
        jobs.release(worker.name)


def warm(omni: Omni) -> None:
    """Load every part, compile what is to be compiled and compute a little, so that no first request waits for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrainedWarning)
        omni.imagine("text-to-image", prompt="a table", size=(32, 32), steps=1, guidance=1.0)
    for name in omni.parts.adapters:  # one that is another model's is told now
        omni.parts.generator(name)
    omni.parts.warm_words()
    try:
        omni.ask("?", longest=1)
    except RequestError:
        LOG.warning("this checkpoint's reasoner does not answer")


def settings_from(text: str) -> ServeSettings:
    """Settings that another process wrote with ``json.dumps(asdict(settings), default=str)``."""
    data = json.loads(text)
    data["limits"] = Limits(**data["limits"])
    data["folder"] = Path(data["folder"])
    data["keys"] = Path(data["keys"]) if data["keys"] else None
    data["fetch_from"] = tuple(data["fetch_from"])
    return ServeSettings(**data)


def main() -> None:
    """Begun by the server: settings come as the first line of the input, which ends when the server does."""
    logs.begin()
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return
        line += piece
    try:
        work(settings_from(line.decode()), connected=True)
    except ArmillaryError as wrong:
        sys.exit(f"armillary: {wrong}")


if __name__ == "__main__":
    main()
