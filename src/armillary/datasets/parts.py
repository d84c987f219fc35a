"""An episode taken apart for keeping, and put together again: words, arrays, films, sound.

    words     everything said of it, as JSON has it           ``words_of``
    arrays    states, depth, segmentation by name, for an npz ``arrays_of``
    films     a camera each, sound as WAV                     ``films.py``, ``media.py``

Every form of data set that is written here keeps these same parts, so all give back the same episode. Depth is kept in
whole millimetres up to 65.5 m (0: no return).
"""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import DataError
from armillary.media import read_wav
from armillary.records import Array, Episode, Question

_WORDS = ("instruction", "captions", "events", "recipe", "boxes", "cameras", "world", "embodiment")


def words_of(episode: Episode) -> dict[str, Any]:
    """What is said of an episode, ready for JSON."""
    words = {name: plain(vars(episode)[name]) for name in _WORDS}
    words |= {"seed": int(episode.seed), "success": bool(episode.success), "length": len(episode.actions) + 1}
    words |= {"fps": float(episode.fps), "sound": episode.sound is not None}
    words["questions"] = [plain(asdict(question)) for question in episode.questions]
    return words


def arrays_of(episode: Episode) -> dict[str, Array]:
    """States as they are, depth in millimetres, segmentation in the narrowest type, by their names in the npz."""
    arrays = {f"states/{name}": np.asarray(values) for name, values in episode.states.items()}
    for camera, metres in (episode.depth or {}).items():
        whole = np.round(np.nan_to_num(metres, posinf=0.0, neginf=0.0) * 1000)
        arrays[f"depth/{camera}"] = np.where(whole > 65535, 0, whole).astype(np.uint16)
    for camera, marks in (episode.segmentation or {}).items():
        narrow = np.uint8 if marks.min(initial=0) >= 0 and marks.max(initial=0) < 256 else np.int32
        arrays[f"segmentation/{camera}"] = marks.astype(narrow)
    return arrays


def episode_from(
    words: Mapping[str, Any],
    arrays: Mapping[str, Array],
    *,
    fps: float,
    frames: Mapping[str, Array],
    actions: Array,
    sound: Array | None,
) -> Episode:
    """The episode of these parts."""
    depth = {k[6:]: v.astype(np.float32) / 1000 for k, v in arrays.items() if k.startswith("depth/")}
    marks = {k[13:]: v.astype(np.int32) for k, v in arrays.items() if k.startswith("segmentation/")}
    boxes = words["boxes"]
    return Episode(
        world=words["world"],
        seed=words["seed"],
        fps=fps,
        frames=frames,
        actions=actions,
        embodiment=words["embodiment"],
        states={k[7:]: v for k, v in arrays.items() if k.startswith("states/")},
        instruction=words["instruction"],
        captions=words["captions"],
        questions=[_question(q) for q in words["questions"]],
        events=[(start, end, said) for start, end, said in words["events"]],
        depth=depth or None,
        segmentation=marks or None,
        boxes=None if boxes is None else [{n: _box(b) for n, b in frame.items()} for frame in boxes],
        cameras=words["cameras"],
        sound=sound,
        success=words["success"],
        recipe=words["recipe"],
    )


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an npz; the same arrays make the same bytes."""
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_arrays(source: Path | BytesIO, name: str = "") -> dict[str, Array]:
    """What an npz holds; ``DataError`` naming ``name`` (else the path) where it is broken."""
    try:
        with np.load(source, allow_pickle=False) as kept:
            return {key: kept[key] for key in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as broken:
        raise DataError(f"{name or source} cannot be read ({broken}): copy the data set again, all of it.") from broken


def load_sound(path: Path) -> Array:
    """An episode's sound, float32 2 s; ``DataError`` names the file."""
    try:
        return read_wav(path)[0]
    except ValueError as broken:  # DataError is one too: either way the file is named
        raise DataError(f"the sound of an episode cannot be read: {path.name} ({broken}). Copy it again.") from broken


def dump(value: Any) -> str:
    """``value`` as JSON in one line, letters as they are."""
    return json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> Any:
    """``value`` as JSON has it: arrays and tuples become lists, NumPy numbers become numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _box(kept: Any) -> Any:
    return tuple(kept) if isinstance(kept, list) else kept


def _question(kept: dict[str, Any]) -> Question:
    choices = kept["choices"]
    return Question(**{**kept, "choices": None if choices is None else tuple(choices), "frames": tuple(kept["frames"])})
