"""Answers are marked as a fair teacher would, and the one who never looks gets what is due to guessing."""

import numpy as np
import pytest

from armillary.evaluation.answers import (
    Guesser,
    Shown,
    answers_figures,
    form_of,
    marked,
    measure_answers,
    overlap_of,
    questions_of,
    same,
    steps_right,
)
from armillary.records import Episode, Question

BLANK = np.zeros((8, 8, 3), np.uint8)


def question(task: str, words: str, answer: str) -> Question:
    return Question(task=task, words=words, answer=answer)


def shown(task: str, words: str, answer: str, seed: int = 0) -> Shown:
    return Shown(seed=seed, picture=BLANK, question=question(task, words, answer))


def episode(seed: int, asked: list[Question]) -> Episode:
    return Episode(
        world="tabletop", seed=seed, fps=10.0, frames={"front": BLANK[None]}, actions=np.zeros((0, 10)),
        embodiment="tabletop", states={}, instruction="", questions=asked,
    )  # fmt: skip


class Parrot:
    """Says the same to everything."""

    def __init__(self, words: str) -> None:
        self.words = words

    def ask(self, question: str, *, image, longest: int) -> str:
        return self.words


def test_exact_means_the_same_words():
    assert same(" Red.", "red") and same("in front", "In front.")
    assert not same("red cube", "red") and not same("", "red")


@pytest.mark.parametrize(
    ("answer", "overlap"),
    [
        ("(10,10),(20,20)", 1.0),
        ("<|box_start|>(10,10),(20,20)<|box_end|>", 1.0),
        ("(15,10),(25,20)", 1 / 3),
        ("(50,50),(60,60)", 0.0),
        ("(20,20),(10,10)", 0.0),
        ("somewhere", 0.0),
    ],
)
def test_boxes_overlap_as_geometry_says(answer, overlap):
    assert overlap_of(answer, "<|box_start|>(10,10),(20,20)<|box_end|>") == pytest.approx(overlap)


def test_the_form_of_a_question_leaves_colours_and_shapes_open():
    one = form_of("Seen from the red cube, where is the cyan ball?")
    other = form_of("Seen from the blue cross, where is the green cylinder?")
    assert one == other != form_of("Where is the red cube?")


def test_who_never_looks_says_what_was_commonest_to_these_words_or_else_to_their_form():
    learnt = [question("colour", "What colour is the cube?", "red")] * 3
    learnt += [question("colour", "What colour is the ball?", "blue")] * 4
    guesser = Guesser(learnt)
    assert guesser.by_words("What colour is the cube?") == "red"
    assert guesser.by_form("What colour is the cube?") == "blue"
    assert guesser.by_words("What colour is the cross?") == "blue"
    assert guesser.by_words("Who are you?") == ""


def test_every_task_is_asked_as_often_as_any_other():
    asked = [question("easy", f"e{i}", "a") for i in range(50)] + [question("rare", f"r{i}", "b") for i in range(9)]
    asked += [question("box", f"w{i}", "(1,1),(2,2)") for i in range(50)]
    chosen = questions_of([episode(0, asked)], 16)
    tasks = [one.question.task for one in chosen]
    assert [tasks.count(task) for task in ("easy", "rare", "box")] == [8, 8, 8]
    assert len({one.question.words for one in chosen}) == len(chosen)


def test_figures_count_what_is_right_and_boxes_apart():
    asked = [shown("count", "How many?", "three", seed=i) for i in range(3)]
    asked += [shown("held", "What is held?", "nothing", seed=3), shown("box", "Where?", "(1,1),(9,9)", seed=4)]
    guesser = Guesser([question("count", "How many?", "four")] * 3)
    figures = answers_figures(measure_answers(Parrot("Three."), asked, guesser))
    assert figures["exact"].value == 0.75 and figures["exact"].n == 4
    assert (figures["exact_count"].value, figures["exact_held"].value) == (1, 0)
    assert figures["without_looking"].value == 0
    assert figures["box_overlap_at_least_half"].value == 0 and figures["box_overlap_at_least_half"].n == 1


def test_a_box_counts_as_right_if_half_of_it_is():
    one = shown("box", "Where is it?", "(10,10),(20,20)")
    guesser = Guesser([])
    assert marked(one, "(11,10),(21,20)", guesser).right
    assert not marked(one, "(15,10),(25,20)", guesser).right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Turn left, then walk 2 m.", 1.0),
        ("turn left; walk 2 m", 1.0),
        ("Walk 2 m, then turn left.", 0.5),
        ("Turn left.", 0.5),
        ("Turn left, then turn left, then walk 2 m.", 2 / 3),
        ("Sit down.", 0.0),
        ("", 0.0),
    ],
)
def test_a_plan_is_worth_the_steps_that_are_right_and_in_order(answer, right):
    assert steps_right(answer, "Turn left, then walk 2 m.") == pytest.approx(right)


def test_a_question_about_several_frames_is_asked_with_the_film():
    film = np.zeros((5, 8, 8, 3), np.uint8)
    about = Question(task="when", words="When?", answer="0:01", frames=(1, 3))
    lived = Episode(
        world="physics", seed=0, fps=10.0, frames={"main": film}, actions=np.zeros((4, 9)), embodiment="camera_pose",
        states={}, instruction="", questions=[about, question("caption", "What happens here?", "much")],
    )  # fmt: skip
    (one,) = questions_of([lived], 5, camera="main", without=("caption",))
    assert one.film is not None and one.film.shape[0] == 3

    class Watcher:
        def ask(self, question: str, *, video, longest: int) -> str:
            return "0:01" if len(video) == 3 else ""

    (answered,) = measure_answers(Watcher(), [one], Guesser([]))
    assert answered.right


def test_tasks_count_alike_in_their_mean():
    found = [marked(shown("count", f"How many {i}?", "two", seed=i), "two", Guesser([])) for i in range(9)]
    found.append(marked(shown("held", "What is held?", "nothing", seed=9), "a ball", Guesser([])))
    figures = answers_figures(found)
    assert figures["exact"].value == pytest.approx(0.9)
    assert figures["exact_mean_over_tasks"].value == pytest.approx(0.5)


def test_who_never_looks_takes_what_the_question_offers():
    """A question that was never met, with its answers in its words: blind, one says one of them, not nothing."""
    words = "Which of these happens next: the ball falls; the pin falls?"
    offered = Question(task="next", words=words, answer="the ball falls", choices=("the ball falls", "the pin falls"))
    found = marked(Shown(seed=0, picture=BLANK, question=offered), "", Guesser([]))
    assert found.guess == found.form_guess == "the ball falls" and found.guess_right and not found.right
    assert marked(shown("count", "How many?", "two"), "", Guesser([])).guess == ""
