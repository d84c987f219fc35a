"""No named run rots: each can be made, each model it names can be built, and a wrong name says what there is."""

import json
import sys
import warnings
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import pytest
import torch

from armillary import cli
from armillary.errors import ConfigError
from armillary.model import ModelConfig, TwoTowers
from armillary.post_training.finetune import FinetuneRun
from armillary.runs import RUNS, Run, find_run
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

OWN = """
from armillary.runs import Data
from pathlib import Path

def mine():
    return Data(out=Path("somewhere"), episodes=2)

def wrong():
    return 3
"""


def parts_of(settings):
    """Every dataclass in a run's settings, the run itself included."""
    yield settings
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from parts_of(value)


@pytest.mark.parametrize("name", RUNS)
def test_every_named_run_can_be_made_and_says_what_it_is(name):
    run = RUNS[name]()
    assert isinstance(run, Run) and is_dataclass(run) and asdict(run)
    assert RUNS[name].__doc__ and RUNS[name].__doc__.strip().endswith(".")
    with pytest.raises(AttributeError):
        run.out = "elsewhere"


@pytest.mark.parametrize("name", RUNS)
def test_every_model_of_a_named_run_can_be_built(name):
    for settings in parts_of(RUNS[name]()):
        with torch.device("meta"):
            if isinstance(settings, ModelConfig):
                assert sum(p.numel() for p in TwoTowers(settings).parameters()) > 1000
            if isinstance(settings, VideoVAEConfig):
                assert sum(p.numel() for p in VideoVAE(settings).parameters()) > 1000


def test_a_run_of_ones_own_is_found_in_its_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    assert find_run(f"{path}:mine")().episodes == 2
    with pytest.raises(ConfigError, match=r"returned int: a run has a method start"):
        find_run(f"{path}:wrong")()
    with pytest.raises(ConfigError, match=r"no function 'nine'"):
        find_run(f"{path}:nine")
    with pytest.raises(ConfigError, match=r"no file"):
        find_run(f"{tmp_path}/absent.py:mine")


def test_a_run_of_ones_own_may_have_settings_of_its_own_and_late_annotations(tmp_path, monkeypatch):
    path = tmp_path / "json.py"  # the name of a module that must stay what it is
    path.write_text("""from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True, kw_only=True)
class Greeting:
    out: Path
    words: str = "hello"

    def start(self, report=print) -> None:
        self.out.write_text(self.words)

def greet() -> Greeting:
    return Greeting(out=Path("greeting.txt"))
""")
    monkeypatch.setattr(
        sys, "argv", ["armillary", "train", f"{path}:greet", "--words", "hi", "--out", str(tmp_path / "x")]
    )
    for owner, name in ((sys, "excepthook"), (warnings, "formatwarning")):  # what the command line sets for its process
        monkeypatch.setattr(owner, name, getattr(owner, name))
    cli.main()
    assert (tmp_path / "x").read_text() == "hi"
    assert json.loads("[1]") == [1]


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(ConfigError, match=r"run 'pico-vea' is unknown.*Nearest: 'pico-vae'"):
        find_run("pico-vea")


@pytest.mark.parametrize(("wrong", "words"), [({"held_out": 1.0}, "held_out=1.0"), ({"clips": 0}, "must be positive")])
def test_a_post_training_that_cannot_be_is_refused_when_it_is_made(wrong, words):
    with pytest.raises(ConfigError, match=words):
        FinetuneRun(origin="pico", data=Path("d"), out=Path("o"), embodiment="pusht", **wrong)
