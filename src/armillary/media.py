"""Films, pictures and sound: what everybody reads and writes them with.

    film     uint8 t h w 3 (RGB), frames per second     MP4: H.264 yuv420p, sound as AAC
    picture  uint8 h w 3 (RGB)                          PNG, and whatever Pillow reads
    sound    float32 c s in [-1, 1], samples a second   WAV, 16 bit

Every file is written beside its place under another name and then moved, so that nobody ever sees half of one.
A file that cannot be read raises ``DataError`` with a sentence that says which and why.
"""

import os
import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

from armillary.errors import DataError
from armillary.records import SOUND_HZ

RATES = 1_000, 400_000  # samples a second of sound: beyond them a few bytes would be much sound, or much work
Film = UInt8[np.ndarray, "t h w 3"]
Picture = UInt8[np.ndarray, "h w 3"]


def read_video(path: str | Path, *, max_frames: int | None = None) -> tuple[Film, float]:
    """A film's frames and its frames per second; the first ``max_frames`` only, if given."""
    path = _existing(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path} has no picture stream: give a film.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            frames = []
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == max_frames:
                    break
    except (av.FFmpegError, OSError) as broken:
        raise DataError(f"{path} cannot be read as a film ({broken}): give an MP4 that plays elsewhere.") from broken
    if not frames:
        raise DataError(f"{path} holds no frames: give a film with at least one.")
    if fps <= 0:
        raise DataError(f"{path} does not say how many frames a second it has: write it anew with a frame rate.")
    return np.stack(frames), fps


def read_sound(path: str | Path) -> tuple[Float[np.ndarray, "c s"], int]:
    """A film's sound track, float32 c s, and its samples per second. ``DataError`` if it has none."""
    path = _existing(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DataError(f"{path} has no sound track: give a film with one.")
            stream = container.streams.audio[0]
            rate = int(stream.rate)
            resampler = av.AudioResampler(format="fltp", layout=stream.layout.name, rate=rate)
            chunks = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
    except (av.FFmpegError, OSError) as broken:
        raise DataError(f"{path} cannot be read as a film with sound ({broken}): give another file.") from broken
    return np.concatenate(chunks, axis=1).astype(np.float32), rate


def read_track(
    source: str | Path | BytesIO, *, longest: float = 600.0, form: str | None = None
) -> Float[np.ndarray, "2 s"]:
    """What is heard in a file (WAV, FLAC, MP3, Ogg, or a film with a sound track) as float32 2 s at 48 kHz.

    ``form``: the only container that is tried, by FFmpeg's name. ``DataError`` where nothing can be heard, or more than
    ``longest`` seconds, of which no more are decoded.
    """
    path = _existing(source) if isinstance(source, (str, Path)) else source
    name = path if isinstance(path, Path) else "the sound"
    try:
        with av.open(str(path) if isinstance(path, Path) else path, format=form) as container:
            if not container.streams.audio:
                raise DataError(f"{name} has no sound track: give a file with one.")
            stream = container.streams.audio[0]
            ears = "mono" if stream.channels == 1 else "stereo"  # one is heard by both, as loud as it is
            resampler = av.AudioResampler(format="fltp", layout=ears, rate=SOUND_HZ)
            chunks: list[NDArray[np.float32]] = []
            room = longest * SOUND_HZ
            for frame in chain(container.decode(stream), [None]):  # None: what is still held back
                if frame is not None and not RATES[0] <= frame.sample_rate <= RATES[1]:  # before it is brought to ours
                    raise DataError(
                        f"{name} says {frame.sample_rate} samples a second: write it anew with a usual rate."
                    )
                chunks += (parts := [part.to_ndarray() for part in resampler.resample(frame)])
                room -= sum(part.shape[1] for part in parts)
                if room < 0:
                    raise DataError(f"{name} lasts longer than {longest:g} s, the most that is heard: cut it first.")
    except DataError:
        raise
    except (av.FFmpegError, OSError, ValueError, AttributeError) as broken:  # of no known codec: no attributes
        raise DataError(f"{name} cannot be read as sound ({broken}): give WAV, FLAC, MP3 or Ogg.") from broken
    if not chunks:
        raise DataError(f"{name} holds no sound: give a file in which something can be heard.")
    return np.concatenate(chunks, axis=1).astype(np.float32).repeat(3 - len(chunks[0]), axis=0)


def write_video(
    path: str | Path, frames: np.ndarray, fps: float, sound: Float[np.ndarray, "2 s"] | None = None, *, crf: int = 18
) -> Path:
    """Write an MP4 of uint8 t h w 3 frames (h and w even), with 48 kHz stereo ``sound`` if given. Returns the path."""
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise DataError(f"frames are {frames.dtype} {frames.shape}: a film is uint8 t h w 3 with at least one frame.")
    if fps <= 0:
        raise DataError(f"fps={fps} is no frame rate: it must be above 0.")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise DataError(f"frames of {height}x{width} cannot be written as H.264: both sides must be even.")

    def write(temporary: Path) -> None:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"preset": "veryfast", "crf": str(crf)}
            track = None if sound is None else container.add_stream("aac", rate=SOUND_HZ, layout="stereo")
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode(None))
            if track is not None and sound is not None:
                piece = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(sound, dtype=np.float32), format="fltp", layout="stereo"
                )
                piece.sample_rate, piece.pts = SOUND_HZ, 0  # from where on what the codec puts before it is not heard
                container.mux(track.encode(piece))
                container.mux(track.encode(None))

    return write_whole(path, write)


def read_image(source: Any) -> Picture:
    """A picture as uint8 h w 3: from a path, a Pillow image, or an array (h w 3 or h w, uint8, or float in [0, 1])."""
    if isinstance(source, (str, Path)):
        path = _existing(source)
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as broken:
            raise DataError(f"{path} cannot be read as a picture ({broken}): give a PNG or JPEG.") from broken
    if isinstance(source, Image.Image):
        return np.asarray(source.convert("RGB"))
    array = np.asarray(source)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] != 3:
        raise DataError(f"a picture of shape {array.shape} is not h w 3: give height by width by red, green, blue.")
    if not array.size:
        raise DataError(f"a picture of shape {array.shape} is empty: give one with at least one row and one column.")
    if array.dtype == np.uint8:
        return array
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise DataError("a picture holds a number that is not finite: give uint8 0 to 255, or float in [0, 1].")
        if array.min() < 0 or array.max() > 1:
            raise DataError(f"a picture goes from {array.min():g} to {array.max():g}: floats must be in [0, 1], "
                            "or give uint8 0 to 255.")  # fmt: skip
        return np.round(array * 255).astype(np.uint8)
    raise DataError(f"a picture of {array.dtype} numbers is unclear: give uint8 0 to 255, or float in [0, 1].")


def write_image(path: str | Path, picture: Any) -> Path:
    """Write what ``read_image`` takes as a PNG. Returns the path."""
    image = Image.fromarray(read_image(picture))
    return write_whole(path, lambda temporary: image.save(temporary, format="PNG"))


def read_wav(path: str | Path | BytesIO) -> tuple[Float[np.ndarray, "c s"], int]:
    """Sound as float32 c s in [-1, 1], and its samples per second; from a path or an open file."""
    if isinstance(path, (str, Path)):
        path = _existing(path)
    try:
        with wave.open(str(path) if isinstance(path, Path) else path, "rb") as file:
            rate, channels, wide = file.getframerate(), file.getnchannels(), file.getsampwidth()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as broken:
        raise DataError(f"{path} cannot be read as WAV ({broken}): give PCM sound.") from broken
    if wide != 2:
        raise DataError(f"{path} has {8 * wide} bits a sample: give 16-bit PCM.")
    samples = np.frombuffer(raw, dtype="<i2").reshape(-1, channels).T
    return (samples / 32767.0).astype(np.float32), rate


def write_wav(path: str | Path, sound: Float[np.ndarray, "c s"], rate: int = SOUND_HZ) -> Path:
    """Write float c s in [-1, 1] (clipped) as 16-bit WAV. Returns the path."""
    sound = np.asarray(sound)
    if sound.ndim != 2 or not np.isfinite(sound).all():
        raise DataError(f"sound of shape {sound.shape} cannot be written: it must be channels by samples, all finite.")
    samples = np.round(np.clip(sound, -1, 1) * 32767).astype("<i2")

    def write(temporary: Path) -> None:
        with wave.open(str(temporary), "wb") as file:
            file.setnchannels(len(samples))
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.T.tobytes())

    return write_whole(path, write)


def contact_sheet(
    videos: Sequence[UInt8[np.ndarray, "_ _ _ 3"]], *, labels: Sequence[str] = (), columns: int = 8, gap: int = 4
) -> Picture:
    """Films as rows of one picture: ``columns`` frames of each, evenly spaced from first to last.

    ``labels`` stand above the rows. Films may differ in length and size; a still of one frame is repeated.
    """
    if not videos:
        raise DataError("a contact sheet of no films: give at least one.")
    if labels and len(labels) != len(videos):
        raise DataError(f"{len(labels)} labels for {len(videos)} films: give one each, or none.")
    rows = []
    for index, video in enumerate(videos):
        chosen = np.asarray(video)[np.linspace(0, len(video) - 1, columns).round().astype(int)]
        cells = [np.pad(frame, ((0, gap), (0, gap), (0, 0)), constant_values=255) for frame in chosen]
        row = np.concatenate(cells, axis=1)
        if labels:
            strip = Image.new("RGB", (row.shape[1], 14), "white")
            ImageDraw.Draw(strip).text((2, 1), labels[index], fill="black")
            row = np.concatenate([np.asarray(strip), row], axis=0)
        rows.append(row)
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded, axis=0)


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then move it there; on an error nothing is left behind."""
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"there is no folder {str(path.parent)!r}: make it before writing {path.name} there.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_array(path: str | Path, array: NDArray[Any]) -> Path:
    """Write one ``.npy`` file; it appears whole or not at all."""

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    return write_whole(path, write)


def _existing(path: str | Path) -> Path:
    if not str(path):
        raise DataError("the path is empty: give that of a file.")
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder: give a file in it.")
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}: check the path.")
    return path
