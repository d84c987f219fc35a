"""Plans: does the model say what is left to do at the table, and does it look to say so?

    held-out expert episodes, four frames each   --measure_plans-->   its answers   --plans_figures-->   figures

``plan_steps`` is the share of steps that are right and in order (``answers.steps_right``), ``plan_exact`` the share of
plans that are right as a whole. Beside them stands who reads the instruction and never looks: the whole plan from some
step on, always the same one for a kind of task. And ``exchanged``: what the model says to the same words beside
a picture of another episode, marked against the truth of this one. Who looks must lose by that.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.datasets.plans import NOTHING, Steps, plans_of, said, task_of, whole_plan
from armillary.evaluation.answers import Said, Shown, same, steps_right
from armillary.evaluation.bootstrap import Figure, difference, mean
from armillary.evaluation.held_out import CAMERA
from armillary.records import Episode
from armillary.worlds.tabletop_tasks import Task

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

LONGEST = 64  # tokens of an answer: the longest plan has 42
TOGETHER = 8  # so many are asked at a time
Guesses = Mapping[str, tuple[int, int]]  # kind of task -> how many last steps: the commonest, the safest


@dataclass(frozen=True, kw_only=True)
class Planned(Said):
    """One question: the truth, the answer, and what was said beside another episode's picture.

    ``task``: its kind. ``guess``: the commonest plan for that kind on training seeds; ``safe_guess``: the one with most
    steps right there.
    """

    exchanged: str
    guess: str
    safe_guess: str

    @property
    def right(self) -> bool:
        """Whether every step is right, and in order."""
        return same(self.answer, self.truth)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """A frame that is asked about, with the task that its episode carries out."""

    task: Task
    shown: Shown


def plans(bench: "Bench") -> "Result":
    """The section of the suite: as many questions as its plan says, of at least two episodes."""
    count = bench.plan.questions
    moments: list[Moment] = []
    for moment in moments_of(bench.held.episodes("expert")):
        moments.append(moment)
        bench.tell("moments", min(len(moments), count), count)
        if len(moments) > count and moment.shown.seed != moments[0].shown.seed:
            break  # the last is not asked about, but it may be the other picture
    guesses = learn_guesses(bench.known())
    found = measure_plans(bench.omni, moments, guesses, count=count, on_done=bench.told("plans", count))
    return found, plans_figures(found), [
        "Held-out expert episodes that succeed, at most four frames of each, spread over how many steps are left; "
        "frames that leave the next step in doubt are not asked about, nor what has been pushed.",
        "without_looking: the whole plan from some step on, the same for a kind of task: the commonest over "
        f"{bench.plan.known} episodes of training seeds or the one with most steps right there, whichever does better "
        "here. exchanged: the answer to the same words beside a picture of another episode.",
    ]  # fmt: skip


def moments_of(episodes: Iterable[Episode]) -> Iterator[Moment]:
    """Every frame of these episodes that is asked about."""
    for episode in episodes:
        for question in plans_of(episode):
            picture = episode.frames[CAMERA][question.frames[0]]
            shown = Shown(seed=episode.seed, picture=picture, question=question)
            yield Moment(task=task_of(episode), shown=shown)


def learn_guesses(known: Iterable[Episode]) -> Guesses:
    """What to say without looking, from episodes of training seeds."""
    met: dict[str, Counter[int]] = defaultdict(Counter)
    for moment in moments_of(known):
        answer = moment.shown.question.answer
        met[moment.task.kind][0 if answer == NOTHING else answer.count(",") + 1] += 1
    found = {}
    for kind, lengths in met.items():
        whole = whole_plan(Task(kind=kind, target="red cube", place="left"))  # any will do
        worth = [
            sum(often * steps_right(_end(whole, offered), _end(whole, true)) for true, often in lengths.items())
            for offered in range(len(whole) + 1)
        ]
        found[kind] = (lengths.most_common(1)[0][0], int(np.argmax(worth)))
    return found


def _end(whole: Steps, length: int) -> str:
    return said(whole[len(whole) - length :])


def measure_plans(
    omni: "Omni", moments: Sequence[Moment], guesses: Guesses, *, count: int,
    on_done: Callable[[int], None] | None = None,
) -> list[Planned]:  # fmt: skip
    """Ask about the first ``count`` moments, beside their own pictures and beside another's."""
    found: list[Planned] = []
    for start in range(0, min(count, len(moments)), TOGETHER):
        own = range(start, min(start + TOGETHER, count, len(moments)))
        pictures = [moments[i].shown.picture for i in own] + [_other(moments, i).shown.picture for i in own]
        words = [moments[i].shown.question.words for i in own] * 2
        asked = [{"question": said, "image": picture} for said, picture in zip(words, pictures, strict=True)]
        answers = omni.ask_many(asked, longest=LONGEST)
        for number, i in enumerate(own):
            task, shown = moments[i].task, moments[i].shown
            whole = whole_plan(task)
            guess, safe = (_end(whole, length) for length in guesses.get(task.kind, (0, 0)))
            found.append(Planned(
                seed=shown.seed, frame=shown.question.frames[0], task=task.kind, words=shown.question.words,
                truth=shown.question.answer, answer=answers[number], exchanged=answers[number + len(own)], guess=guess,
                safe_guess=safe,
            ))  # fmt: skip
        if on_done is not None:
            on_done(len(found))
    return found


def _other(moments: Sequence[Moment], number: int) -> Moment:
    """A moment of another episode, drawn by the seed and the frame."""
    own = moments[number].shown
    others = [one for one in moments if one.shown.seed != own.seed]
    return others[int(np.random.default_rng([own.seed, own.question.frames[0]]).integers(len(others)))]


def plans_figures(found: Sequence[Planned], *, seed: int = 0) -> dict[str, Figure]:
    """Steps right and plans right as a whole: the model's, beside another picture, and the better blind guess; what
    looking is worth over both; the model's steps for each kind of task."""
    groups = [one.seed for one in found]
    figures: dict[str, Figure] = {}
    ways: dict[str, Callable[[str, str], float]] = {"plan_steps": steps_right, "plan_exact": same}
    for name, right in ways.items():

        def figure(who: str, right: Callable[[str, str], float] = right) -> Figure:
            return mean([right(vars(one)[who], one.truth) for one in found], groups, seed=seed)

        figures[name] = figure("answer")
        figures[f"{name}_exchanged"] = figure("exchanged")
        figures[f"{name}_without_looking"] = max(figure("guess"), figure("safe_guess"), key=lambda it: it.value)
        for other in ("exchanged", "without_looking"):
            figures[f"{name}_more_than_{other}"] = difference(figures[name], figures[f"{name}_{other}"])
    for task in sorted({one.task for one in found}):
        own = [one for one in found if one.task == task]
        steps = [steps_right(one.answer, one.truth) for one in own]
        figures[f"plan_steps_{task}"] = mean(steps, [one.seed for one in own], seed=seed)
    return figures
