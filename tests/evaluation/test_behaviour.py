"""Success is the world's own judgement: the expert's hands succeed, chance's do not, and words matter."""

import numpy as np

from armillary.evaluation.behaviour import Attempt, instructions, measure_policy, measure_random, policy_figures
from armillary.evaluation.held_out import HELD_OUT
from armillary.worlds.experts import tabletop_controller
from armillary.worlds.tabletop import Tabletop


class Puppeteer:
    """A planner that carries out what it hears, from a table of its own beside the one that is judged."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.heard: list[str] = []

    def __call__(self, moments, seeds):
        (moment,) = moments
        if not self.heard:
            self._world = Tabletop(views=())
            self._seen = self._world.reset(self._seed, moment.instruction)
            self._expert = tabletop_controller(self._world, "expert", seed=0)
        self.heard.append(moment.instruction)
        actions = []
        for _ in range(8):
            actions.append(self._expert(self._seen))
            self._seen = self._world.step(actions[-1])
        return [np.stack(actions)]


def wanting(kind: str) -> int:
    """A held-out seed whose table asks for this kind of task."""
    return next(seed for seed in range(HELD_OUT, HELD_OUT + 99) if instructions(seed)[0].startswith(kind))


def test_hands_that_do_what_they_hear_succeed():
    seed = wanting("Touch")
    (attempt,) = measure_policy(Puppeteer(seed), [seed])
    assert attempt.success and attempt.kind == "touch" and 0 < attempt.steps < 60


def test_the_words_blind_hear_something_drawn_and_are_judged_by_what_was_asked():
    seed = next(s for s in range(HELD_OUT, HELD_OUT + 99)
                if instructions(s)[0].startswith("Lift") and instructions(s)[1].startswith("Touch"))  # fmt: skip
    planner = Puppeteer(seed)
    (attempt,) = measure_policy(planner, [seed], blind=True, max_steps=24)
    asked, drawn = instructions(seed)
    assert set(planner.heard) == {drawn} and (attempt.told, attempt.instruction) == (drawn, asked)
    assert not attempt.success and attempt.steps == 24


def test_what_the_blind_hear_fits_the_table_and_often_differs_from_what_is_asked():
    pairs = [instructions(seed) for seed in range(HELD_OUT, HELD_OUT + 30)]
    assert np.mean([asked == drawn for asked, drawn in pairs]) < 0.3
    assert instructions(HELD_OUT) == instructions(HELD_OUT)


def test_chance_hardly_ever_succeeds():
    attempts = measure_random(range(HELD_OUT, HELD_OUT + 12))
    assert sum(attempt.success for attempt in attempts) <= 1
    assert all(attempt.steps == 60 for attempt in attempts if not attempt.success)


def test_figures_are_shares_of_success_of_each_policy_and_of_each_kind_of_task():
    attempts = [Attempt(seed=i, policy=policy, kind=("lift", "touch")[i % 2], instruction="", told="",
                        success=policy == "model" and i % 2 == 0, steps=9) for policy in ("model", "random")
                for i in range(4)]  # fmt: skip
    figures = policy_figures(attempts)
    values = {name: figure.value for name, figure in figures.items()}
    assert values == {"success_model": 0.5, "success_random": 0, "success_model_lift": 1, "success_model_touch": 0}
    assert figures["success_model"].low < 0.5 < figures["success_model"].high
