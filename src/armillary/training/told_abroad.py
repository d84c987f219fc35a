"""What the reasoner is asked about other worlds: every question of a life, beside what it is about.

    in    raw episodes of any world with questions
    out   pictures and films with questions, drawn world by world and task by task; and short films of which half show
          what cannot be (``datasets/whereabouts.py``)

A question about one frame is asked of that picture, one about a stretch of the film cut to it, as evaluation and the
served model ask it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from armillary.datasets.raw import load_raw, raw_files
from armillary.datasets.whereabouts import NOTHING, strange_questions
from armillary.errors import DataError
from armillary.records import Episode, Question
from armillary.tokenizers.chat import film_moments, film_seconds
from armillary.training.talk import Picture, odds

SELDOM = {"caption": 0.3, "report": 0.3, "describe": 0.6, "plan": 0.6, "when": 0.6}  # how often, beside other tasks: 1
MOST = 3  # questions of one conversation


def asked_of(episode: Episode) -> list[Picture]:
    """Every frame or stretch that is asked about, with its questions."""
    film = next(iter(episode.frames.values()))
    together: dict[tuple[int, int], list[Question]] = {}
    for question in episode.questions:
        first, last = min(question.frames), max(question.frames)
        together.setdefault((first, last), []).append(question)
    found = []
    for (first, last), turns in sorted(together.items()):
        if first == last:
            found.append(Picture(frames=film[first].copy(), turns=tuple(turns)))
        else:
            found.append(_film(episode, first, last, turns))
    return found


def _film(episode: Episode, first: int, last: int, turns: Sequence[Question]) -> Picture:
    moments = film_moments(last - first + 1)
    frames = next(iter(episode.frames.values()))[[first + moment for moment in moments]]
    return Picture(frames=frames, turns=tuple(turns), seconds=tuple(film_seconds(moments, episode.fps)))


class ToldAbroad:
    """All that can be asked in folders of raw episodes, one of each world, kept in memory.

    ``shares``: how often each world is drawn, ``tasks`` how often each task beside ``SELDOM`` (1 where nothing is
    said). ``DataError`` where nobody asks anything.
    """

    def __init__(
        self, worlds: Mapping[str, Path], shares: Mapping[str, float], tasks: Mapping[str, float] | None = None
    ) -> None:
        self._tasks = {**SELDOM, **(tasks or {})}
        self._by_task: dict[str, dict[str, list[tuple[Picture, Question]]]] = {}
        self._strange: dict[bool, list[Picture]] = {True: [], False: []}  # whether it happens
        for world, folder in worlds.items():
            asked: dict[str, list[tuple[Picture, Question]]] = {}
            for path in raw_files(folder):
                episode = load_raw(path)
                for picture in asked_of(episode):
                    for question in picture.turns:
                        asked.setdefault(question.task, []).append((picture, question))
                for question in strange_questions(episode):
                    window = _film(episode, question.frames[0], question.frames[-1], [question])
                    self._strange[question.answer != NOTHING].append(window)
            if not asked:
                raise DataError(f"{folder} holds no questions about {world}: simulate its lives with their labels.")
            self._by_task[world] = asked
        self._odds = odds(self._by_task, shares)

    def __len__(self) -> int:
        return sum(len(several) for tasks in self._by_task.values() for several in tasks.values())

    def draw(self, rng: np.random.Generator) -> Picture:
        """A picture or film with at most ``MOST`` questions: a world, one of its tasks, one of that, more beside it."""
        tasks = self._by_task[str(rng.choice([*self._by_task], p=self._odds))]
        several = tasks[str(rng.choice([*tasks], p=odds(tasks, self._tasks)))]
        picture, question = several[int(rng.integers(len(several)))]
        others = [one for one in picture.turns if one is not question]
        beside = [others[i] for i in rng.permutation(len(others))[: MOST - 1]]
        return replace(picture, turns=(question, *beside))

    def strange(self, rng: np.random.Generator) -> Picture:
        """A window of which it is asked what cannot be: half of the time there is something.

        ``DataError`` if there is no conjured life among the episodes.
        """
        several = self._strange[bool(rng.random() < 0.5)]
        if not several:
            raise DataError("no life of physics with and without something impossible is here: simulate its conjurer.")
        return several[int(rng.integers(len(several)))]
