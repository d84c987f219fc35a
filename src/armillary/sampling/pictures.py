"""Pictures on their way into the model and out of it: any size in, the asked size through, uint8 out.

    any h w 3  --fit_picture-->  uint8 H W 3  --to_numbers-->  1 3 t H W in [-1, 1]
    b 3 t H W in [-1, 1]  --to_pixels-->  uint8 b t H W 3

A picture is enlarged or shrunk until it covers the asked size, then cut around its middle, as the published
pipeline does (cosmos3.md 9.6), so that nothing is stretched.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from armillary import media
from armillary.errors import DataError, RequestError
from armillary.records import Array

Film = UInt8[np.ndarray, "t h w 3"]
MOST_COVERING = 2**27  # pixels of a picture that covers what is asked for, before it is cut to that shape


def picture_from(source: Any, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The picture a request brought as path, Pillow image or array. ``RequestError`` names the field."""
    try:
        return media.read_image(source)
    except DataError as broken:
        raise RequestError(f"{name} cannot be used: {broken}") from broken


def film_from(source: Any, name: str, fps: float) -> Film:
    """The film a request brought: an array t h w 3 as it is, or a file, its frames picked at ``fps``."""
    if isinstance(source, (str, Path)):
        try:
            frames, rate = media.read_video(source)
        except DataError as broken:
            raise RequestError(f"{name} cannot be used: {broken}") from broken
        return at_rate(frames, rate, fps)
    film = np.asarray(source)
    if film.dtype != np.uint8 or film.ndim != 4 or film.shape[-1] != 3 or not len(film):
        raise RequestError(f"{name} is {film.dtype} {film.shape}: give a path to a film, or uint8 frames t h w 3.")
    if not film.size:
        raise RequestError(f"{name} is empty, {film.shape}: give frames with at least one row and one column.")
    return film


def at_rate(frames: Film, rate: float, fps: float) -> UInt8[np.ndarray, "n h w 3"]:
    """The frames shown nearest to every 1/fps seconds, from the first on."""
    wanted = np.minimum(np.rint(np.arange(count_at(len(frames), rate, fps)) * rate / fps).astype(int), len(frames) - 1)
    return frames[wanted]


def count_at(frames: int, rate: float, fps: float) -> int:
    """How many frames a film of so many has at another rate."""
    return max(1, math.floor((frames - 1) / rate * fps + 1e-6) + 1)


def fit_picture(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "y x 3"]:
    """Cover ``size`` (height, width) without stretching, then cut around the middle; bilinear with antialiasing.

    ``RequestError`` for a picture of so long a shape that next to nothing of it would be left.
    """
    height, width = size
    h, w = picture.shape[:2]
    if (h, w) == size:
        return picture
    scale = max(width / w, height / h)
    covering = (math.ceil(scale * h), math.ceil(scale * w))
    if covering[0] * covering[1] > MOST_COVERING:
        raise RequestError(
            f"a picture of {h}x{w} cannot be shown at {height}x{width}, since it would first be enlarged to "
            f"{covering[0]}x{covering[1]}: cut it to another shape."
        )
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
    pixels = functional.interpolate(pixels, size=covering, mode="bilinear", align_corners=False, antialias=True)
    top, left = round((covering[0] - height) / 2), round((covering[1] - width) / 2)
    cut = pixels[0, :, top : top + height, left : left + width]
    return cut.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def fit_film(film: Film, size: tuple[int, int]) -> UInt8[np.ndarray, "t y x 3"]:
    """``fit_picture`` for every frame."""
    return film if film.shape[1:3] == size else np.stack([fit_picture(frame, size) for frame in film])


def to_numbers(film: Film) -> Float[Tensor, "1 3 t h w"]:
    """Frames as the video tokenizer takes them, in [-1, 1]."""
    return torch.from_numpy(np.array(film)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0


def to_pixels(video: Float[Tensor, "b 3 t h w"]) -> UInt8[np.ndarray, "b t h w 3"]:
    """Frames as a viewer takes them; numbers beyond [-1, 1] are cut."""
    pixels = ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()


def fingerprint(array: Array) -> dict[str, Any]:
    """What stands for an array in a record: its shape, and the hash of its bytes."""
    array = np.ascontiguousarray(array)
    return {"shape": list(array.shape), "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
