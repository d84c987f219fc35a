"""The eyes' lessons: what stands where is told truly, and tokens come to look like words."""

import numpy as np
import torch
from tiny import small_model

from armillary.datasets.raw import save_raw
from armillary.training.eyes import SightSource, open_eyes, word_vectors
from armillary.training.loop import Stage
from armillary.worlds.record import record_tabletop


def recorded(folder):
    folder.mkdir()
    save_raw(folder / "episode_000000.npz", record_tabletop(3, views=("front",), extras=(), max_steps=8))
    return folder


def test_every_thing_seen_is_in_one_cell_at_its_place(tmp_path):
    source = SightSource(recorded(tmp_path / "raw"))
    _, present, places = source.batch(np.random.default_rng(0), 4)
    assert present.shape == (4, 64, len(source.names)) and set(present.sum(dim=1).flatten().tolist()) <= {0.0, 1.0}
    assert present.sum() >= 4 and not places[present == 0].any()
    _, cell, _ = present.nonzero(as_tuple=True)
    inside = places[present > 0] + 4 - torch.stack((cell % 8, cell // 8), dim=-1)
    assert ((inside >= 0) & (inside <= 1)).all()


def test_tokens_come_to_look_like_the_words(tmp_path):
    model, tokenizer = small_model(tmp_path / "words")
    stage = Stage(name="eyes", steps=60, batch=4, rate=3e-3, warmup=5, log_every=20, bf16=False)
    lines: list[str] = []
    assert open_eyes(model, tokenizer, recorded(tmp_path / "raw"), stage, tmp_path / "run", lines.append)
    distance = [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]
    assert distance[-1] < 0.6 * distance[0]


def test_a_name_is_the_sum_of_its_words(tmp_path):
    model, tokenizer = small_model(tmp_path / "words")
    red, cube, both = word_vectors(model, tokenizer, ["red", "cube", "red cube"])
    torch.testing.assert_close(both, red + cube)
