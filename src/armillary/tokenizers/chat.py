"""A chat with pictures, as the reasoner's ids.

    messages, and what each picture or film takes   ->   one string in which every visual token has its place

A picture stands in the chat as one ``<|image_pad|>``, a film as one ``<|video_pad|>`` (``prompts.chat_text``).
Here a picture is widened to as many pads as it has tokens; a film becomes one timed stretch for each pair of
frames, ``<0.3 seconds>`` before it, as Qwen3-VL does.
"""

import re
from collections.abc import Sequence

from armillary.errors import RequestError

Shown = int | Sequence[tuple[float, int]]  # tokens of a picture; or (seconds, tokens) of each frame pair of a film
_PLACE = re.compile(r"<\|vision_start\|><\|(image|video)_pad\|><\|vision_end\|>")


def widen(text: str, shown: Sequence[Shown]) -> str:
    """The chat text with room for every visual token; ``RequestError`` unless the text names as many as are shown."""
    places = _PLACE.findall(text)
    if [isinstance(one, int) for one in shown] != [place == "image" for place in places]:
        kinds = ["image" if isinstance(one, int) else "video" for one in shown]
        raise RequestError(
            f"the chat names {places}, but {kinds} came: give each picture and film its place, in order."
        )
    parts = iter(shown)
    return _PLACE.sub(lambda _: _stretch(next(parts)), text)


def _stretch(one: Shown) -> str:
    if isinstance(one, int):
        return f"<|vision_start|>{'<|image_pad|>' * one}<|vision_end|>"
    pairs = [
        f"<{seconds:.1f} seconds><|vision_start|>{'<|video_pad|>' * count}<|vision_end|>" for seconds, count in one
    ]
    return "".join(pairs)


def film_moments(frames: int, *, pairs: int = 2) -> list[int]:
    """Which frames of a film the reasoner is shown: first to last, evenly, two for each pair."""
    count = 2 * pairs
    return [round(i * (frames - 1) / (count - 1)) for i in range(count)]


def film_seconds(moments: Sequence[int], fps: float) -> list[float]:
    """The time of each pair of the shown frames: the middle of its two moments, in seconds."""
    return [(moments[i] + moments[i + 1]) / 2 / fps for i in range(0, len(moments) - 1, 2)]
