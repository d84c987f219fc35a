"""Puts what ``armillary evaluate CHECKPOINT --suite trust`` found into docs/trust.md: tables, drawing, figures.

    python docs/make_trust.py runs/trust/pico     ->  docs/trust.json, docs/trust.svg, and the tables of docs/trust.md
    python docs/make_trust.py docs                the page once more, from the figures beside it

Everything comes from the ``trust.json`` of that folder: the threshold of doubt as well, which the page's examples are
given, rounded up so that the film it was taken from is still believed. A test compares the page with its figures.
"""

import json
import math
import re
import sys
from pathlib import Path

from armillary.evaluation.trust_figures import table_of
from armillary.evaluation.trust_page import scatter_of
from armillary.media import write_whole

DOCS = Path(__file__).resolve().parent
BEGIN, END = "<!-- figures: python docs/make_trust.py FOLDER -->\n", "<!-- end of figures -->"


def main(folder: Path) -> None:
    """Write the three files anew from a folder of results."""
    text = (folder / "trust.json").read_text("utf-8")
    found = json.loads(text)
    page = paged(found, (DOCS / "trust.md").read_text("utf-8"))
    for name, content in {"trust.json": text, "trust.svg": scatter_of(found), "trust.md": page}.items():
        write_whole(DOCS / name, lambda draft, content=content: draft.write_text(content, encoding="utf-8"))


def paged(found: dict, page: str) -> str:
    """The page with these figures, and with their threshold in its examples."""
    before, rest = page.split(BEGIN)
    whole = f"{before}{BEGIN}{_whole(found)}{END}{rest.split(END)[1]}"
    most = _most(found)
    return whole if most is None else re.sub(r"(\bmost=|--doubt )[\d.]+", rf"\g<1>{most}", whole)


def _whole(found: dict) -> str:
    made = found["made_from"]
    return (
        f"`{found['command']}`: {len(found['policies'])} policies at {found['tables']} tables each, weights "
        f"`{made['weights'][:12]}`, {made['dtype']}. In brackets: {found['interval']}.\n\n{table_of(found)}\n"
        f"{_threshold(found)}\n"
    )


def _threshold(found: dict) -> str:
    doubt = found["doubt"]
    if doubt["most"] is None:
        return "No threshold of doubt could be chosen: too few imaginations ended right, or too few wrong."
    return (
        f"The threshold of doubt: an imagined film is believed up to **{_most(found)}** (how far it goes; chosen on "
        f"{doubt['chosen_on']} lives, measured on {doubt['measured_on']} at other tables).{_gone(found)}"
    )


def _gone(found: dict) -> str:
    gone = found["gone"]
    return (
        "" if gone["least"] is None else f" A life counts as done from **{100 * gone['least']:.0f} %** of the way on."
    )


def _most(found: dict) -> str | None:
    """Rounded up to hundredths."""
    most = found["doubt"]["most"]
    return None if most is None else f"{math.ceil(round(100 * most, 6)) / 100:g}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
