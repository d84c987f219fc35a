"""Two measurements of the same held-out samples, compared pair by pair: 4 steps against 30, today against last week.

    two folders that ``suite.py`` filled  ->  the samples that both have  ->  each figure's difference, with interval

Clips of one seed are hard or easy for both, so the interval of the difference is narrower than the two intervals
suggest. Nothing is computed anew: the lines in ``SECTION.jsonl`` say enough.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from armillary.errors import DataError
from armillary.evaluation.bootstrap import Figure, difference
from armillary.evaluation.report import ROWS, said, span, worded
from armillary.evaluation.samples import LINES, by_what_was_asked

HEADS = ("what", "here", "there", "difference", "95 %", "n")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One figure, here and there, of the same samples; ``less`` is here minus there."""

    section: str
    name: str
    here: Figure
    there: Figure
    less: Figure


def paired(here: Path, there: Path) -> tuple[list[Pair], list[str]]:
    """Every figure of every section that both folders have; and in words, what could not be compared.

    Raises ``DataError`` if a folder is no measurement, if they are of different worlds, or share nothing.
    """
    pairs: list[Pair] = []
    left_out: list[str] = []
    for section, kept in LINES.items():
        both = [folder / f"{section}.json" for folder in (here, there)]
        if not all(path.is_file() for path in both):
            continue
        worlds = {json.loads(path.read_text("utf-8"))["made_from"]["world"] for path in both}
        if len(worlds) > 1:
            raise DataError(
                f"{section} was measured in different tabletops ({' and '.join(sorted(worlds))}): seeds mean other "
                "tables there. Measure one of them again."
            )
        own, other = (by_what_was_asked(folder, section) for folder in (here, there))
        common = [key for key in own if key in other]
        if not common:
            left_out.append(f"{section}: the two have no sample in common.")
            continue
        if len(common) < max(len(own), len(other)):
            left_out.append(f"{section}: {len(common)} samples in common of {len(own)} here and {len(other)} there.")
        figures, others = (kept.figures([table[key] for key in common]) for table in (own, other))
        pairs += [
            Pair(section=section, name=name, here=figure, there=others[name], less=difference(figure, others[name]))
            for name, figure in figures.items()
            if name in others
        ]
    if not pairs:
        raise DataError(
            f"{here} and {there} share no section that can be compared: give the folder of another run of "
            f"`armillary evaluate` with some of {', '.join(LINES)}. {' '.join(left_out)}".rstrip()
        )
    known = {row.key for row in ROWS}
    return sorted(pairs, key=lambda pair: f"{pair.section}/{pair.name}" not in known), left_out


def as_numbers(pairs: Sequence[Pair]) -> dict[str, Any]:
    """For JSON: every pair under SECTION/NAME."""
    return {
        f"{pair.section}/{pair.name}": {"here": pair.here.told(), "there": pair.there.told(), "less": pair.less.told()}
        for pair in pairs
    }


def circumstances(folder: Path) -> dict[str, Any]:
    """What a folder's numbers were made from: weights and the plan; of its first section."""
    for section in LINES:
        path = folder / f"{section}.json"
        if path.is_file():
            return dict(json.loads(path.read_text("utf-8"))["made_from"])
    raise DataError(f"{folder} holds no measurement: give a folder that `armillary evaluate` filled.")


def cells_of(pair: Pair) -> tuple[str, ...]:
    """A line of the table whose heads are ``HEADS``, in the report's words where it has any."""
    words, unit = worded(f"{pair.section}/{pair.name}")
    less = pair.less
    return (f"{pair.section}: {words}", said(pair.here.value, unit), said(pair.there.value, unit),
            said(less.value, unit, signed=True), span(less.low, less.high, unit, signed=True), str(less.n))  # fmt: skip


def print_pairs(pairs: Sequence[Pair], notes: Sequence[str], *, there: str, console: Console) -> None:
    """All figures that both have, and what could not be compared."""
    shown = Table(title=f"against {there}, the same samples")
    for name in HEADS:
        shown.add_column(name, justify="left" if name == HEADS[0] else "right", no_wrap=True)
    for pair in pairs:
        shown.add_row(*cells_of(pair))
    console.print(shown)
    for note in notes:
        console.print(note, style="dim")
