"""The search for named things sees what is there and nothing else, and its judge tells shapes apart."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import small_checkpoint

import armillary
from armillary.errors import DataError
from armillary.evaluation.films import (
    FACTS,
    SEARCHES,
    Named,
    facts_of,
    films_figures,
    lie_of,
    measure_films,
    search_for,
    words_of,
)  # fmt: skip
from armillary.evaluation.held_out import HELD_OUT, scene
from armillary.evaluation.shapes import ShapeJudge, blurred
from armillary.worlds.tabletop import Tabletop
from armillary.worlds.tabletop_tasks import COLOURS, SHAPES


@pytest.fixture(scope="module")
def scenes():
    """Eighteen tables of training seeds, then four held-out ones."""
    world = Tabletop(views=("front",), extras=("segmentation",))
    found = [scene(seed, world) for seed in (*range(18), *range(HELD_OUT, HELD_OUT + 4))]
    world.close()
    return found


@pytest.fixture(scope="module")
def judge(scenes):
    return ShapeJudge.fit((one.picture, one.boxes) for one in scenes[:18])


def test_named_things_are_found_in_true_pictures_that_the_judge_has_not_seen(scenes, judge):
    found = [one for s in scenes[18:] for one in facts_of(s.picture, s, judge, seed=s.seed, search="true")]
    assert {one.fact for one in found} == set(FACTS)
    share = {fact: np.mean([one.there for one in found if one.fact == fact]) for fact in FACTS}
    assert share["colours"] > 0.9 and share["objects"] > 0.75  # by chance a quarter
    assert share["count"] >= 0.75 and share["relation"] >= 0.75


def test_a_sentence_about_two_things_is_in_the_words_and_true_only_of_its_own_picture(scenes, judge):
    for one in scenes[18:]:
        lie = lie_of(one)
        assert lie is not None and words_of(one) == f"{one.words} {lie.sentence}"
        mirrored = replace(one, picture=one.picture[:, ::-1])
        sideways = "right" in lie.how or "left" in lie.how
        answers = {a.fact: a.there for a in facts_of(mirrored.picture, one, judge, seed=0, search="film")}
        assert answers["relation"] != sideways  # a mirror turns left and right round, not near and far


def test_what_is_not_named_in_the_scene_is_not_found(scenes, judge):
    absent = [(s, name) for s in scenes[18:] for name in ("red cube", "green ball", "blue cross", "cyan cylinder")
              if name not in s.boxes]  # fmt: skip
    found = [search_for(s.picture, [name], judge, seed=s.seed, search="exchanged")[0].there for s, name in absent]
    assert np.mean(found) < 0.3


def test_an_empty_picture_shows_nothing(judge):
    found = search_for(np.full((128, 128, 3), 150, np.uint8), ["red cube"], judge, seed=0, search="film")
    assert [(one.fact, one.there) for one in found] == [("objects", False), ("colours", False)]


def test_noise_passes_for_nothing_though_it_has_patches_of_every_colour(judge):
    rng = np.random.default_rng(0)
    names = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES[:2]]
    for coarse in (1, 4, 16):
        cells = rng.integers(0, 256, (128 // coarse, 128 // coarse, 3), dtype=np.uint8)
        noise = cells.repeat(coarse, axis=0).repeat(coarse, axis=1)
        found = [one for name in names for one in search_for(noise, [name], judge, seed=0, search="film")]
        assert np.mean([one.there for one in found]) < 0.1


def test_a_table_painted_over_is_no_thing(judge):
    picture = np.full((128, 128, 3), (200, 30, 30), np.uint8)
    assert not any(one.there for one in search_for(picture, ["red cube"], judge, seed=0, search="film"))


def test_the_right_colour_in_the_wrong_shape_does_not_count(scenes, judge):
    s = scenes[18]
    name = next(iter(s.boxes))
    colour = name.split()[0]
    true = {other.split()[1] for other in s.boxes if other.startswith(colour)}
    seen = judge.things(s.picture, colour)
    wrong = next(shape for shape in ("cube", "ball", "cylinder", "cross") if shape not in true | set(seen))
    thing, paint = search_for(s.picture, [f"{colour} {wrong}"], judge, seed=0, search="film")
    assert paint.there and not thing.there


def test_blurring_keeps_an_even_picture_and_the_mean_of_any():
    even = np.full((16, 16, 3), 77, np.uint8)
    np.testing.assert_array_equal(blurred(even), even)
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert blurred(rough).mean() == pytest.approx(rough.mean(), abs=1.5)
    assert blurred(rough).std() < rough.std()


def test_a_judge_that_never_saw_a_shape_says_so(scenes):
    with pytest.raises(DataError, match="give more pictures"):
        ShapeJudge.fit([(np.zeros((128, 128, 3), np.uint8), {"red cube": (0, 0, 20, 20)})])


def test_figures_are_shares_of_facts_of_each_fact_and_of_all():
    found = [Named(seed=i, search=search, fact=fact, what="red cube", there=i < there)
             for search, fact, there in (("film", "objects", 3), ("film", "count", 1), ("exchanged", "objects", 1))
             for i in range(4)]  # fmt: skip
    figures = films_figures(found)
    assert figures["objects_film"].value == 0.75 and figures["count_film"].value == 0.25
    assert figures["facts_film"].value == 0.5 and figures["facts_exchanged"].value == 0.25
    assert "facts_true" not in figures and "relation_film" not in figures


def test_every_film_is_asked_for_what_its_own_words_say_and_for_anothers(scenes, judge, tmp_path):
    omni = armillary.load(small_checkpoint(tmp_path), dtype="float32")
    pair = scenes[18:20]
    found = measure_films(omni, pair, judge)
    own, other = (2 * len(scene.boxes) + 2 for scene in pair)
    counted = {search: [one.search for one in found if one.seed == pair[0].seed].count(search) for search in SEARCHES}
    assert counted == {"film": own, "exchanged": other, "true": own, "codec": own, "exchanged_true": other}
