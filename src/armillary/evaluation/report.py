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

    ``least``: whether more is better. Baselines have neither floor nor goal. ``apart``: a difference that must be
    above the floor by its whole interval.
    """

    key: str
    words: str
    unit: str  # "dB", "%", "" for plain numbers
    floor: float | None = None
    goal: float | None = None
    least: bool = True
    apart: bool = False

    def bar(self, value: float | None) -> str:
        """What is asked, as the table says it; nothing where nothing is."""
        return "" if value is None else ("≥ " if self.least else "≤ ") + said(value, self.unit)

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


_F, _D, _I, _P, _Q, _T = "forward-dynamics/", "drift/", "inverse-dynamics/", "policy/", "questions/", "text-to-video/"
_M, _S, _C, _W, _L = "picture-films/", "sound/", "transfer/", "twins/", "plans/"
_H, _G = "sound-to-video/", "given-films/"
ROWS = (
    Row(key=_F + "psnr", words="Forward dynamics, 16 steps: PSNR", unit="dB"),
    Row(key=_F + "db_over_repeat_first_frame", words="  above repeating the first frame", unit="dB", floor=4, goal=7),
    Row(key=_F + "db_below_codec", words="  below the video tokenizer alone", unit="dB", floor=5, goal=3, least=False),
    Row(key=_F + "db_lost_with_shuffled_actions", words="  lost with other actions", unit="dB", floor=2, goal=4),
    _percent(_F + "centre_within_5_percent", "  moved thing within 5 % of the width", 0.65, 0.85),
    _percent(_F + "centre_within_5_percent_shuffled_actions", "    with another clip's actions"),
    _percent(_F + "centre_within_5_percent_codec", "    the video tokenizer alone"),
    _percent(_F + "centre_within_5_percent_true_frame", "    found in the true frame"),
    Row(key=_D + "psnr_to_frame_64", words="Drift: PSNR of 64 frames, chained", unit="dB"),
    *(
        Row(key=f"{_D}db_over_repeat_first_frame_to_frame_{frames}",
            words=f"  above repeating the first frame, {frames} frames", unit="dB")
        for frames in (17, 33, 49)
    ),
    Row(key=_D + "db_over_repeat_first_frame_to_frame_64", words="  above repeating the first frame, 64 frames",
        unit="dB", floor=2, goal=4),
    Row(key=_D + "db_over_repeat_first_frame_going_on_to_frame_64", words="    going on four frames at a time",
        unit="dB", floor=2, goal=4),
    Row(key=_D + "db_more_than_chunks_going_on_to_frame_64", words="    which is more than in chunks by", unit="dB"),
    Row(key=_D + "db_below_codec_to_frame_64", words="  below the video tokenizer alone, 64 frames", unit="dB"),
    Row(key=_D + "db_lost_with_shuffled_actions_to_frame_64", words="  lost with other actions, 64 frames", unit="dB"),
    *(
        Row(key=f"{_I}r2_translation_{kind}", words=f"Inverse dynamics: R² of translation, {kind}", unit="", floor=0.9,
            goal=0.97)
        for kind in ("expert", "clumsy", "random")
    ),
    _percent(_I + "gripper_accuracy", "  gripper", 0.95, 0.98),
    _percent(_P + "success_model", "Policy in physics: success", 0.45, 0.85),
    _percent(_P + "success_words_blind", "  told something drawn by chance", 0.15, least=False),
    _percent(_P + "success_random", "  random actions"),
    _percent(_P + "success_behaviour_cloning", "  behaviour cloning of the same size"),
    _percent(_Q + "exact_mean_over_tasks", "Questions: exact answers, mean over tasks", 0.72, 0.9),
    _percent(_Q + "exact", "  exact answers, all questions"),
    _percent(_Q + "without_looking", "  best guess without the picture", 0.45, least=False),
    Row(key=_Q + "box_overlap", words="  boxes: overlap (IoU), mean", unit="", floor=0.5, goal=0.75),
    _percent(_Q + "box_overlap_at_least_half", "  boxes that overlap by half"),
    _percent(_T + "facts_film", "Text-to-video: what the words say is there, all questions", 0.65, 0.88),
    *(
        _percent(f"{_T}{fact}_film", f"  {words}")
        for fact, words in (
            ("objects", "named things, colour and shape"), ("colours", "named colours"), ("count", "their number"),
            ("relation", "how two of them lie"),
        )
    ),
    _percent(_T + "facts_exchanged", "  with prompts exchanged", 0.35, least=False),
    _percent(_T + "facts_exchanged_true", "  prompts exchanged, in true pictures"),
    _percent(_T + "facts_true", "  the same questions to true pictures"),
    _percent(_T + "facts_codec", "  the same questions to the video tokenizer's"),
    Row(key=_M + "psnr", words="Film from a picture and words: PSNR", unit="dB"),
    Row(key=_M + "db_over_repeat_first_frame", words="  above repeating the first frame", unit="dB"),
    Row(key=_M + "db_over_repeat_first_frame_plain", words="    where nobody acts out the words", unit="dB"),
    Row(key=_M + "db_over_repeat_first_frame_slow", words="    nor wears an adapter, in all its steps", unit="dB"),
    Row(key=_M + "db_below_codec", words="  below the video tokenizer alone", unit="dB"),
    Row(key=_M + "db_lost_with_exchanged_words", words="  lost with another life's words", unit="dB"),
    _percent(_M + "done_in_physics", "  acted out: its actions do in physics what the words tell"),
    _percent(_M + "done_in_physics_exchanged", "    those of another life's words"),
    *(
        _percent(f"{_M}{what}{end}", words)
        for what, first in (("moved", "  pixels that change from the first to the last frame"),
                            ("things_kept", "  things still there in the last frame, colour and shape"))
        for end, words in (("", first), ("_plain", "    where nobody acts out the words"),
                           ("_slow", "    nor wears an adapter, in all its steps"), ("_true", "    in true films"),
                           ("_codec", "    the video tokenizer alone"))
    ),
    *(
        Row(key=f"{_G}{what}_continued", words=words, unit="dB")
        for what, words in (("psnr", "Film that goes on from five frames: PSNR"),
                            ("db_over_repeat", "  above repeating the last frame given"),
                            ("db_below_codec", "  below the video tokenizer alone"),
                            ("db_lost_with_exchanged_words", "  lost with another life's words"))
    ),
    _percent(_G + "moved_continued", "  pixels that change from the last frame given to the last"),
    _percent(_G + "moved_true_continued", "    in true films"),
    *(
        Row(key=f"{_G}{what}_between", words=words, unit="dB")
        for what, words in (("psnr", "Film between two pictures: PSNR"),
                            ("db_over_repeat", "  above repeating the first frame"),
                            ("db_over_crossfade", "  above fading the first into the last"),
                            ("db_below_codec", "  below the video tokenizer alone"),
                            ("db_lost_with_exchanged_words", "  lost with another life's words"))
    ),
    _percent(_G + "moved_between", "  pixels that change from the first to the middle frame"),
    _percent(_G + "moved_true_between", "    in true films"),
    _percent(_S + "onset_found_to_film", "Sound to a film: its contacts heard within a frame", 0.65, 0.88),
    _percent(_S + "onset_found_to_other_film", "  in the sound to another film"),
    Row(key=_S + "false_onsets_to_film", words="  false onsets a second", unit="", floor=0.5, least=False),
    _percent(_S + "onset_found_imagined", "Sound of an imagined film: true contacts heard within a frame", 0.65, 0.88),
    _percent(_S + "onset_found_exchanged", "  in another window's sound"),
    _percent(_S + "onset_found_codec", "  the sound tokenizer alone"),
    Row(key=_S + "false_onsets_imagined", words="  false onsets a second", unit="", floor=0.5, least=False),
    _percent(_S + "onset_seen_imagined", "  onsets where its own film shows a beginning or an end"),
    _percent(_S + "onset_seen_exchanged", "    another film's"),
    _percent(_S + "onset_seen_true", "    true film and true sound"),
    Row(key=_H + "db_over_repeat_first_frame", words="Film by a sound: above repeating the first frame", unit="dB"),
    Row(key=_H + "db_more_than_unheard", words="  more than from the picture and the words alone", unit="dB"),
    Row(key=_H + "db_lost_with_other_sound", words="  lost with another window's sound", unit="dB"),
    Row(key=_H + "db_lost_with_other_sound_plain", words="    where nobody acts out the words", unit="dB"),
    *(
        _percent(f"{_H}contacts_made{end}", words)
        for end, words in (("", "  its actions make in physics the contacts that are told"),
                           ("_other_sound", "    those by another window's sound"),
                           ("_unheard", "    those by no sound"), ("_later", "  the same contacts, told later"),
                           ("_later_unheard", "    made by those who do not hear"))
    ),
    Row(key=_H + "false_contacts", words="  contacts that were not told, a second", unit=""),
    Row(key=_H + "false_contacts_unheard", words="    by those who do not hear", unit=""),
    *(
        row
        for key, words, unit in (
            ("edge_f1", "Under a control: its edges kept, F1", "%"),
            ("blur_psnr", "Under a control: its blurred colours", "dB"),
            ("depth_things_iou", "Under a control: depth, where things stand, IoU", "%"),
            ("segmentation_things_iou", "Under a control: labels, where things stand, IoU", "%"),
            ("segmentation_colours_iou", "Under a control: labels, in the named colours, IoU", "%"),
        )
        for row in (
            Row(key=_C + key, words=words, unit=unit),
            Row(key=f"{_C}{key}_better_than_free", words="  better than without it by", unit=unit, floor=0.0,
                apart=True),
            Row(key=f"{_C}{key}_better_than_strange", words="  better than under another's by", unit=unit, floor=0.0,
                apart=True),
            Row(key=f"{_C}{key}_led", words="  without it, from a true first frame", unit=unit),
            Row(key=f"{_C}{key}_begun_better_than_led", words="    better than that with it, too, by", unit=unit),
        )
    ),
    *(
        row
        for look in ("plain", "dusk", "meadow", "aside", "alike")
        for row in (
            Row(key=f"looks/db_over_repeat_first_frame_{look}", words=f"Look {look}: dB over repeat", unit="dB"),
            _percent(f"looks/exact_mean_over_tasks_{look}", "  exact answers, mean over tasks"),
            _percent(f"looks/success_{look}", "  the policy's success"),
        )
    ),
    _percent(_W + "told_apart", "Impossible twins told apart by surprise", 0.65),
    *(
        _percent(f"{_W}told_apart_{kind}", f"  something {kind.replace('_', ' ')}")
        for kind in ("vanishes", "changes_colour", "floats", "passes_through")
    ),
    _percent(_W + "told_apart_by_asking", "Impossible twins told apart by asking the reasoner", 0.65),
    *(
        _percent(f"{_W}told_apart_by_asking_{kind}", f"  something {kind.replace('_', ' ')}")
        for kind in ("vanishes", "changes_colour", "floats", "passes_through")
    ),
    _percent(_W + "told_apart_by_asking_of_any", "  of any four moments of the films"),
    _percent(_W + "told_apart_repeat", "  by the difference from the frame before"),
    _percent(_W + "told_apart_repeat_latents", "    in latents"),
    _percent(_W + "told_apart_linear", "  by the difference from going on as before"),
    _percent(_W + "told_apart_by_whole_film", "  by the surprise of the whole film"),
    _percent(_W + "told_apart_by_whole_film_repeat", "    by the difference from the frame before"),
    Row(key=_W + "auroc", words="  any impossible film beside any possible one: area under ROC", unit=""),
    Row(key=_W + "times_repeat_latents", words="  error in possible films, times that of no change", unit=""),
    _percent(_L + "plan_steps", "Plans at the table: what is left, steps right and in order", 0.7),
    _percent(_L + "plan_steps_without_looking", "  best guess without the picture"),
    _percent(_L + "plan_steps_exchanged", "  with another episode's picture"),
    _percent(_L + "plan_exact", "  plans right as a whole"),
    _percent(_L + "plan_exact_without_looking", "    best guess without the picture"),
    _percent(_L + "plan_exact_exchanged", "    with another episode's picture"),
    *(
        row
        for world, name in (("pusht", "PushT"), ("physics", "physics"))
        for row in (
            Row(key=f"forward-dynamics-{world}/psnr", words=f"Forward dynamics, {name}: PSNR", unit="dB"),
            Row(key=f"forward-dynamics-{world}/db_over_repeat_first_frame", words="  above repeating the first frame",
                unit="dB"),
            Row(key=f"forward-dynamics-{world}/db_over_repeat_first_frame_where_the_t_moves",
                words="    where the T moves", unit="dB"),
            Row(key=f"forward-dynamics-{world}/db_below_codec", words="  below the video tokenizer alone", unit="dB"),
            Row(key=f"forward-dynamics-{world}/db_lost_with_shuffled_actions", words="  lost with other actions",
                unit="dB"),
        )
    ),
    Row(key="drift-pusht/db_over_repeat_first_frame_to_frame_64", unit="dB", floor=2.0, goal=4.0,
        words="PushT, 64 frames: above the first frame repeated"),
    Row(key="drift-pusht/db_over_repeat_first_frame_going_on_to_frame_64", unit="dB", floor=2.0, goal=4.0,
        words="  going on four frames at a time"),
    Row(key="drift-pusht/db_more_than_chunks_going_on_to_frame_64", unit="dB",
        words="  which is more than in chunks by"),
    Row(key="drift-pusht/db_lost_with_shuffled_actions_to_frame_64", unit="dB",
        words="  lost with another life's actions"),
    *(
        row
        for kind in ("expert", "clumsy", "random")
        for row in (
            Row(key=f"inverse-dynamics-pusht/r2_target_{kind}", words=f"Inverse dynamics, PushT: R² of actions, {kind}",
                unit=""),
            Row(key=f"inverse-dynamics-pusht/r2_disc_{kind}", words="  where the disc is a step later", unit=""),
        )
    ),
    *(
        _percent(f"policy-pusht/{what}_{policy}", words)
        for policy, named in (("model", "Policy in PushT"), ("random", "  random"), ("still", "  who does nothing"))
        for what, words in (("coverage_best", f"{named}: covered at best"), ("coverage_last", f"{named}: in the end"),
                            ("success", f"{named}: success"))
    ),
    *(
        row
        for world in ("physics", "spatial", "humans", "driving", "warehouse", "drawer")
        for row in (
            _percent(f"questions-{world}/exact_mean_over_tasks", f"Questions, {world}: exact, mean over tasks"),
            _percent(f"questions-{world}/without_looking_mean_over_tasks", "  best guess without the picture"),
            Row(key=f"questions-{world}/box_overlap", words="  boxes: overlap (IoU), mean", unit=""),
            _percent(f"questions-{world}/plan_steps", "  plans: steps right and in order"),
        )
    ),
)  # fmt: skip
_KNOWN = {row.key: row for row in ROWS}
_UNITS = {
    "psnr": "dB", "db_": "dB", "exact": "%", "without_looking": "%", "success": "%", "gripper_accuracy": "%",
    "facts_": "%", "objects_": "%", "colours_": "%", "count_": "%", "relation_": "%",
    "box_overlap_at_least": "%", "plan_": "%", "centre_within": "%",
    "onset_": "%", "coverage_": "%",
    "told_apart": "%", "moved": "%", "things_kept": "%",
}  # fmt: skip


def table(numbers: Mapping[str, Any]) -> Table:
    """The rows that were measured, each with its interval, its samples and what was asked of it."""
    shown = Table(title=f"{numbers['checkpoint']} on held-out seeds ({numbers['dtype']}, {numbers['device']})")
    for name in ("what", "value", "95 %", "n", "floor", "goal", "reached"):
        shown.add_column(name, justify="left" if name in ("what", "reached") else "right", no_wrap=True)
    for row in ROWS:
        figure = numbers["figures"].get(row.key)
        if figure is not None:
            bars = [row.bar(row.floor), row.bar(row.goal)]
            shown.add_row(row.words, said(figure["value"], row.unit), interval(figure, row.unit), str(figure["n"]),
                          *bars, reached(row, figure))  # fmt: skip
    return shown


def reached(row: Row, figure: Mapping[str, Any]) -> str:
    """Whether a figure is what was asked; of one episode nothing is said."""
    if _alone(figure):
        return "" if row.floor is None else "too few"
    return row.verdict(figure["low" if row.apart else "value"])


def interval(figure: Mapping[str, Any], unit: str) -> str:
    """A figure's interval in words; one episode says nothing of others and has none."""
    return "one episode" if _alone(figure) else span(figure["low"], figure["high"], unit)


def _alone(figure: Mapping[str, Any]) -> bool:
    return bool(figure.get("episodes", figure["n"]) < 2)


def print_report(numbers: Mapping[str, Any], console: Console | None = None) -> None:
    """The table, then every section's notes: how its figures were made."""
    console = console or Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(numbers))
    for section, notes in numbers["notes"].items():
        for note in notes:
            console.print(f"{section}: {note}", style="dim")


def said(value: float, unit: str, *, signed: bool = False) -> str:
    """A figure as people read it: shares in percent with one decimal. ``signed``: differences say that they add."""
    plus = "+" if signed else ""
    if unit == "%":
        return f"{100 * value:{plus}.1f} {'points' if signed else unit}"
    return f"{value:{plus}.2f} {unit}".strip()


def worded(key: str) -> tuple[str, str]:
    """What a figure is called, and its unit: in the report's words, else by its name."""
    row = _KNOWN.get(key)
    if row is not None:
        return row.words.strip(), row.unit
    name = key.split("/")[1]
    unit = next((unit for beginning, unit in _UNITS.items() if name.startswith(beginning)), "")
    return name.replace("_", " "), unit


def span(low: float, high: float, unit: str, *, signed: bool = False) -> str:
    """An interval, its unit once."""
    return f"{said(low, unit, signed=signed).split()[0]} to {said(high, unit, signed=signed)}"
