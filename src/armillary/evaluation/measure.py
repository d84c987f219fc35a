"""The verb ``evaluate``: measure, compare with an earlier run, make the page, and say it all.

a model, plan  ->  suite.py  ->  numbers.json  ->  paired.py: against.json  ->  gallery.py: index.html
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from armillary.errors import ConfigError
from armillary.evaluation.gallery import gather, page_path
from armillary.evaluation.held_out import HeldOut
from armillary.evaluation.page import page_of
from armillary.evaluation.paired import as_numbers, circumstances, paired, print_pairs
from armillary.evaluation.report import print_report
from armillary.evaluation.suite import (
    SECTIONS,
    Bench,
    Plan,
    Stepping,
    check_sections,
    measure,
    progress,
    teller,
    write_json,
)
from armillary.media import write_whole
from armillary.sampling.omni import Omni


def evaluate_and_tell(
    opening: Callable[[], Omni],
    plan: Plan,
    *,
    out: Path,
    sections: Sequence[str] = (),
    against: Path | None = None,
    page: bool = True,
    as_json: bool = False,
) -> None:
    """Measure what is not there yet (all sections if none is named), then tell it on the terminal and as a page.

    ``opening``: opens the model, once nothing is left to be refused.
    Raises ``ConfigError`` for an unknown section or a folder compared with itself, ``DataError`` for an ``against``
    that holds no measurement; both before anything is loaded.
    """
    wanted = tuple(sections) or SECTIONS
    check_sections(wanted)
    HeldOut(out, seed=plan.seed)
    if against is not None:
        if against.resolve() == out.resolve():
            raise ConfigError(f"--against {against} is the folder that is being filled: give that of another run.")
        circumstances(against)
    omni = opening()
    numbers = measure(omni, plan, out=out, sections=wanted)
    pairs, notes = ([], []) if against is None else paired(out, against)
    if against is not None:
        made = {"there": circumstances(against), "left_out": notes, "differences": as_numbers(pairs)}
        numbers["against"] = made
        write_json(out / "against.json", made)
    if page:
        asked = omni if plan.steps is None else Stepping(omni, plan.steps)
        with progress(Console(stderr=True)) as bars:
            bench = Bench(omni=asked, plan=plan, folder=out, tell=teller(bars))
            text = page_of(gather(bench, numbers, pairs=pairs, against=str(against)))
        write_whole(page_path(out), lambda draft: draft.write_text(text, encoding="utf-8"))
    if as_json:
        print(json.dumps(numbers, indent=1))
        return
    print_report(numbers)
    console = Console(width=None if sys.stdout.isatty() else 140)
    if against is not None:
        print_pairs(pairs, notes, there=str(against), console=console)
    if page:
        print(f"{page_path(out).resolve()}: open it in a browser")
