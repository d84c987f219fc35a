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

FAR = 10  # times the span of a channel beyond its end: no recording goes there, but another unit does


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
        return embodiment.encode(rows_of(embodiment, [given["state"]], what="state"))[0]
    except (DataError, TypeError, ValueError) as broken:
        raise RequestError(f"state cannot be used: {broken}") from broken


def actions_of(mode: Mode, given: Mapping[str, Any], embodiment: Embodiment | None) -> Array | None:
    """The rows t a that a request gives, in the body's units; None where it is to find them, else ``RequestError``."""
    if mode.action != "given" or embodiment is None:
        return None
    value = given["actions"]
    if isinstance(value, (str, Path)):
        value = _opened(Path(value))
    if isinstance(value, Mapping):
        value = _kept(value, embodiment)
    try:
        actions = rows_of(embodiment, value)
    except DataError as broken:
        raise RequestError(f"actions cannot be used: {broken}") from broken
    if not len(actions):
        raise RequestError("actions has no rows: give at least one action, each leads to one more frame.")
    return actions


def rows_of(embodiment: Embodiment, rows: Any, *, what: str = "action") -> Array:
    """Rows t a in the body's units as float64, as somebody gives them.

    ``DataError`` as ``Embodiment.check`` raises it, for a number that lies ``FAR`` beyond what its channel takes (both
    what it allows and what its normaliser knows), and for a turn of noughts alone, which is none.
    """
    raw = embodiment.check(rows)
    for column, channel in enumerate(embodiment.channels):
        offset, scale = embodiment.normaliser.offset[column], embodiment.normaliser.scale[column]
        low, high = min(channel.low, offset - scale), max(channel.high, offset + scale)
        reach = FAR * (high - low)
        beyond = np.flatnonzero((raw[:, column] < low - reach) | (raw[:, column] > high + reach))
        if len(beyond):
            units = (
                "; are these millimetres?" if channel.unit == "metre" else f". Check the frame, too: {channel.frame}."
            )
            raise DataError(
                f"{what} {beyond[0]} has {raw[beyond[0], column]:g} for {channel.name}, in {channel.unit}: "
                f"{embodiment.name} takes {channel.low:g} to {channel.high:g}{units}"
            )
    turns = [column for column, channel in enumerate(embodiment.channels) if channel.unit == "direction cosine"]
    if embodiment.rotation == "rot6d columns" and turns and len(none := np.flatnonzero(~raw[:, turns].any(axis=1))):
        names = [embodiment.channels[column].name for column in turns]
        raise DataError(
            f"{what} {none[0]} has 0 for all of {names[0]} to {names[-1]}, which is no turn: to turn by nothing say "
            f"{', '.join(f'{embodiment.rest[column]:g}' for column in turns)}."
        )
    embodiment.encode(raw)  # or it says what no number of the model can hold
    return raw


def _opened(path: Path) -> Any:
    """What a JSON file holds; ``RequestError`` for what is none."""
    if not path.is_file():
        raise RequestError(f"actions names {str(path)!r}, which is no file: give a path to JSON, or the numbers.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise RequestError(f"actions in {path} are not JSON ({broken}): write a list of rows.") from broken


def _kept(told: Mapping[str, Any], embodiment: Embodiment) -> Any:
    """The rows of what a rollout kept (``keep.actions_told``); ``RequestError`` for none, or another body's."""
    body = told.get("embodiment", embodiment.name)
    if "actions" not in told or body != embodiment.name:
        raise RequestError(
            f"actions holds none of {embodiment.name}, but {', '.join(map(str, told)) or 'nothing'} of {body}: give "
            "rows of numbers, or what was kept of a rollout of that body."
        )
    return told["actions"]
