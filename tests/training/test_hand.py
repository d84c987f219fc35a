"""The hand's lesson: it is where the picture shows it, eyes come to say so, and say the rest as before."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import small_model, wide_model

from armillary.datasets.hands import hands_of
from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.errors import ConfigError, DataError
from armillary.model import patchify_images
from armillary.training.eyes import SightSource
from armillary.training.hand import HandSource, HandWords, hand_loss, notice_hand
from armillary.training.loop import Stage
from armillary.training.reasoner import ReasonerRun
from armillary.worlds.record import record_tabletop
from armillary.worlds.usual_view import on_picture


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    save_raw(folder / "episode_000003.npz", record_tabletop(3, views=("front",), extras=(), max_steps=24))
    return folder


def test_places_are_seen_where_the_pictures_show_them(raw):
    (path,) = raw_files(raw)
    episode = load_raw(path)
    names = [one["name"] for one in episode.recipe["parameters"]["objects"]]
    seen = on_picture(episode.states["objects"][0], "front", episode.frames["front"].shape[1:3])
    for name, (x, y) in zip(names, seen, strict=True):
        left, top, right, bottom = episode.boxes[0][name]
        assert left - 4 < x < right + 4 and top - 4 < y < bottom + 4, "a seed moves the camera by 12 mm at most"


def test_a_hand_that_is_low_is_over_its_place_and_one_that_is_high_is_above_it(raw):
    hands = hands_of(raw_files(raw), every=1)
    height = load_raw(raw_files(raw)[0]).states["tip"][:, 2]
    above = hands.below[:, 1] - hands.tip[:, 1]  # rows grow downwards
    assert (above[height > 0.05] > 0.02).all() and np.corrcoef(above, height)[0, 1] > 0.95
    assert hands.frames.shape[1:] == (128, 128, 3) and hands.open.min() >= 0 and hands.open.max() <= 1


def test_only_the_table_has_this_hand(raw, tmp_path):
    save_raw(tmp_path / "episode_000003.npz", replace(load_raw(raw_files(raw)[0]), world="drawer"))
    with pytest.raises(DataError, match="no tabletop episode"):
        hands_of(raw_files(tmp_path))


def test_what_is_added_says_open_or_shut_and_where(raw, tmp_path):
    model, tokenizer = wide_model(tmp_path / "words")
    words = HandWords.beside(model, tokenizer, SightSource(raw))
    cross = words.waves.flatten(0, 1) @ words.words.T
    assert cross.abs().max() < 1e-3 * words.words.square().sum(dim=-1).max(), "places use none of the words' directions"
    hands = hands_of(raw_files(raw))
    opened = HandSource(replace(hands, open=np.ones_like(hands.open)), words).batch(np.random.default_rng(1), 8)
    shut = HandSource(replace(hands, open=np.zeros_like(hands.open)), words).batch(np.random.default_rng(1), 8)
    assert torch.equal(opened[2], shut[2]) and 8 <= int(opened[2].sum()) <= 16
    assert not opened[1][~opened[2]].any()
    difference = (opened[1] - shut[1]).flatten(0, 1)
    told = difference[difference.abs().sum(dim=-1) > 0]
    torch.testing.assert_close(told, (words.words[0] - words.words[1]).expand(8, -1), atol=1e-4, rtol=1e-4)


def test_eyes_learn_the_hand_and_say_the_rest_as_before(raw, tmp_path):
    model, tokenizer = wide_model(tmp_path / "words")
    before, lines = copy.deepcopy(model.visual), list[str]()
    stage = Stage(name="hand", steps=80, batch=4, rate=3e-3, warmup=5, log_every=20, bf16=False)
    assert notice_hand(model, tokenizer, [raw], stage, tmp_path / "run", lines.append)
    hand = [float(found[1]) for line in lines if (found := re.search(r"hand ([\d.]+)", line))]
    assert hand[-1] < 0.7 * hand[0]
    frames, _, marked = HandSource(
        hands_of(raw_files(raw)), HandWords.beside(model, tokenizer, SightSource(raw))
    ).batch(np.random.default_rng(2), 4)
    with torch.no_grad():
        now, then = (eyes(patchify_images(frames), torch.float32)[0] for eyes in (model.visual, before))
    moved = (now - then).unflatten(0, marked.shape).square().sum(dim=-1)
    assert moved[marked].mean() > 5 * moved[~marked].mean()


def test_one_thing_that_is_forgotten_costs_more_than_a_little_noise_everywhere(raw, tmp_path):
    model, tokenizer = wide_model(tmp_path / "words")
    words = HandWords.beside(model, tokenizer, SightSource(raw))
    loudness = words.words.norm(dim=-1).mean()
    before = torch.zeros(64, 64)
    before[5] = words.words[0]  # one cell of 64 says something
    added, marked = torch.zeros(1, 64, 64), torch.zeros(1, 64, dtype=torch.bool)
    marked[0, 9] = True
    forgotten = hand_loss((torch.zeros(64, 64), ()), (before, ()), added, marked, loudness)
    noisy = hand_loss((before + 0.2 * loudness / 8, ()), (before, ()), added, marked, loudness)
    assert forgotten["kept"] == pytest.approx(1) and forgotten["silent"] == forgotten["hand"] == 0
    assert noisy["kept"] == pytest.approx(0.04) and noisy["silent"] == pytest.approx(0.04)
    assert forgotten["loss"] > 5 * noisy["loss"]


def test_a_reasoner_too_narrow_for_more_places_is_refused(raw, tmp_path):
    model, tokenizer = small_model(tmp_path / "words")
    with pytest.raises(ConfigError, match="32 wide"):
        HandWords.beside(model, tokenizer, SightSource(raw))


def test_blind_eyes_cannot_learn_a_hand(raw, tmp_path):
    stage = Stage(name="hand", steps=1, batch=1, rate=1e-3)
    with pytest.raises(ConfigError, match="eyes that see"):
        ReasonerRun(data=raw, out=tmp_path, stage=stage, hand=stage)
