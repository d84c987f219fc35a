"""``WS /v1/realtime/video``: a world that is imagined while somebody acts in it; actions in, fragmented MP4 out.

    client  session.start          prompt or image, embodiment, size        (or session_id, to go on)
    server  video.start            session_id, config
    client  session.interaction    event.prompt, and event.multi_modal_data.action {data, embodiment}, or .camera {mode,
                                   data}: a step to be held (velocity) or a place to be reached (target), in
                                   transition_chunks
    server  session.interaction.queued, then video.chunk_metadata and one binary piece of film
    client  session.ping, session.stop        server  session.pong, session.done, error

Each piece goes on from the last frames of the one before. What a session is and keeps: ``session.py``.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from armillary.errors import ArmillaryError
from armillary.serving.desk import Desk
from armillary.serving.forms import parsed
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem, bad
from armillary.serving.session import Move, Session
from armillary.serving.session_forms import Message, Start
from armillary.serving.sockets import admit, counted

router = APIRouter()
START_SECONDS, IDLE_SECONDS = 10.0, 60.0
WAITING = 8


@router.websocket("/v1/realtime/video")
async def world(socket: WebSocket) -> None:
    """A world session."""

    async def talk(desk: Desk, caller: Caller) -> None:
        start: Start = parsed(Start, await _heard(socket, START_SECONDS))
        async with Session.opened(desk, caller, start) as session:
            names = ("prompt", "embodiment", "size", "fps", "num_frames", "history")
            await socket.send_json({"type": "video.start", "request_id": session.id, "session_id": session.id,
                                    "format": "m4s", "codec": "avc1",
                                    "config": {name: session.state[name] for name in names}})  # fmt: skip
            playing = asyncio.create_task(_play(socket, session, start))
            given_up = asyncio.create_task(session.given_up.wait())
            try:
                await asyncio.wait({playing, given_up}, return_when=asyncio.FIRST_COMPLETED)
                if not playing.done():
                    words = "another connection has taken up this session, which one has at a time: begin your own."
                    raise Problem(409, "session_taken", words)
                await playing
            finally:
                for task in (playing, given_up):
                    task.cancel()
                await asyncio.wait({playing, given_up})

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
    queue: asyncio.Queue[tuple[str, Move]] = asyncio.Queue(WAITING)
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
        await asyncio.wait({maker})


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
        event_id = message.interaction.event_id
        move = session.move_of(message.interaction)
        await session.desk.judge([move.prompt])
        if queue.full():
            raise Problem(429, "too_many_events", f"{WAITING} events wait already: wait for their pieces.")
        queue.put_nowait((event_id, move))
        await socket.send_json({"type": "session.interaction.queued", "event_id": event_id, "frames": len(move.way)})
    except Problem as wrong:
        if wrong.code == "too_slow":
            raise
        told = wrong.envelope()["error"]
        await socket.send_json({**told, "type": "error", "event_id": event_id})
    return True


async def _make_all(socket: WebSocket, session: Session, queue: asyncio.Queue[Any]) -> None:
    while True:
        event_id, move = await queue.get()
        try:
            metadata, data = await session.piece(move)
        except (Problem, ArmillaryError) as wrong:
            told = counted(session.desk, wrong).envelope()["error"]
            await socket.send_json({**told, "type": "error", "event_id": event_id, "code": "interaction_failed"})
            continue
        await socket.send_json({**metadata, "event_id": event_id})
        await socket.send_bytes(data)
