"""Other worlds' words get tokens of their own; the model takes them for what it read before, the table stays."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from tiny import small_model

from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.errors import ConfigError
from armillary.model import load_model, save_model
from armillary.prompts import action_prompt
from armillary.tokenizers.own_words import MOST_PIECES, changed_ids
from armillary.tokenizers.text import TextTokenizer
from armillary.training.abroad import Abroad
from armillary.training.loop import Stage
from armillary.training.reasoner import ReasonerRun, learn_tokenizer, train_reasoner
from armillary.training.respelt import AFTER_SPACE, respell, respelt, said_of, wordings
from armillary.worlds.physics_record import record_physics
from armillary.worlds.record import record_tabletop


def words_of(text):
    return re.findall(r"[A-Za-z]+", text)


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lives")
    (folder / "home").mkdir()
    (folder / "physics").mkdir()
    save_raw(folder / "home/episode_000003.npz", record_tabletop(3, views=("front",), extras=(), max_steps=12))
    for seed in (1, 2):
        save_raw(folder / f"physics/episode_{seed:06d}.npz", record_physics(seed, "still", size=(64, 64)))
    return folder


@pytest.fixture(scope="module")
def spelling(lives, tmp_path_factory):
    before = learn_tokenizer(lives / "home", tmp_path_factory.mktemp("words"))
    return before, respelt(before, [lives / "physics"], [lives / "home"], [lives / "physics"], 2)


def test_words_that_are_often_said_abroad_are_one_token(lives, spelling):
    before, now = spelling
    asked = [question for path in raw_files(lives / "physics") for question in load_raw(path).questions]
    home = {word for text in (*said_of(load_raw(raw_files(lives / "home")[0])), *wordings()) for word in words_of(text)}
    said = Counter(word for q in asked for words in (q.words, q.answer) for word in AFTER_SPACE.findall(words))
    often = {word for word, times in said.items() if times >= 2} - home
    in_pieces = {word for word in often if 1 < len(before.encode(f" {word}")) <= MOST_PIECES}
    own = {word for word in in_pieces if len(now.encode(f" {word}")) == 1}
    assert len(own) > 10 and len(own) > 0.9 * len(in_pieces)  # the merges of a few would cut the table's words anew
    assert not changed_ids(before, respelt(before, [lives / "physics"], [lives / "home"], (), 10**6))


def test_nothing_that_is_said_at_home_changes(lives, spelling):
    before, now = spelling
    said = said_of(load_raw(raw_files(lives / "home")[0]))
    task = load_raw(raw_files(lives / "physics")[0]).instruction  # of those whose tasks the generator knows
    said += [*wordings(), action_prompt(task, frames=17, fps=30.0, height=256, width=256)]
    assert len(said) > 20 and all(before.encode(text) == now.encode(text) for text in said)


def test_what_is_always_said_is_among_what_stays():
    said = wordings()
    assert any("Follow the edge, blur" in words for words in said)
    assert any("The ball is behind the cube." in words for words in said)
    assert any("assistant" in words for words in said)


def test_a_first_word_has_no_space_before_it_and_gets_no_token(lives, spelling):
    before, now = spelling
    asked = [question for path in raw_files(lives / "physics") for question in load_raw(path).questions]
    first = {words.split()[0].strip(".,?") for q in asked for words in (q.words, q.answer)}
    inside = {word for q in asked for words in (q.words, q.answer) for word in AFTER_SPACE.findall(words)}
    only_first = {word for word in first - inside if word.isalpha() and len(before.encode(f" {word}")) > 1}
    assert only_first and all(now.encode(f" {word}") == before.encode(f" {word}") for word in only_first)


def test_a_word_is_read_as_the_sum_of_its_pieces(spelling, tmp_path):
    before, now = spelling
    model, _ = small_model(tmp_path)
    wide = torch.nn.Embedding(len(before), 32)
    model.transformer.embed_tokens, model.transformer.lm_head = wide, torch.nn.Linear(32, len(before), bias=False)
    read, say = wide.weight.detach().clone(), model.transformer.lm_head.weight.detach().clone()
    changed = changed_ids(before, now)
    assert respell(model, before, now) == len(changed) > 0
    for own, pieces in changed.items():
        direction = torch.cosine_similarity(wide.weight[own], read[pieces].sum(dim=0), dim=0)
        assert direction > 0.9999
        assert float(wide.weight[own].detach().norm()) == pytest.approx(
            float(read[pieces].norm(dim=1).mean()), rel=1e-5
        )
        assert torch.equal(model.transformer.lm_head.weight[own], say[pieces[0]])
    others = [i for i in range(len(before)) if i not in changed]
    assert torch.equal(wide.weight[others], read[others])


def test_a_run_spells_anew_once_and_goes_on_with_that(lives, tmp_path):
    model, words = small_model(tmp_path / "origin")
    save_model(tmp_path / "origin", model, dtype=torch.float32)
    run = ReasonerRun(
        data=lives / "home", out=tmp_path / "out", origin=tmp_path / "origin", own_words=2,
        abroad=Abroad(worlds={"physics": lives / "physics"}), kinds=("abroad", "prompt"),
        stage=Stage(name="talk", steps=2, batch=2, rate=1e-3, threads=1), look_once=True, seeing=True,
    )  # fmt: skip
    said: list[str] = []
    assert train_reasoner(run, said.append)
    told = int(next(line for line in said if "words of other worlds" in line).split()[0])
    now = TextTokenizer.load(tmp_path / "out/checkpoint/text_tokenizer")
    assert len(changed_ids(words, now)) == told
    assert (tmp_path / "out/checkpoint/text_tokenizer/preprocessor_config.json").is_file()
    first = load_model(tmp_path / "out/checkpoint", dtype=torch.float32)
    spelt = (tmp_path / "out/checkpoint/text_tokenizer/tokenizer.json").read_text()
    assert train_reasoner(run, said.append)  # it is over: the same comes out again
    again = load_model(tmp_path / "out/checkpoint", dtype=torch.float32)
    for (name, one), other in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert (tmp_path / "out/checkpoint/text_tokenizer/tokenizer.json").read_text() == spelt
    assert len(json.loads(spelt)["model"]["vocab"]) == len(words) == np.shape(first.transformer.embed_tokens.weight)[0]


def test_words_of_nobody_are_refused(tmp_path):
    stage = Stage(name="talk", steps=1, batch=1, rate=1e-3)
    home = {"data": tmp_path, "out": tmp_path, "stage": stage}
    with pytest.raises(ConfigError, match="own_words=5"):
        ReasonerRun(**home, own_words=5)
    with pytest.raises(ConfigError, match="own_words=-1"):
        ReasonerRun(**home, own_words=-1)
    with pytest.raises(ConfigError, match="tasks"):
        ReasonerRun(**home, tasks=(tmp_path,))
