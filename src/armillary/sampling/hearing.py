"""Sound that is given: heard from where the film begins, cut for every stretch, and what may be found by it.

    a WAV, the sound track of a film, or float 2 s  --sound_from-->  float32 2 s at 48 kHz
                                                    --heard_in-->    what a stretch of frames is to be heard with

Loudness is not kept by the sound tokenizer (``tokenizers/sound.py``), so each stretch is heard at its own peak, as in
training; where nothing is louder than 60 dB below full scale there is silence.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from armillary import media
from armillary.errors import DataError, RequestError
from armillary.modes import Mode
from armillary.records import SOUND_HZ
from armillary.sampling.abilities import hears_sound

Sound = Float[np.ndarray, "2 s"]
LONGEST = 600.0  # seconds of sound that are read


def given_sound(mode: Mode, given: Mapping[str, Any], folder: Path) -> Sound | None:
    """The sound that a request gives to a mode that heeds one; None where it gives none.

    ``RequestError`` for what is no sound, and for a checkpoint that has no ears for it.
    """
    if not mode.heeds_sound or "sound" not in given or (given["sound"] is False and "sound" not in mode.needs):
        return None
    if not hears_sound(folder):
        instead = f"take one that has them for {mode.name}" if "sound" in mode.needs else "leave sound out"
        raise RequestError(
            f"sound cannot be heard by {folder.name}, which has no sound port or no sound_tokenizer with a way in: "
            f"{instead}."
        )
    return sound_from(given["sound"])


def sound_from(source: Any) -> Sound:
    """The sound a request brought as a path or as an array 2 s at 48 kHz; ``RequestError`` for anything else."""
    if isinstance(source, (str, Path)):
        try:
            sound = media.read_track(source, longest=LONGEST)
        except DataError as broken:
            raise RequestError(f"sound cannot be used: {broken}") from broken
    else:
        if isinstance(source, bool):
            raise RequestError(f"sound={source} says nothing here, where it is given: name a file, or give an array.")
        try:
            sound = np.asarray(source, dtype=np.float32)
        except (TypeError, ValueError) as broken:
            raise RequestError(f"sound is {type(source).__name__}: give a path, or numbers 2 s at 48 kHz.") from broken
        if sound.ndim != 2 or sound.shape[0] != 2 or np.asarray(source).dtype.kind != "f":
            kind = np.asarray(source).dtype
            raise RequestError(f"sound is {kind} {sound.shape}: give a path, or floats 2 s at 48 kHz, from -1 to 1.")
    if not sound.shape[1] or not np.isfinite(sound).all():
        what = "has no samples" if not sound.shape[1] else "holds a number that is not finite"
        raise RequestError(f"sound {what}: give one that can be played.")
    if sound.shape[1] > LONGEST * SOUND_HZ:
        raise RequestError(
            f"sound lasts {sound.shape[1] / SOUND_HZ:.0f} s: at most {LONGEST:g} s are heard. Cut it first."
        )
    return sound


def frames_heard(sound: Sound, fps: float) -> int:
    """How many frames a sound lasts for, to a sample (``samples_of`` cuts), cut to 4k+1."""
    count = int((sound.shape[1] + 1) / SOUND_HZ * fps)
    return 1 + 4 * ((count - 1) // 4)


def samples_of(frames: int, fps: float) -> int:
    """How many samples of sound last as long as so many frames (cosmos3.md 6.2)."""
    return int(frames / fps * SOUND_HZ)


def heard_in(sound: Sound, start: int, frames: int, fps: float) -> NDArray[np.float32]:
    """What is heard in ``frames`` frames from frame ``start`` on, float32 2 s; silence after the sound's end."""
    begin, count = round(start / fps * SOUND_HZ), samples_of(frames, fps)
    own = sound[:, begin : begin + count].astype(np.float32)
    return np.pad(own, ((0, 0), (0, count - own.shape[1])))
