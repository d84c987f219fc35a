"""What several verbs of the command line share: the types of their options, a bar that shows how far they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

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
    for word in words:
        kind, equals, value = word.partition("=")
        if not equals or not kind or not value:
            raise RequestError(f"--{option} {word} says nothing of a kind: write edge=VALUE, for example.")
        if kind in found:
            raise RequestError(f"--{option} {kind} comes twice: give each kind once.")
        found[kind] = value
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text whole; its folder is made."""
    from armillary.media import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))
