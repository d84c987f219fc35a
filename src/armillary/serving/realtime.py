"""``WS /v1/realtime/video``: a world that is imagined while somebody acts in it; actions in, fragmented MP4 out.

    client  session.start          prompt or image, embodiment, size        (or session_id, to go on)
    server  video.start            session_id, config
    client  session.interaction    event.multi_modal_data.action {data, embodiment}, or .camera {mode, data}: a step
                                   to be held (velocity) or a place to be reached (target), in transition_chunks
    server  session.interaction.queued, then video.chunk_metadata and one binary piece of film
    client  session.ping, session.stop        server  session.pong, session.done, error

Each piece goes on from the last frame of the one before; a session keeps that frame and a few numbers, so that it
can be taken up again after the connection, the worker or the server ended.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from armillary.embodiments import Embodiment, rot6d_from_pose
from armillary.errors import ArmillaryError
from armillary.records import Array
from armillary.serving.camera import HERE, Rows, Target, moved, pose_of, steps_to
from armillary.serving.desk import Desk, Wanted
from armillary.serving.forms import Strict, parsed
from armillary.serving.inbound import Input, as_input
from armillary.serving.jobs import Job, NewJob, new_id
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem, bad, problem_of
from armillary.serving.routes_service import resting
from armillary.serving.sockets import admit, counted

router = APIRouter()
START_SECONDS, IDLE_SECONDS = 10.0, 60.0
CAMERAS = ("camera_pose", "av")  # embodiments whose actions are nine numbers of a camera's step
MOST_ACTIONS, WAITING = 64, 8


class Start(Strict):
    """How a session begins, or goes on."""

    type: Literal["session.start"]
    model: str | None = None
    session_id: str | None = None
    prompt: str = ""
    image: str | None = None
    embodiment: str | None = None
    format: Literal["m4s"] = "m4s"
    width: int | None = None
    height: int | None = None
    fps: float | None = Field(default=None, gt=0, le=60)
    num_frames: int | None = Field(default=None, ge=1, le=MOST_ACTIONS)
    steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, le=2**31)


class Actions(Strict):
    """Rows in the embodiment's units."""

    data: list[list[float]] = Field(min_length=1, max_length=MOST_ACTIONS)
    embodiment: str | None = None


class Pose(Strict):
    """+X right, +Y up, +Z forward; rotation as a quaternion x y z w."""

    translation: list[float] = Field(min_length=3, max_length=3)
    rotation: list[float] = Field(min_length=4, max_length=4)


class Camera(Strict):
    """A step of the camera for each frame, or the place that it is to reach, seen from where the session began."""

    mode: Literal["velocity", "target"]
    data: Pose


class MultiModal(Strict):
    """Actions, or a camera's way."""

    action: Actions | None = None
    camera: Camera | None = None


class Event(Strict):
    """What happens next."""

    prompt: str | None = None
    multi_modal_data: MultiModal


class Interaction(Strict):
    """An event with a name, so that its answer can be told from others."""

    event_id: str = Field(default="", max_length=64)
    event: Event
    transition_chunks: int | None = Field(default=None, ge=1, le=MOST_ACTIONS, description="of a camera's way; 1")


class Message(Strict):
    """What a client says after it began."""

    type: Literal["session.interaction", "session.ping", "session.stop"]
    interaction: Interaction | None = None


class Session:
    """A world session: what was agreed, the last frame, how far the film is."""

    def __init__(self, desk: Desk, caller: Caller, job: Job, state: dict[str, Any]) -> None:
        self.desk, self.caller, self.id, self.state = desk, caller, job.id, state

    @classmethod
    async def opened(cls, desk: Desk, caller: Caller, start: Start) -> "Session":
        """A new session, or an old one by its id; a ``Problem`` if it cannot be."""
        desk.check_model(start.model)
        if start.session_id is not None:
            try:
                job = await run_in_threadpool(desk.jobs.of_id, start.session_id, caller.name)
                state = json.loads(await run_in_threadpool(desk.files.read, f"{job.id}/in/state.json"))
            except (KeyError, ArmillaryError) as unknown:
                raise Problem(404, "session_not_found", "there is no such session of yours: begin one without "
                              "session_id.", param="session_id") from unknown  # fmt: skip
            return cls(desk, caller, job, {"pose": HERE.tolist(), **state, "chunks": 0})
        name = start.embodiment or next(iter(desk.bodies), "")
        body = desk.bodies.get(name)
        if body is None:
            raise bad(f"embodiment {name[:80]!r} is not one of {', '.join(desk.bodies)}.", "embodiment",
                      "unknown_embodiment")  # fmt: skip
        height, width = desk.defaults.size
        size = [height if start.height is None else start.height, width if start.width is None else start.width]
        state = {"prompt": start.prompt, "embodiment": name, "size": size, "fps": start.fps or body.rate_hz,
                 "steps": start.steps, "seed": start.seed, "num_frames": start.num_frames or 8, "frames": 0,
                 "chunks": 0, "pose": HERE.tolist()}  # fmt: skip
        shown = Input(kind="image", data=b"", field="image")
        first = {"prompt": start.prompt, "size": tuple(size), "embodiment": name, "actions": [resting(body)] * 4}
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
        piece = {"start": 0, "number": 0, "keep": 1, "fps": self.state["fps"]}
        if not self.state["frames"] and image is None:
            asked = {name: self.state[name] for name in ("prompt", "size", "seed", "steps")}
            return await self._done(await self._imagined("text-to-image", asked, None, piece), piece)
        if self.state["frames"]:
            data = await run_in_threadpool(self.desk.files.read, f"{self.id}/in/last.png")
        else:
            data = await self.desk.bytes_of(image, "image", {}, self.caller.name)
        shown = as_input(data, "image", "image")
        return await self._done(await self._shown(shown, piece), piece)

    async def piece(self, moves: Rows | Target) -> tuple[dict[str, Any], bytes]:
        """The frames to which these moves lead."""
        here = np.array(self.state["pose"])
        rows: Rows = (
            self.body.check(steps_to(moves, here), limits=True).tolist() if isinstance(moves, Target) else moves
        )
        if self.state["frames"] + len(rows) > self.desk.limits.sessions_frames:
            raise Problem(429, "session_full", f"a session has at most {self.desk.limits.sessions_frames} frames.")
        data = await run_in_threadpool(self.desk.files.read, f"{self.id}/in/last.png")
        asked = {name: self.state[name] for name in ("prompt", "size", "fps", "steps", "embodiment")}
        asked |= {"seed": self.state["seed"] + self.state["frames"], "actions": rows}
        piece = {"start": self.state["frames_sent"], "number": self.state["chunks"], "keep": len(rows),
                 "fps": self.state["fps"]}  # fmt: skip
        shown = Input(kind="image", data=data, field="image")
        job = await self._imagined("forward-dynamics", asked, shown, piece)
        return await self._done(job, piece, moved(here, rows) if self.is_camera else here)

    async def _imagined(
        self, mode: str, asked: Mapping[str, Any], shown: Input | None, piece: Mapping[str, Any]
    ) -> Job:
        given = {name: value for name, value in asked.items() if value not in (None, "")}
        inputs = {} if shown is None else {"image": shown}
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

    async def _done(
        self, job: Job, piece: Mapping[str, Any], pose: Array | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Wait for a piece, keep where the world now is, and its camera if it has moved."""
        job = await self.desk.answer(job)
        data = await run_in_threadpool(self.desk.files.read, job.result["files"]["chunk.m4s"])
        last = await run_in_threadpool(self.desk.files.read, job.result["files"]["last.png"])
        old = self.state["frames"] if piece["number"] or not self.state["frames"] else self.state["frames"] - 1
        self.state |= {"frames": old + piece["keep"], "frames_sent": piece["start"] + piece["keep"],
                       "chunks": piece["number"] + 1}  # fmt: skip
        if pose is not None:
            self.state["pose"] = pose.tolist()
        await run_in_threadpool(self._keep, last)
        provenance = await run_in_threadpool(self.desk.taken, job)
        return {"type": "video.chunk_metadata", "chunk": piece["number"], "first_frame": piece["start"],
                "frames": piece["keep"], "bytes": len(data), "provenance": provenance}, data  # fmt: skip

    def _keep(self, last: bytes) -> None:
        self.desk.files.write(f"{self.id}/in/last.png", last)
        self.desk.files.write(f"{self.id}/in/state.json", json.dumps(self.state).encode())

    def moves_of(self, interaction: Interaction) -> Rows | Target:
        """What an event asks for, checked; a ``Problem`` for what this body cannot do."""
        given = interaction.event.multi_modal_data
        if (given.action is None) == (given.camera is None):
            raise bad("multi_modal_data must hold action or camera, one of them.", "multi_modal_data")
        if given.action is not None:
            if interaction.transition_chunks is not None:
                raise bad("transition_chunks has no effect on actions, which are done as they come: leave it out.",
                          "transition_chunks", "unsupported")  # fmt: skip
            if given.action.embodiment not in (None, self.body.name):
                raise bad(
                    f"embodiment={given.action.embodiment!r}, but the session is {self.body.name}'s.", "embodiment"
                )
            try:
                return self.body.check(given.action.data).tolist()
            except ArmillaryError as wrong:
                raise problem_of(wrong, {}) from wrong
        assert given.camera is not None
        if not self.is_camera:
            raise bad(f"{self.body.name} is no camera: begin the session with one of {', '.join(CAMERAS)}.", "camera")
        count = self.state["num_frames"] * (interaction.transition_chunks or 1)
        if count > MOST_ACTIONS:
            raise bad(f"transition_chunks={interaction.transition_chunks} of {self.state['num_frames']} frames are "
                      f"{count}: at most {MOST_ACTIONS} are made at once.", "transition_chunks")  # fmt: skip
        pose = pose_of(given.camera.data.translation, given.camera.data.rotation)
        if given.camera.mode == "target":
            return Target(place=pose, count=count)
        try:
            return self.body.check([rot6d_from_pose(pose).tolist()] * count, limits=True).tolist()
        except ArmillaryError as wrong:
            raise problem_of(wrong, {}) from wrong


@router.websocket("/v1/realtime/video")
async def world(socket: WebSocket) -> None:
    """A world session."""

    async def talk(desk: Desk, caller: Caller) -> None:
        start: Start = parsed(Start, await _heard(socket, START_SECONDS))
        session = await Session.opened(desk, caller, start)
        config = {name: session.state[name] for name in ("prompt", "embodiment", "size", "fps", "num_frames")}
        await socket.send_json({"type": "video.start", "request_id": session.id, "session_id": session.id,
                                "format": "m4s", "codec": "avc1", "config": config})  # fmt: skip
        await _play(socket, session, start)

    await admit(socket, "world", talk)


async def _heard(socket: WebSocket, seconds: float) -> dict[str, Any]:
    """The next message; a ``Problem`` if none comes in time or it is no JSON object."""
    try:
        message = await asyncio.wait_for(socket.receive(), seconds)
    except TimeoutError as silent:
        raise Problem(408, "too_slow", f"nothing was said for {seconds:g} s: send session.ping to stay.") from silent
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    try:
        found = json.loads(message.get("text") or "")
    except (ValueError, RecursionError) as wrong:
        raise bad("the message is not JSON: send an object with type.") from wrong
    if not isinstance(found, Mapping):
        raise bad("the message is no object: send one with type.")
    return dict(found)


async def _play(socket: WebSocket, session: Session, start: Start) -> None:
    """Hear events and send pieces, side by side, until the client stops."""
    queue: asyncio.Queue[tuple[str, Rows | Target]] = asyncio.Queue(WAITING)
    metadata, data = await session.first_piece(start.image)
    await socket.send_json(metadata)
    await socket.send_bytes(data)
    maker = asyncio.create_task(_make_all(socket, session, queue))
    try:
        while not maker.done():
            if not await _hear_one(socket, session, queue):
                break
        frames = session.state["frames"]
        await socket.send_json({"type": "session.done", "session_id": session.id, "chunks": session.state["chunks"],
                                "frames": frames, "reason": "stopped"})  # fmt: skip
        await socket.close()
    finally:
        maker.cancel()


async def _hear_one(socket: WebSocket, session: Session, queue: asyncio.Queue[Any]) -> bool:
    """Take one message; False once the client stops. A mistake is answered with an error, and the session goes on."""
    event_id = ""
    try:
        message: Message = parsed(Message, await _heard(socket, IDLE_SECONDS))
        if message.type == "session.ping":
            await socket.send_json({"type": "session.pong", "at": time.time()})
            return True
        if message.type == "session.stop":
            return False
        if message.interaction is None:
            raise bad("interaction is missing: send event_id and event.", "interaction", "missing_field")
        event_id, event = message.interaction.event_id, message.interaction.event
        moves = session.moves_of(message.interaction)
        if event.prompt is not None:
            await session.desk.judge([event.prompt])
            session.state["prompt"] = event.prompt
        if queue.full():
            raise Problem(429, "too_many_events", f"{WAITING} events wait already: wait for their pieces.")
        queue.put_nowait((event_id, moves))
        await socket.send_json({"type": "session.interaction.queued", "event_id": event_id, "frames": len(moves)})
    except Problem as wrong:
        if wrong.code == "too_slow":
            raise
        told = wrong.envelope()["error"]
        await socket.send_json({**told, "type": "error", "event_id": event_id})
    return True


async def _make_all(socket: WebSocket, session: Session, queue: asyncio.Queue[Any]) -> None:
    while True:
        event_id, moves = await queue.get()
        try:
            metadata, data = await session.piece(moves)
        except (Problem, ArmillaryError) as wrong:
            told = counted(session.desk, wrong).envelope()["error"]
            await socket.send_json({**told, "type": "error", "event_id": event_id, "code": "interaction_failed"})
            continue
        await socket.send_json({**metadata, "event_id": event_id})
        await socket.send_bytes(data)
