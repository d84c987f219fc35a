"""How true questions are made and chosen: one clear answer each, and no answer that can be guessed.

ask        a ``Question`` about one frame or several
extreme    who is furthest along a scale, if that is clear
of_frames  questions about a few frames of a film
contrasted without questions that a scene answers in one way only
fair       some of many candidates, so that answers are as even as the scene allows
template   a question without its names: two questions of one template differ only in what they are about
structured, report   captions and situation reports as one line of JSON (fields of the field's schema)
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np

from armillary.records import Question

TASKS = (
    "caption", "when", "next", "common sense", "box", "describe", "trajectory", "plausibility", "plan", "report",
    "relation", "count", "size", "distance", "visibility", "viewpoint",
)  # fmt: skip
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def ask(
    task: str, words: str, answer: str, frames: int | tuple[int, ...] = 0, choices: Iterable[str] | None = None
) -> Question:
    """A question; ``frames`` are the numbers of those it is about. The answer must be among the choices, if any."""
    offered = None if choices is None else tuple(choices)
    assert offered is None or answer in offered, f"{answer!r} is not among {offered}"
    numbers = (frames,) if isinstance(frames, int) else tuple(frames)
    return Question(task=task, words=words, answer=answer, choices=offered, frames=numbers)


def extreme(values: Mapping[str, float], *, margin: float, largest: bool = True) -> str | None:
    """The name with the largest (or smallest) value, or None where the next is nearer than ``margin``."""
    order = sorted(values, key=lambda name: values[name], reverse=largest)
    if not order or (len(order) > 1 and abs(values[order[0]] - values[order[1]]) < margin):
        return None
    return order[0]


def fair(
    asked: Sequence[Question], rng: np.random.Generator, *, each: int = 2, names: Sequence[str] = ()
) -> list[Question]:
    """At most ``each`` questions of every template, answers drawn evenly before questions are.

    ``names`` are the things' names, so that templates can be told. The order of the candidates does not matter
    beyond the draw: the same candidates and generator give the same choice.
    """
    groups: dict[str, dict[str, list[Question]]] = {}
    for question in asked:
        groups.setdefault(template(question.words, names), {}).setdefault(question.answer, []).append(question)
    chosen = []
    for answers in groups.values():
        order = [list(answers)[i] for i in rng.permutation(len(answers))]
        chosen += [answers[answer][int(rng.integers(len(answers[answer])))] for answer in order[:each]]
    return chosen


def of_frames(last: int, parts: int, about: Callable[[int], list[Question]]) -> list[Question]:
    """What ``about`` asks of the first frame, the last, and those at even ``parts`` between."""
    frames = sorted({part * last // parts for part in range(parts + 1)})
    return [question for frame in frames for question in about(frame)]


def contrasted(asked: Sequence[Question], tasks: Sequence[str], names: Sequence[str] = ()) -> list[Question]:
    """Leave out questions of these ``tasks`` whose template has one answer only: who guesses the usual one is right.

    With ``fair`` afterwards, no answer to them is more frequent than any other's half.
    """
    told: dict[str, set[str]] = {}
    for question in asked:
        told.setdefault(template(question.words, names), set()).add(question.answer)
    return [a for a in asked if a.task not in tasks or len(told[template(a.words, names)]) > 1]


def template(words: str, names: Sequence[str] = ()) -> str:
    """The question with every name and number taken out."""
    for name in sorted((name for name in names if name in words), key=len, reverse=True):
        words = re.sub(rf"\b{re.escape(name)}\b", "…", words)
    return re.sub(r"\d+(\.\d+)?", "#", words)


def listed(names: Sequence[str], *, article: str = "a") -> str:
    """``a red ball, a blue cube and an orange cone``; ``nothing`` if there are none. ``the`` may be the article."""
    words = [f"{article if article != 'a' else 'an' if name[:1] in 'aeiou' else 'a'} {name}" for name in names]
    return (", ".join(words[:-1]) + " and " if len(words) > 1 else "") + (words or ["nothing"])[-1]


def sentence(words: str) -> str:
    """The words with a capital at the beginning and a full stop at the end."""
    return words[:1].upper() + words[1:].rstrip(".") + "."


def clock(seconds: float) -> str:
    """``M:SS`` as the structured captions write times; tenths are kept, since our films are short."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


class Known(TypedDict):
    """What is known of a film, as ``structured`` takes it.

    ``actions``: from and to in seconds, and what happens then. ``size``: height and width in pixels. ``extra`` adds
    fields such as ``lighting``, ``background_setting``, ``audio_description``.
    """

    scene: str
    story: str
    subjects: Sequence[Mapping[str, str]]
    actions: Sequence[tuple[float, float, str]]
    camera: str
    size: tuple[int, int]
    frames: int
    fps: float
    extra: NotRequired[Mapping[str, Any] | None]


def structured(**known: Unpack[Known]) -> str:
    """A structured caption (cosmos3.md 9.4) as one line of JSON; only fields that are known, none guessed."""
    size, frames, fps = known["size"], known["frames"], known["fps"]
    fields: dict[str, Any] = {"scene_imagination": known["scene"], "temporal_caption": known["story"]}
    fields |= {"subjects": list(known["subjects"]), "cinematography": {"camera_motion": known["camera"]}}
    fields |= {"style_medium": "simulation"} | dict(known.get("extra") or {})
    fields["actions"] = [{"time": f"{clock(a)}-{clock(b)}", "description": words} for a, b, words in known["actions"]]
    shapes = {(1, 1): "1,1", (4, 3): "4,3", (3, 4): "3,4", (16, 9): "16,9", (9, 16): "9,16"}
    near = min(shapes, key=lambda shape: abs(shape[0] / shape[1] - size[1] / size[0]))
    fields |= {"duration": f"{int(frames / fps)}s", "fps": float(fps), "resolution": {"H": size[0], "W": size[1]}}
    fields["aspect_ratio"] = shapes[near]
    return json.dumps(fields)


def report(overview: str, events: Sequence[tuple[float, float, str]], insights: Sequence[str]) -> str:
    """A situation report as one line of JSON: overview, observed behaviours with times, actionable insights."""
    seen = [{"time": f"{clock(a)}-{clock(b)}", "behaviour": words} for a, b, words in events]
    return json.dumps({"overview": overview, "observed_behaviours": seen, "actionable_insights": list(insights)})
