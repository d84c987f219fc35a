"""``/v1/images``: pictures of a prompt, and pictures changed as a prompt says, on the line."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from armillary.serving.desk import Desk, Wanted
from armillary.serving.forms import SPELLINGS, EditBody, ImageBody, from_form, parsed
from armillary.serving.inbound import Input, as_input
from armillary.serving.problems import bad
from armillary.serving.results import in_form
from armillary.serving.routes_service import (
    caller_of,
    desk_of,
    form_body,
    json_body,
    noted,
    refuses,
    takes_form,
)

router = APIRouter()
_REFUSES = refuses(400, 401, 404, 408, 413, 415, 429, 503, 504)
_FIELDS = dict.fromkeys(EditBody.model_fields, "")


def _takes(body: type[ImageBody]) -> dict[str, Any]:
    return {"application/json": {"schema": body.model_json_schema()}}


@router.post("/v1/images/generations", responses=_REFUSES,
             openapi_extra={"requestBody": {"required": True, "content": _takes(ImageBody)}})  # fmt: skip
async def generations(request: Request) -> JSONResponse:
    """Pictures of a prompt, as base64."""
    body: ImageBody = parsed(ImageBody, await json_body(request))
    return await _pictures(request, "text-to-image", body, {})


@router.post("/v1/images/edits", responses=_REFUSES, openapi_extra={"requestBody": {"required": True, "content": {
    **_takes(EditBody), **takes_form(**{**_FIELDS, "image": "binary"})["requestBody"]["content"]}}})  # fmt: skip
async def edits(request: Request) -> JSONResponse:
    """A picture changed as the prompt says, where the checkpoint can do that; JSON or multipart."""
    desk = desk_of(request)
    mode = desk.mode("image-edit", "model").name
    uploads: Mapping[str, list[bytes]] = {}
    if request.headers.get("content-type", "").startswith(("multipart/", "application/x-www-form")):
        fields, _, uploads = await form_body(request)
        data = from_form(fields)
    else:
        data = await json_body(request)
    if other := sorted(set(uploads) - {"image", "images"}):
        raise bad(f"a file came as {other[0]!r}: send one picture as image.", other[0], "unknown_field")
    body: EditBody = parsed(EditBody, data)
    sent = [(name, one) for name, files in uploads.items() for one in files]
    named = body.named()
    if len(sent) + len(named) != 1:
        came = ", ".join(name for name, _ in (*sent, *named)) or "none"
        raise bad(f"pictures came as {came}: send one, as image.", "image")
    field, reference = (sent or named)[0]
    data_of = reference if isinstance(reference, bytes) else await desk.bytes_of(
        reference, field, {}, caller_of(request).name)  # fmt: skip
    return await _pictures(request, mode, body, {"image": as_input(data_of, field, "image")})


async def _pictures(request: Request, mode: str, body: ImageBody, inputs: dict[str, Input]) -> JSONResponse:
    desk, caller = desk_of(request), caller_of(request)
    desk.check_model(body.model)
    form = {None: "png", "jpg": "jpeg"}.get(body.output_format, body.output_format or "png")
    if form == "png" and body.output_compression is not None:
        raise bad("output_compression has no effect on png: leave it out, or take jpeg or webp.",
                  "output_compression", "unsupported")  # fmt: skip
    request.state.audit = {"user": body.user} if body.user else {}
    size = None if body.size in (None, "auto") else tuple(reversed([int(side) for side in str(body.size).split("x")]))
    given = {"prompt": body.prompt, "negative_prompt": body.negative_prompt, "size": size,
             "upsample": body.upsample, "steps": body.num_inference_steps, "guidance": body.guidance_scale}  # fmt: skip
    asked = {name: value for name, value in given.items() if value is not None}
    called = {plain: name for name, plain in SPELLINGS.items() if name in ("num_inference_steps", "guidance_scale")}
    seed = body.seed if body.seed is not None else 0
    wanted = [Wanted(mode=mode, asked={**asked, "seed": seed + n}, inputs=inputs, called=called) for n in range(body.n)]
    job = await desk.imagine(wanted, caller, kind="image", hidden=True, deadline_seconds=desk.limits.deadline_seconds)
    job = await desk.answer_to(request, noted(request, job))
    made = await run_in_threadpool(_read, desk, job.result["all"], form, body.output_compression)
    await run_in_threadpool(desk.forget, job)
    told: dict[str, Any] = {"created": int(time.time()), "data": made, "output_format": form}
    if size is not None:
        told["size"] = body.size
    if job.result.get("notice"):
        told["notice"] = job.result["notice"]
    return JSONResponse(told)


def _read(desk: Desk, made: list[dict[str, str]], form: str, quality: int | None) -> list[dict[str, Any]]:
    """Each picture in its form, with where it comes from beside."""
    found = []
    for files in made:
        picture = in_form(desk.files.read(files["image.png"]), form, quality)
        told = json.loads(desk.files.read(files["provenance.json"]))
        found.append({"b64_json": base64.b64encode(picture).decode(), "url": None,
                      "revised_prompt": told["request"].get("upsampled_prompt"), "provenance": told})  # fmt: skip
    return found
