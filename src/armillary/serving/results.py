"""A rollout as files of a job: film, thumbnail, sprite sheet, picture, sound, actions, and where it comes from."""

import io
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from armillary.embodiments import load_embodiment
from armillary.media import write_video
from armillary.records import Array, Rollout
from armillary.sampling.keep import actions_told
from armillary.serving.files import Files
from armillary.serving.fragments import fragment
from armillary.serving.heard import wav_bytes

TYPES = {  # of a job's files -> what they are called in an answer
    "video.mp4": "video/mp4",
    "image.png": "image/png",
    "sound.wav": "audio/wav",
    "thumbnail.webp": "image/webp",
    "look.webp": "image/webp",
    "spritesheet.jpg": "image/jpeg",
    "actions.json": "application/json",
    "provenance.json": "application/json",
}
THUMBNAIL_SIDE, CELL_SIDE, MOST_CELLS = 256, 96, 25


def keep_result(files: Files, prefix: str, rollout: Rollout, checkpoint: Path) -> dict[str, Any]:
    """Write what a rollout holds under ``prefix``; returns the job's result: files, actions, words, frames a second."""
    result: dict[str, Any] = {"files": {}, "fps": rollout.fps}

    def keep(name: str, data: bytes) -> None:
        files.write(f"{prefix}/{name}", data)
        result["files"][name] = f"{prefix}/{name}"

    if rollout.video is not None:
        result["frames"] = len(rollout.video)
        if len(rollout.video) == 1:
            keep("image.png", encoded(rollout.video[0], "PNG"))
        else:
            keep("video.mp4", film_bytes(rollout.video, rollout.fps, rollout.sound))
            keep("spritesheet.jpg", encoded(sprites(rollout.video), "JPEG"))
        keep("thumbnail.webp", encoded(small(rollout.video[0], THUMBNAIL_SIDE), "WEBP"))
    if rollout.sound is not None:
        keep("sound.wav", wav_bytes(rollout.sound))
    if rollout.actions is not None:
        told = actions_told(rollout)
        keep("actions.json", _json(told))
        result["action"] = action_of(rollout, told, checkpoint)
        result["frames"] = 1 + len(rollout.actions)
    if rollout.text is not None:
        result["text"] = rollout.text
    keep("provenance.json", _json({**rollout.provenance, "made_by": "a model: nothing of it was filmed"}))
    return result


def keep_piece(files: Files, prefix: str, film: Array, piece: Mapping[str, Any]) -> dict[str, str]:
    """The last ``piece["keep"]`` frames as a piece of a growing film, and what the next piece goes on from.

    That is the last frame, and the last ``piece["past"]`` ones below one another where that is more than one.
    """
    data = fragment(film[-piece["keep"] :], piece["fps"], start=piece["start"], number=piece["number"])
    made = {"chunk.m4s": data, "last.png": quick_png(film[-1])}
    if piece["past"] > 1:
        made["past.png"] = quick_png(np.concatenate(film[-piece["past"] :]))
    for name, one in made.items():
        files.write(f"{prefix}/{name}", one)
    return {name: f"{prefix}/{name}" for name in made}


def action_of(rollout: Rollout, told: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Actions as a job tells them at its top level: numbers in physical units, and what they mean."""
    body = load_embodiment(str(rollout.embodiment), checkpoint)
    rows = told["actions"]
    spec = {name: value for name, value in told.items() if name != "actions"}
    return {
        "data": rows,
        "shape": [len(rows), body.width],
        "dtype": "float32",
        "raw_action_dim": body.width,
        "domain_id": body.domain_id,
        "spec": spec,
    }


def film_bytes(film: Array, fps: float, sound: Array | None = None) -> bytes:
    """An MP4 of uint8 t h w 3, with 48 kHz stereo float32 2 s if given."""
    with tempfile.TemporaryDirectory(prefix="armillary-") as folder:
        return write_video(Path(folder) / "film.mp4", film, fps, sound).read_bytes()


def encoded(picture: Array, form: str) -> bytes:
    """uint8 h w 3 as PNG, JPEG or WebP."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        buffer, format=form, **({} if form == "PNG" else {"quality": 85})
    )
    return buffer.getvalue()


def in_form(png: bytes, form: str, quality: int | None) -> bytes:
    """A PNG of ours as png, jpeg or webp; ``quality`` 0 to 100."""
    if form == "png":
        return png
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        image.save(buffer, format=form.upper(), quality=85 if quality is None else quality)
    return buffer.getvalue()


def small(picture: Array, side: int) -> Array:
    """The picture with no side above ``side``."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((side, side))
    return np.asarray(image)


def preview(film: Array) -> bytes:
    """What is not finished yet: the middle of a film, as WebP."""
    return encoded(small(film[len(film) // 2], THUMBNAIL_SIDE), "WEBP")


def sprites(film: Array) -> Array:
    """At most 25 frames of a film, evenly spaced, as one square sheet, row by row."""
    count = min(len(film), MOST_CELLS)
    cells = [small(film[i], CELL_SIDE) for i in np.linspace(0, len(film) - 1, count).round().astype(int)]
    columns = math.ceil(math.sqrt(count))
    height, width = cells[0].shape[:2]
    sheet = np.zeros((math.ceil(count / columns) * height, columns * width, 3), np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = cell
    return sheet


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def quick_png(picture: Array) -> bytes:
    """uint8 h w 3 as PNG, compressed little: how frames travel between the two processes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
