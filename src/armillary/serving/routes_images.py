"""``/v1/images`` and ``/v1/audio``: pictures and sound on the line, for the modes that the checkpoint has."""

import base64
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from armillary.serving.desk import Desk, Wanted
from armillary.serving.forms import SPELLINGS, ImageBody, parsed
from armillary.serving.inbound import Input, as_input
from armillary.serving.problems import bad
from armillary.serving.routes_service import caller_of, desk_of, form_body, json_body, refuses, takes_form

router = APIRouter()
_REFUSES = refuses(400, 401, 404, 408, 413, 415, 429, 503, 504)


@router.post(
    "/v1/images/generations",
    responses=_REFUSES,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {
        "schema": ImageBody.model_json_schema()}}}},
)  # fmt: skip
async def generations(request: Request) -> JSONResponse:
    """Pictures of a prompt, as base64 PNG."""
    body: ImageBody = parsed(ImageBody, await json_body(request))
    return await _pictures(request, "text-to-image", body, {})


@router.post("/v1/images/edits", responses=_REFUSES,
             openapi_extra=takes_form(image="binary", prompt="", size="", seed="", n=""))  # fmt: skip
async def edits(request: Request) -> JSONResponse:
    """A picture changed as the prompt says, where the checkpoint can do that."""
    desk = desk_of(request)
    mode = desk.mode("image-edit", "model").name
    fields, _, uploads = await form_body(request)
    sent = uploads.get("image", [])
    if len(sent) != 1 or set(uploads) != {"image"}:
        raise bad(f"files came as {sorted(uploads)}: send one picture as image.", "image")
    numbers: dict[str, Any] = dict(fields)
    return await _pictures(request, mode, parsed(ImageBody, numbers), {"image": as_input(sent[0], "image", "image")})


@router.post("/v1/audio/generate", responses=_REFUSES)
async def audio(request: Request) -> JSONResponse:
    """Sound of a prompt, where the checkpoint can make some; none of today's modes returns sound alone."""
    desk = desk_of(request)
    raise bad(f"{desk.model} makes no sound: /v1/models says what it can do.", "model", "unsupported_mode")


async def _pictures(request: Request, mode: str, body: ImageBody, inputs: dict[str, Input]) -> JSONResponse:
    desk, caller = desk_of(request), caller_of(request)
    desk.check_model(body.model)
    request.state.audit = {"user": body.user} if body.user else {}
    size = None if body.size in (None, "auto") else tuple(reversed([int(side) for side in str(body.size).split("x")]))
    given = {"prompt": body.prompt, "negative_prompt": body.negative_prompt, "size": size,
             "steps": body.num_inference_steps, "guidance": body.guidance_scale}  # fmt: skip
    asked = {name: value for name, value in given.items() if value is not None}
    called = {plain: name for name, plain in SPELLINGS.items() if name in ("num_inference_steps", "guidance_scale")}
    seed = body.seed if body.seed is not None else 0
    wanted = [Wanted(mode=mode, asked={**asked, "seed": seed + n}, inputs=inputs, called=called) for n in range(body.n)]
    job = await desk.imagine(wanted, caller, kind="image", hidden=True, deadline_seconds=desk.limits.deadline_seconds)
    job = await desk.answer(job)
    made = await run_in_threadpool(_read, desk, job.result["all"])
    await run_in_threadpool(desk.forget, job)
    told: dict[str, Any] = {"created": int(time.time()), "data": made, "output_format": "png"}
    if job.result.get("notice"):
        told["notice"] = job.result["notice"]
    return JSONResponse(told)


def _read(desk: Desk, made: list[dict[str, str]]) -> list[dict[str, Any]]:
    pictures = [base64.b64encode(desk.files.read(files["image.png"])).decode() for files in made]
    return [{"b64_json": picture, "url": None, "revised_prompt": None} for picture in pictures]
