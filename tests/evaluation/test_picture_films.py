"""Films from a picture and words are marked right: who knows, who is deaf, who stands still, and who loses things."""

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Identity, small_checkpoint

import armillary
from armillary.evaluation import picture_films as section
from armillary.evaluation.gallery import gather
from armillary.evaluation.held_out import HELD_OUT, RANGES, HeldOut
from armillary.evaluation.picture_films import (
    beginning,
    measure_picture_films,
    moved,
    picture_figures,
    picture_lives,
    words_told,
)
from armillary.evaluation.samples import figures_again
from armillary.evaluation.shapes import SIDE, ShapeJudge
from armillary.evaluation.suite import Bench, Plan, measure
from armillary.model.low_rank import learning, learnt
from armillary.model.weights import load_model
from armillary.post_training.adapted import write_adapter
from armillary.records import Episode, Moment, Rollout
from armillary.worlds.tabletop_tasks import SHAPES

SLOW = {"adapter": "none", "steps": 20, "guidance": 3.0}


def life(seed: int, frames: int = 20) -> Episode:
    """A red square goes to the right, in a row of its own, and a blue one stays; they are called cubes."""
    row, film, boxes = 4 + 8 * (seed % 4), np.full((frames, 64, 64, 3), 90, np.uint8), []
    for i, frame in enumerate(film):
        boxes.append({"red cube": (2 * i, row, 2 * i + 8, row + 8), "blue cube": (50, 50, 58, 58)})
        for (left, top, right, bottom), colour in zip(boxes[-1].values(), ((220, 20, 20), (20, 20, 220)), strict=True):
            frame[top:bottom, left:right] = colour
    return Episode(
        world="tabletop", seed=seed, fps=10.0, frames={"front": film}, actions=np.zeros((frames - 1, 10)), boxes=boxes,
        embodiment="tabletop", states={}, instruction="", captions={"dense": f"The robot pushes cube {seed}."},
    )  # fmt: skip


class Model:
    """Imagines ``film_of`` a request; acts out its words if ``acts``, wears an adapter if ``wears`` and does not act,
    where nobody says otherwise."""

    def __init__(self, film_of, *, wears=False, acts=False):
        self.film_of, self.wears, self.acts, self.asked = film_of, wears, acts, []
        self.parts = SimpleNamespace(vae=Identity(), device=torch.device("cpu"))

    def imagine_many(self, requests):
        self.asked += requests
        return [
            Rollout(mode="image-to-video", fps=10.0, video=self.film_of(request), provenance=self._told(request))
            for request in requests
        ]

    def _told(self, request):
        if self.acts and not {"acting", "steps"} & set(request):
            return {"request": {"acted": {}}}
        return {"adapter": {}} if self.wears and request.get("adapter") != "none" else {}


@pytest.fixture(scope="module")
def lives():
    return [life(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def judge():
    """Calls every patch a cube."""
    weights = np.zeros((2 * SIDE**2 + 5, len(SHAPES)))
    weights[-1, SHAPES.index("cube")] = 1
    return ShapeJudge(weights=weights, offset=np.zeros(len(weights) - 1), scale=np.ones(len(weights) - 1), largest=1e9)


def still(request):
    return np.broadcast_to(request["image"], (17, *request["image"].shape))


@pytest.fixture
def knowing(lives):
    """What really happens in the life of these words, whatever the picture shows."""
    return lambda request: next(beginning(one) for one in lives if words_told(one) == request["prompt"])


@pytest.fixture
def deaf(lives):
    """What really happens after this picture, whatever the words say."""
    return lambda request: next(beginning(one) for one in lives if (beginning(one)[0] == request["image"]).all())


def test_who_repeats_the_first_frame_gains_nothing_and_moves_nothing(lives, judge):
    figures = picture_figures(measure_picture_films(Model(still), lives, judge))
    assert figures["db_over_repeat_first_frame"].value == 0 and figures["moved"].value == 0
    assert figures["psnr"] == figures["psnr_repeat_first_frame"]
    assert figures["db_below_codec"].value > 50 and figures["moved_true"].value > 0.02
    assert figures["things_kept"].value == 1  # nothing is lost either


def test_who_knows_what_the_words_mean_loses_by_anothers_words(lives, judge, knowing):
    figures = picture_figures(measure_picture_films(Model(knowing), lives, judge))
    assert figures["psnr"].value == pytest.approx(100) and figures["db_below_codec"].value == pytest.approx(0)
    assert figures["db_lost_with_exchanged_words"].low > 50
    assert figures["moved"] == figures["moved_true"] == figures["moved_codec"]
    assert figures["things_kept"].value == figures["things_kept_true"].value == figures["things_kept_codec"].value == 1


def test_to_the_deaf_exchanged_words_cost_nothing(lives, judge, deaf):
    model = Model(deaf)
    figures = picture_figures(measure_picture_films(model, lives, judge))
    assert figures["psnr"].value == pytest.approx(100) and figures["db_lost_with_exchanged_words"].value == 0
    for own, other in zip(model.asked[:4], model.asked[4:], strict=True):
        assert own["prompt"] != other["prompt"] and (own["image"] == other["image"]).all()
        assert own["seed"] == other["seed"]  # the same noise


def test_what_is_gone_or_of_another_colour_in_the_last_frame_is_not_kept(lives, judge, deaf):
    def losing(request):
        film = deaf(request).copy()
        film[-1][film[-1, :, :, 2] > 200] = (20, 220, 20)  # what was blue
        return film

    figures = picture_figures(measure_picture_films(Model(losing), lives, judge))
    assert figures["things_kept"].value == 0.5 and figures["things_kept_true"].value == 1


def test_the_slow_way_is_asked_where_an_adapter_is_worn_and_nowhere_else(lives, judge, deaf):
    def by_way(request):
        return still(request) if request.get("adapter") == "none" else deaf(request)

    plain, worn = Model(by_way), Model(by_way, wears=True)
    without = picture_figures(measure_picture_films(plain, lives, judge))
    figures = picture_figures(measure_picture_films(worn, lives, judge))
    assert len(plain.asked) == 8 and not any("slow" in name for name in without)
    how = [{name: request[name] for name in SLOW if name in request} for request in worn.asked]
    assert sorted(map(len, how)) == [0] * 8 + [3] * 4 and all(one in ({}, SLOW) for one in how)
    slow = [request["seed"] for request, one in zip(worn.asked, how, strict=True) if one]
    assert slow == [request["seed"] for request in worn.asked[:4]]  # the same noise
    assert set(figures) - set(without) == {
        *(f"{name}_slow" for name in ("psnr", "db_over_repeat_first_frame", "db_below_codec", "moved", "things_kept")),
        "db_more_than_slow",
    }
    assert figures["db_more_than_slow"] == figures["db_over_repeat_first_frame"]  # in pairs: slow is repeating
    assert figures["db_over_repeat_first_frame_slow"].value == figures["moved_slow"].value == 0


def test_the_plain_way_is_asked_where_words_are_acted_out_and_the_slow_way_is_without_both(lives, judge, deaf):
    def by_way(request):
        return deaf(request) if "acting" not in request and "steps" not in request else still(request)

    for wears in (False, True):
        model = Model(by_way, wears=wears, acts=True)
        figures = picture_figures(measure_picture_films(model, lives, judge))
        how = [tuple(name for name in ("acting", "adapter", "steps") if name in request) for request in model.asked]
        assert how == [()] * 4 + [("acting",)] * 4 + [("adapter", "steps")] * 4 * wears + [()] * 4
        assert {request.get("acting", "none") for request in model.asked} == {"none"}
        assert figures["db_more_than_plain"] == figures["db_over_repeat_first_frame"]  # in pairs: plain is repeating
        assert figures["moved_plain"].value == 0 and ("db_more_than_slow" in figures) == wears


class Shelf:
    """Does what it is asked if the first action is as high as the life's seed; says what it was asked."""

    spec = None

    def __init__(self):
        self.asked, self.steps = [], 0

    def close(self):
        self.asked = []

    def reset(self, seed, instruction=None):
        self.seed, self.done = seed, False
        self.asked.append((seed, instruction))
        return self._moment()

    def step(self, action):
        self.done, self.steps = self.done or float(action[0]) == self.seed, self.steps + 1
        return self._moment()

    def _moment(self):
        return Moment(frames={}, state={}, instruction="", reward=0.0, success=self.done, over=self.done)


def test_actions_of_films_that_were_acted_out_are_done_in_the_lifes_own_physics(lives, judge, deaf):
    """Who plans by the words does what they tell; by another life's words he does not."""

    class Planner(Model):
        def imagine_many(self, requests):
            def number(request):
                return next(one.seed for one in lives if words_told(one) == request["prompt"])

            return [
                replace(rollout, actions=np.full((3, 10), number(request)) if "acting" not in request else None)
                for rollout, request in zip(super().imagine_many(requests), requests, strict=True)
            ]

    model, world = Planner(deaf, acts=True), Shelf()
    scores = measure_picture_films(model, lives, judge, world=world)
    assert [score.done for score in scores] == [{"usual": True, "exchanged": False}] * 4
    assert world.asked == [(one.seed, one.instruction) for one in lives] * 2
    assert world.steps == 4 * 1 + 4 * 3  # over once it is done
    assert {request["frames"] for request in model.asked[-8:]} == {49}
    figures = picture_figures(scores)
    assert (figures["done_in_physics"].value, figures["done_in_physics_exchanged"].value) == (1, 0)
    plain = picture_figures(measure_picture_films(Model(deaf), lives, judge, world=world))
    assert not any("done" in name for name in plain)


def test_lives_without_a_deed_count_as_they_are_usually_made_where_others_are_acted(lives, judge, deaf):
    scores = measure_picture_films(Model(deaf, acts=True), lives, judge)
    some = [replace(scores[0], psnr={**scores[0].psnr, "plain": 20.0}), *(
        replace(one, **{what: {way: own for way, own in getattr(one, what).items() if way != "plain"}
                        for what in ("psnr", "moved", "kept")}) for one in scores[1:])]  # fmt: skip
    figures = picture_figures(some)
    assert figures["psnr_plain"].n == 4 and figures["psnr_plain"].value == pytest.approx(80)


def test_a_pixel_has_moved_if_any_channel_differs_by_more_than_thirty():
    film = np.full((3, 4, 4, 3), 100, np.uint8)
    film[1] = 0  # what is between counts for nothing
    film[2, 0, 0] = 130
    film[2, 1, :2, 2] = 131
    film[2, 2, 0, 0] = 69
    assert moved(film) == 3 / 16


def test_lives_are_of_seeds_of_their_own_and_last_long_enough(tmp_path, monkeypatch):
    lasts = {0: 17, 1: 16, 2: 44}

    def recorded(folder, kind, seed):
        return replace(life(seed, lasts[seed - HELD_OUT - RANGES["picture"]]), instruction=kind)

    monkeypatch.setattr(section, "recorded", recorded)
    found = list(islice(picture_lives(SimpleNamespace(episodes=tmp_path, held=HeldOut(tmp_path))), 2))
    assert [one.seed - HELD_OUT for one in found] == [RANGES["picture"], RANGES["picture"] + 2]
    assert [beginning(one).shape for one in found] == [(17, 64, 64, 3)] * 2
    assert {one.instruction for one in found} == {"expert"}


def test_a_judge_learns_from_the_first_the_middle_and_the_last_frame_of_lives(lives, monkeypatch):
    monkeypatch.setattr(ShapeJudge, "fit", list)
    found = ShapeJudge.of_lives([lives[1], replace(lives[2], boxes=None)])
    assert [boxes["red cube"][0] for _, boxes in found] == [0, 20, 38]
    assert all(
        (picture == lives[1].frames["front"][i]).all() for (picture, _), i in zip(found, (0, 10, 19), strict=True)
    )


def test_the_section_measures_a_checkpoint_with_and_without_its_adapter_and_shows_both(tmp_path, judge, monkeypatch):
    folder = small_checkpoint(tmp_path / "small")
    model = load_model(folder, dtype=torch.float32)
    with learning(model, rank=2, alpha=4.0) as factors:
        for factor in factors.values():
            factor.data.normal_(0, 0.3)
        where = {"modes": ["image-to-video"], "steps": 1, "guidance": 1.0}
        write_adapter(folder / "adapters" / "quick", learnt(model), where, base="small")
    monkeypatch.setattr(ShapeJudge, "of_lives", lambda lives: judge)
    omni, plan, out = armillary.load(folder, dtype="float32"), Plan(clips=2, known=1), tmp_path / "out"
    numbers = measure(omni, plan, out=out, sections=["picture-films"])
    figures = numbers["figures"]
    assert {name.split("/")[0] for name in figures} == {"picture-films"}
    assert figures["picture-films/psnr"]["value"] != figures["picture-films/psnr_slow"]["value"]
    assert all(figure["n"] == figure["episodes"] == 2 for figure in figures.values())
    again = figures_again(out, "picture-films")
    assert {name: figure.told()["value"] for name, figure in again.items()} == {
        name.split("/")[1]: figure["value"] for name, figure in figures.items()
    }
    (shown,) = gather(Bench(omni=omni, plan=plan, folder=out, tell=lambda *_: None), numbers).sections
    assert len(shown.table) == 1 + len(figures) and len(shown.films) == 2
    for film in shown.films:
        assert [len(one) for one in film.films] == [17] * 3
        assert list(film.labels) == ["physics", "imagined", "slow"] and "The robot" in film.words
