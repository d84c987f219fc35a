"""Questions: exact answers, beside the best guess that never looks at the picture.

    measure_answers   the model's answer to each question; exact means the same words, capitals and full stop aside
    Guesser           the commonest answer to the same words, or to words of the same form, on training seeds
    boxes             "Where is ...?" is marked apart, by overlap (intersection over union)
    plans             beside exactness: how many of the steps are there, in their order

No question has yes or no for an answer (captions.py). The questions are drawn so that every task has as many as
any other, as far as there are that many; ``exact_mean_over_tasks`` counts every task alike in any case.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.evaluation.bootstrap import Figure, mean, mean_over_kinds
from armillary.records import Array, Episode, Question
from armillary.worlds.tabletop_tasks import COLOURS, SHAPES

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

BOX, PLAN, GOOD_OVERLAP, LONGEST = "box", "plan", 0.5, 32
_COLOUR, _SHAPE = rf"\b({'|'.join(COLOURS)})\b", rf"\b({'|'.join(SHAPES)})\b"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_BETWEEN_STEPS = re.compile(r"[,;]\s*(?:then\b)?|\bthen\b")
_BOX = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)\s*,\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A question and the picture it is about; where it is about more than one frame, ``film`` is asked about."""

    seed: int
    picture: Array
    question: Question
    film: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer to a question about a frame of a seed's episode, and the truth."""

    seed: int
    frame: int
    task: str
    words: str
    truth: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Answered(Said):
    """One answer, beside the truth and the two guesses made without looking. ``overlap`` for boxes only, ``steps`` for
    plans: the share of steps that are right and in order."""

    right: bool
    guess: str  # by its words
    guess_right: bool
    form_guess: str
    form_guess_right: bool
    overlap: float | None = None
    steps: float | None = None


def questions_of(
    episodes: Iterable[Episode], count: int, *, seed: int = 0, camera: str = "front", without: Sequence[str] = ()
) -> list[Shown]:
    """``count`` questions, of every task as many as of any other as far as there are that many; then as many boxes.

    Tasks named in ``without`` are not asked. ``camera`` is the one looked through.
    """
    rng = np.random.default_rng([seed, 47])
    by_task: dict[str, list[Shown]] = defaultdict(list)
    for episode in episodes:
        for question in episode.questions:
            if question.task in without:
                continue
            frames, first, last = episode.frames[camera], min(question.frames), max(question.frames)
            film = frames[first : last + 1] if last > first else None
            by_task[question.task].append(Shown(seed=episode.seed, picture=frames[first], question=question, film=film))
    for task in by_task:
        by_task[task] = [by_task[task][i] for i in rng.permutation(len(by_task[task]))]
    boxes = by_task.pop(BOX, [])
    chosen: list[Shown] = []
    while len(chosen) < count and any(by_task.values()):
        for task in sorted(by_task):
            if by_task[task] and len(chosen) < count:
                chosen.append(by_task[task].pop())
    return chosen + boxes[: -(-len(chosen) // max(1, len(by_task)))]


class Guesser:
    """Answers without looking: the commonest answer to these words, or to words of this form, where it learnt."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._words: dict[str, Counter[str]] = defaultdict(Counter)
        self._forms: dict[str, Counter[str]] = defaultdict(Counter)
        for question in questions:
            self._words[question.words][question.answer] += 1
            self._forms[form_of(question.words)][question.answer] += 1

    def by_words(self, words: str, *, least: int = 3) -> str:
        """The commonest answer to these very words; if they were met less than ``least`` times, to their form."""
        known = self._words.get(words, Counter())
        return known.most_common(1)[0][0] if known.total() >= least else self.by_form(words)

    def by_form(self, words: str) -> str:
        """The commonest answer to words of this form; nothing if the form is new."""
        known = self._forms.get(form_of(words), Counter())
        return known.most_common(1)[0][0] if known else ""


def form_of(words: str) -> str:
    """The question with its colours, shapes and numbers left open."""
    return _NUMBER.sub("<number>", re.sub(_SHAPE, "<shape>", re.sub(_COLOUR, "<colour>", words)))


def measure_answers(
    omni: "Omni", shown: Sequence[Shown], guesser: Guesser, *, on_done: Callable[[int], None] | None = None
) -> list[Answered]:
    """Ask every question beside its picture; the likeliest words count."""
    found = []
    for number, one in enumerate(shown):
        seen = {"image": one.picture} if one.film is None else {"video": one.film}
        answer = omni.ask(one.question.words, **seen, longest=LONGEST)
        found.append(marked(one, answer, guesser))
        if on_done is not None:
            on_done(number + 1)
    return found


def marked(one: Shown, answer: str, guesser: Guesser) -> Answered:
    """An answer and the guesses, compared with the truth. A box is right if it overlaps by half."""
    question = one.question
    truth = question.answer
    guess, form_guess = (_offered(said, question) for said in (guesser.by_words(question.words),
                                                               guesser.by_form(question.words)))  # fmt: skip
    boxed = question.task == BOX

    def right(said: str) -> bool:
        return overlap_of(said, truth) >= GOOD_OVERLAP if boxed else same(said, truth)

    return Answered(
        seed=one.seed, frame=question.frames[0], task=question.task, words=question.words, truth=truth, answer=answer,
        right=right(answer), guess=guess, guess_right=right(guess), form_guess=form_guess,
        form_guess_right=right(form_guess), overlap=overlap_of(answer, truth) if boxed else None,
        steps=steps_right(answer, truth) if question.task == PLAN else None,
    )  # fmt: skip


def _offered(guess: str, question: Question) -> str:
    """The guess, if it is among the answers that the question offers; else the first of those."""
    return guess if question.choices is None or guess in question.choices else question.choices[0]


def same(answer: str, truth: str) -> bool:
    """Whether two answers are the same words, capitals, outer blanks and a full stop aside."""
    return answer.strip().rstrip(".").casefold() == truth.strip().rstrip(".").casefold()


def steps_right(answer: str, truth: str) -> float:
    """How many steps of the true plan the answer has, in their order, of as many as the longer of the two has."""
    said, true = (
        [step for part in _BETWEEN_STEPS.split(text) if (step := part.strip().rstrip(".").casefold())]
        for text in (answer, truth)
    )
    longest = [0] * (len(true) + 1)  # of the steps of each beginning of the true plan, how many are there in order
    for step in said:
        before = longest.copy()
        for i, wanted in enumerate(true):
            longest[i + 1] = before[i] + 1 if step == wanted else max(longest[i], before[i + 1])
    return longest[-1] / max(len(said), len(true), 1)


def overlap_of(answer: str, truth: str) -> float:
    """Intersection over union of two boxes written as "(left,top),(right,bottom)"; 0 where there is none to read."""
    boxes = [_BOX.search(text) for text in (answer, truth)]
    if boxes[0] is None or boxes[1] is None:
        return 0.0
    (a, b, c, d), (e, f, g, h) = (tuple(int(x) for x in box.groups()) for box in boxes if box is not None)
    shared = max(0, min(c, g) - max(a, e)) * max(0, min(d, h) - max(b, f))
    union = max(0, c - a) * max(0, d - b) + max(0, g - e) * max(0, h - f) - shared
    return shared / union if union else 0.0


def answers_figures(found: Sequence[Answered], *, seed: int = 0) -> dict[str, Figure]:
    """Exact answers over all questions but boxes, and for each task; the better blind guess; boxes by their overlap."""
    figures: dict[str, Figure] = {}
    worded = [one for one in found if one.task != BOX]
    tasks = sorted({one.task for one in worded})
    for name, own in [("", worded), *((f"_{task}", [one for one in worded if one.task == task]) for task in tasks)]:
        if own:
            groups = [one.seed for one in own]
            figures[f"exact{name}"] = mean([one.right for one in own], groups, seed=seed)
            guesses = [mean([one.guess_right for one in own], groups, seed=seed),
                       mean([one.form_guess_right for one in own], groups, seed=seed)]  # fmt: skip
            figures[f"without_looking{name}"] = max(guesses, key=lambda figure: figure.value)
    if worded:
        asked, groups = [one.task for one in worded], [one.seed for one in worded]
        figures["exact_mean_over_tasks"] = mean_over_kinds([one.right for one in worded], asked, groups, seed=seed)
        blind = [
            mean_over_kinds([one.guess_right for one in worded], asked, groups, seed=seed),
            mean_over_kinds([one.form_guess_right for one in worded], asked, groups, seed=seed),
        ]
        figures["without_looking_mean_over_tasks"] = max(blind, key=lambda figure: figure.value)
    plans = [one for one in worded if one.steps is not None]
    if plans:
        figures["plan_steps"] = mean([one.steps or 0.0 for one in plans], [one.seed for one in plans], seed=seed)
    boxes = [one for one in found if one.overlap is not None]
    if boxes:
        groups = [one.seed for one in boxes]
        figures["box_overlap"] = mean([one.overlap or 0.0 for one in boxes], groups, seed=seed)
        figures["box_overlap_at_least_half"] = mean([one.right for one in boxes], groups, seed=seed)
        guesses = [mean([one.guess_right for one in boxes], groups, seed=seed),
                   mean([one.form_guess_right for one in boxes], groups, seed=seed)]  # fmt: skip
        figures["box_overlap_at_least_half_without_looking"] = max(guesses, key=lambda figure: figure.value)
    return figures
