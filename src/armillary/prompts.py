"""Prompts: the exact words in which a request reaches the reasoner.

    words + metadata sentences            pictures and films   ``video_prompt``, ``negative_prompt``
    task  -> one line of JSON             actions              ``action_prompt``
    words or JSON, and what holds them    controls             ``control_prompt``
    chat turns -> <|im_start|>user ...    everything           ``chat_text``
    words that say where things are       pictures             ``placed_caption``, ``places_in``

The published models were trained on exactly these strings (cosmos3.md 9.1-9.3), so a changed comma is another
prompt. Training and sampling both take them from here. Sizes are those of the canvas the model sees, in pixels.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from armillary.errors import RequestError

VIEWS = {
    "ego_view": "This video is captured from a first-person perspective looking at the scene.",
    "third_person_view": (
        "This video is captured from a third-person perspective looking towards the agent from the front."
    ),
    "wrist_view": "This video is captured from a wrist-mounted camera.",
    "concat_view": "This video contains concatenated views from multiple camera perspectives.",
}
ASPECTS = ((1, 1), (4, 3), (3, 4), (16, 9), (9, 16))  # width, height

BARE, ONE_MORE = "An empty table.", "On the table: {placed}."  # a picture painted thing by thing: before, and for each

SHORTENED = 1.4  # times that a step away looks shorter than one aside, to a camera that looks down at a table
APART = 0.25  # of the picture's width, beyond which things do not hide one another
LIES = ("to the left of", "to the right of", "in front of", "behind")  # how a thing may lie to another
_SAID = re.compile(rf"\b[Tt]he ([a-z]+ [a-z]+) is ({'|'.join(LIES)}) the ([a-z]+ [a-z]+)\b")
_THING, _PLACE = re.compile(r"\ban? [a-z]+ [a-z]+\b"), re.compile(r"\b(\d\d?) (\d\d?)\b")
_PLACED = re.compile(r"\b(an? [a-z]+(?: [a-z]+){0,3}?) at (\d\d?) (\d\d?)\b")

# The same chat as ``chat_text``, for libraries that open the tokenizer's folder. The two are compared in a test.
CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' or 'video' in part %}
{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif 'text' in part %}
{{- part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def chat_text(messages: Sequence[Mapping[str, Any]], *, answer_follows: bool = True) -> str:
    """Chat turns as one string; ``content`` is a string or a list of text, image and video parts.

    A picture stands as one ``<|image_pad|>`` (a film as ``<|video_pad|>``); the sampler widens it to as many as
    the picture has tokens. With ``answer_follows`` the string ends where the assistant begins to speak.
    """
    turns = []
    for message in messages:
        if "role" not in message or "content" not in message:
            raise RequestError(f"a message has the fields {sorted(message)}: it needs 'role' and 'content'.")
        content = message["content"]
        words = content if isinstance(content, str) else "".join(_part_text(part) for part in content)
        turns.append(f"<|im_start|>{message['role']}\n{words}<|im_end|>\n")
    return "".join(turns) + ("<|im_start|>assistant\n" if answer_follows else "")


def video_prompt(text: str, *, frames: int, fps: float, height: int, width: int) -> str:
    """The words, then how long, fast and large the film is. One frame is a picture: only its size is told."""
    if frames == 1:
        return _joined(text, f"This image is of {height}x{width} resolution.")
    timed = _joined(text, f"The video is {frames / fps:.1f} seconds long and is of {fps:.0f} FPS.")
    return _joined(timed, f"This video is of {height}x{width} resolution.")


def negative_prompt(text: str, *, frames: int, fps: float, height: int, width: int) -> str:
    """What the film must not be: the words, then the negated sentences, as Diffusers' pipeline writes them."""
    if frames == 1:
        return _joined(text, f"This image is not of {height}x{width} resolution.")
    timed = _joined(text, f"The video is not {frames / fps:.1f} seconds long and is not of {fps:.0f} FPS.")
    return _joined(timed, f"This video is not of {height}x{width} resolution.")


def placed_caption(told: Mapping[str, str]) -> str:
    """An episode's dense caption with the place of everything seen in the first frame, "" where none were kept.

    Places are the column and the row of each middle, in hundredths of the picture: "a red cube at 34 56".
    """
    return f"{told['short']} On the table: {told['report 0']}" if "report 0" in told else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A thing, article and all, and its middle: column and row in shares of the picture, 0 to 1."""

    thing: str
    x: float
    y: float

    @property
    def name(self) -> str:
        """Without its article: "red cube"."""
        return self.thing.partition(" ")[2]

    @property
    def words(self) -> str:
        """As a caption says it: "a red cube at 34 56"."""
        return f"{self.thing} at {self.place}"

    @property
    def place(self) -> str:
        """Column and row in hundredths: "34 56"."""
        return f"{round(100 * self.x)} {round(100 * self.y)}"


def things_in(words: str) -> list[str]:
    """Every thing of two words that is named for the first time, article and all: "a red cube"; in their order."""
    return _THING.findall(words)


def with_places(words: str, places: str) -> str:
    """Words in which things get places: the k-th of ``things_in`` the k-th of "34 56, 70 61.", as far as both go."""
    found = iter(_PLACE.findall(places))
    return _THING.sub(
        lambda thing: f"{thing[0]} at {' '.join(place)}" if (place := next(found, None)) else thing[0], words
    )


def relation(right: float, down: float, *, clear: float = 0.0) -> str | None:
    """How a thing lies to another that it is ``right`` and ``down`` of, in shares of the picture, in a caption's words;
    None where no direction wins by more than ``clear``."""
    if abs(abs(right) - SHORTENED * abs(down)) < clear:
        return None
    if abs(right) > SHORTENED * abs(down):
        return "to the right of" if right > 0 else "to the left of"
    return "in front of" if down > 0 else "behind"


def lying(one: str, how: str, other: str) -> str:
    """A sentence about two things by their names, ``how`` as ``relation`` says it."""
    return f"The {one} is {how} the {other}."


def broken(words: str) -> tuple[int, float]:
    """How badly words with places fit themselves: sentences such as "The red cube is behind the blue ball." that their
    places do not keep, and how much nearer than ``APART`` the two nearest things stand."""
    placed = places_in(words)
    where = {one.name: one for one in placed}
    said = [(where[one], lies, where[other]) for one, lies, other in _SAID.findall(words) if {one, other} <= set(where)]
    wrong = sum(relation(one.x - other.x, one.y - other.y) != lies for one, lies, other in said)
    gaps = [math.hypot(a.x - b.x, SHORTENED * (a.y - b.y)) for a, b in combinations(placed, 2)]
    return wrong, max(0.0, APART - min(gaps, default=APART))


def places_in(words: str) -> list[Placed]:
    """What the words put somewhere, in their order: "a red cube at 34 56" stands at hundredths of width and height."""
    return [Placed(thing=thing, x=int(x) / 100, y=int(y) / 100) for thing, x, y in _PLACED.findall(words)]


def action_prompt(
    task: str, *, frames: int, fps: float, height: int, width: int, view: str | None = "third_person_view"
) -> str:
    """The JSON line of a request with actions: viewpoint, task with its times, length, rate and canvas.

    ``frames`` is one more than there are actions. ``view`` is a key of ``VIEWS``, or None to say nothing about it.
    Forward and inverse dynamics and the policy share it; its negative prompt is the empty string.
    """
    if view is not None and view not in VIEWS:
        raise RequestError(f"view {view!r} is unknown: it must be one of {', '.join(VIEWS)}.")
    minutes, rest = divmod(round(frames / fps), 60)
    task = task.strip()
    said = f"{task}." if task and not task.endswith((".", "!", "?")) else task
    prompt: dict[str, Any] = {} if view is None else {"cinematography": {"framing": VIEWS[view]}}
    prompt["actions"] = [{"time": f"0:00-{minutes}:{rest:02d}", "description": said}]
    return json.dumps(prompt | _measures(frames, fps, height, width))


def control_prompt(text: str, controls: Sequence[str], *, frames: int, fps: float, height: int, width: int) -> str:
    """The words of a film under controls: its length, rate and size, then which controls it must follow.

    A caption in JSON is told these in fields of its own, other words in sentences. ``controls``: their names as the
    published models know them, in their order; a negative prompt names none.
    """
    caption = _json_object(text)
    if caption is None:
        told = video_prompt(text, frames=frames, fps=fps, height=height, width=width)
    else:
        told = json.dumps(caption | _measures(frames, fps, height, width))
    if not controls:
        return told
    names = ", ".join(controls)
    return (
        f"{told.rstrip()} Follow the {names} control video precisely: shape, contour, silhouette, position, and motion "
        f"of every visible structure must align with the {names} signal at every frame."
    )


def _measures(frames: int, fps: float, height: int, width: int) -> dict[str, Any]:
    """Length, rate and size as fields of JSON."""
    nearest = min(ASPECTS, key=lambda aspect: abs(aspect[0] / aspect[1] - width / height))
    return {
        "duration": f"{int(frames / fps)}s",
        "fps": float(fps),
        "resolution": {"H": height, "W": width},
        "aspect_ratio": f"{nearest[0]},{nearest[1]}",
    }


def _json_object(text: str) -> dict[str, Any] | None:
    """The object that a text is in JSON; None for any other text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _joined(words: str, sentence: str) -> str:
    """Words without their last full stop, a full stop, the sentence; the sentence alone if there are no words."""
    words = words.rstrip(".")
    return f"{words}. {sentence}" if words else sentence


def _part_text(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    if kind == "image" or "image" in part or "image_url" in part:
        return "<|vision_start|><|image_pad|><|vision_end|>"
    if kind == "video" or "video" in part:
        return "<|vision_start|><|video_pad|><|vision_end|>"
    if "text" in part:
        return str(part["text"])
    raise RequestError(f"a part of a message has the fields {sorted(part)}: it must be of type text, image or video.")
