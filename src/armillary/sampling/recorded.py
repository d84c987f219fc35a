"""A settled request as plain data: what travels with a rollout, and tells how to ask for it again.

Request  --recorded-->  {"mode": "policy", "seed": 7, ...}      pictures and noise as hashes
"""

from typing import TYPE_CHECKING, Any

from armillary.records import Array
from armillary.sampling.dialects import Walking
from armillary.sampling.pictures import fingerprint

if TYPE_CHECKING:
    from armillary.sampling.requests import Request


def recorded(request: "Request", actions: Array | None, walking: Walking | None) -> dict[str, Any]:
    """The request as plain data, with which it can be made again if the pictures are at hand."""
    record: dict[str, Any] = {"mode": request.mode.name, "seed": request.seed, "outputs": list(request.outputs)}
    record["prompt"] = request.prompt
    if request.negative_prompt is not None:
        record["negative_prompt"] = request.negative_prompt
    if walking is not None:
        record |= {"frames": request.frames, "size": list(request.size), "fps": request.fps}
        record |= {"steps": len(walking.schedule.stops), "guidance": request.guidance, "shift": walking.shift}
        record |= {"solver": walking.schedule.solver, "dialect": walking.dialect, **walking.shortcuts.record()}
    if request.embodiment is not None:
        record["embodiment"] = request.embodiment.name
    if actions is not None:
        record["actions"] = actions.tolist()
    if request.state is not None and request.embodiment is not None:
        record["state"] = request.embodiment.decode(request.state[None])[0].tolist()
    if request.sound:
        record["sound"] = True
    if request.hears is not None:
        record["sound"] = fingerprint(request.hears)
    if request.upsampling is not None:
        record |= request.upsampling.record()
    if (held := request.controlled) is not None:
        record["controls"] = {kind: fingerprint(film) for kind, film in held.films.items()}
        record["control_weights"] = dict(zip(held.films, held.weights, strict=True))
        record |= {"control_guidance": held.guidance, "stretch": held.stretch, "overlap": held.overlap}
    for name, array in (("film", request.film), ("source", request.source), ("last_image", request.last_image)):
        if array is not None:
            record[name] = fingerprint(array)
    for name, noise in request.latents.items():
        record[f"latents.{name}"] = fingerprint(noise)
    return record
