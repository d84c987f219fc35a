"""Dreamt tables: what is asked of them is true, in the tabletop's own words, as perfect eyes would show them."""

import re

import numpy as np
import pytest
import torch
from tiny import small_model

from armillary.datasets.dreamt import NAMES, Table, asked, dreamt
from armillary.errors import ConfigError
from armillary.training.dreams import DreamSource, Lesson
from armillary.training.eyes import Sight
from armillary.training.loop import Stage
from armillary.training.talk import NO_LABEL
from armillary.worlds.questions import template
from armillary.worlds.record import record_tabletop

STAGE = Stage(name="lesson", steps=1, batch=1, rate=1e-3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("words"))


def rng(*seed):
    return np.random.default_rng(seed)


def test_nothing_stands_twice_and_everything_stands_in_its_cell():
    for seed in range(50):
        table = dreamt(rng(seed), side=3)
        assert 3 <= len(table.names) <= 5 and len(set(table.names)) == len(table.names) and set(table.names) <= {*NAMES}
        assert len(set(table.cells.tolist())) == len(table.cells)
        corner = np.stack([table.cells % 3, table.cells // 3], axis=1) * 8 / 3 - 4
        assert ((table.places > corner) & (table.places < corner + 8 / 3)).all()


def test_answers_are_true_of_a_table_that_is_known():
    table = Table(
        names=("red cube", "blue ball", "green ball"), cells=np.array([0, 2, 7]), side=3,
        places=np.array([[-3.0, -3.0], [3.0, -2.8], [0.5, 3.0]]),
    )  # fmt: skip
    said = {q.words: q.answer for seed in range(30) for q in asked(table, rng(seed))}
    assert said["How many objects are there?"] == "three"
    assert said["What colour is the cube?"] == "red" and "What colour is the ball?" not in said
    assert said["What shape is the blue object?"] == "ball"
    assert said["Which object is furthest to the right?"] == "the blue ball"
    assert said["Which object is nearest to the camera?"] == "the green ball"
    assert "Which object is furthest from the camera?" not in said  # two are as far
    assert said["Seen from the red cube, where is the blue ball?"] == "right"
    assert said["Seen from the blue ball, where is the green ball?"] == "in front"
    assert said["Seen from the green ball, where is the red cube?"] == "behind"
    assert said["Where is the red cube?"] == "<|box_start|>(8,7),(17,18)<|box_end|>"


def test_boxes_lie_where_things_are_and_are_as_large_as_the_tabletop_shows_them():
    episode = record_tabletop(3, views=("front",), extras=(), max_steps=2)
    (size,) = {frames.shape[1:3] for frames in episode.frames.values()}
    names, boxes = zip(*episode.boxes[0].items(), strict=True)
    edges = np.array(boxes) / (size[1], size[0], size[1], size[0])
    middles = (edges[:, :2] + edges[:, 2:]) / 2
    table = Table(names=names, places=middles * 8 - 4, cells=np.arange(len(names)), side=3)
    said = {q.words: q.answer for q in asked(table, rng(0))}
    assert len(names) > 2
    for name, (left, top, right, bottom) in zip(names, edges, strict=True):
        dreamt_box = [int(n) / 100 for n in re.findall(r"\d+", said[f"Where is the {name}?"])]
        np.testing.assert_allclose(dreamt_box, (left, top, right, bottom), atol=0.03)


def test_they_are_asked_as_the_tabletop_asks():
    names = list(NAMES)
    recorded = {template(q.words, names) for seed in range(6) for q in record_tabletop(
        seed, views=("front",), extras=(), max_steps=2).questions}  # fmt: skip
    dreams = {template(q.words, names) for seed in range(40) for q in asked(dreamt(rng(seed)), rng(seed))}
    assert dreams <= recorded


def test_only_the_tasks_of_the_lesson_are_asked(made):
    model, words = made
    sight = Sight.of(model, words, NAMES)
    lesson = Lesson(stage=STAGE, shares={"count": 1.0})
    talk = DreamSource(sight, words, lesson, deepstack=len(model.config.vision.deepstack)).batch(rng(1), 6)
    texts = [words.decode(ids[mask].tolist()) for ids, mask in zip(talk.ids, talk.mask, strict=True)]
    assert all("How many objects" in text and text.count("assistant") == 1 for text in texts)
    assert talk.visual.tokens.shape == (6 * 9, model.config.tower.width)
    assert ((talk.labels != NO_LABEL).sum(dim=1) > 0).all()
    assert torch.isfinite(model.hidden(talk.ids, talk.mask, talk.visual)).all()


def test_who_is_there_and_where_can_both_be_read_off_a_token(made):
    model, words = made
    sight = Sight.of(model, words, NAMES)
    present, places = torch.zeros(2, len(NAMES)), torch.zeros(2, len(NAMES), 2)
    present[0, 3], places[0, 3] = 1, torch.tensor((-2.5, 1.0))
    there, nothing = sight.tokens(present, places)
    assert not nothing.any()
    torch.testing.assert_close(there - sight.at(torch.tensor((-2.5, 1.0))), sight.words[3])
    assert (sight.words @ sight.waves.T).abs().max() < 1e-4 * sight.words.norm() * sight.waves.norm()


def test_a_reasoner_that_is_too_narrow_is_told_so(made):
    model, words = made
    with pytest.raises(ConfigError, match="wide"):
        Sight.of(model, words, list("abcdefghijklmnopqrstuvwxyz"))
