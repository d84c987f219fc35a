"""What every websocket shares: who may open one, how it is counted, and how a mistake ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import WebSocket, WebSocketDisconnect

from armillary.errors import ArmillaryError
from armillary.serving.desk import Desk
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem, problem_of

Talk = Callable[[Desk, Caller], Awaitable[None]]


async def admit(socket: WebSocket, kind: str, talk: Talk) -> None:
    """Let a client in and ``talk`` with it, until it leaves or something is wrong: that is told, and the line ends.

    ``kind``: robot or world, for the metrics.
    """
    desk: Desk = socket.app.state.desk
    await socket.accept()
    try:
        async with _counted(desk, socket, kind) as caller:
            await talk(desk, caller)
    except (WebSocketDisconnect, asyncio.CancelledError):
        return
    except (Problem, ArmillaryError) as wrong:
        await _end(socket, counted(desk, wrong))


def counted(desk: Desk, wrong: Problem | ArmillaryError) -> Problem:
    """What a client is told of a mistake, which is counted among the refusals."""
    problem = wrong if isinstance(wrong, Problem) else problem_of(wrong)
    desk.metrics.refusals.labels(problem.code).inc()
    return problem


@asynccontextmanager
async def _counted(desk: Desk, socket: WebSocket, kind: str) -> AsyncIterator[Caller]:
    """A socket's caller, counted while it is open; a ``Problem`` if it may not be."""
    offered = socket.headers.get("authorization")
    key = socket.query_params.get("key")  # a browser's sockets have no headers
    caller = desk.keys.caller(offered or (f"Bearer {key}" if key else None))
    if desk.open_sockets >= desk.limits.sockets:
        raise Problem(429, "too_many_sockets", f"{desk.open_sockets} sockets are open: ask again later.")
    client = socket.client.host if socket.client else ""
    desk.audit.write(caller=caller.name, client=client, status=101, method="SOCKET", path=socket.url.path)
    desk.open_sockets += 1
    try:
        with desk.metrics.sockets.labels(kind).track_inprogress():
            yield caller
    finally:
        desk.open_sockets -= 1


async def _end(socket: WebSocket, problem: Problem) -> None:
    """Tell what is wrong in one text frame, and hang up."""
    try:
        await socket.send_json(problem.envelope())
        await socket.close(1011)
    except (RuntimeError, WebSocketDisconnect):
        return
