"""What the operator chooses and reads: the flag's checkpoint goes before NIM's variables; a log line is an object."""

import json
import logging
import shutil

import pytest
import torch
from tiny import small_checkpoint

from armillary.errors import CheckpointError, ConfigError
from armillary.serving.app import make_app
from armillary.serving.desk import Desk
from armillary.serving.logs import Line
from armillary.serving.settings import ServeSettings, chosen_checkpoint
from armillary.serving.worker import opened

VARIABLES = ("NIM_FT_CHECKPOINT", "NIM_MODEL_PATH", "NIM_MODEL_SIZE")


def test_the_flag_goes_before_the_variables_and_each_of_these_before_the_next(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert chosen_checkpoint(ServeSettings()) == ("pico", "nobody")
    for name, said, found in zip(VARIABLES[::-1], ("PICO", "/a/Folder", "/a/Tuned"), ("pico", "/a/Folder", "/a/Tuned"),
                                 strict=True):  # fmt: skip
        monkeypatch.setenv(name, said)
        assert chosen_checkpoint(ServeSettings()) == (found, name)
    assert chosen_checkpoint(ServeSettings(checkpoint="mine")) == ("mine", "--checkpoint")


def test_a_variable_that_names_nothing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("NIM_MODEL_SIZE", "nano")
    with pytest.raises(CheckpointError, match=r"^NIM_MODEL_SIZE: 'nano' is no checkpoint"):
        Desk(ServeSettings(folder=tmp_path))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"dtype": "float16"}, "is not computed in"), ({"compiled": True, "weights": "int8"}, "leave the others out")],
    ids=["dtype", "compiled"],
)
def test_what_no_worker_could_open_is_told_before_the_server_begins(wrong, words, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(ConfigError, match=words):
        make_app(ServeSettings(folder=tmp_path, **wrong))
    make_app(ServeSettings(folder=tmp_path, role="api", **wrong))  # who computes, elsewhere, has his own settings


def test_a_worker_compiles_before_it_is_ready(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: lambda *given: (compiled.append(1), function(*given))[1]
    )
    omni = opened(ServeSettings(checkpoint=str(small_checkpoint(tmp_path / "small")), device="cpu", compiled=True))
    omni.parts.warm_words()
    assert len(compiled) == 4 * omni.parts.sizes.tower.layers


def test_every_line_of_the_log_is_an_object():
    def line(words, wrong=None):
        kind = (type(wrong), wrong, None) if wrong else None
        return json.loads(Line().format(logging.LogRecord("uvicorn.error", 40, "f", 1, words, (), kind)))

    assert line('{"worker": 0}') == {"worker": 0}
    told = line("two\nlines", ValueError("x"))
    assert (told["level"], told["from"], told["message"]) == ("error", "uvicorn.error", "two\nlines")
    assert told["trace"].endswith("ValueError: x")
