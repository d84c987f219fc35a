"""Robots: the model as a policy over a websocket, by openpi's protocol and by vLLM-Omni's dialect of it.

    ws://HOST:PORT/                              openpi: metadata, then observation -> {"actions", "server_timing"}
    ws://HOST:PORT/v1/realtime/robot/openpi      vLLM-Omni: configuration, then observation -> float32 h d

Options stand in the URL: ?embodiment=tabletop&steps=4&horizon=16. Several robots that ask at once are one batch.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket
from starlette.concurrency import run_in_threadpool

from armillary.errors import ArmillaryError, RequestError
from armillary.modes import MODES
from armillary.serving.desk import Desk, Wanted
from armillary.serving.inbound import Input
from armillary.serving.keys import Caller
from armillary.serving.problems import Problem
from armillary.serving.results import quick_png
from armillary.serving.sockets import admit, counted
from armillary.serving.wire import pack, unpack

router = APIRouter()
SEEN = ("observation/image", "observation/exterior_image_1_left", "image")  # the first of these is what the model sees
HEARD = ("prompt", "task")
UNSEEN = {  # other robots' words: taken, and said in the metadata to have no effect on this model
    "observation/wrist_image", "observation/wrist_image_left", "observation/exterior_image_2_left", "observation/state",
    "observation/joint_position", "observation/gripper_position", "observation/cartesian_position", "state",
}  # fmt: skip
CONTROL = {"endpoint", "session_id", "seed"}
IDLE_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a connection's chunks are made."""

    embodiment: str
    steps: int
    horizon: int


@router.websocket("/")
async def openpi(socket: WebSocket) -> None:
    """openpi's protocol: errors are one text frame, then the end."""
    await _serve(socket, dialect="openpi")


@router.websocket("/v1/realtime/robot/openpi")
async def vllm_omni(socket: WebSocket) -> None:
    """vLLM-Omni's dialect: a bare array comes back, and errors are messages."""
    await _serve(socket, dialect="vllm-omni")


async def _serve(socket: WebSocket, *, dialect: str) -> None:
    async def talk(desk: Desk, caller: Caller) -> None:
        plan = plan_of(desk, dict(socket.query_params))
        await socket.send_bytes(pack(metadata(desk, plan, dialect)))
        await _answer_all(desk, socket, caller, plan, dialect)

    await admit(socket, "robot", talk)


def plan_of(desk: Desk, options: Mapping[str, str]) -> Plan:
    """The options of the URL; a ``Problem`` for one that is unknown or cannot be."""
    mode = MODES["policy"]
    known = {"embodiment", "steps", "horizon", "key"}
    if unknown := sorted(set(options) - known):
        raise Problem(400, "unknown_field", f"{unknown[0][:80]!r} is no option: there are embodiment, steps, horizon.",
                      param=unknown[0][:80])  # fmt: skip
    body = options.get("embodiment", next(iter(desk.bodies), ""))
    numbers = {"steps": desk.steps(mode, body), "horizon": mode.frames - 1}
    for name, most in (("steps", desk.limits.steps), ("horizon", desk.limits.out_frames - 1)):
        word = options.get(name, str(numbers[name]))
        if not word.isascii() or not word.isdigit() or not 1 <= int(word[:9]) <= most:
            raise Problem(400, "invalid_value", f"{name}={word[:40]!r}: give 1 to {most}.", param=name)
        numbers[name] = int(word)
    if body not in desk.bodies:
        raise Problem(400, "unknown_embodiment", f"embodiment {body[:80]!r} is not one of {', '.join(desk.bodies)}.",
                      param="embodiment")  # fmt: skip
    if numbers["horizon"] % 4:
        raise Problem(
            400, "invalid_value", f"horizon={numbers['horizon']}: it must be a multiple of 4.", param="horizon"
        )
    return Plan(embodiment=body, steps=numbers["steps"], horizon=numbers["horizon"])


def metadata(desk: Desk, plan: Plan, dialect: str) -> dict[str, Any]:
    """The first message: what comes, in which units, and which keys have an effect."""
    body = desk.bodies[plan.embodiment]
    size = desk.defaults.size
    spec = {name: value for name, value in body.to_dict().items() if name != "normaliser"}
    told = {
        "model": desk.model, "embodiment": body.name, "action_spec": spec, "action_dim": body.width,
        "action_horizon": plan.horizon, "rate_hz": body.rate_hz, "steps": plan.steps,
        "image_keys": list(SEEN), "prompt_keys": list(HEARD), "keys_without_effect": sorted(UNSEEN),
        "notice": desk.defaults.untrained or None,
    }  # fmt: skip
    if dialect == "openpi":
        return told
    return {
        "type": "policy_server_config", **told, "image_resolution": [size[0], size[1]], "n_external_cameras": 1,
        "needs_wrist_camera": False, "needs_stereo_camera": False, "needs_session_id": False,
        "action_space": "physical units, see action_spec", "max_action_horizon": desk.limits.out_frames - 1,
        "default_action_horizon": plan.horizon, "action_keys": ["actions"], "history_length": 1,
        "action_chunk_size": plan.horizon, "raw_action_dim": body.width, "conditioning_fps": body.rate_hz,
        "deterministic_seed": True,
    }  # fmt: skip


async def _answer_all(desk: Desk, socket: WebSocket, caller: Caller, plan: Plan, dialect: str) -> None:
    seed, asked, last_ms, session = 0, 0, 0.0, "default"
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), IDLE_SECONDS)
        except TimeoutError as silent:
            raise Problem(408, "too_slow", f"nothing was asked for {IDLE_SECONDS:g} s: connect again.") from silent
        if message["type"] == "websocket.disconnect":
            return
        begun = time.perf_counter()
        try:
            observation = observed(message)
            if observation.get("endpoint", "infer") == "reset" or observation.get("session_id", session) != session:
                session, asked = str(observation.get("session_id", "default")), 0
            seed = whole(observation, "seed", seed)
            if observation.get("endpoint", "infer") == "reset":
                await socket.send_bytes(pack({"status": "reset successful"}))
                continue
            actions, provenance = await chunk(desk, caller, plan, observation, seed + asked)
        except (Problem, ArmillaryError) as wrong:
            if dialect == "openpi":
                raise
            await socket.send_bytes(pack({**counted(desk, wrong).envelope()["error"], "type": "error"}))
            continue
        asked += 1
        infer_ms = (time.perf_counter() - begun) * 1e3
        timing = {"infer_ms": infer_ms, **({"prev_total_ms": last_ms} if last_ms else {})}
        told = {"actions": actions, "server_timing": timing, "provenance": provenance}
        await socket.send_bytes(pack(told if dialect == "openpi" else actions))
        last_ms = (time.perf_counter() - begun) * 1e3


def observed(message: Mapping[str, Any]) -> dict[str, Any]:
    """An observation with known keys; ``RequestError`` otherwise."""
    if message.get("bytes") is None:
        raise RequestError("a text frame came: observations are MessagePack in binary frames.")
    found = unpack(message["bytes"])
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise RequestError("the message is no map of names: send an observation.")
    if unknown := sorted(set(found) - {*SEEN, *HEARD, *UNSEEN, *CONTROL}):
        raise RequestError(f"{unknown[0][:80]!r} is no key of an observation: send {', '.join((*SEEN, *HEARD))}.")
    if found.get("endpoint", "infer") not in ("infer", "reset"):
        raise RequestError(f"endpoint={str(found['endpoint'])[:40]!r}: it must be infer or reset.")
    return found


def whole(observation: Mapping[str, Any], name: str, default: int) -> int:
    """A whole number of an observation."""
    value = observation.get(name, default)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62:
        raise RequestError(f"{name}={str(value)[:40]} must be a whole number from 0 on.")
    return value


async def chunk(
    desk: Desk, caller: Caller, plan: Plan, observation: Mapping[str, Any], seed: int
) -> tuple[np.ndarray, Mapping[str, Any] | None]:
    """Actions h d in physical units, float32 and finite, and where they come from; a ``Problem`` at the deadline."""
    seen = [name for name in SEEN if name in observation]
    heard = [name for name in HEARD if name in observation]
    if not seen or not heard:
        raise RequestError(
            f"the observation lacks {'a picture' if not seen else 'a prompt'}: send {SEEN[0]} and prompt."
        )
    prompt = observation[heard[0]]
    if not isinstance(prompt, str):
        raise RequestError(f"{heard[0]} is {type(prompt).__name__}: send text.")
    picture = as_picture(observation[seen[0]], seen[0], desk.limits.image_pixels)
    data = await run_in_threadpool(quick_png, picture)
    wanted = Wanted(
        mode="policy",
        asked={"prompt": prompt, "embodiment": plan.embodiment, "steps": plan.steps, "frames": plan.horizon + 1,
               "seed": seed, "outputs": ["actions"]},
        inputs={"image": Input(kind="image", data=data, field=seen[0])},
        called={},
    )  # fmt: skip
    job = await desk.imagine([wanted], caller, kind="robot", hidden=True, deadline_seconds=desk.limits.policy_seconds)
    job = await desk.answer(job)
    actions = np.asarray(job.result["action"]["data"], np.float32)
    provenance = await run_in_threadpool(desk.taken, job)
    if not np.isfinite(actions).all():
        raise Problem(500, "server_error", "the model's actions are not finite numbers: they are not sent.")
    return actions, provenance


def as_picture(value: Any, name: str, most: int) -> np.ndarray:
    """uint8 h w 3 of what a robot sends: uint8, or floats in [0, 1]; also 3 h w, which some clients send."""
    if not isinstance(value, np.ndarray) or value.ndim != 3:
        raise RequestError(f"{name} is {type(value).__name__}: send a picture, uint8 h w 3.")
    if value.shape[-1] != 3 and value.shape[0] == 3:
        value = np.moveaxis(value, 0, -1)
    if value.shape[-1] != 3 or not value.size or value.shape[0] * value.shape[1] > most:
        raise RequestError(f"{name} has shape {value.shape}: send h w 3 with at most {most} pixels.")
    if value.dtype.kind == "f":
        if not np.isfinite(value).all() or value.min() < 0 or value.max() > 1:
            raise RequestError(f"{name} holds floats outside [0, 1]: send uint8 0 to 255, or floats in [0, 1].")
        return np.round(value * 255).astype(np.uint8)
    if value.dtype != np.uint8:
        raise RequestError(f"{name} is {value.dtype}: send uint8 0 to 255.")
    return value
