"""What can be wrong with words, sound and labels: empty, torn, left over, no choice, of another length."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from armillary.datasets.findings import Findings
from armillary.datasets.looks import Look

LEFT_OVER = {"todo", "tbd", "test", "task", "n/a", "na", "none", "null", "nan", "unknown", "lorem ipsum", "instruction"}
TORN = re.compile("\ufffd|Ã[\u0080-\u00bf¼¶¤Ÿ©¨]|â€|\\\\u[0-9a-f]{4}")
MARKS = re.compile(r"<[a-z/][^>|]*>|\{[a-z_ ]*\}|\[\[|&[a-z]+;|https?://")
LONGEST = 400  # words
FAINTEST = 1e-4  # of the largest sample there can be


def check_words(looks: Sequence[Look], found: Findings) -> None:
    """Every check of this file."""
    for one in looks:
        _check_instruction(one, found)
        for name, text in one.captions.items():
            _check_text(one, f"caption {name}", text, found)
        _check_questions(one, found)
        _check_labels(one, found)
        _check_sound(one, found)
    tracks = [one for one in looks if one.sound is not None]
    silent = [one for one in tracks if one.sound is not None and one.sound[1] < FAINTEST]
    if len(silent) == len(tracks) or len(silent) <= len(tracks) / 3:  # else silence is that place's way
        for one in silent:
            found.odd_in("silent", one.number, "nothing is heard in it.")
    said = Counter(one.instruction for one in looks)
    if len(looks) >= 20 and len(said) == 1 and looks[0].instruction:
        found.odd("few-tasks", f"every episode has the instruction {looks[0].instruction!r}: words carry nothing here.")


def _check_instruction(one: Look, found: Findings) -> None:
    if not any(c.isalnum() for c in one.instruction):
        found.odd_in("blank-instruction", one.number, f"the instruction is {one.instruction!r}, which says nothing.")
    else:
        _check_text(one, "the instruction", one.instruction, found)


def _check_text(one: Look, what: str, text: str, found: Findings) -> None:
    short = text if len(text) <= 60 else text[:57] + "..."
    if text.strip().strip(".").lower() in LEFT_OVER:
        found.odd_in("left-over-text", one.number, f"{what} is {short!r}: it was never filled in.")
    if TORN.search(text):
        found.odd_in("torn-text", one.number, f"{what} was read in the wrong encoding: {short!r}.")
    if not text.lstrip().startswith("{") and MARKS.search(text):
        found.odd_in("marks-in-text", one.number, f"{what} holds marks that nobody says: {short!r}.")
    if len(text.split()) > LONGEST and not text.lstrip().startswith("{"):
        found.odd_in("long-text", one.number, f"{what} has {len(text.split())} words: most readers cut it off.")
    if text != text.strip() or "  " in text:
        found.odd_in("spaces-in-text", one.number, f"{what} has spaces at its ends or doubled: {short!r}.")


def _check_questions(one: Look, found: Findings) -> None:
    for question in one.questions:
        if not question.answer.strip() or not question.words.strip():
            found.odd_in("empty-answer", one.number, f"question {question.words!r} has the answer {question.answer!r}.")
        elif question.choices is not None and question.answer not in question.choices:
            found.odd_in("answer-not-a-choice", one.number, f"question {question.words!r} offers "
                         f"{', '.join(question.choices)} and its answer is {question.answer!r}.")  # fmt: skip
        if any(not 0 <= frame < one.frames for frame in question.frames):
            found.odd_in("question-beyond", one.number, f"question {question.words!r} is about frames "
                         f"{list(question.frames)} and there are {one.frames}.")  # fmt: skip
    for begin, end, words in one.events:
        if not 0 <= begin <= end <= one.seconds + 0.5 / one.fps:
            found.odd_in("event-beyond", one.number, f"event {words!r} lasts from {begin:g} to {end:g} s and the "
                         f"episode {one.seconds:g} s.")  # fmt: skip


def _check_labels(one: Look, found: Findings) -> None:
    if one.boxes and len(one.boxes) != one.frames:
        found.odd_in("labels-beside-frames", one.number, f"boxes for {len(one.boxes)} of {one.frames} frames.")
    for name, box in _boxes(one):
        left, top, right, bottom = (float(edge) for edge in box[:4])
        height, width = one.size
        inside = min(left, top) >= -1 and (not height or (right <= width + 1 and bottom <= height + 1))
        if not (left < right and top < bottom and inside):
            found.odd_in("box-outside", one.number, f"the box of {name!r} is {tuple(box)} in pictures of "
                         f"{height}x{width}.")  # fmt: skip
            break
    blind = {name for name, (low, high, _) in one.extras.items() if name.startswith("segmentation") and low == high}
    marked = {name for name in one.extras if name.startswith("segmentation")}
    nobody = bool(one.boxes) and not any(one.boxes)  # then an empty picture is what was seen
    for name, (low, high, fits) in one.extras.items():
        if not fits:
            found.odd_in("labels-beside-frames", one.number, f"{name} has another number of frames than the pictures.")
        if name.startswith("depth") and (low < 0 or high <= 0):
            found.odd_in(
                "depth-broken", one.number, f"{name} goes from {low:g} to {high:g} metres: nothing is measured."
            )
        if name in blind and blind == marked and not nobody:
            found.odd_in("segmentation-empty", one.number, f"{name} is {low:g} everywhere: nothing is told apart.")


def _boxes(one: Look) -> Iterator[tuple[str, Sequence[float]]]:
    for frame in one.boxes:
        for name, box in frame.items():
            if isinstance(box, dict):  # camera -> name -> box
                yield from ((inner, edges) for inner, edges in box.items() if len(edges) >= 4)
            elif len(box) >= 4:
                yield name, box


def _check_sound(one: Look, found: Findings) -> None:
    if one.sound is None:
        return
    seconds, _, full = one.sound
    if abs(seconds - one.seconds) > max(0.1 * one.seconds, 1.5 / one.fps):
        found.odd_in("sound-length", one.number, f"sound lasts {seconds:.2f} s and the pictures {one.seconds:.2f} s.")
    if full > 0.005:
        found.odd_in("sound-clipped", one.number, f"{full:.1%} of the sound is at its limit: it is distorted.")
