"""What a checkpoint means when nobody asks for more: its ``defaults.json``, read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from armillary.errors import CheckpointError
from armillary.modes import Mode, mode_named
from armillary.sampling.acting import Acts
from armillary.sampling.adapters import Adapter
from armillary.sampling.painting import Painting
from armillary.sampling.templates import Template

TRANSFER = "transfer"  # the mode of films under controls
EXECUTE = 8  # actions of a planned chunk that are done before the next look, where nobody says a number


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What a checkpoint means when nobody asks for more: picture size (height, width), frames a second, how many
    frames it makes in one walk, and the task it was told in training where the actions said everything.

    ``steps``: of a mode, where this checkpoint is better asked in another number than the mode's usual one; under the
    mode's name, or, for one body alone, under both: ``policy/pusht_steps`` (``steps_of``).
    ``untrained``: what its makers say of a generator that has not been trained yet, one sentence; empty otherwise.
    ``learnt``: which of the modes that not every checkpoint learns it has learnt, ``onwards`` where a film may go
    on from its middle (``onwards.py``), ``policy-by-sound`` and ``state`` where these may be given beside actions.
    ``filmless``: modes in which it acts without a film beside the actions where nobody asks for one. ``execute``: of a
    chunk of actions that it plans for a body, how many are done before it looks again; in the file a number for every
    body, or one for each that is named (``execute_of``).
    ``steady``: how unlike what stands still a film may be and is yet shown as its first picture has it (``steady.py``).
    ``controls``: which kinds of them it has learnt to hold films by, None where the folder does not say.
    ``control_scale``: of a kind of control, by what its latents are multiplied before the model
    sees them. ``upsampling``: of a mode, how its prompts are written out (``templates.py``). ``painting``: how it
    paints pictures from words that say where things are, None where it has not learnt to. ``acting``: which words of
    films it acts out, and in which modes, None in none (``acting.py``). ``told``: whether the folder
    says all this at all, in ``defaults.json``; else these values hold.
    """

    size: tuple[int, int] = (128, 128)
    fps: float = 10.0
    frames: int = 17
    task: str = ""
    untrained: str = ""
    steps: Mapping[str, int] = field(default_factory=dict)
    learnt: tuple[str, ...] = ()
    filmless: tuple[str, ...] = ()
    execute: Mapping[str, int] | int = EXECUTE
    steady: float = 0.0
    controls: tuple[str, ...] | None = None
    control_scale: Mapping[str, float] = field(default_factory=dict)
    upsampling: Mapping[str, Template] = field(default_factory=dict)
    painting: Painting | None = None
    acting: Acts | None = None
    told: bool = False

    def steps_of(self, mode: Mode, body: str = "") -> int:
        """In how many steps this checkpoint is best asked in a mode, with actions of ``body`` where there are any."""
        return self.steps.get(f"{mode.name}/{body}", self.steps.get(mode.name, mode.steps))

    def walked(self, mode: Mode, body: str, adapter: Adapter | None, called: str = "") -> Mode:
        """A mode with the steps and the guidance that this checkpoint takes, or the adapter that it wears there.

        ``called``: how adapters call the walk where that is not the mode's name (``adapters.walk_called``).
        """
        own = replace(mode, steps=self.steps_of(mode, body))
        return own if adapter is None else adapter.taken(own, called)

    def execute_of(self, body: str) -> int:
        """How many actions of a chunk that is planned for a body are done before the next look."""
        return self.execute if isinstance(self.execute, int) else self.execute.get(body, EXECUTE)

    def warning(self, mode: Mode, walk: str, worn: Adapter | None, left_off: str = "") -> str:
        """Why what is imagined in a mode may be noise, one sentence; empty where the makers do not say so.

        ``walk``: what the checkpoint must have learnt (``Request.walk``), or the adapter that is ``worn``;
        ``left_off``: why one that has is not (``adapters.left_off``).
        """
        told = self.unlearnt(walk, worn) if mode.apart or walk != mode.name else ""
        return self.untrained or (told and (left_off or told))

    def unlearnt(self, name: str, worn: Adapter | None = None) -> str:
        """One sentence, if nobody says that the checkpoint, or what it wears, has learnt what is called ``name``."""
        if name in self.learnt or (worn is not None and worn.has_learnt(name)):
            return ""
        return (
            f"this checkpoint does not say that it has learnt {name}: what it makes may not be what is asked. "
            f"Take one that has, or post-train it and name {name!r} under 'learnt' in its defaults.json."
        )

    def unheld(self, kinds: Iterable[str], worn: Adapter | None = None) -> str:
        """One sentence, if it says which controls it has learnt and some of ``kinds`` are not among them.

        Where it has not learnt films under controls at all, ``unlearnt`` says so; what the adapter that is ``worn`` has
        learnt there nobody says.
        """
        taught = worn is not None and worn.has_learnt(TRANSFER)
        strange = [kind for kind in kinds if kind not in (self.controls or ())]
        if self.controls is None or TRANSFER not in self.learnt or taught or not strange:
            return ""
        names = " and ".join(strange)
        many = "s" if len(strange) > 1 else ""
        return (
            f"this checkpoint does not say that it has learnt the control{many} {names}, but "
            f"{', '.join(self.controls) or 'none'}: the film may not follow {names}. Give one that it has learnt, or "
            f"post-train it and name {names} under 'controls' in its defaults.json."
        )

    @classmethod
    def load(cls, folder: Path) -> "Defaults":
        """From a checkpoint folder; ``CheckpointError`` if its file is broken."""
        path = folder / "defaults.json"
        if not path.is_file():
            return cls()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            size = (int(found["size"][0]), int(found["size"][1]))
            return cls(size=size, fps=float(found["fps"]), frames=int(found.get("frames", 17)), told=True,
                       execute=_done_of(found.get("execute", EXECUTE)),
                       steady=_share(found.get("steady", 0.0)),
                       task=str(found.get("task", "")), untrained=str(found.get("untrained", "")),
                       controls=_kinds(found["controls"]) if "controls" in found else None,
                       control_scale={str(kind): float(by) for kind, by in found.get("control_scale", {}).items()},
                       upsampling={mode_named(mode).name: Template.of(how)
                                   for mode, how in found.get("upsampling", {}).items()},
                       painting=Painting.of(found["painting"]) if "painting" in found else None,
                       acting=Acts.of(found["acting"]) if "acting" in found else None,
                       steps={str(mode): int(steps) for mode, steps in found.get("steps", {}).items()},
                       learnt=tuple(str(mode) for mode in found.get("learnt", ())),
                       filmless=tuple(str(mode) for mode in found.get("filmless", ())))  # fmt: skip
        except (json.JSONDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as broken:
            raise CheckpointError(
                f"{path} cannot be read ({broken!r}): it must say size, two numbers, and fps. Copy it again."
            ) from broken


def _done_of(found: object) -> Mapping[str, int] | int:
    for done in found.values() if isinstance(found, dict) else (found,):
        if not isinstance(done, int) or done < 1:
            raise ValueError(f"execute {found!r}")
    return found  # type: ignore[return-value]


def _kinds(found: object) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise ValueError(f"controls {found!r}")
    return tuple(map(str, found))


def _share(found: object) -> float:
    if not isinstance(found, (int, float)) or not 0 <= found <= 1:
        raise ValueError(f"steady {found!r}")
    return float(found)
