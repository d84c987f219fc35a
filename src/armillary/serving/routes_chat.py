"""``/v1/chat/completions``: the reasoner behind OpenAI's door, whole or as it speaks."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from armillary.serving.desk import Desk
from armillary.serving.forms import parsed
from armillary.serving.inbound import as_input
from armillary.serving.jobs import Job, NewJob, new_id
from armillary.serving.keys import Caller
from armillary.serving.problems import of_job
from armillary.serving.routes_service import caller_of, desk_of, json_body, noted, refuses, sends
from armillary.serving.talk import Apart, ChatBody, film_of, manner_of, pieces_of, stops_of, unnested

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    responses={
        **refuses(400, 401, 404, 408, 413, 415, 429, 503, 504),
        **sends("application/json", "text/event-stream"),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {
        "schema": ChatBody.model_json_schema()}}}},
)  # fmt: skip
async def chat(request: Request) -> Response:
    """The reasoner's reply to turns with text, pictures and films."""
    desk, caller = desk_of(request), caller_of(request)
    body: ChatBody = parsed(ChatBody, unnested(await json_body(request)))
    request.state.audit = {"user": body.user} if body.user else {}
    job = noted(request, await put_chat(desk, caller, body))
    if body.stream:
        return StreamingResponse(_events(desk, job, body), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-store"})  # fmt: skip
    job = await desk.answer_to(request, job)
    thought, words = Apart(stops_of(body)).split(job.result["text"])
    message = {"role": "assistant", "content": words, "refusal": None}
    if thought:
        message["reasoning_content"] = thought
    choice = {"index": 0, "message": message, "finish_reason": job.result["finish_reason"], "logprobs": None}
    told = {**_head(desk, job, "chat.completion"), "choices": [choice], "usage": job.result["usage"],
            "system_fingerprint": _fingerprint(job)}  # fmt: skip
    await run_in_threadpool(desk.forget, job)
    return JSONResponse(told)


async def put_chat(desk: Desk, caller: Caller, body: ChatBody) -> Job:
    """A chat as a job on the table, its pictures beside."""
    desk.check_model(body.model)
    manner, stops = manner_of(body, desk.limits), stops_of(body)
    film = film_of(body)
    turns: list[dict[str, Any]] = []
    inputs: dict[str, bytes] = {}
    spoken: list[str | None] = []
    for role, kind, place, words in list(pieces_of(body, desk.limits)):
        number = int(place.split(".")[1])
        if number == len(turns):
            turns.append({"role": role, "content": []})
        if kind == "text":
            spoken.append(words)
            turns[-1]["content"].append({"type": "text", "text": words})
            continue
        data = await desk.bytes_of(words, place, {}, caller.name)
        key = f"{len(inputs)}.bin"
        inputs[key] = as_input(data, place, "image" if kind == "image" else "video").data
        told = {"input": key, "field": place}
        turns[-1]["content"].append({"type": kind, kind: told, **(film if kind == "video" else {})})
    await desk.judge(spoken)
    seconds = min(body.deadline_seconds or desk.limits.deadline_seconds, desk.limits.deadline_seconds)
    job_id = new_id()
    new = NewJob(
        id=job_id, owner=caller.name, kind="chat", mode="reason", batch_key=job_id, hidden=True,
        request={"messages": turns, "manner": manner, "stops": stops}, cost=0.01 * (1 + len(inputs)),
        priority=caller.priority, deadline=time.time() + seconds,
    )  # fmt: skip
    job = await run_in_threadpool(desk.put, new, inputs, caller)
    desk.when_put()
    return job


async def _events(desk: Desk, job: Job, body: ChatBody) -> AsyncIterator[str]:
    """The reply as server-sent events. A worker that dies and another that begins again are not noticed."""
    apart = Apart(stops_of(body))
    head = _head(desk, job, "chat.completion.chunk")
    usage = body.stream_options is not None and body.stream_options.include_usage
    begun = False
    try:
        with desk.bell.listening(job.id) as news:
            while True:
                over = job.over
                if over and job.status != "completed":
                    problem = of_job(job.error_code or "server_error", job.error_message or "it did not end well.")
                    yield f"data: {json.dumps(problem.envelope())}\n\n"
                    return
                text = job.result["text"] if over else await run_in_threadpool(desk.jobs.said, job)
                if not begun:
                    begun = True
                    yield _chunk(head, {"role": "assistant", "content": ""}, None, usage)
                thought, words = apart.news(text, over=over)
                if thought:
                    yield _chunk(head, {"reasoning_content": thought}, None, usage)
                if words:
                    yield _chunk(head, {"content": words}, None, usage)
                if over:
                    break
                await news()
                job = await desk.look(job.id)
        head["system_fingerprint"] = _fingerprint(job)
        yield _chunk(head, {}, job.result["finish_reason"], usage)
        if usage:
            yield f"data: {json.dumps({**head, 'choices': [], 'usage': job.result['usage']})}\n\n"
        yield "data: [DONE]\n\n"
        await run_in_threadpool(desk.forget, job)
    except (asyncio.CancelledError, GeneratorExit):
        desk.jobs.cancel(job.id, job.owner)
        raise


def _head(desk: Desk, job: Job, kind: str) -> dict[str, Any]:
    return {"id": job.id.replace("job_", "chatcmpl-"), "object": kind, "created": int(job.created_at),
            "model": desk.model}  # fmt: skip


def _fingerprint(job: Job) -> str:
    """By which weights it was said: the beginning of their hash, as every ``provenance`` has it whole."""
    return f"fp_{job.result['weights'][:16]}"


def _chunk(head: dict[str, Any], delta: dict[str, Any], ended: str | None, usage: bool) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": ended, "logprobs": None}
    told = {**head, "choices": [choice], **({"usage": None} if usage else {})}
    return f"data: {json.dumps(told)}\n\n"
