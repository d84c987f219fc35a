"""What a checkpoint can be asked for: the modes it has learnt, and whether it can be heard.

    defaults.json  learnt                                modes that not every checkpoint of the family learns
    transformer/ with a sound port, sound_tokenizer/     films with sound

Read from the folder's small files; no weights are opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary.errors import RequestError
from armillary.model.layouts import load_config
from armillary.modes import MODES, Mode


def makes_sound(folder: Path) -> bool:
    """Whether the checkpoint has a sound port and a sound tokenizer to hear it with."""
    return (folder / "sound_tokenizer" / "config.json").is_file() and load_config(folder).sound_dim > 0


def check_sound(mode: Mode, given: Mapping[str, Any], folder: Path) -> bool:
    """Whether sound is asked for; ``RequestError`` where the mode or the checkpoint cannot be heard."""
    sound = given.get("sound", mode.sounds)
    if not isinstance(sound, bool):
        raise RequestError(f"sound={sound!r} must be True or False: whether the film is to be heard, too.")
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
