"""Opening what strangers sent, in the worker only: sizes are read from headers and refused before anything grows."""

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from armillary.errors import DataError, RequestError
from armillary.media import read_track
from armillary.modes import Mode
from armillary.records import Array
from armillary.sampling.pictures import at_rate, count_at
from armillary.sampling.requests import Request
from armillary.serving.inbound import TAKEN, sound_form
from armillary.serving.memory import available_bytes
from armillary.serving.settings import Limits

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; ours is looked at instead, before any pixel is made
COPIES = 6  # bytes a pixel: three colours, twice while the frames are put together
_CONTAINERS = {"mp4": "mov", "webm": "matroska"}  # named, so that no other reader (playlists!) is ever tried


class TooLargeError(RequestError):
    """A picture or a film that is more than one may be."""

    code = "too_large"


def open_picture(data: bytes, field: str, limits: Limits) -> Array:
    """uint8 h w 3 of PNG, JPEG or WebP bytes; ``RequestError`` names the field."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            width, height = image.size
            if width * height > limits.image_pixels:
                raise TooLargeError(
                    f"{field} is {width}x{height}, more than {limits.image_pixels} pixels: send a smaller picture."
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as broken:
        if isinstance(broken, RequestError):
            raise
        raise RequestError(f"{field} cannot be read as a picture: send {TAKEN['image']}.") from broken


def open_film(
    data: bytes, field: str, limits: Limits, *, fps: float | None = None, most: int | None = None
) -> tuple[Array, float]:
    """uint8 t h w 3 and frames a second of MP4 or WebM bytes; ``RequestError`` names the field.

    ``fps``: its frames are picked at this rate; ``most``: how many these may be. No more is decoded than may be.
    """
    try:
        with av.open(io.BytesIO(data), format=_film_form(data)) as container:
            if not container.streams.video:
                raise RequestError(f"{field} has no picture stream: send a film.")
            film, rate = _frames(container, field, limits, fps, most)
            return (film, rate) if fps is None else (at_rate(film, rate, fps), fps)
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as broken:
        if isinstance(broken, RequestError):
            raise
        raise RequestError(f"{field} cannot be read as a film: send {TAKEN['video']} that plays elsewhere.") from broken


def _film_form(data: bytes) -> str:
    return _CONTAINERS["webm" if data.startswith(b"\x1aE\xdf\xa3") else "mp4"]


def open_sound(data: bytes, field: str, limits: Limits) -> Array:
    """float32 2 s at 48 kHz of a sound, or of a film's sound track; ``RequestError`` names the field."""
    try:
        return read_track(io.BytesIO(data), longest=limits.sound_seconds, form=sound_form(data) or _film_form(data))
    except (DataError, OverflowError, MemoryError) as broken:
        words = f"cannot be read as a sound: send {TAKEN['sound']} that plays elsewhere."
        if isinstance(broken, DataError) and broken.__cause__ is None:  # our own words, and not FFmpeg's
            words = str(broken).removeprefix("the sound ")
        wrong = TooLargeError if words.startswith("lasts longer") else RequestError
        raise wrong(f"{field} {words}") from broken


def check_heard(request: Request, limits: Limits) -> None:
    """``TooLargeError`` where a sound is longer than a film may be that is made to go with all of it."""
    most = most_made(request.mode, request.size, request.fps, limits)
    if "sound" in request.mode.needs and request.frames > most:
        raise TooLargeError(
            f"sound lasts for {request.frames} frames at {request.fps:g} a second: at most {most} of this size are "
            "made here. Send a shorter one, or say with num_frames how many."
        )


def most_made(mode: Mode, size: Sequence[int], fps: float, limits: Limits) -> int:
    """The most frames of a film that is made, height and width as in ``size``."""
    most = min(limits.out_frames, limits.out_pixels // (size[0] * size[1]))
    return min(most, int(limits.sound_seconds * fps)) if mode.sounds else most


def _frames(container: Any, field: str, limits: Limits, fps: float | None, most: int | None) -> tuple[Array, float]:
    stream = container.streams.video[0]
    stream.thread_type = "NONE"
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate <= 1000:
        raise RequestError(f"{field} says {rate:g} frames a second: write it anew with a frame rate.")
    _measure(stream.width * stream.height, 1, field, limits)
    frames: list[Array] = []
    for frame in container.decode(stream):
        picked = len(frames) + 1 if fps is None else count_at(len(frames) + 1, rate, fps)
        if most is not None and picked > most:
            raise TooLargeError(
                f"{field} has more than {most} frames at {fps or rate:g} a second, the most that are made of one here: "
                "send a shorter film, or ask for a smaller size or fewer frames a second (under controls, say with "
                "num_frames how many)."
            )
        called = f"{field}, shown at {fps:g} frames a second," if picked > len(frames) + 1 else field
        _measure(frame.width * frame.height, max(picked, len(frames) + 1), called, limits)
        frames.append(frame.to_ndarray(format="rgb24"))
        if frames[-1].shape != frames[0].shape:
            raise RequestError(f"{field} changes its size on the way: send a film of one size.")
    if not frames:
        raise RequestError(f"{field} holds no frames: send a film with at least one.")
    return np.stack(frames), rate


def _measure(pixels: int, frames: int, field: str, limits: Limits) -> None:
    if frames > limits.film_frames or pixels * frames > limits.film_pixels or pixels > limits.image_pixels:
        raise TooLargeError(
            f"{field} has more than {limits.film_frames} frames or {limits.film_pixels} pixels in all: send a shorter "
            "or smaller film."
        )
    free = available_bytes()
    if free is not None and COPIES * pixels * frames > free:
        raise RequestError(f"{field} has {frames} frames or more of {pixels} pixels, for which there is no memory now: "
                           "send a smaller film, or ask later.")  # fmt: skip
