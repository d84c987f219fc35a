"""``/v1/videos``: films, dynamics and policies as jobs that survive, by OpenAI's names and vLLM-Omni's."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from armillary.errors import DataError
from armillary.modes import MODES, Mode, mode_named
from armillary.serving.desk import Desk, Wanted
from armillary.serving.forms import PICTURES, REFERENCES, SOUNDS, VideoBody, asked_of, from_form, parsed
from armillary.serving.held import FILES, held_of, input_name
from armillary.serving.inbound import Input, Kind, as_input
from armillary.serving.jobs import Job
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem, bad
from armillary.serving.results import TYPES
from armillary.serving.routes_service import (
    Page,
    caller_of,
    desk_of,
    form_body,
    json_body,
    noted,
    own_job,
    own_jobs,
    refuses,
    sends,
)

router = APIRouter()
KIND = "video"
VARIANTS = {"video": "video.mp4", "image": "image.png", "thumbnail": "thumbnail.webp", "spritesheet": "spritesheet.jpg",
            "sound": "sound.wav", "actions": "actions.json", "provenance": "provenance.json",
            "preview": "look.webp"}  # fmt: skip
_BODY = VideoBody.model_json_schema()
_TAKES = {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY},
                                                        "multipart/form-data": {"schema": _BODY}}}}  # fmt: skip
_REFUSES = refuses(400, 401, 404, 408, 409, 413, 415, 429, 503)


@router.post("/v1/videos", responses=_REFUSES, openapi_extra=_TAKES)
async def create(request: Request) -> JSONResponse:
    """Put a job on the table; JSON or multipart."""
    job = await _put(request, on_the_line=False)
    return JSONResponse(await told(desk_of(request), job))


@router.post("/v1/videos/sync", openapi_extra=_TAKES, response_class=Response,
             responses={**_REFUSES, **refuses(504), **sends(*TYPES.values())})  # fmt: skip
async def sync(request: Request) -> Response:
    """Wait for the film and send it; where the mode makes none, its actions as JSON. The job stays, with its files."""
    desk = desk_of(request)
    job = await desk.answer_to(request, await _put(request, on_the_line=True))
    files = job.result["files"]
    name = next(
        name for name in ("video.mp4", "image.png", "sound.wav", "actions.json", "provenance.json") if name in files
    )
    body = await run_in_threadpool(desk.files.read, files[name])
    return Response(body, media_type=TYPES[name], headers={"x-armillary-job": job.id})


async def _put(request: Request, *, on_the_line: bool) -> Job:
    desk, caller = desk_of(request), caller_of(request)
    if request.headers.get("content-type", "").startswith(("multipart/", "application/x-www-form")):
        fields, files, _ = await form_body(request)
        data = from_form(fields)
    else:
        data, files = await json_body(request), {}
    for name in files:
        if name not in (*PICTURES, *REFERENCES, *SOUNDS, *FILES):
            taken = ", ".join((*REFERENCES, *PICTURES, *SOUNDS, *FILES))
            raise bad(f"a file came as {name!r}: send files as {taken}.", name,
                      "unknown_field")  # fmt: skip
    body = parsed(VideoBody, data)
    desk.check_model(body.model)
    request.state.audit = {"user": body.user} if body.user else {}
    wanted = await wanted_of(desk, caller, body, files)
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= 255:
        raise bad("Idempotency-Key must have 1 to 255 characters.", "Idempotency-Key")
    seconds = body.deadline_seconds
    if on_the_line:
        seconds = min(seconds or desk.limits.deadline_seconds, desk.limits.deadline_seconds)
    job = await desk.imagine([wanted], caller, kind=KIND, deadline_seconds=seconds,
                             idempotency_key=None if on_the_line else key)  # fmt: skip
    return noted(request, job)


async def wanted_of(desk: Desk, caller: Caller, body: Any, files: Mapping[str, bytes]) -> Wanted:
    """The request that a body means: its pictures collected, its mode told by what is given."""
    mode, asked, called = asked_of(body)
    inputs = await _inputs(desk, caller, body, files)
    held = held_of(body, files)
    asked.update(held.asked)
    for kind, (field, reference) in held.shown.items():
        called[input_name(kind)] = field
        inputs[input_name(kind)] = as_input(await desk.bytes_of(reference, field, files, caller.name), field)
    if mode is None:
        told = {"last_image": "first-last-frame", "image": "image-to-video", "video": "video-to-video"}
        mode = (
            "sound-to-video"
            if {"sound", "image"} <= set(inputs)
            else next((told[name] for name in told if name in inputs), "text-to-video")
        )
        mode = "transfer" if held.asked or held.shown else mode
    found = desk.mode(mode, called.get("mode", "mode"))
    if found.name != "reason" and "prompt" not in asked and found.action == "none" and not found.sounds:
        raise bad(f"{found.name} lacks prompt: say what is to be seen.", "prompt", "missing_field")
    if (heard := inputs.get("sound")) is not None:
        _only_heard(found, heard.field, asked, called)
    seconds = asked.pop("seconds", None)
    if seconds is not None:
        if "frames" in asked:
            raise bad("seconds and num_frames both say how long: give one.", "seconds", "conflict")
        fps = asked.get("fps") or desk.defaults.fps
        asked["frames"], called["frames"] = 1 + 4 * max(1, round(seconds * fps / 4)), "seconds"
    if found.video == "given" and "frames" not in asked:
        called["frames"] = "video"
    return Wanted(mode=found.name, asked=asked, inputs=inputs, called=called)


def _only_heard(mode: Mode, field: str, asked: Mapping[str, Any], called: Mapping[str, str]) -> None:
    """A 400 where a sound is given to a mode that has no use for one, or one is to be made beside it."""
    if not mode.heeds_sound:
        able = " and ".join(one.name for one in MODES.values() if one.heeds_sound)
        raise bad(f"{field} has no use in {mode.name}: a sound is heard in {able}, which need a picture, too.", field)
    if "sound" in asked:
        raise bad(f"{called['sound']} says whether sound is to be made, but {field} gives it: send one of the two.",
                  called["sound"], "conflict")  # fmt: skip


async def _inputs(desk: Desk, caller: Caller, body: Any, files: Mapping[str, bytes]) -> dict[str, Input]:
    """Pictures, films and sounds by their names in ``Asked``."""
    kinds: dict[str, Kind | None] = {
        "image": "image",
        "last_image": "image",
        "video": "video",
        "image_reference": "image",
        "video_reference": "video",
        "input_reference": None,
        **dict.fromkeys(SOUNDS, "sound"),
    }
    found: dict[str, Input] = {}
    for field, kind in kinds.items():
        reference = body.model_dump()[field]
        if field not in files and (reference is None or isinstance(reference, bool)):  # whether there is to be sound
            continue
        if reference is not None and field in files:
            raise bad(f"{field} comes as a file and as text: send it once.", field, "conflict")
        one = as_input(await desk.bytes_of(reference, field, files, caller.name), field, kind)
        name = "last_image" if field == "last_image" else one.kind
        if name in found:
            raise bad(f"{field} and {found[name].field} both give the {name}: send one.", field, "conflict")
        found[name] = one
    return found


@router.get("/v1/videos", responses=refuses(400, 401, 404))
async def listed(request: Request, page: Annotated[Page, Depends()]) -> JSONResponse:
    """The caller's jobs, newest first."""
    return page.of([await told(desk_of(request), job) for job in await own_jobs(request, KIND, page)])


@router.get("/v1/videos/{video_id}", responses=refuses(400, 401, 404))
async def retrieve(video_id: str, request: Request) -> JSONResponse:
    """How far a job is, and what came of it."""
    job = await own_job(request, video_id, KIND)
    answer = JSONResponse(await told(desk_of(request), job))
    if not job.over:
        answer.headers["openai-poll-after-ms"] = "200" if job.status == "in_progress" else "500"
    return answer


@router.post("/v1/videos/{video_id}/cancel", responses=refuses(400, 401, 404))
async def cancel(video_id: str, request: Request) -> JSONResponse:
    """End a job; the model stops before its next evaluation."""
    desk = desk_of(request)
    await own_job(request, video_id, KIND)
    job = await run_in_threadpool(desk.jobs.cancel, video_id, caller_of(request).name)
    desk.bell.ring(job.id)
    return JSONResponse(await told(desk, job))


@router.delete("/v1/videos/{video_id}", responses=refuses(400, 401, 404))
async def delete(video_id: str, request: Request) -> JSONResponse:
    """Forget a job and its files; ends it first if it is not over."""
    desk = desk_of(request)
    job = await own_job(request, video_id, KIND)
    await run_in_threadpool(desk.forget, job)
    desk.bell.ring(job.id)
    return JSONResponse({"id": job.id, "object": "video.deleted", "deleted": True})


@router.get(
    "/v1/videos/{video_id}/content",
    response_class=Response,
    responses={**refuses(400, 401, 404), **sends(*TYPES.values())},
)
async def content(video_id: str, request: Request, variant: str = "video", number: int = Query(0, ge=0)) -> Response:
    """A completed job's video, image, thumbnail, spritesheet, sound, actions or provenance; a running one's preview."""
    desk = desk_of(request)
    job = await own_job(request, video_id, KIND)
    if variant not in VARIANTS:
        raise bad(f"variant={variant[:80]!r}: it must be one of {', '.join(VARIANTS)}.", "variant", "invalid_value")
    if variant == "preview" and "preview" in job.result:
        return await _sent(desk, job.result["preview"], "look.webp", "no-store")
    if job.status != "completed":
        raise Problem(404, "not_completed", f"the job is {job.status}: its files are there once it is completed.")
    made = job.result["all"]
    name = VARIANTS[variant]
    if number >= len(made) or name not in made[number]:
        there = [word for word, file in VARIANTS.items() if number < len(made) and file in made[number]]
        raise Problem(404, "no_such_variant", f"this job has no {variant}, but {', '.join(there) or 'fewer results'}.",
                      param="variant")  # fmt: skip
    return await _sent(desk, made[number][name], name, "private, max-age=3600")


async def _sent(desk: Desk, key: str, name: str, caching: str) -> Response:
    try:
        body = await run_in_threadpool(desk.files.read, key)
    except DataError as gone:
        raise Problem(404, "not_found", str(gone)) from gone
    return Response(body, media_type=TYPES[name], headers={"Cache-Control": caching})


async def told(desk: Desk, job: Job) -> dict[str, Any]:
    """A job as OpenAI tells a video, with what it cannot say beside."""
    ask = job.request["asks"][0]
    size = ask.get("size") or desk.defaults.size
    body = desk.bodies.get(ask.get("embodiment", ""))
    fps = ask.get("fps") or job.result.get("fps") or (body.rate_hz if body else desk.defaults.fps)
    usual = desk.usual_frames(mode_named(job.mode))
    frames = job.result.get("frames") or ask.get("frames") or (len(ask["actions"]) + 1 if ask.get("actions") else usual)
    status = "failed" if job.status == "cancelled" else job.status
    kept = job.expires_at or (job.completed_at and job.completed_at + desk.limits.keep_hours * 3600)
    found: dict[str, Any] = {
        "id": job.id,
        "object": "video",
        "model": desk.model,
        "status": status,
        "progress": job.progress,
        "created_at": int(job.created_at),
        "completed_at": int(job.completed_at) if job.completed_at and job.status == "completed" else None,
        "expires_at": int(kept) if kept else None,
        "seconds": f"{frames / fps:g}",
        "size": f"{size[1]}x{size[0]}",
        "prompt": ask.get("prompt"),
        "remixed_from_video_id": None,
        "error": {"code": job.error_code, "message": job.error_message} if job.error_code else None,
        "mode": job.mode,
        "variants": [word for word, name in VARIANTS.items() if name in job.result.get("files", {})],
        "preview": "preview" in job.result,
        "notice": job.result.get("notice"),
    }
    if "action" in job.result:
        found["action"] = job.result["action"]
    if "text" in job.result:
        found["text"] = job.result["text"]
    if not job.over:
        place, seconds = await run_in_threadpool(desk.jobs.ahead, job)
        found["queue_position"] = place
        found["expected_seconds"] = round(seconds, 2) if seconds else None
    return found
