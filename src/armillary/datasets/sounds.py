"""Sounds of lives, one plain file each: what the sound tokenizer learns from, and what belongs to films kept without.

    in    a world, a first seed and a count
    out   ``tabletop_000012.npy`` files, int16 2 s at 48 kHz, whole or not there; ``load_sound`` gives float32 back

Lives at the table are those of ``raw.py``, drawn in the same way from the same seed; nothing is drawn on a screen where
a world can do without, so that a sound costs a tenth of a second. The first sample is heard when the first frame is
seen: what happens between frames i - 1 and i lies in the 0.1 s before sample 4800 i.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from armillary.datasets.raw import drawn_life, lived, lived_again
from armillary.errors import DataError
from armillary.media import write_array
from armillary.records import Episode
from armillary.worlds.catalogue import ENTRIES, found

STEM = "{world}_{seed:06d}"
SMALL = (32, 32)  # of pictures that nobody looks at


def life_sound(world: str, seed: int) -> Float[np.ndarray, "2 s"]:
    """What is heard in the life of a seed, float32 in [-1, 1]. ``DataError`` for a world without sound."""
    if world == "tabletop":
        kind, detour = drawn_life(seed)
        episode = lived(seed, kind, detour=detour, views=(), extras=("sound",))
    else:
        record = found(ENTRIES[world].record)
        kinds = found(ENTRIES[world].kinds)
        unseen = {"views": ()} if "views" in inspect.signature(record).parameters else {}
        episode = record(seed, kinds[seed % len(kinds)], size=SMALL, extras=("sound",), **unseen)
    if episode.sound is None:
        raise DataError(f"nothing can be heard in {world}: take a world with sound, as tabletop or physics.")
    return episode.sound


def sound_again(episode: Episode) -> Float[np.ndarray, "2 s"]:
    """What is heard in an episode of ``simulate_raw``; ``DataError`` where it does not come out as it was recorded."""
    again = lived_again(episode, views=(), extras=("sound",))
    assert again.sound is not None  # it was asked for
    return again.sound


def simulate_sounds(
    folder: Path, *, world: str, lives: int, seed: int = 0, share: tuple[int, int] = (0, 1)
) -> Iterator[Path]:
    """Keep what is heard in the lives ``seed`` to ``seed + lives - 1``, yielding each file when it is there.

    ``share`` (i, n): this process makes every n-th from the i-th on. Files that are there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(seed + share[0], seed + lives, share[1]):
        path = folder / f"{STEM.format(world=world, seed=number)}.npy"
        if not path.exists():
            write_array(path, np.round(life_sound(world, number) * 32767).astype(np.int16))
        yield path


def load_sound(path: Path) -> Float[np.ndarray, "2 s"]:
    """The sound of one file; ``DataError`` if it is not such a file."""
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no kept sound ({error}): it must be a file that simulate_sounds wrote. Simulate it again."
        ) from error
    if kept.dtype != np.int16 or kept.ndim != 2 or len(kept) != 2:
        raise DataError(f"{path} holds {kept.dtype} {kept.shape}: a kept sound is int16 2 s. Simulate it again.")
    return kept.astype(np.float32) / 32767


def sound_files(folder: Path) -> list[Path]:
    """The sounds of a folder, in order; ``DataError`` if there is none."""
    files = sorted(folder.glob("*_[0-9]*.npy"))
    if not files:
        raise DataError(f"{folder} holds no sounds: simulate some first, for example with the run `pico-sounds`.")
    return files
