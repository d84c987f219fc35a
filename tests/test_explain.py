"""What becomes of one episode, shown by the real functions: every border is there, with shapes that fit one another."""

import re

import pytest

from armillary.errors import CheckpointError, ConfigError
from armillary.explain import explain
from armillary.worlds.record import record_tabletop


def test_every_border_is_shown():
    said = []
    explain("tiny", say=said.append)
    text = "\n".join(said)
    borders = ["worlds", "datasets", "tokenizers", "training", "sampling"]
    assert [re.sub(r"^\n", "", line).split()[1] for line in said if re.match(r"\n?\d", line)] == [
        f"{b}:" for b in borders
    ]
    frames, actions = (
        int(found) for found in re.search(r"uint8 (\d+)x128x128x3}\n +actions +float32 (\d+)x10", text).groups()
    )
    assert frames == actions + 1
    assert "bfloat16 2x80x192" in text and "float32 2x16x64" in text  # a window's tokens
    assert "20 % of the tokens are given" in text and "100 % of the tokens are given" in text  # forward dynamics
    norm = float(re.search(r"gradient .* norm ([\d.e+-]+)", text)[1])
    assert 0 < norm < float("inf")
    assert "body         Embodiment tabletop, 10 channels (step_x, " in text and "gripper), 10 a second" in text
    assert "Channel(" not in text and max(map(len, text.splitlines())) < 200  # no record is printed as Python does
    assert text.count("17x128x128x3") == 2  # the clip, and what is imagined of it


def test_what_cannot_be_followed(monkeypatch):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        explain("nowhere")
    short = record_tabletop(0, "random", views=("front",), extras=(), max_steps=5)
    monkeypatch.setattr("armillary.explain._happened", lambda seed, say: short)
    with pytest.raises(ConfigError, match="another would do"):
        explain("tiny", say=lambda line: None)
