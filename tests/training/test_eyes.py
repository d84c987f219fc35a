"""The eyes' lessons: what stands where is told truly, and tokens come to look like words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import WORDS, small_config, small_model

from armillary.datasets.raw import save_raw
from armillary.model import TwoTowers, patchify_images
from armillary.tokenizers.text import train_tokenizer
from armillary.training.eyes import LOUD, SightSource, open_eyes, speak_up, word_vectors
from armillary.training.loop import Stage
from armillary.worlds.record import record_tabletop


def recorded(folder):
    folder.mkdir()
    save_raw(folder / "episode_000000.npz", record_tabletop(3, views=("front",), extras=(), max_steps=8))
    return folder


def test_every_thing_seen_is_in_one_cell_at_its_place(tmp_path):
    source = SightSource(recorded(tmp_path / "raw"))
    frames, present, numbers = source.batch(np.random.default_rng(0), 4)
    assert frames.shape == (4, 256, 256, 3)
    assert present.shape == (4, 64, len(source.names)) and set(present.sum(dim=1).flatten().tolist()) <= {0.0, 1.0}
    full = present.sum(dim=-1) > 0
    assert full.sum() >= 4 and (numbers[~full] == -1).all()
    left, top, right, bottom, x, y = numbers[full].T
    assert (left < x).all() and (x < right).all() and (top < y).all() and (y < bottom).all()
    cell = full.nonzero()[:, 1]
    assert ((x * 8 / 100 - cell % 8 - 0.5).abs() <= 0.6).all() and ((y * 8 / 100 - cell // 8 - 0.5).abs() <= 0.6).all()


def test_what_tells_places_is_made_loud_enough(tmp_path):
    words = train_tokenizer(WORDS * 3, tmp_path / "words", vocabulary=400)
    config = small_config(words)
    model = TwoTowers(replace(config, vision=replace(config.vision, deepstack=(0,))))
    frames = SightSource(recorded(tmp_path / "raw")).batch(np.random.default_rng(0), 4)[0]
    speak_up(model, frames)
    _, (features,) = model.visual(patchify_images(frames), torch.float32)
    assert features.square().mean().sqrt().item() == pytest.approx(LOUD, rel=1e-3)


def test_tokens_come_to_look_like_the_words(tmp_path):
    model, tokenizer = small_model(tmp_path / "words")
    stage = Stage(name="eyes", steps=60, batch=4, rate=3e-3, warmup=5, log_every=20, bf16=False)
    lines: list[str] = []
    assert open_eyes(model, tokenizer, recorded(tmp_path / "raw"), stage, tmp_path / "run", lines.append)
    align = [float(line.split("align ")[1].split()[0]) for line in lines if "align" in line]
    assert align[-1] < 0.6 * align[0]


def test_a_name_is_the_sum_of_its_words(tmp_path):
    model, tokenizer = small_model(tmp_path / "words")
    red, cube, both = word_vectors(model, tokenizer, ["red", "cube", "red cube"])
    torch.testing.assert_close(both, red + cube)
