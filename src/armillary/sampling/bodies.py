"""Whose actions a request means, and the rows that it gives: a body by its name or file, as the checkpoint knows it.

Asked's embodiment, actions, state  --embodiment_of, actions_of, state_of-->  Embodiment, rows t a in its units, one row
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.embodiments import Embodiment, load_embodiment, load_embodiments
from armillary.errors import ConfigError, DataError, RequestError
from armillary.modes import Mode
from armillary.records import Array


def embodiment_of(given: Mapping[str, Any], folder: Path) -> Embodiment | None:
    """The embodiment a request names, as this checkpoint knows it; None if it names none, else ``RequestError``."""
    if "embodiment" not in given:
        return None
    wanted = given["embodiment"]
    if not isinstance(wanted, (str, Path)):
        raise RequestError(f"embodiment is {type(wanted).__name__}: give a name or the path of a .toml file.")
    inside = load_embodiments(folder)
    try:
        embodiment = load_embodiment(wanted, folder)
    except ConfigError as broken:
        raise RequestError(f"embodiment {str(wanted)!r} cannot be used: {broken}") from broken
    if inside and embodiment.name not in inside:
        raise RequestError(
            f"embodiment {embodiment.name!r} is not one this checkpoint was trained with: it knows "
            f"{', '.join(sorted(inside))}. Post-train it first, or choose one of these."
        )
    return embodiment


def state_of(given: Mapping[str, Any], embodiment: Embodiment | None) -> NDArray[np.float32] | None:
    """Where the body is before its first action, in model space (64); None where nobody says, else ``RequestError``.

    A state is a row of the body's own actions: only of one whose actions say where to be can it be told so
    (cosmos3.md 4.2, ``use_state``).
    """
    if embodiment is None or "state" not in given:
        return None
    steps = sorted({channel.frame for channel in embodiment.channels} - {"absolute"})
    if steps:
        raise RequestError(
            f"state has no use for {embodiment.name}, whose actions are {steps[0]}: a state is a row of actions, and "
            "only those that say where to be say where a body is. Leave it out."
        )
    try:
        return embodiment.encode([given["state"]])[0]
    except (DataError, TypeError, ValueError) as broken:
        raise RequestError(f"state cannot be used: {broken}") from broken


def actions_of(mode: Mode, given: Mapping[str, Any], embodiment: Embodiment | None) -> Array | None:
    """The rows t a that a request gives, in the body's units; None where it is to find them, else ``RequestError``."""
    if mode.action != "given" or embodiment is None:
        return None
    value = given["actions"]
    if isinstance(value, (str, Path)):
        if not Path(value).is_file():
            raise RequestError(f"actions names {str(value)!r}, which is no file: give a path to JSON, or the numbers.")
        try:
            value = json.loads(Path(value).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as broken:
            raise RequestError(
                f"actions in {given['actions']} are not JSON ({broken}): write a list of rows."
            ) from broken
    try:
        actions = embodiment.check(value)
    except DataError as broken:
        raise RequestError(f"actions cannot be used: {broken}") from broken
    if not len(actions):
        raise RequestError("actions has no rows: give at least one action, each leads to one more frame.")
    return actions
