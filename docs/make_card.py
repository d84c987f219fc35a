"""Puts what ``armillary evaluate`` found into a checkpoint's ``numbers.json`` and into the tables of its card.

    python docs/make_card.py CHECKPOINT RESULTS...     RESULTS: folders that ``evaluate --out`` wrote, each with numbers

Sections that were evaluated again replace those of before; the other sections must be of the same weights, and where
adapters may be worn, or words acted out, of the same adapters and deeds, or they are left out. A test compares the
bundled card with the figures beside it, and these with the weights.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armillary.errors import DataError
from armillary.evaluation.report import ROWS
from armillary.media import write_whole

TITLES = {
    "forward-dynamics": "Forward dynamics",
    "inverse-dynamics": "Inverse dynamics",
    "policy": "Policy in closed loop",
    "forward-dynamics-pusht": "PushT: forward dynamics",
    "inverse-dynamics-pusht": "PushT: inverse dynamics",
    "drift-pusht": "PushT: 64 frames, in four chunks and going on",
    "policy-pusht": "PushT: policy",
    "drift": "Drift: 64 frames, in four chunks, each from the last imagined picture, and going on",
    "sound": "Sound",
    "sound-to-video": "Films by their sound",
    "transfer": "Films under controls",
    "text-to-video": "Text to video",
    "picture-films": "Films from a picture and words",
    "given-films": "Films that go on, and films between two pictures",
    "questions": "Questions about pictures",
    "plans": "Plans at the table",
    "questions-physics": "Questions about physics",
    "questions-spatial": "Questions about spatial",
    "questions-drawer": "Questions about drawer",
    "questions-humans": "Questions about humans",
    "questions-driving": "Questions about driving",
    "questions-warehouse": "Questions about warehouse",
    "twins": "Impossible twins",
    "looks": "Looks and combinations that no training draws",
}
_TOLD = {row.key for row in ROWS}
HEAD = "| figure | value | 95 % | n |\n|---|---|---|---|\n"
FORWARD, INVERSE, POLICY = "forward-dynamics", "inverse-dynamics", "policy"
WEARS = {  # in which modes a section asks the generator, and so may be measured wearing an adapter
    FORWARD: {FORWARD}, f"{FORWARD}-pusht": {FORWARD}, INVERSE: {INVERSE}, f"{INVERSE}-pusht": {INVERSE},
    POLICY: {POLICY}, f"{POLICY}-pusht": {POLICY}, "looks": {FORWARD, POLICY}, "drift": {FORWARD, "onwards"},
    "drift-pusht": {FORWARD, "onwards"}, "picture-films": {"image-to-video"}, "text-to-video": {"text-to-video"},
    "given-films": {"video-to-video", "first-last-frame"},
    "sound": {"image-to-video", "text-to-video", "video-to-sound"},
    "transfer": {"image-to-video", "text-to-video", "transfer"},
    "sound-to-video": {"sound-to-video", "policy-by-sound", "image-to-video", POLICY, FORWARD},
}  # fmt: skip
SAME = ("checkpoint", "weights", "settings", "device", "dtype", "seed")  # what figures that stand together must share


def main(checkpoint: Path, results: Sequence[Path]) -> None:
    """Write both files anew. ``DataError`` for results of several weights, or a section the card has no heading for."""
    path, card = checkpoint / "numbers.json", checkpoint / "README.md"
    before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    numbers = joined(before, [json.loads((folder / "numbers.json").read_text("utf-8")) for folder in results])
    told = a_line_each(numbers)
    text = filled(card.read_text("utf-8"), json.loads(told)["figures"])  # as they are told, to their last digit
    for target, content in ((path, told), (card, text)):
        write_whole(target, lambda draft, content=content: draft.write_text(content, encoding="utf-8"))


def a_line_each(numbers: Mapping[str, Any]) -> str:
    """The numbers as JSON, a line for every figure, five digits each: a bundle has a limit, and its card counts.

    ``episodes`` is left out where there are as many as samples, ``n``.
    """
    lines = []
    for name, figure in numbers["figures"].items():
        places = {key: float(f"{one:.5g}") if isinstance(one, float) else one for key, one in figure.items()
                  if key != "episodes" or one != figure["n"]}  # fmt: skip
        lines.append(f"  {json.dumps(name)}: {json.dumps(places, separators=(',', ':'))}")
    others = {name: one for name, one in numbers.items() if name not in ("figures", "notes")}  # a page has the notes
    head = ",\n".join(f" {json.dumps(name)}: {json.dumps(one)}" for name, one in others.items())
    return "{\n" + head + ',\n "figures": {\n' + ",\n".join(lines) + "\n }\n}\n"


def joined(before: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers of several evaluations of one checkpoint as one; of ``before`` what is of the same weights stays."""
    whole: dict[str, Any] = {}
    for one in (*([before] if not found or _same(before, found[0]) else []), *found):
        if whole and not _same(whole, one):
            raise DataError(
                f"results of {one.get('weights', '')[:12]} and of {whole.get('weights', '')[:12]} came together: "
                "a card speaks of one checkpoint; evaluate it in all sections."
            )
        again = {section_of(name) for name in one["figures"]}
        if whole:
            again |= _otherwise(_ways(whole), _ways(one))
        kept = {name: figure for name, figure in whole.get("figures", {}).items() if section_of(name) not in again}
        said = {name: whole.get(name, {}) | one.get(name, {}) for name in ("commands", "notes")}
        whole = {**one, **said, "figures": kept | one["figures"]}
    return whole


def filled(card: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The card with every table of figures as ``figures`` say; a heading without figures keeps no rows.

    Of a section that the report on the terminal has rows for the card has these; the others are in ``numbers.json``.
    """
    if strange := {section_of(name) for name in figures} - set(TITLES):
        raise DataError(f"{min(strange)} has no heading in TITLES: give it one there and in the card.")
    for section, title in TITLES.items():
        heading = f"## {title}\n\n{HEAD}"
        if heading not in card:
            raise DataError(f"the card has no {f'## {title}'!r} with a table of figures under it: put it there.")
        above, rest = card.split(heading)
        below = rest.partition("\n\n")[2] if rest.startswith("|") else rest.removeprefix("\n")
        own = [name for name in figures if section_of(name) == section]
        rows = "".join(_row(name, figures[name]) for name in [name for name in own if name in _TOLD] or own)
        card = f"{above}{heading}{rows}\n{below}"
    return card


def section_of(name: str) -> str:
    """``forward-dynamics`` of ``forward-dynamics/psnr``."""
    return name.partition("/")[0]


def _ways(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What is worn, and how words are acted out, each with the modes in which that happens unasked."""
    acted = numbers.get("acting")
    return {**numbers.get("adapters", {}), **({"and acted": acted} if acted else {})}


def _otherwise(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The sections in whose modes another adapter was worn, or words were acted out otherwise, before than now."""
    changed = [
        one[name] for one, other in ((before, now), (now, before)) for name in one if one[name] != other.get(name)
    ]
    return {section for section, modes in WEARS.items()
            if any(told["modes"] is None or modes & set(told["modes"]) for told in changed)}  # fmt: skip


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in SAME)


def _row(name: str, figure: Mapping[str, Any]) -> str:
    value, low, high = (f"{figure[which]:.3f}" for which in ("value", "low", "high"))
    return f"| {name.partition('/')[2]} | {value} | {low} to {high} | {figure['n']} |\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
