"""What the command line says in its own words: of a mistake nothing else than what is wrong, of a chain its stages."""

import sys

import numpy as np
import pytest
from tiny import small_checkpoint

from armillary import cli
from armillary.cli_parts import as_flags
from armillary.media import write_image


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(small_checkpoint(tmp_path_factory.mktemp("checkpoint")))


FILM = ("imagine", "text-to-video", "OUT", "--prompt")
AHEAD = ("imagine", "forward-dynamics", "OUT", "--image", "frame.png", "--embodiment", "tabletop", "--actions")
HELD = ("imagine", "transfer", "OUT", "--control")
MISTAKES = [
    (("ask", ""), "the question has no words"),
    (("ask", "Why?", "--longest", "0"), "armillary: longest=0 is out of range: give a whole number from 1 to"),
    ((*FILM, ""), "prompt='' has no words"),
    ((*FILM, "x", "--size", "12800000", "12800"), "no side is longer than 4096 pixels"),
    ((*FILM, "x", "--upsample-model", "m"), "armillary: --upsample-model has no use without an endpoint"),
    ((*AHEAD, "far.json"), "action 0 has 10 for step_x, in metre: tabletop takes -0.1 to 0.1; are these millimetres?"),
    ((*HELD, "edge"), "--control edge says nothing of a kind: write edge=FILM or edge=auto, for example."),
    ((*HELD, "edge=frame.png", "--control-weight", "edge"), "write edge=2, for example."),
]


@pytest.mark.parametrize(("line", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(line, told, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image("frame.png", np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "far.json").write_text(f"{[[10, 0, 0, 1, 0, 0, 0, 1, 0, 1]] * 4}")
    monkeypatch.setattr(sys, "argv", ["armillary", *line, "--checkpoint", checkpoint])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    said = capsys.readouterr()
    assert said.out == "" and told in said.err and len(said.err.splitlines()) == 1
    assert not (tmp_path / "OUT").exists()


def test_what_a_request_may_say_is_told_as_flags():
    assert as_flags("ask with upsample=False.") == "ask with --upsample no."
    assert as_flags("say which as upsample_model.") == "say which as --upsample-model."


def test_the_chain_says_its_stages_and_starts_none(tmp_path, monkeypatch, capsys):
    def said(*line):
        monkeypatch.setattr(sys, "argv", ["armillary", *line])
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr().out
        return 0, capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    code, out = said("train", "pico", "--list", "--from", "pico-few-steps")
    assert code == 0 and [line.split()[1] for line in out.splitlines()] == [
        "pico-few-steps,", "pico-by-sound,", "pico-dressed,", "stages:",
    ]  # fmt: skip
    assert said("train", "pico", "--from", "pico-dreams")[0] == 2
    assert "--until" in said("train", "pico", "--help")[1] and not list(tmp_path.rglob("*"))
