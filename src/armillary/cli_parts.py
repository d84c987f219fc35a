"""What several verbs of the command line share: the types of their options, a bar that shows how far they are."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from armillary.errors import RequestError

Size = tuple[int, int]
Form = Literal["lerobot", "lerobot-v2.1", "webdataset", "jsonl"]
Controls = Annotated[tuple[str, ...], tyro.conf.arg(name="control", metavar="KIND=FILM"), tyro.conf.UseAppendAction]
Weights = Annotated[
    tuple[str, ...], tyro.conf.arg(name="control-weight", metavar="KIND=NUMBER"), tyro.conf.UseAppendAction
]
Matrices = Literal["plain", "int8"]
Offload = Literal["none", "towers", "layers"]
Json = Annotated[bool, tyro.conf.arg(name="json")]


Upsample = Annotated[str | None, tyro.conf.arg(metavar="yes|no|URL")]


def told_upsample(word: str | None) -> bool | str | None:
    """Yes and no as a request says them; a URL stays one."""
    return {"yes": True, "no": False}.get(word, word) if word is not None else None


def as_flags(sentence: str) -> str:
    """A sentence of ours that says what a request may say, as the command line says it."""
    for python, flag in (("upsample=False", "--upsample no"), ("upsample=True", "--upsample yes"),
                         ("upsample_model", "--upsample-model")):  # fmt: skip
        sentence = sentence.replace(python, flag)
    return sentence


def told_sound(asked: bool, file: Path | None) -> dict[str, Any]:
    """What a request says of sound: that there is to be one, or what is heard; ``RequestError`` for both."""
    if asked and file is not None:
        raise RequestError(f"--sound asks for a sound and --heard gives one, {file}: say one of the two.")
    return {"sound": True} if asked else {} if file is None else {"sound": file}


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr that is told the share done, 0 to 1; nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    """``KIND=VALUE`` words as a mapping; ``RequestError`` for words that are none, and for a kind that comes twice."""
    found: dict[str, str] = {}
    such = "edge=FILM or edge=auto" if option == "control" else "edge=2"
    for word in words:
        kind, equals, value = word.partition("=")
        if not equals or not kind or not value:
            raise RequestError(f"--{option} {word} says nothing of a kind: write {such}, for example.")
        if kind in found:
            raise RequestError(f"--{option} {kind} comes twice: give each kind once.")
        found[kind] = value
    return found


OF_TRUST = ("seeds", "policies")  # what `evaluate` asks for the suite trust alone
OF_BOTH = ("checkpoint", "out", "suite", "seed", "adapter", "as_json")  # all others are for the card


def check_suite(evaluate: Callable[..., None], said: Mapping[str, Any]) -> None:
    """``RequestError`` for options that are not for the suite among them, so that none is given and not heeded.

    ``said``: every value with which the verb was called. One that is the usual one asks for nothing.
    """
    suite, usual = said["suite"], signature(evaluate).parameters
    changed = [name for name in usual if said[name] != usual[name].default and name not in OF_BOTH]
    if foreign := [name for name in changed if (name in OF_TRUST) != (suite == "trust")]:
        told = ", ".join("--no-page" if name == "page" else f"--{name}" for name in foreign)
        raise RequestError(
            f"the suite {suite} does not read {told}: leave out what it does not read, or say "
            f"--suite {'card' if suite == 'trust' else 'trust'}."
        )


def write_text(path: Path, text: str) -> None:
    """Write a text whole; its folder is made."""
    from armillary.media import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))
