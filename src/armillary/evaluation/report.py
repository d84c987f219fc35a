"""The table people read: what was asked of the model, what was reached, and what chance reached.

numbers (suite.py)  ->  rows  ->  a table on the terminal
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: a figure by its key in ``numbers``, what it means, its unit, the floor and the goal if any.

    ``least``: whether more is better. Baselines have neither floor nor goal.
    """

    key: str
    words: str
    unit: str  # "dB", "%", "" for plain numbers
    floor: float | None = None
    goal: float | None = None
    least: bool = True

    def verdict(self, value: float) -> str:
        """``goal``, ``floor`` (``yes`` if there is no goal beyond it), ``below``; nothing where nothing is asked."""
        if self.floor is None:
            return ""
        if self.goal is None:
            return "yes" if (value >= self.floor if self.least else value <= self.floor) else "no"
        for name, bar in (("goal", self.goal), ("floor", self.floor)):
            if value >= bar if self.least else value <= bar:
                return name
        return "below"


def _percent(key: str, words: str, floor: float | None = None, goal: float | None = None, *, least: bool = True) -> Row:
    return Row(key=key, words=words, unit="%", floor=floor, goal=goal, least=least)


_F, _I, _P, _Q, _T = "forward-dynamics/", "inverse-dynamics/", "policy/", "questions/", "text-to-video/"
_S = "sound/"
ROWS = (
    Row(key=_F + "psnr", words="Forward dynamics, 16 steps: PSNR", unit="dB"),
    Row(key=_F + "db_over_repeat_first_frame", words="  above repeating the first frame", unit="dB", floor=3, goal=6),
    Row(key=_F + "db_below_codec", words="  below the video tokenizer alone", unit="dB", floor=5, goal=3, least=False),
    Row(key=_F + "db_lost_with_shuffled_actions", words="  lost with other actions", unit="dB", floor=2, goal=4),
    _percent(_F + "centre_within_5_percent", "  moved thing within 5 % of the width", 0.65, 0.85),
    _percent(_F + "centre_within_5_percent_shuffled_actions", "    with another clip's actions"),
    _percent(_F + "centre_within_5_percent_codec", "    the video tokenizer alone"),
    _percent(_F + "centre_within_5_percent_true_frame", "    found in the true frame"),
    *(
        Row(key=f"{_I}r2_translation_{kind}", words=f"Inverse dynamics: R² of translation, {kind}", unit="", floor=0.8,
            goal=0.95)
        for kind in ("expert", "clumsy", "random")
    ),
    _percent(_I + "gripper_accuracy", "  gripper", 0.92, 0.97),
    _percent(_P + "success_model", "Policy in physics: success", 0.3, 0.7),
    _percent(_P + "success_words_blind", "  told something drawn by chance", 0.15, least=False),
    _percent(_P + "success_random", "  random actions"),
    _percent(_P + "success_behaviour_cloning", "  behaviour cloning of the same size"),
    _percent(_Q + "exact", "Questions: exact answers", 0.7, 0.88),
    _percent(_Q + "without_looking", "  best guess without the picture", 0.45, least=False),
    _percent(_Q + "box_overlap_at_least_half", "  boxes that overlap by half"),
    _percent(_T + "named_there_film", "Text-to-video: named colour and shape there", 0.75, 0.9),
    _percent(_T + "named_there_exchanged", "  with prompts exchanged", 0.4, least=False),
    _percent(_T + "named_there_true", "  the same search in true pictures"),
    _percent(_S + "onset_found_imagined", "Sound: contacts heard within a frame", 0.65, 0.88),
    _percent(_S + "onset_found_exchanged", "  in another window's sound"),
    _percent(_S + "onset_found_codec", "  the sound tokenizer alone"),
    Row(key=_S + "false_onsets_imagined", words="  false onsets a second", unit="", floor=0.5, least=False),
    _percent(_S + "onset_seen_imagined", "  onsets where its own film shows a beginning or an end"),
    _percent(_S + "onset_seen_exchanged", "    another film's"),
    _percent(_S + "onset_seen_true", "    true film and true sound"),
)  # fmt: skip


def table(numbers: Mapping[str, Any]) -> Table:
    """The rows that were measured, each with its interval, its samples and what was asked of it."""
    shown = Table(title=f"{numbers['checkpoint']} on held-out seeds ({numbers['dtype']}, {numbers['device']})")
    for name in ("what", "value", "95 %", "n", "floor", "goal", "reached"):
        shown.add_column(name, justify="left" if name in ("what", "reached") else "right", no_wrap=True)
    for row in ROWS:
        figure = numbers["figures"].get(row.key)
        if figure is not None:
            interval = f"{_said(figure['low'], row)} to {_said(figure['high'], row)}"
            bars = [_bar(row, row.floor), _bar(row, row.goal)]
            shown.add_row(row.words, _said(figure["value"], row), interval, str(figure["n"]), *bars,
                          row.verdict(figure["value"]))  # fmt: skip
    return shown


def print_report(numbers: Mapping[str, Any], console: Console | None = None) -> None:
    """The table, then every section's notes: how its figures were made."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(numbers))
    for section, notes in numbers["notes"].items():
        for note in notes:
            console.print(f"{section}: {note}", style="dim")


def _bar(row: Row, value: float | None) -> str:
    return "" if value is None else ("≥ " if row.least else "≤ ") + _said(value, row)


def _said(value: float, row: Row) -> str:
    return f"{100 * value:.1f} %" if row.unit == "%" else f"{value:.2f} {row.unit}".strip()
