"""Which adapters a checkpoint has, and where it wears them.

    checkpoint/adapters/NAME/   adapter_config.json, adapter_model.safetensors    the change itself (model/low_rank.py)
                                adapter.json                                      where it is worn

``adapter.json``: {"modes": ["image-to-video"], "steps": 4, "guidance": 1.0}; ``steps`` may also say a number for each
mode, {"steps": {"image-to-video": 4}}, and none for others. In these modes the adapter is worn where a
request names none, and asks for no other steps and no other guidance than these, if any are said here, nor for what
goes with others (another shift; a negative prompt, where guidance is 1); ``onwards`` is a mode here, though no request
has it (``onwards.py``), and so is ``policy-by-sound``, the policy where a sound is given. A request may name an
adapter, or ``none``. An adapter of somebody's own, given to ``armillary.load``, is worn before these, in every mode it
names, without ``adapter.json`` in every mode; where films go on, one that names ``onwards`` is worn rather than one
that names nothing.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from armillary.errors import CheckpointError, RequestError
from armillary.model.low_rank import SETTINGS
from armillary.modes import MODES, Mode

ADAPTERS, WHERE = "adapters", "adapter.json"
NONE = "none"
ONWARDS, BY_SOUND, STATE = "onwards", "policy-by-sound", "state"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One adapter: where it lies, in which modes it is worn (None: in all), and how these are then walked.

    ``steps``: in all of these, or in each that is named.

    ``unasked``: whether it is worn there where a request names none. ``own``: whether whoever opened the checkpoint
    named it, or brought it.
    """

    name: str
    folder: Path
    modes: tuple[str, ...] | None = None
    steps: int | Mapping[str, int] | None = None
    guidance: float | None = None
    unasked: bool = True
    own: bool = False

    def worn_in(self, mode: str) -> bool:
        """Whether it is worn in that mode where nobody asks."""
        return self.unasked and (self.modes is None or mode in self.modes)

    def has_learnt(self, name: str) -> bool:
        """Whether it says that it is for that; one that names nothing is worn anywhere and says nothing."""
        return self.modes is not None and name in self.modes

    def steps_in(self, mode: str) -> int | None:
        """In how many steps that mode is then walked; None where it says nothing of that."""
        return self.steps.get(mode) if isinstance(self.steps, Mapping) else self.steps

    def taken(self, mode: Mode, called: str = "") -> Mode:
        """The mode as it is walked where the adapter is worn and nobody asks otherwise; one it is not for stays.

        ``called``: its name here, where that is another one (``walk_called``).
        """
        if self.modes is not None and (called or mode.name) not in self.modes:
            return mode
        steps = self.steps_in(called or mode.name)
        return replace(
            mode, steps=mode.steps if steps is None else steps,
            guidance=mode.guidance if self.guidance is None else self.guidance,
        )  # fmt: skip

    @cached_property
    def sha256(self) -> str:
        """A hash over its weights and over what it says of itself."""
        whole = hashlib.sha256()
        for path in sorted([*self.folder.glob("*.safetensors"), self.folder / SETTINGS, self.folder / WHERE]):
            whole.update(path.name.encode() + (path.read_bytes() if path.is_file() else b""))
        return whole.hexdigest()

    @property
    def told(self) -> dict[str, str]:
        """Its name and its hash, as plain data."""
        return {"name": self.name, "sha256": self.sha256}

    @classmethod
    def of(cls, folder: Path) -> "Adapter":
        """As its folder says; ``CheckpointError`` for one that is none, or says what cannot be."""
        if not (folder / SETTINGS).is_file():
            raise CheckpointError(f"{str(folder)!r} is no adapter: give a folder with {SETTINGS}, as PEFT writes it.")
        path = folder / WHERE
        if not path.is_file():
            return cls(name=name_of(folder), folder=folder)
        try:
            told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            modes = tuple(str(name) for name in told["modes"])
            steps, guidance = told.get("steps"), told.get("guidance")
            if (
                set(modes) - {*MODES, ONWARDS, BY_SOUND, STATE}
                or not all(isinstance(one, int) and one > 0 for one in _each(steps))
                or (isinstance(steps, dict) and set(steps) - set(modes))
                or (guidance is not None and not 0 <= float(guidance) <= 100)
            ):
                raise ValueError(f"{told}")
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as broken:
            raise CheckpointError(
                f"{path} cannot be read ({broken!r}): it must say modes, a list of names of modes, and may say steps, "
                "from 1 on (of all these modes, or of each that is named), and guidance, from 0 to 100."
            ) from broken
        usual = None if guidance is None else float(guidance)
        return cls(name=name_of(folder), folder=folder, modes=modes, steps=steps, guidance=usual)


def _each(steps: Any) -> Iterable[Any]:
    return steps.values() if isinstance(steps, dict) else () if steps is None else (steps,)


def walk_called(mode: Mode, given: Mapping[str, Any]) -> str:
    """What adapters call the walk of a request: by its mode, and the policy that heeds a sound by a name of its own."""
    sound = given.get("sound")
    heeds = mode.action == "hidden" and mode.heeds_sound and sound is not None and sound is not False
    return BY_SOUND if heeds else mode.name


def name_of(own: str | Path) -> str:
    """What a request calls an adapter that is given by its folder, or already by its name."""
    return os.path.basename(os.path.abspath(own))


def _folders(adapters: Path) -> list[Path]:
    """The folders in there but drafts, whose names begin with a dot."""
    return sorted(folder for folder in adapters.glob("*/") if not folder.name.startswith("."))


def adapters_of(checkpoint: Path, own: str | Path | None = None) -> dict[str, Adapter]:
    """By name the adapters of a checkpoint folder, and before them ``own``, a folder that is no part of it.

    ``own`` may also name one of the checkpoint's, which alone is then worn unasked, or be ``none``: none is.
    ``CheckpointError`` for what is no adapter, or says what cannot be, and for an ``own`` named as one is already.
    """
    found = {one.name: one for one in map(Adapter.of, _folders(checkpoint / ADAPTERS))}
    if NONE in found:
        raise CheckpointError(f"{checkpoint} has an adapter {NONE!r}, which means that none is worn: rename it.")
    if own is None:
        return found
    if str(own) == NONE or str(own) in found:
        return {name: replace(one, unasked=name == str(own), own=name == str(own)) for name, one in found.items()}
    folder = Path(own)
    if not (folder / SETTINGS).is_file():
        raise CheckpointError(
            f"{str(own)!r} is no adapter: give a folder with {SETTINGS}, as PEFT writes it, or one of "
            f"{', '.join([*found, NONE])}, by name."
        )
    one = replace(Adapter.of(folder), own=True)
    if one.name in found or one.name == NONE:
        raise CheckpointError(f"{checkpoint} has an adapter {one.name!r} already: give yours another name.")
    return {one.name: one, **found}


def settle_adapter(mode: str, given: Mapping[str, Any], adapters: Mapping[str, Adapter]) -> Adapter | None:
    """The adapter that a request in a mode wears; ``RequestError`` for one that the checkpoint does not have.

    None in another dialect than the weights' own, where another implementation is repeated, unless it is named.
    """
    asked = given.get("adapter")
    if asked == NONE or mode == "reason":  # in which no generator is at work
        return None
    if asked is not None:
        if not isinstance(asked, str) or asked not in adapters:
            near = difflib.get_close_matches(str(asked), [*adapters, NONE], n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RequestError(
                f"adapter={asked!r} is none of this checkpoint, which has {', '.join(adapters) or 'none at all'}: name "
                f"one of these or {NONE!r}.{hint} One of your own is given when the model is loaded."
            )
        return adapters[asked]
    if given.get("dialect", "native") != "native":
        return None
    told_first = sorted(adapters.values(), key=lambda one: mode == ONWARDS and one.modes is None)
    return next((one for one in told_first if one.worn_in(mode) and not _unfit(one, mode, given)), None)


def left_off(mode: str, given: Mapping[str, Any], adapters: Mapping[str, Adapter], worn: Adapter | None) -> str:
    """Why nothing is worn that has learnt a mode although there is an adapter that has: a sentence, or nothing."""
    learnt = [one for one in adapters.values() if one.has_learnt(mode)]
    one = next(iter(learnt), None)
    if one is None or worn in learnt:
        return ""
    foreign = given.get("dialect", "native") != "native"
    why = ["adapter"] * (given.get("adapter") is not None) or ["dialect"] * foreign or _unfit(one, mode, given)
    if not one.unasked or not why:
        cause = f"is not worn unasked: say adapter={one.name!r}."
    else:
        said = " and ".join(f"{name}={given[name]!r}" for name in why)
        other = "" if why == ["adapter"] else f", or say adapter={one.name!r} beside it"
        cause = f"is left off since {said} is asked for: leave that out{other}."
    return f"what is made may not be what is asked: {mode} was learnt by the adapter {one.name!r}, which {cause}"


def _unfit(one: Adapter, mode: str, given: Mapping[str, Any]) -> list[str]:
    """Which fields of a request ask for what an adapter has not learnt: its steps, their levels, its guidance."""
    usual = {"steps": one.steps_in(mode), "guidance": one.guidance}
    if usual["steps"] is not None and mode in MODES:
        usual["shift"] = MODES[mode].shift
    unfit = [name for name, taken in usual.items() if taken is not None and given.get(name) not in (None, taken)]
    if one.guidance == 1.0:  # without which these have no use
        unfit += ["negative_prompt"] * bool(given.get("negative_prompt"))
        unfit += ["guidance_between"] * (given.get("guidance_between") is not None)
    return unfit
