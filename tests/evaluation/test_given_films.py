"""Films that go on, and films between two pictures, are marked right: where nothing is given, and beside what."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Identity, small_checkpoint

import armillary
from armillary.evaluation import picture_films
from armillary.evaluation.gallery import gather
from armillary.evaluation.given_films import (
    BETWEEN,
    CONTINUED,
    GivenScore,
    cross_faded,
    given_figures,
    measure_given_films,
)
from armillary.evaluation.held_out import HELD_OUT, RANGES, HeldOut
from armillary.evaluation.picture_films import beginning, picture_lives, words_told
from armillary.evaluation.pixels import psnr
from armillary.evaluation.samples import figures_again, samples_of
from armillary.evaluation.suite import SECTIONS, Bench, Plan, measure
from armillary.records import Episode, Rollout

UNGIVEN = {CONTINUED: range(5, 17), BETWEEN: range(1, 16)}
ENDS = {CONTINUED: "_continued", BETWEEN: "_between"}


def life(seed: int, frames: int = 20) -> Episode:
    """A red square goes to the right, in a row of its own."""
    row, film = 4 + 8 * (seed % 4), np.full((frames, 64, 64, 3), 90, np.uint8)
    for i, frame in enumerate(film):
        frame[row : row + 8, 2 * i : 2 * i + 8] = (220, 20, 20)
    return Episode(
        world="tabletop", seed=seed, fps=10.0, frames={"front": film}, actions=np.zeros((frames - 1, 10)), boxes=None,
        embodiment="tabletop", states={}, instruction="", captions={"dense": f"The robot pushes cube {seed}."},
    )  # fmt: skip


class Model:
    """Imagines ``film_of`` a request, and remembers what it was asked."""

    def __init__(self, film_of):
        self.film_of, self.asked = film_of, []
        self.parts = SimpleNamespace(vae=Identity(), device=torch.device("cpu"))

    def imagine_many(self, requests):
        self.asked += requests
        return [Rollout(mode=one["mode"], fps=10.0, video=self.film_of(one), provenance={}) for one in requests]


@pytest.fixture(scope="module")
def lives():
    return [life(seed) for seed in range(4)]


@pytest.fixture
def knowing(lives):
    """What really happens in the life of these words, whatever is given beside them."""
    return lambda request: next(beginning(one) for one in lives if words_told(one) == request["prompt"])


@pytest.fixture
def deaf(lives):
    """What really happens where this is given, whatever the words say."""

    def film_of(request):
        first = request["video"][0] if request["mode"] == CONTINUED else request["image"]
        return next(beginning(one) for one in lives if (beginning(one)[0] == first).all())

    return film_of


def repeated(request):
    picture = request["video"][-1] if request["mode"] == CONTINUED else request["image"]
    return np.broadcast_to(picture, (17, *picture.shape))


def faded(request):
    if request["mode"] == CONTINUED:
        return repeated(request)
    return cross_faded(np.stack([request["image"]] * 16 + [request["last_image"]]))


def test_each_mode_is_given_its_own_frames_and_the_same_noise_with_exchanged_words(lives, deaf):
    model = Model(deaf)
    figures = given_figures(measure_given_films(model, lives))
    assert [one["mode"] for one in model.asked] == [CONTINUED] * 8 + [BETWEEN] * 8
    given = {"mode", "prompt", "frames", "fps", "size", "seed"}
    for one, own in zip(model.asked, lives * 4, strict=True):
        truth = beginning(own)
        assert (one["frames"], one["fps"], tuple(one["size"])) == (17, 10.0, (64, 64))
        if one["mode"] == CONTINUED:
            assert set(one) == given | {"video"} and np.array_equal(one["video"], truth[:5])
        else:
            assert set(one) == given | {"image", "last_image"}
            assert np.array_equal(one["image"], truth[0]) and np.array_equal(one["last_image"], truth[16])
    for start in (0, 8):
        for i in range(4):
            own, other = model.asked[start + i], model.asked[start + 4 + i]
            assert own["prompt"] == words_told(lives[i]) and own["seed"] == other["seed"] == i
            assert other["prompt"] == words_told(lives[(i + 2) % 4])  # another life's
    for end in ENDS.values():  # the deaf lose nothing
        assert figures[f"psnr{end}"].value == pytest.approx(100)
        assert figures[f"db_lost_with_exchanged_words{end}"].value == 0


def test_a_film_that_equals_the_truth_scores_high_and_loses_by_anothers_words(lives, knowing):
    figures = given_figures(measure_given_films(Model(knowing), lives))
    for end in ENDS.values():
        assert figures[f"psnr{end}"].value == pytest.approx(100)
        assert figures[f"db_below_codec{end}"].value == pytest.approx(0)
        assert figures[f"db_over_repeat{end}"].low > 50 and figures[f"db_lost_with_exchanged_words{end}"].low > 50
        assert figures[f"moved{end}"] == figures[f"moved_true{end}"] == figures[f"moved_codec{end}"]
    assert figures["db_over_crossfade_between"].low > 50


def test_who_repeats_or_fades_gains_nothing_over_that(lives):
    still = given_figures(measure_given_films(Model(repeated), lives))
    for end in ENDS.values():
        assert still[f"db_over_repeat{end}"].value == 0 and still[f"moved{end}"].value == 0
        assert still[f"psnr{end}"] == still[f"psnr_repeat{end}"] and still[f"moved_true{end}"].value > 0.01
    fading = given_figures(measure_given_films(Model(faded), lives))
    assert fading["db_over_crossfade_between"].value == 0 and fading["db_over_repeat_between"].value > 0
    assert not any("crossfade" in name for name in fading if name.endswith("_continued"))


@pytest.mark.parametrize("mode", [CONTINUED, BETWEEN])
def test_frames_that_are_given_are_not_marked_and_all_others_are(lives, deaf, mode):
    for spoilt in range(17):

        def film_of(request, spoilt=spoilt):
            film = deaf(request).copy()
            film[spoilt] = 255 - film[spoilt]
            return film

        scores = measure_given_films(Model(film_of), lives[:2])
        assert [score.seed for score in scores] == [0, 1, 0, 1]
        marks = [score.psnr["usual"] for score in scores if score.mode == mode]
        assert all((mark < 40) == (spoilt in UNGIVEN[mode]) for mark in marks), spoilt


def test_what_stands_beside_is_made_of_what_is_given(lives, deaf):
    for score in measure_given_films(Model(deaf), lives):
        truth, found = beginning(lives[score.seed]), UNGIVEN[score.mode]
        own = truth[found.start : found.stop]
        last = 4 if score.mode == CONTINUED else 0
        assert score.psnr["still"] == psnr(np.stack([truth[last]] * len(own)), own)
        assert ("fade" in score.psnr) == (score.mode == BETWEEN)
        assert "true" not in score.psnr and score.psnr["codec"] == pytest.approx(100)
    film = np.zeros((5, 1, 1, 3), np.uint8)
    film[1:4], film[4] = 77, 200
    assert cross_faded(film)[:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]


def test_pixels_have_moved_since_the_last_frame_given_or_by_the_middle():
    """A film of which one frame differs, the middle one."""
    film = np.full((17, 64, 64, 3), 90, np.uint8)
    film[8] = 200
    frames = np.concatenate([film, film[:3]])
    one = Episode(
        world="tabletop", seed=0, fps=10.0, frames={"front": frames}, actions=np.zeros((19, 10)), boxes=None,
        embodiment="tabletop", states={}, instruction="", captions={"dense": "Nothing."},
    )  # fmt: skip
    scores = measure_given_films(Model(lambda request: film), [one])
    assert {score.mode: score.moved["true"] for score in scores} == {CONTINUED: 0, BETWEEN: 1}


def test_figures_are_means_of_differences_life_by_life():
    def score(seed, mode, usual, moves):
        db = {"usual": usual, "exchanged": 21.0, "still": 20.0, "codec": 30.0}
        db |= {"fade": 24.0} if mode == BETWEEN else {}
        return GivenScore(seed=seed, mode=mode, psnr=db, moved={"usual": moves, "true": 0.2, "codec": 0.1})

    figures = given_figures([
        score(1, CONTINUED, 25.0, 0.1), score(2, CONTINUED, 27.0, 0.3),
        score(1, BETWEEN, 22.0, 0.0), score(2, BETWEEN, 28.0, 0.1),
    ])  # fmt: skip
    told = {name: round(figure.value, 6) for name, figure in figures.items()}
    shared = {"psnr_repeat": 20, "psnr_codec": 30, "psnr_exchanged_words": 21, "moved_true": 0.2, "moved_codec": 0.1}
    own = {
        "_continued": {"psnr": 26, "db_over_repeat": 6, "db_below_codec": 4, "db_lost_with_exchanged_words": 5,
                       "moved": 0.2},
        "_between": {"psnr": 25, "db_over_repeat": 5, "db_below_codec": 5, "db_lost_with_exchanged_words": 4,
                     "moved": 0.05, "psnr_crossfade": 24, "db_over_crossfade": 1},
    }  # fmt: skip
    assert told == {f"{name}{end}": value for end, ones in own.items() for name, value in (shared | ones).items()}
    assert (figures["psnr_between"].low, figures["psnr_between"].high) == (22, 28)
    assert all(figure.n == figure.episodes == 2 for figure in figures.values())
    assert given_figures([]) == {}


def test_lives_are_of_seeds_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_films, "recorded", lambda folder, kind, seed: life(seed, 16 + seed % 2))
    bench = SimpleNamespace(episodes=tmp_path, held=HeldOut(tmp_path))
    found = list(islice(picture_lives(bench, seeds="given"), 2))
    assert [one.seed - HELD_OUT - RANGES["given"] for one in found] == [1, 3]  # those that last long enough


def test_the_section_measures_a_checkpoint_and_shows_films_of_both_modes(tmp_path):
    assert "given-films" in SECTIONS
    omni = armillary.load(small_checkpoint(tmp_path / "small"), dtype="float32")
    plan, out = Plan(clips=2, known=1, steps=1), tmp_path / "out"
    numbers = measure(omni, plan, out=out, sections=["given-films"])
    figures = numbers["figures"]
    assert {name.split("/")[0] for name in figures} == {"given-films"}
    assert all(figure["n"] == figure["episodes"] == 2 for figure in figures.values())
    assert [(one.seed - HELD_OUT >= RANGES["given"], one.mode) for one in samples_of(out, "given-films")] == [
        (True, CONTINUED), (True, CONTINUED), (True, BETWEEN), (True, BETWEEN),
    ]  # fmt: skip
    again = figures_again(out, "given-films")
    assert {f"given-films/{name}": figure.told()["value"] for name, figure in again.items()} == {
        name: figure["value"] for name, figure in figures.items()
    }
    (page,) = gather(Bench(omni=omni, plan=plan, folder=out, tell=lambda *_: None), numbers).sections
    assert len(page.table) == 1 + len(figures) and len(page.films) == 4  # the worst and the best of each mode
    assert [list(film.labels) for film in page.films] == [["physics", "imagined"]] * 2 + [
        ["physics", "imagined", "faded"]
    ] * 2
    assert all([len(one) for one in film.films] == [17] * len(film.labels) for film in page.films)
    assert all(row[1].endswith(("dB", "%")) for row in page.table[1:])
