"""Numbers and words of a request, each checked the same way wherever it is read."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.modes import Mode

MOST_FRAMES = 5000  # the longest film that stretches are strung together for


def words(given: Mapping[str, Any], name: str, default: str) -> str:
    """A text; ``RequestError`` for anything else."""
    value = given.get(name, default)
    if not isinstance(value, str):
        raise RequestError(f"{name} is {type(value).__name__}: give text.")
    return value


def prompt_of(mode: Mode, given: Mapping[str, Any], default: str) -> str:
    """The prompt; ``RequestError`` for one without words in a mode that has nothing else to go by.

    A policy looks at its picture, too, and some have learnt from recordings without words.
    """
    prompt = words(given, "prompt", default)
    if "prompt" in mode.needs and mode.action == "none" and not prompt.strip():
        raise RequestError(f"prompt={prompt[:60]!r} has no words, which {mode.name} goes by: say what is wanted.")
    return prompt


def number(
    given: Mapping[str, Any], name: str, default: float, *, most: float, above: float | None = None,
    least: float | None = None,
) -> float:  # fmt: skip
    """A finite number up to ``most``, more than ``above`` or from ``least`` (else -most) on; or ``RequestError``."""
    try:
        value = float(given.get(name, default))
    except (TypeError, ValueError):
        value = math.nan
    low = above if above is not None else -most if least is None else least
    if not math.isfinite(value) or value > most or value < low or (above is not None and value == above):
        span = f"above {low:g} and at most {most:g}" if above is not None else f"from {low:g} to {most:g}"
        raise RequestError(f"{name}={given.get(name)!r} is out of range: give a number {span}, such as {default:g}.")
    return value


def whole(given: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``, else ``RequestError``."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise RequestError(
            f"{name}={value!r} is no use: give a whole number from {least} to {most}, such as {default}."
        )
    return int(value)


def noise_of(mode: Mode, given: Mapping[str, Any], frames: int) -> Mapping[str, NDArray[np.float32]]:
    """The noise that a request brings, of each modality; ``RequestError`` for what is none, or fits no stretch."""
    latents = given.get("latents", {})
    if not isinstance(latents, Mapping) or not set(latents) <= {"video", "action", "sound"}:
        raise RequestError(
            "latents must name the noise of each modality: {'video': c t h w, 'action': t 64, 'sound': 64 t}, or some "
            "of them."
        )
    if "sound" in latents and mode.heeds_sound:
        raise RequestError(f"latents for sound have no use in {mode.name}, which finds none: leave them out.")
    if latents and frames > mode.frames:
        raise RequestError(f"latents fit one stretch of {mode.frames} frames, not {frames}: ask for fewer frames.")
    try:
        noise = {name: torch.as_tensor(numbers).detach().cpu().float().numpy() for name, numbers in latents.items()}
    except (TypeError, ValueError, RuntimeError) as broken:
        raise RequestError(f"latents are not numbers ({broken}): give tensors or arrays.") from broken
    if not all(np.isfinite(numbers).all() for numbers in noise.values()):
        raise RequestError("latents hold a number that is not finite: give noise.")
    return noise
