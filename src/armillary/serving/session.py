"""A world session: what was agreed, what was last seen and done, and the pieces of film that go on from there.

    in/state.json   what was agreed, how far the film is, where a camera is, the last actions; written last
    in/17/last.png  the last frame, here of 17
    in/17/past.png  the last frames below one another, where the model sees more than one again (``history``)

All of it lies beside the session's row on the job table, so that it can be taken up again after the connection, the
worker or the server ended. It is bounded: ``history`` frames, however long the film is.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool

from armillary.embodiments import Embodiment, rot6d_from_pose
from armillary.errors import ArmillaryError
from armillary.records import Array
from armillary.sampling.bodies import rows_of
from armillary.sampling.requests import FRAMES_A_LATENT
from armillary.serving.camera import HERE, Rows, Target, moved, pose_of, steps_to
from armillary.serving.desk import Desk, Wanted
from armillary.serving.inbound import Input, as_input
from armillary.serving.jobs import Job, NewJob, new_id
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem, bad, problem_of
from armillary.serving.session_forms import MOST_ACTIONS, Camera, Interaction, Start

CAMERAS = ("camera_pose", "av")  # embodiments whose actions are nine numbers of a camera's step
USUAL_HISTORY = 1


@dataclass(frozen=True, kw_only=True)
class Move:
    """What happens next: rows of actions or a camera's place, and what is said from then on, if anything new."""

    way: Rows | Target
    prompt: str | None


class Session:
    """A world session. ``state``: all that ``in/state.json`` tells.

    One connection has it at a time: who takes it up again ends the other (``given_up``), which may be a dead line, and
    waits until that is ``over``.
    """

    def __init__(self, desk: Desk, caller: Caller, job: Job, state: dict[str, Any]) -> None:
        self.desk, self.caller, self.id, self.state = desk, caller, job.id, state
        self.given_up, self.over = asyncio.Event(), asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def opened(cls, desk: Desk, caller: Caller, start: Start) -> AsyncIterator["Session"]:
        """A new session, or an old one by its id, while a connection has it; a ``Problem`` if it cannot be."""
        desk.check_model(start.model)
        session = await (cls._new if start.session_id is None else cls._old)(desk, caller, start)
        while (before := desk.worlds.get(session.id)) is not None:  # looked at again after every wait: others wait, too
            before.given_up.set()
            await before.over.wait()
        desk.worlds[session.id] = session
        try:
            session.state = session.state or await session._left()
            yield session
        finally:
            del desk.worlds[session.id]
            session.over.set()

    @classmethod
    async def _old(cls, desk: Desk, caller: Caller, start: Start) -> "Session":
        """The session of that id; how it is is read once nobody else has it."""
        if agreed := sorted(start.model_fields_set - {"type", "model", "session_id", "format"}):
            raise bad(f"{agreed[0]} was agreed when the session began: leave it out, or begin one without session_id.",
                      agreed[0], "conflict")  # fmt: skip
        assert start.session_id is not None
        try:
            job = await run_in_threadpool(desk.jobs.of_id, start.session_id, caller.name)
        except KeyError as gone:
            raise _unknown() from gone
        if job.kind != "session":
            raise _unknown()
        return cls(desk, caller, job, {})

    async def _left(self) -> dict[str, Any]:
        """How the session was left."""
        try:
            told = await run_in_threadpool(self.desk.files.read, f"{self.id}/in/state.json")
        except ArmillaryError as gone:
            raise _unknown() from gone
        return {**json.loads(told), "chunks": 0}

    @classmethod
    async def _new(cls, desk: Desk, caller: Caller, start: Start) -> "Session":
        name = start.embodiment or next(iter(desk.bodies), "")
        body = desk.bodies.get(name)
        if body is None:
            raise bad(f"embodiment {name[:80]!r} is not one of {', '.join(desk.bodies)}.", "embodiment",
                      "unknown_embodiment")  # fmt: skip
        history, most = start.history or USUAL_HISTORY, max(1, desk.defaults.frames - FRAMES_A_LATENT)
        if history % FRAMES_A_LATENT != 1 or history > most:
            raise bad(f"history={history}: the model sees 4k+1 frames again, at most {most}.", "history",
                      "invalid_value")  # fmt: skip
        height, width = desk.defaults.size
        size = [height if start.height is None else start.height, width if start.width is None else start.width]
        state = {"prompt": start.prompt, "embodiment": name, "size": size, "fps": start.fps or body.rate_hz,
                 "steps": start.steps, "seed": start.seed, "num_frames": start.num_frames or 8, "history": history,
                 "frames": 0, "chunks": 0, "pose": HERE.tolist(), "past": []}  # fmt: skip
        shown = Input(kind="image", data=b"", field="image")
        first = {"prompt": start.prompt, "size": tuple(size), "embodiment": name, "actions": [body.rest] * 4}
        more = {k: v for k, v in (("fps", start.fps), ("steps", start.steps)) if v is not None}
        desk.check(Wanted(mode="forward-dynamics", asked={**first, **more}, inputs={"image": shown},
                          called={"size": "width"}))  # fmt: skip
        await desk.judge([start.prompt])
        new = NewJob(owner=caller.name, kind="session", mode="world", request={}, cost=0.0, batch_key="")
        keep = desk.limits.keep_hours * 3600
        job = await run_in_threadpool(lambda: desk.jobs.create(new, status="completed", keep_seconds=keep))
        return cls(desk, caller, job, state)

    @property
    def body(self) -> Embodiment:
        return self.desk.bodies[self.state["embodiment"]]

    @property
    def is_camera(self) -> bool:
        return self.body.name in CAMERAS or self.body.domain in CAMERAS

    async def first_piece(self, image: str | None) -> tuple[dict[str, Any], bytes]:
        """One frame: the given picture, the last one of the old session, or one made of the prompt."""
        piece = {"start": 0, "number": 0, "keep": 1, "fps": self.state["fps"], "past": 1}
        if not self.state["frames"] and image is None:
            asked = {name: self.state[name] for name in ("prompt", "size", "seed", "steps")}
            return await self._done(await self._imagined("text-to-image", asked, {}, piece), piece, {"frames": 1})
        if self.state["frames"]:
            data = await run_in_threadpool(self.desk.files.read, self._key("last.png"))
        else:
            data = await self.desk.bytes_of(image, "image", {}, self.caller.name)
        job = await self._shown(as_input(data, "image", "image"), piece)
        return await self._done(job, piece, {"frames": max(1, self.state["frames"])})

    async def piece(self, move: Move) -> tuple[dict[str, Any], bytes]:
        """The frames to which these moves lead."""
        state, here = self.state, np.array(self.state["pose"])
        rows = self._rows(move.way, here)
        if state["frames"] + len(rows) > self.desk.limits.sessions_frames:
            raise Problem(429, "session_full", f"a session has at most {self.desk.limits.sessions_frames} frames.")
        asked = {name: state[name] for name in ("size", "fps", "steps", "embodiment")}
        prompt = state["prompt"] if move.prompt is None else move.prompt
        asked |= {"prompt": prompt, "seed": state["seed"] + state["frames"], "actions": [*state["past"], *rows]}
        past = remembered([*state["past"], *rows], state["history"])
        piece = {"start": state["frames_sent"], "number": state["chunks"], "keep": len(rows), "fps": state["fps"],
                 "past": len(past) + 1}  # fmt: skip
        job = await self._imagined("forward-dynamics", asked, await self._seen(), piece)
        after = {"prompt": prompt, "past": past, "frames": state["frames"] + len(rows)}
        return await self._done(
            job, piece, {**after, **({"pose": moved(here, rows).tolist()} if self.is_camera else {})}
        )

    def _rows(self, way: Rows | Target, here: Array) -> Rows:
        if isinstance(way, Target):
            return self.body.check(steps_to(way, here), limits=True).tolist()
        return way

    async def _seen(self) -> dict[str, Input]:
        """What the model sees again: the last frame, or several."""
        name, kind, field = ("past.png", "strip", "video") if self.state["past"] else ("last.png", "image", "image")
        data = await run_in_threadpool(self.desk.files.read, self._key(name))
        return {field: Input(kind=kind, data=data, field=field)}  # type: ignore[arg-type]

    async def _imagined(
        self, mode: str, asked: Mapping[str, Any], inputs: Mapping[str, Input], piece: Mapping[str, Any]
    ) -> Job:
        given = {name: value for name, value in asked.items() if value not in (None, "")}
        wanted = Wanted(mode=mode, asked={**given, "size": tuple(given["size"])}, inputs=inputs, called={})
        seconds = self.desk.limits.deadline_seconds
        return await self.desk.imagine([wanted], self.caller, kind="world", hidden=True, piece=piece,
                                       deadline_seconds=seconds)  # fmt: skip

    async def _shown(self, shown: Input, piece: Mapping[str, Any]) -> Job:
        """A picture becomes a piece of one frame: opened by the worker, like everything that comes from outside."""
        job_id = new_id()
        frame = {"input": "0.bin", "kind": "image", "field": "image"}
        request = {"image": frame, "size": self.state["size"], "piece": dict(piece)}
        new = NewJob(id=job_id, owner=self.caller.name, kind="frame", mode="world", request=request, cost=0.0,
                     batch_key=job_id, hidden=True, priority=self.caller.priority,
                     deadline=time.time() + self.desk.limits.deadline_seconds)  # fmt: skip
        job = await run_in_threadpool(self.desk.put, new, {"0.bin": shown.data}, self.caller)
        self.desk.when_put()
        return job

    async def _done(self, job: Job, piece: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Wait for a piece, and keep what the world is ``after`` it."""
        job = await self.desk.answer(job)
        read, files = self.desk.files.read, job.result["files"]
        data = await run_in_threadpool(read, files["chunk.m4s"])
        before = self.state["frames"]
        self.state |= {**after, "frames_sent": piece["start"] + piece["keep"], "chunks": piece["number"] + 1}
        if self.state["frames"] != before:  # a session that is taken up again is where it was
            for name in files.keys() & {"last.png", "past.png"}:
                one = await run_in_threadpool(read, files[name])
                await run_in_threadpool(self.desk.files.write, self._key(name), one)
        told = json.dumps(self.state).encode()
        await run_in_threadpool(self.desk.files.write, f"{self.id}/in/state.json", told)
        await run_in_threadpool(self.desk.jobs.keep_on, self.id, self.desk.limits.keep_hours * 3600)
        if before not in (0, self.state["frames"]):
            await run_in_threadpool(self.desk.files.remove, f"{self.id}/in/{before}")
        provenance = await run_in_threadpool(self.desk.taken, job)
        return {"type": "video.chunk_metadata", "chunk": piece["number"], "first_frame": piece["start"],
                "frames": piece["keep"], "bytes": len(data), "provenance": provenance}, data  # fmt: skip

    def _key(self, name: str) -> str:
        return f"{self.id}/in/{self.state['frames']}/{name}"

    def move_of(self, interaction: Interaction) -> Move:
        """What an event asks for, checked; a ``Problem`` for what this body cannot do."""
        event = interaction.event
        action = event.multi_modal_data.action if event.multi_modal_data else None
        camera = event.multi_modal_data.camera if event.multi_modal_data else None
        if camera is None and interaction.transition_chunks is not None:
            raise bad("transition_chunks has an effect on a camera's way alone: leave it out.", "transition_chunks",
                      "unsupported")  # fmt: skip
        if event.multi_modal_data is None:
            if event.prompt is None:
                raise bad("the event is empty: give multi_modal_data, or prompt, or both.", "event", "missing_field")
            return Move(way=[self.body.rest] * self.state["num_frames"], prompt=event.prompt)
        if (action is None) == (camera is None):
            raise bad("multi_modal_data must hold action or camera, one of them.", "multi_modal_data")
        if camera is not None:
            return Move(way=self._camera_way(camera, interaction.transition_chunks or 1), prompt=event.prompt)
        assert action is not None
        if action.embodiment not in (None, self.body.name):
            raise bad(f"embodiment={action.embodiment!r}, but the session is {self.body.name}'s.", "embodiment")
        try:
            return Move(way=rows_of(self.body, action.data).tolist(), prompt=event.prompt)
        except ArmillaryError as wrong:
            raise problem_of(wrong, {}) from wrong

    def _camera_way(self, camera: Camera, chunks: int) -> Rows | Target:
        if not self.is_camera:
            raise bad(f"{self.body.name} is no camera: begin the session with one of {', '.join(CAMERAS)}.", "camera")
        count = self.state["num_frames"] * chunks
        if count > MOST_ACTIONS:
            raise bad(f"transition_chunks={chunks} of {self.state['num_frames']} frames are {count}: at most "
                      f"{MOST_ACTIONS} are made at once.", "transition_chunks")  # fmt: skip
        pose = pose_of(camera.data.translation, camera.data.rotation)
        if camera.mode == "target":
            return Target(place=pose, count=count)
        try:
            return self.body.check([rot6d_from_pose(pose).tolist()] * count, limits=True).tolist()
        except ArmillaryError as wrong:
            raise problem_of(wrong, {}) from wrong


def _unknown() -> Problem:
    return Problem(404, "session_not_found", "there is no such session of yours: begin one without session_id.",
                   param="session_id")  # fmt: skip


def remembered(rows: Rows, history: int) -> Rows:
    """The last of all actions done, between the last frames that are seen again: 4k of them, fewer than ``history``."""
    count = min(len(rows), history - 1) // FRAMES_A_LATENT * FRAMES_A_LATENT
    return rows[len(rows) - count :]
