"""The HTTP side of the server: routes put together, problems told in one form, workers started and stopped."""

import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

import armillary
from armillary.errors import ArmillaryError, ConfigError
from armillary.serving import (
    logs,
    policy_socket,
    realtime,
    routes_audio,
    routes_chat,
    routes_images,
    routes_service,
    routes_videos,
    studio,
)
from armillary.serving.desk import Desk
from armillary.serving.forms import plainly
from armillary.serving.guard import HEAD_BYTES, Guard, patient
from armillary.serving.problems import Problem, problem_of
from armillary.serving.settings import ServeSettings
from armillary.serving.supervisor import Supervisor
from armillary.serving.worker import opened, work

ROOMS = (routes_service, routes_chat, routes_videos, routes_images, routes_audio, policy_socket, realtime, studio)
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # an address of a kind that this machine lacks


def make_app(settings: ServeSettings) -> FastAPI:
    """The application. ``CheckpointError`` or ``ConfigError`` if it could not serve."""
    desk = Desk(settings)
    if settings.role == "all":
        opened(settings)  # a device or dtype that is not here is told now, not by workers that end again and again
    supervisor = Supervisor(desk)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        supervisor.start()
        yield
        await supervisor.stop()
        desk.jobs.close()
        desk.audit.close()

    app = FastAPI(title="Armillary", version=armillary.__version__, lifespan=life, docs_url=None, redoc_url=None,
                  redirect_slashes=False)  # fmt: skip
    app.state.desk, app.state.supervisor = desk, supervisor
    desk.when_put = supervisor.ring
    for room in ROOMS:
        app.include_router(room.router)
    app.add_middleware(Guard, keys=desk.keys, limits=settings.limits, metrics=desk.metrics,
                       audit=desk.audit, loopback=not settings.open_to_others)  # fmt: skip
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(ArmillaryError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _schema)
    app.add_exception_handler(500, _broken)
    return app


def serve(settings: ServeSettings) -> None:
    """Serve until stopped; with role worker, compute for servers elsewhere until stopped.

    ``ConfigError`` for a place where nobody can listen, and as ``make_app``.
    """
    if settings.role == "worker":
        logs.begin()
        work(settings, connected=False)
        return
    sockets = bound(settings.host, settings.port)  # a place that is taken is told now, before anything is opened
    logs.begin()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    seconds = settings.limits.body_seconds / 3
    try:
        app = make_app(settings)
    except BaseException:
        for one in sockets:
            one.close()
        raise
    port = sockets[0].getsockname()[1]
    place = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"{app.state.desk.model} at http://{place}:{port}/ (the studio; programs ask at /v1). Jobs are kept "
          f"in {settings.folder}. Ctrl-C ends it.", flush=True)  # fmt: skip
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, http=patient(seconds), ws="websockets-sansio",
        ws_max_size=settings.limits.body_mb * 2**20, ws_per_message_deflate=False, log_level="warning", log_config=None,
        h11_max_incomplete_event_size=HEAD_BYTES, timeout_keep_alive=30, limit_concurrency=None,
        timeout_graceful_shutdown=5, server_header=False,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=sockets)


def bound(host: str, port: int) -> list[socket.socket]:
    """A socket that listens at ``port`` for every address of ``host`` that this machine has.

    Port 0 is any that is free. ``ConfigError`` where there is none, or somebody else listens there.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        lacking: OSError | None = None  # a machine without IPv6 has names that have such addresses
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sockets.append(_listening(family, kind, protocol, (address[0], port, *address[2:])))
                port = sockets[-1].getsockname()[1]
            except OSError as wrong:
                if wrong.errno not in _NOT_HERE:
                    raise
                lacking = wrong
        if lacking is not None and not sockets:
            raise lacking
    except OSError as broken:
        for one in sockets:
            one.close()
        unknown = isinstance(broken, socket.gaierror)
        other = "the name or address of this machine as --host, such as 127.0.0.1" if unknown else (
            "another --port, or an address of this machine as --host")  # fmt: skip
        raise ConfigError(f"{host}:{port} cannot be listened at ({broken.strerror}): give {other}.") from broken
    return sockets


def _listening(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen()
    except OSError:
        one.close()
        raise
    return one


def _answer(request: Request, problem: Problem) -> Response:
    desk: Desk = request.app.state.desk
    desk.metrics.refusals.labels(problem.code).inc()
    return JSONResponse(problem.envelope(), status_code=problem.status, headers=problem.headers)


async def _problem(request: Request, problem: Any) -> Response:
    return _answer(request, problem)


async def _ours(request: Request, wrong: Any) -> Response:
    return _answer(request, problem_of(wrong))


async def _http(request: Request, wrong: Any) -> Response:
    code = CODES.get(wrong.status_code, "invalid_request")
    words = {404: f"there is nothing at {request.url.path[:200]!r}: /openapi.json lists what there is.",
             405: f"{request.method} is not done at {request.url.path[:200]!r}."}  # fmt: skip
    problem = Problem(wrong.status_code, code, words.get(wrong.status_code, str(wrong.detail)))
    answer = _answer(request, problem)
    if wrong.headers:
        answer.headers.update(wrong.headers)
    if wrong.status_code == 405 and (done := methods_at(request.url.path)):
        answer.headers["Allow"] = ", ".join(done)
    return answer


def methods_at(path: str) -> list[str]:
    """Every method of a path, for ``Allow`` (RFC 9110, 10.2.1): a route of FastAPI's knows only its own."""
    routes = [route for room in ROOMS for route in room.router.routes if isinstance(route, APIRoute)]
    first = next((route.path for route in routes if route.path_regex.match(path)), None)
    return sorted({method for route in routes if route.path == first for method in route.methods or ()})


async def _schema(request: Request, wrong: Any) -> Response:
    first = wrong.errors()[0]
    name = str(first["loc"][-1])
    return _answer(request, Problem(400, "invalid_value", f"{name} cannot be: {plainly(first)}.", param=name))


async def _broken(request: Request, _: Any) -> Response:
    return _answer(request, Problem(500, "server_error", "a mistake of ours: the operator's log says more. Ask again."))
