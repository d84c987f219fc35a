"""A chain of runs as one: every stage begins when those before it are done, and what is done is not done again.

    in    stages in order, each a run with a name, none named twice
    out   what the stages write, and ``notes``: which of them are done, with which settings, when, in how many minutes

Started again after a kill it passes over what is done and starts the stage that was at work, which goes on where it was
as that kind of run does. A stage whose own minutes are over before its steps (``start`` says False) is started again
until it is done. What somebody made with ``armillary train STAGE`` is not in the notes: such a stage is started once
and finds its results.
"""

import difflib
import gc
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
import tyro

from armillary.errors import ConfigError, DataError
from armillary.media import write_whole
from armillary.run_kinds import Run
from armillary.training.loop import Report

Notes = dict[str, dict[str, Any]]
FROM, LIST = "The first stage; what it reads must be there.", "Say the stages, which are done too, and start nothing."


class Kept(Run, Protocol):
    """A run that writes into a folder of its own."""

    @property
    def out(self) -> Path: ...


@runtime_checkable
class Deep(Kept, Protocol):
    """One whose results lie deeper in there."""

    @property
    def results(self) -> tuple[Path, ...]: ...


@runtime_checkable
class Picking(Kept, Protocol):
    """One that reads only ``sources`` of a folder that its settings name."""

    @property
    def sources(self) -> tuple[Path, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Link:
    """A stage of a chain: its name, the run, what that says of itself, and its minutes as far as that says any."""

    name: str
    run: Kept
    says: str = ""
    minutes: float | None = None

    @property
    def results(self) -> tuple[Path, ...]:
        """Where others find what it makes: its folder, or what the run says lies in there for them."""
        return self.run.results if isinstance(self.run, Deep) else (self.run.out,)

    @property
    def reads(self) -> tuple[Path, ...]:
        """Every path in its settings that it does not write to, and a checkpoint even if it may have a bundled name;
        in place of a folder of which it reads a part only that part."""
        own = {self.run.out, *self.results}
        deeper = self.run.sources if isinstance(self.run, Picking) else ()
        found = [path for path in paths_of(self.run) if path not in own]
        return (
            *(path for path in dict.fromkeys(found) if not any(path in x.parents for x in (*own, *deeper))),
            *deeper,
        )

    @property
    def settings(self) -> str:
        """A short hash over all its settings."""
        told = json.dumps([type(self.run).__name__, asdict(self.run)], default=str)  # type: ignore[call-overload]
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def paths_of(settings: Any) -> Iterator[Path]:
    """The paths in settings, however deep, in order; ``origin``, if it is a name, as one."""
    if isinstance(settings, Path):
        yield settings
    elif is_dataclass(settings):
        for one in fields(settings):
            value = getattr(settings, one.name)
            yield from paths_of(Path(value) if one.name == "origin" and isinstance(value, str) else value)
    elif isinstance(settings, Mapping):
        yield from paths_of(tuple(settings.values()))
    elif isinstance(settings, Sequence) and not isinstance(settings, str):
        for value in settings:
            yield from paths_of(value)


@dataclass(frozen=True, kw_only=True)
class ChainRun:
    """Stages in order, each from what those before it have written. Stopped or killed at any moment and started again
    it goes on: a stage that is done is passed over, the one that was at work goes on where it was. Whoever wants a
    stage made anew deletes its folder, and those of the stages that learnt from it: weights do not know from what.
    """

    links: Annotated[tuple[Link, ...], tyro.conf.Fixed, tyro.conf.Suppress]
    notes: Annotated[Path, tyro.conf.Fixed, tyro.conf.Suppress]
    first: Annotated[str | None, tyro.conf.arg(name="from", metavar="STAGE", help=FROM)] = None
    until: Annotated[str | None, tyro.conf.arg(metavar="STAGE", help="The last stage.")] = None
    listed: Annotated[bool, tyro.conf.arg(name="list", help=LIST), tyro.conf.FlagCreatePairsOff] = False

    def __post_init__(self) -> None:
        names = [link.name for link in self.links]
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"a chain of {', '.join(names) or 'nothing'}: it has one stage or more, none named twice."
            )

    def start(self, report: Report = print) -> None:
        """Go through the stages that are not done yet. ``DataError`` where a stage reads what is not there,
        ``ConfigError`` for a first or last one that there is not."""
        if self.listed:
            for line in self.told():
                report(line)
            return
        began = time.monotonic()
        for number, link in self._asked:
            told = f"stage {number + 1} of {len(self.links)}, {link.name}"
            if self._done(number):
                report(f"{told}: done before")
                continue
            self._check(number)
            report(f"{told}, {_minutes(link)}: {link.says}")
            mine = time.monotonic()
            while link.run.start(report) is False:
                report(f"{link.name}: its minutes are over, its steps are not; it goes on from its last state")
            _tidy()
            minutes = (time.monotonic() - mine) / 60
            self._note(link, minutes)
            report(f"{link.name} is done: {minutes:.1f} minutes; {(time.monotonic() - began) / 60:.1f} of the chain")

    def told(self) -> list[str]:
        """A line for each stage that is asked for, in order, and one for all of them."""
        lines = [
            f"{number + 1:3}  {link.name}, {_minutes(link)}{', done' if self._done(number) else ''}: {link.says}"
            for number, link in self._asked
        ]
        said = [link.minutes for _, link in self._asked if link.minutes is not None]
        silent = len(lines) - len(said)
        return [*lines, f"{len(lines)} stages: {sum(said) / 60:.1f} hours, without {silent} that do not say how long."]

    @property
    def _asked(self) -> list[tuple[int, Link]]:
        """From the first to the last that is asked for, with their numbers in the chain."""
        first, last = self._place(self.first or self.links[0].name), self._place(self.until or self.links[-1].name)
        if first > last:
            raise ConfigError(f"--from {self.first} comes after --until {self.until} in the chain: exchange them.")
        return list(enumerate(self.links))[first : last + 1]

    def _place(self, name: str) -> int:
        names = [link.name for link in self.links]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{name!r} is no stage of this chain: --list says which there are. Nearest: {near!r}.")
        return names.index(name)

    def _done(self, number: int) -> bool:
        """Whether the notes have it with these settings, its results are there, and nothing it reads was made later."""
        link, notes = self.links[number], self._noted()
        note = notes.get(link.name)
        if note is None or note["settings"] != link.settings or not all(_there(path) for path in link.results):
            return False
        makers = (self._maker(path, number) for path in link.reads)
        return all(notes.get(one.name, note)["at"] <= note["at"] for one in makers if one is not None)

    def _maker(self, path: Path, before: int) -> Link | None:
        """The last stage before that one which writes ``path``, or a folder that it lies in."""
        return next((one for one in reversed(self.links[:before]) if covers(one, path)), None)

    def _check(self, number: int) -> None:
        """``DataError`` if something is not there that a stage reads."""
        link = self.links[number]
        missing = next((path for path in link.reads if not _there(path)), None)
        if missing is None:
            return
        maker = self._maker(missing, number)
        if maker is None:
            raise DataError(
                f"{link.name} reads {missing}, which is not there and no stage before it makes: put it there."
            )
        raise DataError(
            f"{link.name} reads {missing}, which is not there: {maker.name} makes it, say --from {maker.name}."
        )

    def _noted(self) -> Notes:
        """What the notes say."""
        return dict(json.loads(self.notes.read_text("utf-8"))) if self.notes.is_file() else {}

    def _note(self, link: Link, minutes: float) -> None:
        """Write down that a stage is done."""
        new = {"settings": link.settings, "at": time.time(), "minutes": round(minutes, 2)}
        text = json.dumps(self._noted() | {link.name: new}, indent=1) + "\n"
        self.notes.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.notes, lambda draft: draft.write_text(text, encoding="utf-8"))


def covers(link: Link, path: Path) -> bool:
    """Whether a path is a result of a stage, or lies in one."""
    return any(path == one or one in path.parents for one in link.results)


def _there(path: Path) -> bool:
    """Whether there is a file, or a folder with something in it."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _minutes(link: Link) -> str:
    return "no minutes said" if link.minutes is None else f"about {link.minutes:g} min"


def _tidy() -> None:
    """Forget what a stage has left in memory, and the layers that were compiled for its model."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    gc.collect()
