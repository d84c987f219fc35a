"""Many episodes in one film: how frames are written for training, joined without loss, and found again by time.

    encode()    frames -> one MP4, lossless (H.264 in RGB) unless told otherwise
    join()      MP4s of one kind -> one MP4; packets are copied, not encoded again
    decode()    an MP4, a time and a count -> exactly those frames

At 128x128 the usual yuv420p halves the colour's resolution and keeps small coloured things at 33 dB only; lossless RGB
takes 0.7 to 6.5 kB a frame there and gives back the very frames. No B-frames: time stamps are in order. One
thread and no clock in the file: the same frames make the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image

from armillary.errors import DataError
from armillary.records import Array

GROUP = 8  # frames from one key frame to the next: what a random access decodes at most
_MUXER = {"movflags": "+faststart", "fflags": "+bitexact"}


@dataclass(frozen=True, kw_only=True)
class FilmInfo:
    """What a film's head says. ``frames`` is 0 where the head does not say."""

    codec: str
    pix_fmt: str
    height: int
    width: int
    fps: float
    frames: int
    seconds: float
    has_sound: bool


def encode(path: Path, frames: Array, fps: float, *, lossless: bool = True) -> None:
    """Write uint8 t h w 3 ``frames`` as an MP4. Not lossless: yuv444p, about 45 dB on small pictures."""
    height, width = frames.shape[1:3]
    with av.open(str(path), "w", format="mp4", options=_MUXER) as container:
        stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=_rate(fps))
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb24" if lossless else "yuv444p"
        stream.options = {
            "crf": "0" if lossless else "8",
            "preset": "veryfast",
            "bf": "0",
            "g": str(GROUP),
            "threads": "1",
        }
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def join(path: Path, parts: Sequence[Path]) -> list[tuple[float, float]]:
    """Copy the packets of ``parts`` one after the other into ``path``; from and to (seconds) of each part."""
    spans: list[tuple[float, float]] = []
    with av.open(str(path), "w", format="mp4", options=_MUXER) as out:
        target = None
        elapsed = Fraction(0)
        for part in parts:
            with av.open(str(part)) as container:
                source = container.streams.video[0]
                if target is None:
                    target = out.add_stream_from_template(source)
                length = Fraction(0)
                for packet in container.demux(source):
                    if packet.pts is None or packet.dts is None:
                        continue
                    base = packet.time_base
                    length = max(length, (packet.pts + packet.duration) * base)
                    shift = round(elapsed / base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = target
                    out.mux(packet)
                spans.append((float(elapsed), float(elapsed + length)))
                elapsed += length
    return spans


def film_info(path: Path) -> FilmInfo:
    """What the film's head says; ``DataError`` if it is no film."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        return FilmInfo(
            codec=stream.codec_context.name,
            pix_fmt=stream.codec_context.pix_fmt or "",
            height=stream.codec_context.height,
            width=stream.codec_context.width,
            fps=float(stream.average_rate or 0),
            frames=stream.frames,
            seconds=seconds,
            has_sound=bool(container.streams.audio),
        )


def decode(
    path: Path, start: float, count: int, fps: float, *, every: int = 1, size: tuple[int, int] | None = None
) -> Array:
    """The frames at ``start + i * every / fps`` seconds for i < ``count``: uint8 count h w 3.

    Each is the frame whose time stamp is nearest, at most half a frame away; ``DataError`` where there is none.
    ``size`` (height, width): shrink or enlarge each frame while decoding, with antialiasing.
    """
    found: list[Array] = []
    half = 0.5 / fps + 1e-4
    for time, frame in _frames_from(path, start - half):
        wanted = start + len(found) * every / fps
        if time > wanted + half:
            raise DataError(
                f"{path.name} has no frame at {wanted:.3f} s, the next is at {time:.3f} s: its time stamps must be "
                f"{1 / fps:.3f} s apart. Encode it again at a constant {fps:g} frames a second."
            )
        if time > wanted - half:
            found.append(_resized(frame.to_ndarray(format="rgb24"), size))
        if len(found) == count:
            return np.stack(found)
    raise DataError(
        f"{path.name} ends after {len(found)} of the {count} frames from {start:.3f} s on: the recording is cut short, "
        "or the episode's time stamps belong to another film."
    )


def decode_all(
    source: Path | BytesIO, name: str, *, size: tuple[int, int] | None = None
) -> tuple[Array, float]:  # fmt: skip
    """Every frame of a film (uint8 t h w 3) and how many there are a second; ``DataError`` names ``name``."""
    if isinstance(source, Path) and not source.is_file():
        raise DataError(f"there is no film {name!r}: copy it there, or take the row that names it out.")
    try:
        with av.open(source if not isinstance(source, Path) else str(source)) as container:
            if not container.streams.video:
                raise DataError(f"{name} holds no picture stream: give a film.")
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            frames = [_resized(frame.to_ndarray(format="rgb24"), size) for frame in container.decode(stream)]
    except (av.FFmpegError, OSError) as broken:
        raise DataError(f"{name} cannot be read as a film ({broken}): copy it again.") from broken
    if not frames or fps <= 0:
        raise DataError(f"{name} holds no frames, or no rate: give a film that plays elsewhere.")
    return np.stack(frames), fps


def _frames_from(path: Path, seconds: float) -> Iterator[tuple[float, "av.VideoFrame"]]:
    """(time in seconds, frame) from the last key frame before ``seconds`` on."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        if seconds > 0:
            container.seek(int(seconds / stream.time_base), stream=stream, backward=True)
        try:
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= seconds:
                    yield frame.time, frame
        except av.FFmpegError as broken:
            raise DataError(f"{path} breaks off while being decoded ({broken}): copy it again.") from broken


def _opened(path: Path) -> "av.container.InputContainer":
    if not path.is_file():
        raise DataError(f"there is no film {str(path)!r}: copy it there, or do without its camera.")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as broken:
        raise DataError(f"{path} cannot be read as a film ({broken}): copy it again.") from broken
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no picture stream: give a film.")
    return container


def _resized(frame: Array, size: tuple[int, int] | None) -> Array:
    if size is None or frame.shape[:2] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)
