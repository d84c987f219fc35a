"""``/v1/audio/generate``: what a prompt sounds like. The model hears what it sees: a film is made, too."""

import math
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from armillary.serving.desk import Wanted
from armillary.serving.forms import SoundBody, parsed
from armillary.serving.heard import FORMS, sound_file
from armillary.serving.problems import bad
from armillary.serving.routes_service import caller_of, desk_of, json_body, noted, refuses, sends

router = APIRouter()
KIND = "video"  # kept among the films: /v1/videos/ID/content?variant=provenance says how it was made


@router.post(
    "/v1/audio/generate",
    response_class=Response,
    responses={**refuses(400, 401, 404, 408, 413, 415, 429, 503, 504), **sends(*(kind[0] for kind in FORMS.values()))},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {
        "schema": SoundBody.model_json_schema()}}}},
)  # fmt: skip
async def generate(request: Request) -> Response:
    """Sound of a prompt, where the checkpoint can make some; the film that is made beside it is not sent."""
    desk, caller = desk_of(request), caller_of(request)
    body: SoundBody = parsed(SoundBody, await json_body(request))
    desk.check_model(body.model)
    if not desk.heard:
        raise bad(f"{desk.model} makes no sound: /v1/models says what it can do.", "model", "unsupported_mode")
    request.state.audit = {"user": body.user} if body.user else {}
    given = {"negative_prompt": body.negative_prompt, "upsample": body.upsample, "steps": body.num_inference_steps,
             "guidance": body.guidance_scale, "seed": body.seed}  # fmt: skip
    fps = desk.defaults.fps
    seconds = body.audio_length or desk.defaults.frames / fps
    frames = 1 + 4 * max(1, math.ceil((seconds * fps - 1) / 4 - 1e-9))
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    asked |= {"prompt": body.input, "sound": True, "outputs": ["sound"], "frames": frames}
    called = {"prompt": "input", "steps": "num_inference_steps", "guidance": "guidance_scale",
              "frames": "audio_length"}  # fmt: skip
    wanted = Wanted(mode="text-to-video", asked=asked, inputs={}, called=called)
    job = await desk.imagine([wanted], caller, kind=KIND, deadline_seconds=desk.limits.deadline_seconds)
    job = await desk.answer_to(request, noted(request, job))
    wav = await run_in_threadpool(desk.files.read, job.result["files"]["sound.wav"])
    data = await run_in_threadpool(sound_file, wav, body.response_format, seconds)
    return Response(data, media_type=FORMS[body.response_format][0], headers={"x-armillary-job": job.id})
