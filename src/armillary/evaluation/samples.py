"""What a section's lines are: each file of samples becomes samples again, and samples become figures again.

    SECTION.jsonl  --samples_of-->  samples  --figures-->  the section's figures

So figures that are thought of later need no new measurement, and two runs can be compared sample by sample.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.errors import DataError
from armillary.evaluation.answers import Answered, answers_figures
from armillary.evaluation.behaviour import Attempt, policy_figures
from armillary.evaluation.bootstrap import Figure
from armillary.evaluation.by_sound import BySoundScore, by_sound_figures
from armillary.evaluation.drift import DriftScore, drift_figures
from armillary.evaluation.dynamics import ForwardScore, InverseScore, forward_figures, inverse_figures
from armillary.evaluation.elsewhere import Aimed, aimed_figures, pusht_figures
from armillary.evaluation.films import Named, films_figures
from armillary.evaluation.given_films import GivenScore, given_figures
from armillary.evaluation.looks import LookScore, looks_figures
from armillary.evaluation.other_worlds import WORLDS
from armillary.evaluation.picture_films import PictureScore, picture_figures
from armillary.evaluation.plans import Planned, plans_figures
from armillary.evaluation.pushing import Pushed, pushed_figures
from armillary.evaluation.sound import Listened, sound_figures
from armillary.evaluation.transfer import Followed, transfer_figures
from armillary.evaluation.twins import TwinScore, twins_figures


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How a section's lines become figures again: what a line is, which fields say what was asked, the figures."""

    line: Callable[..., Any]
    asked: tuple[str, ...]
    figures: Callable[[Sequence[Any]], Mapping[str, Figure]]


LINES: dict[str, Kept] = {
    "forward-dynamics": Kept(line=ForwardScore, asked=("seed", "kind", "start"), figures=forward_figures),
    "drift": Kept(line=DriftScore, asked=("seed", "kind"), figures=drift_figures),
    "inverse-dynamics": Kept(line=InverseScore, asked=("seed", "kind", "start"), figures=inverse_figures),
    "policy": Kept(line=Attempt, asked=("seed", "policy", "instruction"), figures=policy_figures),
    "questions": Kept(line=Answered, asked=("seed", "frame", "task", "words", "truth"), figures=answers_figures),
    "looks": Kept(line=LookScore, asked=("seed", "look", "ability", "which"), figures=looks_figures),
    "sound": Kept(line=Listened, asked=("seed", "kind", "sound", "beside", "contact"), figures=sound_figures),
    "sound-to-video": Kept(line=BySoundScore, asked=("seed", "start"), figures=by_sound_figures),
    "transfer": Kept(line=Followed, asked=("seed", "measure", "film"), figures=transfer_figures),
    "twins": Kept(line=TwinScore, asked=("seed", "kind"), figures=twins_figures),
    "plans": Kept(line=Planned, asked=("seed", "frame", "words", "truth"), figures=plans_figures),
    "text-to-video": Kept(line=Named, asked=("seed", "search", "fact", "what"), figures=films_figures),
    "picture-films": Kept(line=PictureScore, asked=("seed",), figures=picture_figures),
    "given-films": Kept(line=GivenScore, asked=("seed", "mode"), figures=given_figures),
    "forward-dynamics-pusht": Kept(line=ForwardScore, asked=("seed", "kind", "start"), figures=pusht_figures),
    "forward-dynamics-physics": Kept(line=ForwardScore, asked=("seed", "kind", "start"), figures=forward_figures),
    "drift-pusht": Kept(line=DriftScore, asked=("seed", "kind"), figures=drift_figures),
    "inverse-dynamics-pusht": Kept(line=Aimed, asked=("seed", "kind", "start"), figures=aimed_figures),
    "policy-pusht": Kept(line=Pushed, asked=("seed", "policy"), figures=pushed_figures),
}
LINES |= {f"questions-{world}": LINES["questions"] for world in WORLDS}


def figures_again(folder: Path, section: str) -> Mapping[str, Figure]:
    """The figures of a section that was measured, made anew from its lines."""
    return LINES[section].figures(samples_of(folder, section))


def samples_of(folder: Path, section: str) -> list[Any]:
    """A section's samples, line by line; ``DataError`` for lines that are none."""
    path, line = folder / f"{section}.jsonl", LINES[section].line
    found = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            found.append(line(**json.loads(text)))
        except (TypeError, ValueError) as wrong:
            raise DataError(
                f"{path}, line {number} is no sample ({wrong}): it was written by another version. Measure it again."
            ) from wrong
    return found


def by_what_was_asked(folder: Path, section: str) -> dict[tuple[Any, ...], Any]:
    """The same, each under the fields that say what it is about; of two that are about the same the last one."""
    asked = LINES[section].asked
    return {tuple(vars(sample)[name] for name in asked): sample for sample in samples_of(folder, section)}
