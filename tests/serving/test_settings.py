"""What the operator chooses and reads: the flag's checkpoint goes before NIM's variables; a log line is an object."""

import errno
import json
import logging
import re
import shutil
import socket

import pytest
import torch
from tiny import small_checkpoint

from armillary.errors import CheckpointError, ConfigError
from armillary.serving.app import bound, make_app, serve
from armillary.serving.desk import Desk
from armillary.serving.forms import ImageBody, VideoBody, parsed
from armillary.serving.inbound import as_input
from armillary.serving.logs import Line
from armillary.serving.problems import Problem
from armillary.serving.settings import ServeSettings, chosen_checkpoint
from armillary.serving.talk import ChatBody
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


@pytest.mark.parametrize("where", ["127.0.0.1", "nohost.invalid"])
def test_a_place_where_nobody_can_listen_is_told_before_anything_is_opened(where, tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^{where}:{port} cannot be listened at \(.+\): give .*--host"):
            serve(ServeSettings(folder=tmp_path / "kept", host=where, port=port))
    assert capsys.readouterr().out == "" and not (tmp_path / "kept").exists()


def test_a_free_port_is_the_same_at_every_address_of_a_name():
    sockets = bound("localhost", 0)
    assert len({one.getsockname()[1] for one in sockets}) == 1 and sockets[0].getsockname()[1] > 0
    for one in sockets:
        one.close()


@pytest.mark.parametrize(("model", "body", "words"), [
    (VideoBody, {"size": "big"}, "size='big' cannot be: it must be written another way, such as 128x128."),
    (VideoBody, {"actions": 3}, "actions=3 cannot be: it must be a list, such as [[0.01, 0, 0, 1, 0, 0, 0, 1, 0, 1]]."),
    (VideoBody, {"actions": [["far"]]}, "it must be a number, such as [["),
    (VideoBody, {"steps": "many"}, "steps='many' cannot be: it must be a whole number."),
    (VideoBody, {"solver": "heun"}, "solver='heun' cannot be: it must be 'unipc' or 'euler'."),
    (VideoBody, {"deadline_seconds": 0}, "deadline_seconds=0 cannot be: it must be above 0."),
    (ImageBody, {"prompt": "x", "n": 11}, "n=11 cannot be: it must be at most 10."),
    (ImageBody, {"prompt": 3}, "prompt=3 cannot be: it must be text."),
    (ChatBody, {"messages": []}, 'messages=[] cannot be: it must have at least 1, such as [{"role": "user", '),
], ids=lambda one: one if isinstance(one, str) else "")  # fmt: skip
def test_what_a_body_cannot_hold_is_told_in_words_of_ours(model, body, words):
    with pytest.raises(Problem, match=re.escape(words)):
        parsed(model, body)


def test_a_sound_is_among_what_may_be_kept():
    with pytest.raises(Problem, match="PNG, JPEG or WebP, MP4 or WebM, WAV, FLAC"):
        as_input(b"%PDF-1.7 ", "file", any_kind=True)
    with pytest.raises(Problem, match="send PNG, JPEG or WebP, MP4 or WebM"):
        as_input(b"RIFF\0\0\0\0WAVE", "input_reference")
    assert as_input(b"RIFF\0\0\0\0WAVE", "file", any_kind=True).kind == "sound"


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


def test_a_kind_of_address_that_the_machine_lacks_is_passed_over_and_a_taken_place_is_not(monkeypatch):
    real = socket.socket

    def lacking(family, *how):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *how)

    both = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]  # fmt: skip
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    monkeypatch.setattr(socket, "socket", lacking)
    (one,) = bound("localhost", 0)
    with one, pytest.raises(ConfigError, match="cannot be listened at"):
        bound("localhost", one.getsockname()[1])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both[:1])
    with pytest.raises(ConfigError, match="cannot be listened at"):
        bound("localhost", 0)
