"""Who knows what is left has every step right; who never looks, or is shown another picture, has fewer."""

import json
from dataclasses import replace

import pytest
from tiny import small_checkpoint

import armillary
from armillary.datasets.plans import said, task_of, whole_plan
from armillary.evaluation.plans import learn_guesses, measure_plans, moments_of, plans_figures
from armillary.evaluation.samples import by_what_was_asked, figures_again
from armillary.evaluation.suite import SECTIONS, Plan, measure
from armillary.worlds.record import record_tabletop


class Knowing:
    """Says of every picture what is left there, whatever it is asked; so it looks and does nothing else."""

    def __init__(self, moments):
        self._truth = {one.shown.picture.tobytes(): one.shown.question.answer for one in moments}

    def ask_many(self, questions, *, longest):
        assert longest >= 42  # the longest plan has as many tokens
        return [self._truth[one["image"].tobytes()] for one in questions]


class Blind:
    """Says the whole plan of whatever picture."""

    def ask_many(self, questions, *, longest):
        return ["Move above the red cube, lower the gripper."] * len(questions)


@pytest.fixture(scope="module")
def episodes():
    """A put, a lift and a stack, in small pictures."""
    return [record_tabletop(seed, views=("front",), extras=(), size=(24, 24)) for seed in (0, 3, 4)]


@pytest.fixture(scope="module")
def moments(episodes):
    return list(moments_of(episodes))


def test_a_plan_answered_perfectly_counts_one_and_only_beside_its_own_picture(episodes, moments):
    guesses = learn_guesses(episodes)
    told = []
    found = measure_plans(Knowing(moments), moments, guesses, count=12, on_done=told.append)
    figures = plans_figures(found)
    assert (figures["plan_steps"].value, figures["plan_exact"].value) == (1, 1)
    assert figures["plan_steps"].n == 12 and figures["plan_steps"].episodes == 3 and told == [8, 12]
    assert figures["plan_exact_exchanged"].value <= 0.4 and figures["plan_steps_exchanged"].value < 0.8
    assert figures["plan_exact_more_than_exchanged"].low > 0
    assert figures["plan_steps_more_than_without_looking"].low > 0
    assert {figures[f"plan_steps_{kind}"].n for kind in ("put", "lift", "stack")} == {4}


def test_who_says_always_the_same_is_no_better_for_the_right_picture(episodes, moments):
    figures = plans_figures(measure_plans(Blind(), moments, learn_guesses(episodes), count=12))
    assert figures["plan_steps_more_than_exchanged"].value == 0
    assert figures["plan_steps"].value < figures["plan_steps_without_looking"].value


def test_the_blind_guess_names_the_things_of_the_instruction_and_is_as_good_as_can_be(episodes, moments):
    guesses = learn_guesses(episodes[:1])
    (found,) = measure_plans(Blind(), moments, guesses, count=1)
    whole = whole_plan(task_of(episodes[0]))
    ends = {said(whole[length:]) for length in range(len(whole) + 1)}
    assert {found.guess, found.safe_guess} <= ends and found.safe_guess != "Nothing."
    own = [one.shown.question.answer for one in moments_of(episodes[:1])]

    def worth(guess):
        return sum(
            plans_figures([replace(found, truth=truth, answer=guess)])["plan_steps"].value for truth in own
        )  # fmt: skip

    assert worth(found.safe_guess) == max(worth(end) for end in ends) > worth("Nothing.")
    assert measure_plans(Blind(), moments[4:] + moments[:1], {}, count=1)[0].guess == "Nothing."


def test_the_section_asks_as_many_as_it_is_told_and_its_lines_make_its_figures_again(tmp_path):
    omni = armillary.load(small_checkpoint(tmp_path / "small"), dtype="float32")
    out = tmp_path / "out"
    numbers = measure(omni, Plan(questions=3, known=1), out=out, sections=["plans"])
    assert "plans" in SECTIONS and numbers["figures"]["plans/plan_steps"]["n"] == 3
    kept = json.loads((out / "plans.json").read_text("utf-8"))["figures"]
    assert {name: figure.told() for name, figure in figures_again(out, "plans").items()} == kept
    assert len(by_what_was_asked(out, "plans")) == 3
