"""Whose actions a request means, and the rows that it gives: a body by its name or file, as the checkpoint knows it.

Asked's embodiment, actions  --embodiment_of, actions_of-->  Embodiment, rows t a in its units
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
