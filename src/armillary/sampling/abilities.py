"""What a checkpoint can be asked for: the modes it has learnt, and whether it can be heard.

    defaults.json  learnt, and adapters that name them   modes that not every checkpoint of the family learns
    transformer/ with a sound port, sound_tokenizer/     films with sound

Read from the folder's small files; no weights are opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from armillary.errors import RequestError
from armillary.model.layouts import load_config
from armillary.modes import MODES, Mode
from armillary.sampling.adapters import BY_SOUND, STATE, Adapter
from armillary.sampling.defaults import Defaults


def makes_sound(folder: Path) -> bool:
    """Whether the checkpoint has a sound port and a sound tokenizer to hear it with."""
    return (folder / "sound_tokenizer" / "config.json").is_file() and load_config(folder).sound_dim > 0


def hears_sound(folder: Path) -> bool:
    """Whether a sound can be given to the checkpoint: some sound tokenizers hold only the way back to waves."""
    if not makes_sound(folder):
        return False
    files = sorted((folder / "sound_tokenizer").glob("*.safetensors"))
    return any(name.startswith("encoder.") for path in files for name in _names(path))


def _learnt(defaults: Defaults, adapters: Mapping[str, Adapter]) -> set[str]:
    """What a checkpoint says that it has learnt, or that an adapter has which it wears."""
    return {name for one in adapters.values() if one.unasked for name in one.modes or ()}.union(defaults.learnt)


def modes_of(folder: Path, defaults: Defaults, adapters: Mapping[str, Adapter]) -> dict[str, Mode]:
    """The modes that a checkpoint can be asked for: all but those that neither it nor what it wears has learnt, or for
    which it has no ears."""
    learnt, hears = _learnt(defaults, adapters), hears_sound(folder)
    return {name: mode for name, mode in MODES.items()
            if (not mode.apart or name in learnt) and (hears or "sound" not in mode.needs)}  # fmt: skip


def takes_of(mode: Mode, folder: Path, defaults: Defaults, adapters: Mapping[str, Adapter]) -> list[str]:
    """What a checkpoint may be given in a mode beside what that needs: a sound and a state only if it has learnt to."""
    learnt = _learnt(defaults, adapters)
    lacks = set() if BY_SOUND in learnt and hears_sound(folder) else {"sound"}
    return [name for name in mode.takes if name not in lacks and (name != STATE or STATE in learnt)]


def check_sound(mode: Mode, given: Mapping[str, Any], folder: Path) -> bool:
    """Whether sound is asked for; ``RequestError`` where the mode or the checkpoint cannot be heard."""
    if mode.heeds_sound:  # there it is given, not asked for (``hearing.py``)
        return False
    sound = given.get("sound", mode.sounds)
    if not isinstance(sound, bool):
        raise RequestError(
            f"sound={str(sound)[:60]!r} must be True or False in {mode.name}: whether the film is to be heard, too. "
            "Where a sound is given, ask for sound-to-video."
        )
    if sound and not mode.may_sound:
        able = ", ".join(one.name for one in MODES.values() if one.may_sound and not one.sounds)
        raise RequestError(f"sound has no use in {mode.name}: {able} can be heard.")
    if mode.sounds and not sound:
        raise RequestError(f"sound=False leaves {mode.name} nothing to find: leave it out.")
    if sound and not makes_sound(folder):
        raise RequestError(
            f"sound cannot be made by {folder.name}, which has no sound port or no sound_tokenizer: leave sound out."
        )
    return sound


def _names(path: Path) -> list[str]:
    """The tensors of a file; none of one that is broken, which is said when it is opened."""
    try:
        with safe_open(path, "pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError):
        return []
