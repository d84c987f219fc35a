"""Films in pieces: fragmented MP4 whose pieces, joined in order, are one film that a browser plays as it grows."""

import io
from fractions import Fraction

import av
import numpy as np

from armillary.records import Array

CRF = "20"


def fragment(film: Array, fps: float, *, start: int, number: int) -> bytes:
    """A piece of a film: uint8 t h w 3 (h and w even) from frame ``start`` of the whole on, the ``number``-th piece.

    Piece 0 begins with the head that all need; the others are one fragment each, placed in time by ``start``.
    """
    rate = Fraction(fps).limit_denominator(1001)
    buffer = io.BytesIO()
    flags = {"movflags": "frag_custom+empty_moov+default_base_moof", "fragment_index": str(number + 1)}
    with av.open(buffer, "w", format="mp4", options=flags) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = film.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "tune": "zerolatency", "crf": CRF, "bf": "0"}
        for index, picture in enumerate(film):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole = _placed(buffer.getvalue(), start / rate)
    wanted = {b"moof", b"mdat"} | ({b"ftyp", b"moov"} if number == 0 else set())
    return b"".join(box for kind, box in boxes(whole) if kind in wanted)


def _placed(data: bytes, seconds: Fraction) -> bytes:
    """The fragment with its decode time (``tfdt``) set, in the ticks of its own track (``mdhd``)."""
    head = data.index(b"mdhd") + 4
    ticks = int.from_bytes(data[head + (20 if data[head] == 1 else 12) :][:4], "big")
    mark = data.index(b"tfdt") + 4
    width = 8 if data[mark] == 1 else 4
    time = round(seconds * ticks).to_bytes(width, "big")
    return data[: mark + 4] + time + data[mark + 4 + width :]


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """The top boxes of an MP4: kind and bytes."""
    found, place = [], 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        size = len(data) - place if size == 0 else size
        found.append((data[place + 4 : place + 8], data[place : place + size]))
        place += max(size, 8)
    return found
