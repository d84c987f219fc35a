"""The lesson abroad: cells say who is there, pairs of moments how far it goes, the table is not forgotten."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import small_config, wide_model

from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.datasets.whereabouts import Thing, Watched, lives_of
from armillary.errors import ConfigError, DataError
from armillary.model import save_model
from armillary.training.abroad import (
    IMPOSSIBLE,
    SPOKEN,
    Abroad,
    AbroadSource,
    AbroadWords,
    as_pairs,
    cell_of,
    moments_of,
    see_abroad,
)  # fmt: skip
from armillary.training.eyes import grid_of, seen_by
from armillary.training.loop import Stage
from armillary.training.reasoner import ReasonerRun, train_reasoner
from armillary.training.told_abroad import MOST, ToldAbroad, asked_of
from armillary.worlds.physics_questions import NOTHING
from armillary.worlds.physics_record import record_physics
from armillary.worlds.record import record_tabletop

GRID = np.array((8, 8))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    save_raw(folder / "episode_000003.npz", record_tabletop(3, views=("front",), extras=(), max_steps=12))
    return folder


@pytest.fixture(scope="module")
def physics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("physics")
    for seed, kind, twin in ((1, "still", None), (4, "conjurer", "changes colour"), (5, "conjurer", "floats")):
        save_raw(folder / f"episode_{seed:06d}.npz", record_physics(seed, kind, size=(64, 64), twin=twin))
    return folder


@pytest.fixture(scope="module")
def words(home, physics, tmp_path_factory):
    model, tokenizer = wide_model(tmp_path_factory.mktemp("words"), 128)
    names = sorted({name for life in lives_of(raw_files(physics)) for seen in life.things for name in seen})
    return AbroadWords.beside(model, tokenizer, lives_of(raw_files(home)), [*names, "red ball", "pink ball"])


def thing(x, y, size=0.1):
    return Thing(x=x, y=y, width=size, height=size)


def life(*moments, feat=None):
    return Watched(world="w", frames=np.zeros((len(moments), 64, 64, 3), np.uint8), things=moments, feat=feat)


def test_new_words_are_as_loud_as_known_ones_and_sizes_and_ways_are_apart(words):
    free = torch.cat([words.sizes, words.ways])
    happens = torch.stack([*words.happens.values()])
    assert (free @ happens.T).abs().max() < 1e-5 * words.loudness**2
    known = torch.stack([*words.names.values(), *words.places])
    beside = (free @ known.T).abs() / (free.norm(dim=-1)[:, None] * known.norm(dim=-1))
    assert beside.max() < 0.1, "what the eyes say by and large"
    torch.testing.assert_close(happens.norm(dim=-1), torch.full((4,), words.loudness))


def test_a_cell_says_what_has_its_middle_there_and_the_others_nothing(words):
    cells = words.of({"red ball": thing(0.3, 0.7)}, GRID)
    (speaking,) = torch.nonzero(cells.abs().sum(dim=-1))
    assert speaking == 5 * 8 + 2 == cell_of(thing(0.3, 0.7), GRID)
    other = words.of({"pink ball": thing(0.3, 0.7)}, GRID)
    torch.testing.assert_close(
        other[speaking] - cells[speaking], (words.names["pink ball"] - words.names["red ball"])[None]
    )
    assert cell_of(thing(1.0, 1.0), GRID) == 63 and cell_of(thing(-0.1, 0.0), GRID) == 0


def test_what_stands_still_looks_as_in_a_picture_and_what_moves_is_half_here_and_half_there(words):
    here, there = {"red ball": thing(0.3, 0.7)}, {"red ball": thing(0.8, 0.7)}
    source = AbroadSource({"w": [life(here, here)]}, words, {})
    still = source.batch(np.random.default_rng(0), 4)
    torch.testing.assert_close(still.wanted, words.of(here, GRID).expand(4, -1, -1))
    assert still.frames.shape[0] == 8 and set(still.marks.unique().tolist()) == {0, SPOKEN}
    moves = AbroadSource({"w": [life(here, there)]}, words, {}).batch(np.random.default_rng(2), 32)
    arrived = words.of(there, GRID)[5 * 8 + 6]
    said = torch.stack([torch.zeros_like(arrived), arrived / 2, arrived])  # still here, on its way, there already
    alike = (moves.wanted[:, 5 * 8 + 6, None] - said).norm(dim=-1) < 1e-4 * arrived.norm()
    assert alike.any(dim=1).all(), "every pair says one of the three"
    assert alike.any(dim=0).all(), "and all three are met"


def test_what_cannot_be_is_marked_in_the_pairs_that_show_it_and_in_no_other(words, physics):
    conjured = [one for one in lives_of(raw_files(physics)) if one.feat]
    assert {one.feat.kind for one in conjured} == {"changes colour", "floats"}
    shown = 0
    for one in conjured:
        source = AbroadSource({"physics": [one]}, words, {})
        for number in range(30):
            first, last = moments_of(one, np.random.default_rng([number, 0]))
            assert 0 <= first <= last < len(one.frames)
        batch = source.batch(np.random.default_rng(1), 48)
        shown += int((batch.marks == IMPOSSIBLE).any(dim=1).sum())
    assert 30 < shown < 80  # of 96: half of the pairs are about the feat, some of the others show it
    plain = AbroadSource({"physics": [one for one in lives_of(raw_files(physics)) if not one.feat]}, words, {})
    assert not (plain.batch(np.random.default_rng(1), 48).marks == IMPOSSIBLE).any()


def test_pairs_of_a_film_do_not_see_each_other(home, tmp_path):
    model, _ = wide_model(tmp_path)
    film = lives_of(raw_files(home))[0].frames
    pairs = np.stack([film[[0, 5]], film[[3, 3]], film[[9, 2]]])
    with torch.no_grad():
        together = seen_by(model.visual, as_pairs(pairs), pairs=True)[0].unflatten(0, (3, -1))
        alone = torch.stack([seen_by(model.visual, as_pairs(pair[None]), pairs=True)[0] for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert tuple(grid_of(as_pairs(pairs))) == (8, 8)


def test_eyes_learn_another_world_and_say_the_table_as_before(home, physics, tmp_path, monkeypatch):
    frames = as_pairs(lives_of(raw_files(home))[0].frames[:6].reshape(3, 2, 128, 128, 3))
    moved = []
    for stays in (0.0, 3.0):
        monkeypatch.setattr("armillary.training.abroad.STAYS", stays)
        model, tokenizer = wide_model(tmp_path / f"words {stays}", 128)
        before, lines = copy.deepcopy(model), list[str]()
        stage = Stage(name="abroad", steps=40, batch=8, rate=3e-3, warmup=5, log_every=20, bf16=False)
        abroad = Abroad(worlds={"physics": physics}, tables=1)
        assert see_abroad(model, tokenizer, abroad, [home], stage, tmp_path / f"run {stays}", lines.append)
        spoken = [float(found[1]) for line in lines if (found := re.search(r"speaks ([\d.]+)", line))]
        assert spoken[-1] < 0.95 * spoken[0]
        with torch.no_grad():
            then, now = (seen_by(one.visual, frames, pairs=True)[0] for one in (before, model))
        moved.append(float((now - then).square().mean()))
    assert moved[1] < 0.5 * moved[0]


def test_a_reasoner_too_narrow_for_what_is_to_be_said_is_refused(home, tmp_path):
    model, tokenizer = wide_model(tmp_path)
    names = [f"{colour} {noun}" for colour in "abcdefgh" for noun in "ijklmnopqrstuvwxyz"]
    with pytest.raises(ConfigError, match="must fit in"):
        AbroadWords.beside(model, tokenizer, lives_of(raw_files(home)), names)


def test_questions_come_with_what_they_are_about(physics):
    for path in raw_files(physics):
        episode = load_raw(path)
        pictures = asked_of(episode)
        assert sorted(q.words for one in pictures for q in one.turns) == sorted(q.words for q in episode.questions)
        for picture in pictures:
            spans = {(min(q.frames), max(q.frames)) for q in picture.turns}
            ((first, last),) = spans
            film = episode.frames["main"]
            if first == last:
                assert np.array_equal(picture.frames, film[first]) and not picture.seconds
            else:
                assert np.array_equal(picture.frames[[0, -1]], film[[first, last]]) and len(picture.seconds) == 2


def test_worlds_tasks_and_windows_are_drawn_by_their_shares(physics, home, tmp_path):
    told = ToldAbroad({"physics": physics}, {})
    rng = np.random.default_rng(0)
    drawn = [told.draw(rng) for _ in range(200)]
    assert len({one.turns[0].task for one in drawn}) > 6 and all(1 <= len(one.turns) <= MOST for one in drawn)
    windows = [told.strange(rng) for _ in range(200)]
    assert 70 < sum(one.turns[0].answer != NOTHING for one in windows) < 130
    table = ToldAbroad({"tabletop": home}, {})
    with pytest.raises(DataError, match="simulate its conjurer"):
        table.strange(rng)


def test_a_reasoner_travels_and_is_asked_and_a_kill_between_changes_nothing(home, physics, tmp_path):
    model, words = wide_model(tmp_path / "origin", 128)
    save_model(tmp_path / "origin", model, dtype=torch.float32)
    stage = Stage(
        name="r", steps=3, batch=2, rate=1e-3, warmup=1, bf16=False, log_every=1, save_seconds=0.0, minutes=9.0
    )

    def run(out, minutes):
        return train_reasoner(ReasonerRun(
            data=home, out=tmp_path / out, stage=replace(stage, minutes=minutes), model=small_config(words),
            origin=tmp_path / "origin", seeing=True, look_once=True, longest=400, kinds=("abroad", "strange", "still"),
            abroad=Abroad(worlds={"physics": physics}, tables=1), travels=replace(stage, batch=4),
        ), lambda _: None)  # fmt: skip

    assert run("whole", 9.0)
    assert not run("cut", 1e-9)
    assert run("cut", 9.0)
    for file in ("metrics.jsonl", "travels/metrics.jsonl"):
        one, other = ([row.split('"rate"')[0] for row in (tmp_path / out / file).read_text().splitlines()]
                      for out in ("whole", "cut"))  # fmt: skip
        assert one == other and len(one) == 3


@pytest.mark.parametrize(
    ("how", "says"),
    [({"kinds": ("abroad",)}, "none is named"), ({"travels": True}, "none is named"),
     ({"abroad": True, "travels": True}, "keep the origin's"), ({"kinds": ("far",)}, "abroad or strange")],
)  # fmt: skip
def test_travels_without_worlds_or_eyes_are_refused(tmp_path, how, says):
    stage = Stage(name="r", steps=1, batch=1, rate=1e-3)
    made = {"abroad": Abroad(worlds={"physics": tmp_path}), "travels": stage}
    settings = {name: made[name] if value is True else value for name, value in how.items()}
    with pytest.raises(ConfigError, match=says):
        ReasonerRun(data=tmp_path, out=tmp_path, stage=stage, **settings)
