"""The desk: a checked request becomes a job in the table, with its inputs kept beside; somebody may wait for it.

Everything that can be refused is refused here, before anything is kept: the model's own checks run on stand-ins of
the size of what came, so that no picture of a stranger's is opened in the process that answers.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest

from armillary.embodiments import Embodiment, load_embodiments
from armillary.errors import ArmillaryError, CheckpointError, RequestError
from armillary.modes import Mode, mode_named
from armillary.records import SOUND_HZ
from armillary.sampling.abilities import makes_sound, modes_of
from armillary.sampling.adapters import Adapter, adapters_of, settle_adapter
from armillary.sampling.defaults import Defaults
from armillary.sampling.parts import find_checkpoint
from armillary.sampling.requests import Request, check_request
from armillary.serving.bell import Bell
from armillary.serving.fetch import Fetcher
from armillary.serving.files import Files
from armillary.serving.guard import Audit
from armillary.serving.held import stood_in
from armillary.serving.inbound import Input, from_data_url
from armillary.serving.jobs import Job, Jobs, NewJob, new_id
from armillary.serving.keys import Caller, Keys
from armillary.serving.memory import Memory
from armillary.serving.metrics import Metrics
from armillary.serving.problems import Problem, bad, of_job, problem_of
from armillary.serving.settings import ServeSettings, chosen_checkpoint
from armillary.serving.words import WordList

if TYPE_CHECKING:
    from armillary.serving.session import Session

TOGETHER_PIXELS = 1_000_000  # what is larger is computed alone: a batch would gain little and take much memory


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One request to the model: mode, fields of ``Asked``, and what the client called them."""

    mode: str
    asked: Mapping[str, Any]
    inputs: Mapping[str, Input]
    called: Mapping[str, str]


class Desk:
    """Everything the answering process knows: settings, table, files, keys, what the checkpoint can do."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.limits = settings, settings.limits
        self.checkpoint = _served(settings)
        self.defaults = Defaults.load(self.checkpoint)
        self.adapters = adapters_of(self.checkpoint, settings.adapter or None)  # as the workers have them
        self.bodies: dict[str, Embodiment] = load_embodiments(self.checkpoint)
        self.modes = modes_of(self.checkpoint, self.defaults, self.adapters)
        self.heard = makes_sound(self.checkpoint)
        self.jobs, self.files = Jobs(settings.database_url), Files(settings.files_url)
        self.keys, self.bell = Keys(settings.keys), Bell()
        self.fetcher = Fetcher(settings.fetch_from, settings.limits)
        self.words = WordList.of(settings.refuse_words)
        self.metrics, self.memory = Metrics(), Memory.of(self.checkpoint, settings.device)
        self.audit = Audit(settings.folder / "audit.jsonl")
        self.open_sockets = 0
        self.worlds: dict[str, Session] = {}  # the sessions that a connection has, by their names
        self.when_put: Callable[[], None] = lambda: None  # rings the workers' bell

    @property
    def model(self) -> str:
        """What the model is called."""
        return self.checkpoint.name

    def check_model(self, named: str | None) -> None:
        """A 404 unless the request names this model, or none."""
        if named not in (None, "", self.model):
            raise Problem(404, "model_not_found", f"model {named!r} is not served here: {self.model!r} is.",
                          param="model")  # fmt: skip

    def mode(self, name: str, called: str = "mode") -> Mode:
        """The mode of that name, if the checkpoint has learnt it; a 400 that says what there is."""
        try:
            return self.modes[mode_named(name).name]
        except (RequestError, KeyError) as unknown:
            raise bad(f"{self.model} cannot do {name[:80]!r}: it can do {', '.join(self.modes)}.", called,
                      "unsupported_mode") from unknown  # fmt: skip

    def usual_frames(self, mode: Mode) -> int:
        """How many frames a mode makes when nobody says."""
        return mode.frames if mode.frames <= 1 else self.defaults.frames

    def steps(self, mode: Mode, body: str = "") -> int:
        """In how many steps this checkpoint does a mode best, with the actions of ``body`` where there are any."""
        return self.walked(mode, body).steps

    def guidance(self, mode: Mode) -> float:
        """How strongly prompts pull in a mode where nobody says."""
        return self.walked(mode).guidance

    def walked(self, mode: Mode, body: str = "") -> Mode:
        """A mode as this checkpoint walks it where nobody says anything."""
        return self.defaults.walked(mode, body, self.worn(mode))

    def worn(self, mode: Mode) -> Adapter | None:
        """What the generator wears in a mode where nobody asks."""
        return settle_adapter(mode.name, {}, self.adapters)

    def acted(self, mode: Mode) -> bool:
        """Whether deeds that the words of a film tell are usually acted out."""
        acts, worn = self.defaults.acting, self.worn(mode)
        able = acts is not None and mode.name in acts.modes and bool(set(acts.bodies) & set(self.bodies))
        return able and (worn is None or not worn.own)

    def upsampling(self, mode: Mode) -> bool | None:
        """Whether a mode's prompts are usually written out first; None where the checkpoint does not say how."""
        return None if (how := self.defaults.upsampling.get(mode.name)) is None else how.usual

    async def bytes_of(self, reference: Any, field: str, files: Mapping[str, bytes], owner: str) -> bytes:
        """The bytes behind an upload, a data URL, an allowed URL or an uploaded file's id."""
        if field in files:
            return files[field]
        if isinstance(reference, Mapping):
            known = ("image_url", "video_url", "audio_url", "url", "file_id")
            if len(reference) != 1 or not set(reference) <= set(known):
                raise bad(f"{field} has {sorted(reference)}: give one of {', '.join(known)}.", field)
            reference = inner.get("url") if isinstance(inner := next(iter(reference.values())), Mapping) else inner
        if not isinstance(reference, str):
            raise bad(f"{field} is {type(reference).__name__}: give a data URL, a URL or a file's id.", field)
        if reference.startswith("data:"):
            return from_data_url(reference, field, self.limits)
        if reference.startswith("job_"):
            return await run_in_threadpool(self._uploaded, reference, field, owner)
        return await self.fetcher.fetch(reference, field)

    def _uploaded(self, file_id: str, field: str, owner: str) -> bytes:
        try:
            job = self.jobs.of_id(file_id, owner)
            if job.kind != "file":
                raise KeyError(file_id)
            return self.files.read(f"{job.id}/in/0.bin")
        except (KeyError, ArmillaryError) as unknown:
            raise Problem(404, "file_not_found", f"{field} names a file that is not there: upload it again.",
                          param=field) from unknown  # fmt: skip

    def check(self, wanted: Wanted) -> Request:
        """The settled request, made with stand-ins for the pictures; a ``Problem`` says what is wrong with it."""
        mode = self.mode(wanted.mode)
        names = {name: one.field for name, one in wanted.inputs.items()} | dict(wanted.called)
        if (sounds := "sound" in wanted.inputs or wanted.asked.get("sound")) and not self.heard:
            raise bad(f"{self.model} neither makes nor hears sound: /v1/models says what it can do.",
                      names.get("sound", "model"), "unsupported_mode")  # fmt: skip
        asked = self._embodied(dict(wanted.asked), wanted.called)
        for name in ("prompt", "negative_prompt"):
            if len(str(asked.get(name) or "")) > self.limits.words:
                raise bad(f"{name} has {len(asked[name])} characters: at most {self.limits.words} are read.", name,
                          "too_large")  # fmt: skip
        if asked.get("steps", 0) > self.limits.steps:
            called = wanted.called.get("steps", "steps")
            raise bad(f"{called}={asked['steps']}: at most {self.limits.steps} are done here.", called, "too_large")
        self._measure(mode, {**asked, "sound": sounds}, wanted.called)
        stand_in = {name: self._stand_in(one, asked, mode) for name, one in wanted.inputs.items()}
        try:
            return check_request(mode.name, stood_in({**asked, **stand_in}), self.checkpoint, self.adapters)
        except ArmillaryError as wrong:
            raise problem_of(wrong, names) from wrong

    def _measure(self, mode: Mode, asked: Mapping[str, Any], called: Mapping[str, str]) -> None:
        """Refuse what is too much before anything of that size is made."""
        size = asked.get("size") or self.defaults.size
        told = max(len(asked.get("actions") or ()), asked.get("given_frames") or 0) + 1
        frames = asked.get("frames") or max(told, self.usual_frames(mode))
        name = called.get("frames", "frames")
        if frames > self.limits.out_frames:
            raise bad(f"{name}={frames}: at most {self.limits.out_frames} frames are made here.", name, "too_large")
        fps = asked.get("fps") or self.defaults.fps
        if asked.get("sound") and fps > 0 and frames / fps > self.limits.sound_seconds:
            raise bad(f"{name}={frames} at {fps:g} a second last {frames / fps:g} s: at most "
                      f"{self.limits.sound_seconds:g} s are made with sound here.", name, "too_large")  # fmt: skip
        pixels = int(frames) * int(size[0]) * int(size[1])
        if pixels > self.limits.out_pixels:
            raise bad(f"{frames} frames of {size[1]}x{size[0]} are {pixels} pixels: at most {self.limits.out_pixels} "
                      "are made here.", called.get("size", "size"), "too_large")  # fmt: skip
        if (lacking := self.memory.lacking(pixels)) is not None:
            needed, free = (number >> 20 for number in lacking)
            words = f"this needs about {needed} MiB, and {free} are free: ask for less, or later."
            raise Problem(503, "no_memory", words, retry_after=30)

    def _embodied(self, asked: dict[str, Any], called: Mapping[str, str]) -> dict[str, Any]:
        """Embodiments by name, domain name or domain id, of this checkpoint only: a client's word is never a path."""
        domain, width = asked.pop("domain_id", None), asked.pop("raw_action_dim", None)
        name = asked.get("embodiment")
        where = called.get("embodiment", "embodiment")
        if name is not None:
            found = [b for b in self.bodies.values() if name == b.name] or [
                b for b in self.bodies.values() if name == b.domain
            ]
        else:
            found = [b for b in self.bodies.values() if b.domain_id == domain]
            where = "extra_params.domain_id"
        if name is None and domain is None:
            return asked
        if not found:
            raise bad(f"embodiment {name if name is not None else domain!r} is not known to {self.model}: it knows "
                      f"{', '.join(sorted(self.bodies))}.", where, "unknown_embodiment")  # fmt: skip
        if len(found) > 1:
            raise bad(f"{name or domain!r} may be {', '.join(b.name for b in found)}: name one.", where)
        body = found[0]
        if domain is not None and domain != body.domain_id:
            raise bad(f"domain_id={domain}, but {body.name} has {body.domain_id}: give one of the two.", where)
        if width is not None and width != body.width:
            raise bad(f"raw_action_dim={width}, but an action of {body.name} has {body.width} numbers.", where)
        return {**asked, "embodiment": body.name}

    def _stand_in(self, one: Input, asked: Mapping[str, Any], mode: Mode) -> Any:
        height, width = (min(max(int(side), 1), 4096) for side in asked.get("size") or self.defaults.size)
        if one.kind == "image":
            return np.zeros((height, width, 3), np.uint8)
        frames = max(int(asked.get("frames") or mode.frames or 17), 1 + int(asked.get("given_frames") or 0))
        if one.kind == "sound":  # how long it lasts is known once it is opened, as is how many frames came before
            fps, more = max(asked.get("fps") or self.defaults.fps, 1e-9), 4 if asked.get("frames") else 0
            return np.zeros((2, 1 + int(min((frames + more) / fps, self.limits.sound_seconds) * SOUND_HZ)), np.float32)
        return np.broadcast_to(np.uint8(0), (1 if mode.history else frames, height, width, 3))

    async def judge(self, texts: Sequence[str | None]) -> None:
        """A 400 with code refused if the operator's policy does not want these words."""
        for text in texts:
            if text:
                await run_in_threadpool(self.words.judge, text)

    def room(self, caller: Caller) -> None:
        """A 429 with Retry-After where too many wait already."""
        mine, all_of_them = self.jobs.waiting(caller.name), self.jobs.waiting()
        if all_of_them >= self.limits.queue:
            raise Problem(429, "queue_full", f"{all_of_them} requests wait already: ask again later.", retry_after=10)
        most = self.limits.queue_of_one if caller.quota is None else caller.quota
        if mine >= most:
            raise Problem(429, "quota_exceeded", f"{mine} of yours wait or run: at most {most} may.", retry_after=5)

    def put(self, new: NewJob, inputs: Mapping[str, bytes], caller: Caller) -> Job:
        """Keep inputs, then the row that names them: a row never stands without its files."""
        self.room(caller)
        for name, data in inputs.items():
            self.files.write(f"{new.id}/in/{name}", data)
        job = self.jobs.create(new)
        if job.id != new.id:  # a request of this name came before
            self.files.remove(new.id)
            if job.request != json.loads(json.dumps(new.request)):
                raise Problem(409, "idempotency_conflict", "this Idempotency-Key came with another request: take a new "
                              "key for a new request.", param="Idempotency-Key")  # fmt: skip
        return job

    async def imagine(
        self, wanted: Sequence[Wanted], caller: Caller, *, kind: str, hidden: bool = False,
        deadline_seconds: float | None = None, idempotency_key: str | None = None,
        piece: Mapping[str, Any] | None = None,
    ) -> Job:  # fmt: skip
        """Put a job of one or more requests on the table."""
        settled = [self.check(one) for one in wanted]
        await self.judge([text for one in settled for text in (one.prompt, one.negative_prompt)])
        inputs: dict[str, bytes] = {}
        asks = [self._ask(one, request, inputs) for one, request in zip(wanted, settled, strict=True)]
        new = NewJob(
            id=new_id(), owner=caller.name, kind=kind, mode=settled[0].mode.name, priority=caller.priority,
            request={"asks": asks, "piece": piece}, cost=sum(cost_of(one) for one in settled), hidden=hidden,
            batch_key=batch_key(kind, settled), idempotency_key=idempotency_key,
            deadline=None if deadline_seconds is None else time.time() + deadline_seconds,
        )  # fmt: skip
        job = await run_in_threadpool(self.put, new, inputs, caller)
        self.when_put()
        return job

    def _ask(self, wanted: Wanted, request: Request, inputs: dict[str, bytes]) -> dict[str, Any]:
        ask: dict[str, Any] = {"mode": request.mode.name, **self._embodied(dict(wanted.asked), wanted.called)}
        for name, one in wanted.inputs.items():
            key = f"{len(inputs)}.bin"
            inputs[key] = one.data
            ask[name] = {"input": key, "kind": one.kind, "field": one.field,
                         "sha256": hashlib.sha256(one.data).hexdigest()}  # fmt: skip
        return ask

    async def until_over(self, job: Job) -> Job:
        """Wait until a job is over."""
        if job.over:
            return job
        with self.bell.listening(job.id) as news:
            job = await self.look(job.id)
            while not job.over:
                await news()
                job = await self.look(job.id)
        return job

    async def look(self, job_id: str) -> Job:
        """The job as it is now; gone counts as cancelled."""
        try:
            return await run_in_threadpool(self.jobs.of_id, job_id)
        except KeyError as gone:
            raise of_job("cancelled", "it was deleted before it was done.") from gone

    async def answer(self, job: Job) -> Job:
        """The completed job, or the ``Problem`` that it ended with; cancels it if the asker goes away."""
        try:
            job = await self.until_over(job)
        except asyncio.CancelledError:
            self.jobs.cancel(job.id, job.owner)
            raise
        if job.status != "completed":
            raise of_job(job.error_code or "server_error", job.error_message or "it did not end well: ask again.")
        return job

    async def answer_to(self, request: HttpRequest, job: Job) -> Job:
        """``answer`` for somebody on the line, whose body has been read: ends with it if he hangs up."""
        waiting = asyncio.ensure_future(self.answer(job))
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Problem(499, "client_gone", "whoever asked has hung up.")
            return waiting.result()
        finally:
            gone.cancel()
            waiting.cancel()

    def room_for(self, caller: Caller, size: int) -> None:
        """A 429 where a caller keeps too many bytes in uploaded files already."""
        most = self.limits.kept_mb * 2**20
        kept = self.jobs.listed(caller.name, after=None, limit=10_000, newest_first=True, kind="file")
        if sum(job.request["bytes"] for job in kept) + size > most:
            raise Problem(429, "quota_exceeded", f"{len(kept)} files of yours are kept: at most "
                          f"{self.limits.kept_mb} MiB may be. Delete some.", retry_after=60)  # fmt: skip

    def forget(self, job: Job) -> None:
        """Nobody will ask for this job again: its row and files go."""
        self.jobs.drop([job.id])
        self.files.remove(job.id)

    def taken(self, job: Job) -> dict[str, Any] | None:
        """Where a job's first result comes from, None for what no model made; then the job is forgotten."""
        key = next((made["provenance.json"] for made in job.result.get("all", ())), None)
        told = None if key is None else json.loads(self.files.read(key))
        self.forget(job)
        return told

    def sweep(self) -> None:
        """Forget what is over: jobs past their time, and files without a row."""
        self.jobs.settle()
        for job_id in self.jobs.expired(hidden_seconds=120, keep_seconds=self.limits.keep_hours * 3600):
            self.jobs.drop([job_id])
            self.files.remove(job_id)
        old = [name for name, at in self.files.tops().items() if at < time.time() - 3600]
        for name in set(old) - self.jobs.known(old):
            self.files.remove(name)


async def _hung_up(request: HttpRequest) -> None:
    """Until the line is closed by who asked."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _served(settings: ServeSettings) -> Path:
    """The folder that is served; ``CheckpointError`` says by whom it was named."""
    name, told_by = chosen_checkpoint(settings)
    try:
        return find_checkpoint(name)
    except CheckpointError as missing:
        raise CheckpointError(f"{told_by}: {missing}") from missing


def cost_of(request: Request) -> float:
    """Work of a request: millions of pixels times evaluations of the model."""
    if request.acted is not None:  # every frame is planned, and then foreseen
        return sum(cost_of(replace(one, frames=request.frames)) for one in request.acted)
    steps = len(request.schedule.stops) if request.schedule is not None else 1
    branches = 2 if request.guidance != 1.0 else 1
    if request.controlled is not None:  # as many films more in each branch, and one by itself
        branches = branches * (1 + len(request.controlled.films)) + 1
    return max(request.frames, 1) * request.size[0] * request.size[1] * steps * branches / 1e6


def batch_key(kind: str, requests: Sequence[Request]) -> str:
    """Jobs with equal keys are computed together; what is large has a key of its own."""
    pixels = sum(max(one.frames, 1) * one.size[0] * one.size[1] for one in requests)
    if pixels > TOGETHER_PIXELS or any("sound" in one.mode.needs for one in requests):  # as long as it then lasts
        return new_id()
    request = requests[0]
    steps = len(request.schedule.stops) if request.schedule is not None else 0
    words = (request.mode.name, kind, request.size, request.frames, steps, request.guidance != 1.0, request.outputs,
             "" if request.adapter is None else request.adapter.name, request.acted is not None)  # fmt: skip
    return "|".join(str(word) for word in words)[:128]
