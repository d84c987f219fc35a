"""What the server is: models, health, metrics, uploaded files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from armillary.modes import MODES
from armillary.sampling.abilities import takes_of
from armillary.serving.desk import Desk
from armillary.serving.inbound import as_input
from armillary.serving.jobs import Job, NewJob
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem, bad

router = APIRouter()
ERROR = {"type": "object", "properties": {"error": {"type": "object"}}, "required": ["error"]}
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"description": words, "content": {"application/json": {"schema": ERROR}}}
    for code, words in {
        400: "what came cannot be", 401: "a key is needed", 404: "not there", 405: "not done here", 408: "too slow",
        409: "another request",
        413: "too large", 415: "another content type", 429: "too many", 503: "not ready", 504: "too late",
    }.items()
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """Which part of a list is asked for, by OpenAI's rules."""

    after: str | None = None
    limit: int = Query(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"

    def of(self, found: Sequence[Mapping[str, Any]]) -> JSONResponse:
        """The answer: what ``own_jobs`` found, which is one more than asked for where there are more."""
        page = found[: self.limit]
        return JSONResponse({"object": "list", "data": page, "first_id": page[0]["id"] if page else None,
                             "last_id": page[-1]["id"] if page else None,
                             "has_more": len(found) > self.limit})  # fmt: skip


def refuses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides what was asked for, as OpenAPI tells it."""
    return {code: REFUSALS[code] for code in codes}


def sends(*types: str) -> dict[int | str, dict[str, Any]]:
    """That a route answers with files of these types."""
    return {200: {"description": "what was asked for", "content": {kind: {} for kind in types}}}


def takes_form(**fields: str) -> dict[str, Any]:
    """The form that a route takes, as OpenAPI tells it: each field's format, binary for a file."""
    told = {name: {"type": "string", **({"format": kind} if kind else {})} for name, kind in fields.items()}
    files = [name for name, kind in fields.items() if kind == "binary"]
    schema = {"type": "object", "properties": told, "required": files, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def desk_of(request: Request) -> Desk:
    """The desk of this application."""
    desk: Desk = request.app.state.desk
    return desk


def caller_of(request: Request) -> Caller:
    """Who asks."""
    caller: Caller = request.state.caller
    return caller


async def json_body(request: Request) -> dict[str, Any]:
    """The body as an object; a 400 or 415 otherwise."""
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "unsupported_media_type", f"the body is {kind[:60]!r}: send application/json.")
    try:
        found = json.loads(await request.body(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as wrong:
        if isinstance(wrong, _NotANumber):
            raise bad("the body holds NaN or Infinity, which are no numbers of JSON.") from wrong
        raise bad("the body is not JSON: send an object.") from wrong
    except ClientDisconnect as gone:
        raise bad("the body ended early.") from gone
    if not isinstance(found, dict):
        raise bad(f"the body is {type(found).__name__}: send an object.")
    return found


class _NotANumber(ValueError):
    """NaN or Infinity in JSON."""


def _no_constant(name: str) -> Any:
    raise _NotANumber(name)


async def form_body(request: Request) -> tuple[dict[str, str], dict[str, bytes], dict[str, list[bytes]]]:
    """Fields, the first upload of each name, and all uploads of each name, of a multipart or url-encoded body."""
    try:
        async with request.form(max_files=32, max_fields=128, max_part_size=2**22) as form:
            fields: dict[str, str] = {}
            uploads: dict[str, list[bytes]] = {}
            for name, value in form.multi_items():
                plain = name.removesuffix("[]")
                if isinstance(value, UploadFile):
                    uploads.setdefault(plain, []).append(await value.read())
                elif plain in fields:
                    raise bad(f"{plain} comes twice: send it once.", plain, "conflict")
                else:
                    fields[plain] = value
    except (MultiPartException, AssertionError, UnicodeDecodeError) as wrong:
        raise bad(f"the form cannot be read ({wrong}): send multipart/form-data with a boundary.") from wrong
    except HTTPException as wrong:
        raise bad(f"the form cannot be read ({wrong.detail}): send multipart/form-data with a boundary.") from wrong
    return fields, {name: files[0] for name, files in uploads.items()}, uploads


@router.get("/v1/models", responses=refuses(401))
async def models(request: Request) -> JSONResponse:
    """What is served, and what it can do."""
    return JSONResponse({"object": "list", "data": [model_told(desk_of(request))]})


@router.get("/v1/models/{model}", responses=refuses(400, 401, 404))
async def model(model: str, request: Request) -> JSONResponse:
    """One model."""
    desk_of(request).check_model(model)
    return JSONResponse(model_told(desk_of(request)))


def model_told(desk: Desk) -> dict[str, Any]:
    """The model as ``/v1/models`` tells it."""
    bodies = {
        body.name: {
            "domain": body.domain,
            "domain_id": body.domain_id,
            "action_dim": body.width,
            "rate_hz": body.rate_hz,
            "channels": [channel.name for channel in body.channels],
            "limits": [[channel.low, channel.high] for channel in body.channels],
            "rest": body.rest,
        }
        for body in desk.bodies.values()
    }
    every = {
        mode.name: {"needs": list(mode.needs), "steps": desk.steps(mode),
                    "takes": takes_of(mode, desk.checkpoint, desk.defaults, desk.adapters),
                    "guidance": desk.guidance(mode), "frames": mode.frames, "sound": mode.may_sound and desk.heard,
                    "history": mode.history,
                    "adapter": None if (worn := desk.worn(mode)) is None else worn.name, "acted": desk.acted(mode),
                    **({"controls": desk.defaults.controls} if "controls" in mode.needs else {}),
                    "upsampled": {None: "never", True: "usually", False: "if asked"}[desk.upsampling(mode)]}
        for mode in MODES.values()
    }  # fmt: skip
    modes = {name: told for name, told in every.items() if name in desk.modes}
    return {
        "id": desk.model,
        "object": "model",
        "created": int((desk.checkpoint / "model_index.json").stat().st_mtime),
        "owned_by": "armillary",
        "modes": modes,
        "unlearnt": {name: told for name, told in every.items() if name not in modes},
        "capabilities": [path for path, able in {
            "/v1/chat/completions": "reason" in modes, "/v1/videos": True,
            "/v1/images/generations": "text-to-image" in modes, "/v1/images/edits": "image-edit" in modes,
            "/v1/audio/generate": desk.heard}.items() if able],
        "embodiments": bodies,
        "adapters": sorted(desk.adapters),
        "size": f"{desk.defaults.size[1]}x{desk.defaults.size[0]}",
        "fps": desk.defaults.fps,
        "notice": desk.defaults.untrained or None,
        "limits": {"frames": desk.limits.out_frames, "pixels": desk.limits.out_pixels, "steps": desk.limits.steps,
                   "body_mb": desk.limits.body_mb, "answer_tokens": desk.limits.answer},
    }  # fmt: skip


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> Response:
    """The process answers (for openpi's clients)."""
    return Response("OK", media_type="text/plain")


@router.get("/v1/health/live")
async def live() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "live"})


@router.get("/v1/health/ready", responses=refuses(503))
@router.get("/health", responses=refuses(503))
async def ready(request: Request) -> JSONResponse:
    """Somebody can compute: 503 until the model is loaded."""
    if not await run_in_threadpool(desk_of(request).jobs.workers):
        raise Problem(503, "not_ready", "no worker has loaded the model yet: ask again in some seconds.", retry_after=2)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", responses=refuses(401), response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus' page."""
    desk = desk_of(request)
    page = await run_in_threadpool(desk.metrics.page, desk.jobs, request.app.state.supervisor.pids)
    return Response(page, media_type="text/plain; version=0.0.4")


@router.post("/v1/files", responses=refuses(400, 401, 408, 413, 415, 429),
             openapi_extra=takes_form(file="binary", purpose=""))  # fmt: skip
async def upload(request: Request) -> JSONResponse:
    """Keep a picture, a film or a sound, to be named by its id in later requests."""
    desk, caller = desk_of(request), caller_of(request)
    fields, files, _ = await form_body(request)
    unknown = sorted(set(fields) - {"purpose"} | set(files) - {"file"})
    if unknown or "file" not in files:
        raise bad(f"a form with {sorted({*fields, *files})} came: send the file as file, and purpose.",
                  unknown[0] if unknown else "file")  # fmt: skip
    kind = as_input(files["file"], "file", any_kind=True).kind
    told = {"bytes": len(files["file"]), "purpose": fields.get("purpose", "vision")[:64], "media": kind}
    new = NewJob(owner=caller.name, kind="file", mode="file", request=told, cost=0.0, batch_key="", hidden=False)
    job = await run_in_threadpool(_keep, desk, new, files["file"], caller)
    return JSONResponse(file_told(job))


def _keep(desk: Desk, new: NewJob, data: bytes, caller: Caller) -> Job:
    desk.room(caller)
    desk.room_for(caller, len(data))
    desk.files.write(f"{new.id}/in/0.bin", data)
    return desk.jobs.create(new, status="completed", keep_seconds=desk.limits.keep_hours * 3600)


@router.get("/v1/files", responses=refuses(400, 401, 404))
async def files(request: Request, page: Annotated[Page, Depends()]) -> JSONResponse:
    """The caller's uploaded files, newest first."""
    return page.of([file_told(job) for job in await own_jobs(request, "file", page)])


@router.get("/v1/files/{file_id}", responses=refuses(400, 401, 404))
async def file_of_id(file_id: str, request: Request) -> JSONResponse:
    """An uploaded file's particulars."""
    return JSONResponse(file_told(await own_job(request, file_id, "file")))


@router.delete("/v1/files/{file_id}", responses=refuses(400, 401, 404))
async def forget_file(file_id: str, request: Request) -> JSONResponse:
    """Forget an uploaded file."""
    job = await own_job(request, file_id, "file")
    await run_in_threadpool(desk_of(request).forget, job)
    return JSONResponse({"id": job.id, "object": "file", "deleted": True})


def file_told(job: Job) -> Mapping[str, Any]:
    """A file as OpenAI tells it."""
    return {"id": job.id, "object": "file", "bytes": job.request["bytes"], "created_at": int(job.created_at),
            "filename": job.request["media"], "purpose": job.request["purpose"], "status": "processed",
            "expires_at": int(job.expires_at or 0)}  # fmt: skip


async def own_jobs(request: Request, kind: str, page: Page) -> list[Job]:
    """This caller's jobs of a kind that stand on a page, and the first of the next page if there is one."""
    if unknown := sorted(set(request.query_params) - {"after", "limit", "order"}):
        raise bad(f"{unknown[0]!r} is not asked here: after, limit and order are.", unknown[0], "unknown_field")
    if page.after is not None:
        await own_job(request, page.after, kind)
    owner, newest = caller_of(request).name, page.order == "desc"
    return await run_in_threadpool(desk_of(request).jobs.listed, owner, after=page.after, limit=page.limit + 1,
                                   newest_first=newest, kind=kind)  # fmt: skip


def noted(request: Request, job: Job) -> Job:
    """The job, by whose name the audit log's line and the workers' lines are found together."""
    request.state.audit = {**request.state.audit, "job": job.id}
    return job


async def own_job(request: Request, job_id: str, kind: str) -> Job:
    """A job of this caller and kind; a 404 otherwise, whoever else may own it."""
    try:
        job = await run_in_threadpool(desk_of(request).jobs.of_id, job_id, caller_of(request).name)
        if job.kind != kind:
            raise KeyError(job_id)
    except KeyError as unknown:
        raise Problem(404, "not_found", f"there is no {kind} {job_id[:80]!r} of yours: it was deleted, or its "
                      "time was over.", param="id") from unknown  # fmt: skip
    return job
