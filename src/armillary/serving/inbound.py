"""What strangers send, at the door: known by its first bytes, measured, and kept unopened for the worker."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

from armillary.serving.problems import Problem, bad
from armillary.serving.settings import Limits

Kind = Literal["image", "video", "sound"]
Strip = Literal["strip"]  # frames below one another, as one PNG: how a world's last frames travel, unchanged
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[\w.\"-]+)*)(;base64)?,", re.ASCII)
TAKEN = {"image": "PNG, JPEG or WebP", "video": "MP4 or WebM", "sound": "WAV, FLAC, Ogg, MP3, or a film with sound"}
SOUNDS = {
    "RIFF": "wav",
    "fLaC": "flac",
    "OggS": "ogg",
    "ID3": "mp3",
    "\xff\xfb": "mp3",
    "\xff\xfa": "mp3",
    "\xff\xf3": "mp3",
    "\xff\xf2": "mp3",
}


@dataclass(frozen=True, kw_only=True)
class Input:
    """A picture, a film or a sound as it came. ``field``: what the client called it."""

    kind: Kind | Strip
    data: bytes
    field: str


def sniff(data: bytes) -> Kind | None:
    """What the first bytes say: a picture, a film, a sound, or nothing that is taken."""
    if data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return "image"
    if data[4:8] == b"ftyp" or data.startswith(b"\x1aE\xdf\xa3"):
        return "video"
    return None if sound_form(data) is None else "sound"


def sound_form(data: bytes) -> str | None:
    """The container of a sound by its first bytes, as FFmpeg calls it; None for what is no sound."""
    if data[:4] == b"RIFF" and data[8:12] != b"WAVE":
        return None
    return next((form for begins, form in SOUNDS.items() if data.startswith(begins.encode("latin-1"))), None)


def as_input(data: bytes, field: str, kind: Kind | None = None, *, any_kind: bool = False) -> Input:
    """Bytes as an input; a 400 unless they are of the wanted kind: picture, film, or (``any_kind``) sound."""
    found = sniff(data)
    if kind == "sound" and found == "video":  # its sound track
        found = "sound"
    if found is None or (found != kind if kind is not None else found == "sound" and not any_kind):
        able: tuple[Kind, ...] = (kind,) if kind else ("image", "video", "sound") if any_kind else ("image", "video")
        wanted = ", ".join(TAKEN[one] for one in able)
        begins = data[:8].hex(" ") or "nothing"
        raise bad(f"{field} begins with {begins}, which is no file that is taken: send {wanted}.", field, "bad_media")
    return Input(kind=found, data=data, field=field)


def from_data_url(url: str, field: str, limits: Limits) -> bytes:
    """The bytes of a ``data:`` URL, which must be base64."""
    head = _DATA.match(url[:256])
    if head is None or not head.group(3):
        raise bad(f"{field} is no data URL in base64: write data:image/png;base64, and the bytes.", field, "bad_media")
    body = url[head.end() :]
    if len(body) * 3 // 4 > limits.body_mb * 2**20:
        raise Problem(413, "too_large", f"{field} is larger than {limits.body_mb} MiB: send a smaller file.",
                      param=field)  # fmt: skip
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise bad(f"{field} is not base64 ({broken}): encode the bytes again.", field, "bad_media") from broken
