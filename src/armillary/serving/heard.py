"""Sound as files: WAV as the worker keeps it, and FLAC, MP3, Opus, AAC or bare samples made of it.

float32 2 s at 48 kHz  --wav_bytes-->  WAV  --sound_file-->  any of FORMS, cut to so many seconds
"""

import io
import tempfile
from pathlib import Path

import av
import numpy as np

from armillary.media import read_wav, write_wav
from armillary.records import SOUND_HZ, Array

FORMS = {  # name -> content type, container, codec, how samples lie
    "wav": ("audio/wav", "", "", ""),
    "pcm": ("audio/pcm", "", "", ""),
    "flac": ("audio/flac", "flac", "flac", "s16"),
    "mp3": ("audio/mpeg", "mp3", "libmp3lame", "fltp"),
    "opus": ("audio/ogg", "ogg", "libopus", "flt"),
    "aac": ("audio/aac", "adts", "aac", "fltp"),
}


def wav_bytes(sound: Array) -> bytes:
    """48 kHz float32 2 s as 16-bit WAV."""
    with tempfile.TemporaryDirectory(prefix="armillary-") as folder:
        return write_wav(Path(folder) / "sound.wav", sound).read_bytes()


def sound_file(wav: bytes, form: str, seconds: float) -> bytes:
    """A WAV of ours in another of ``FORMS``, at most ``seconds`` of it; pcm is 16-bit little-endian, ear by ear."""
    sound = read_wav(io.BytesIO(wav))[0][:, : round(seconds * SOUND_HZ)]
    if form == "wav":
        return wav_bytes(sound)
    whole = np.round(sound * 32767).astype("<i2")
    if form == "pcm":
        return whole.T.tobytes()
    _, container, codec, layout = FORMS[form]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=SOUND_HZ, layout="stereo")
        plane = {"s16": whole.T.reshape(1, -1), "flt": sound.T.reshape(1, -1), "fltp": sound}[layout]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(plane), format=layout, layout="stereo")
        frame.sample_rate, frame.pts = SOUND_HZ, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()
