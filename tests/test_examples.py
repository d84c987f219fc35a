"""Every example runs, small, with a checkpoint of random weights."""

import importlib.util
import inspect
import math
import runpy
import sys
from pathlib import Path

import pytest
from tiny import small_checkpoint

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(small_checkpoint(tmp_path_factory.mktemp("checkpoint"), sound=True))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_says_what_came_out(path, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    own = {"checkpoint": checkpoint} if "checkpoint" in inspect.signature(example.main).parameters else {}
    assert math.isfinite(example.main(steps=2, **own))
    written = list(tmp_path.iterdir())
    assert written
    assert written[0].name in capsys.readouterr().out or path.stem == "own_body"


@pytest.mark.parametrize("path", [p for p in EXAMPLES if "--checkpoint" in p.read_text("utf-8")], ids=lambda p: p.stem)
def test_a_mistake_is_one_line_and_no_traceback(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [path.name, "--checkpoint", "nowhere"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and said.startswith(f"{path.name}: ") and "nowhere" in said and "\n" not in said


def test_every_example_ends_a_mistake_in_a_line():
    assert not [path.name for path in EXAMPLES if "except ArmillaryError" not in path.read_text("utf-8")]
