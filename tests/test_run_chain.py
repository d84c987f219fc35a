"""A chain of runs is gone through once, in order, however often it is killed, and says what it does."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from armillary.errors import ConfigError, DataError
from armillary.run_chain import ChainRun, Link, covers
from armillary.training.loop import Stage, train_stage

OWN = """
import time
from dataclasses import dataclass
from pathlib import Path
from armillary.run_chain import ChainRun, Link

@dataclass(frozen=True, kw_only=True)
class Toy:
    out: Path
    data: Path | None = None
    waits: bool = False

    def start(self, report=print):
        self.out.mkdir(exist_ok=True)
        with (self.out / "starts").open("a") as file:
            file.write("x")
        while self.waits and not Path("go").exists():
            time.sleep(0.1)

def chain():
    one, two, three = Toy(out=Path("one")), Toy(out=Path("two"), data=Path("one"), waits=True), Toy(out=Path("three"))
    return ChainRun(
        links=(Link(name="one", run=one), Link(name="two", run=two), Link(name="three", run=three)),
        notes=Path("done.json"),
    )
"""


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Writes what it has read, and how often it was started."""

    out: Path
    data: tuple[Path, ...] = ()
    word: str = ""

    def start(self, report=print):
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "starts").open("a") as file:
            file.write("x")
        report(f"wrote {self.out.name}")


@dataclass(frozen=True, kw_only=True)
class Learns:
    """Fits three numbers; ``dies`` at a step, if it may."""

    out: Path
    stage: Stage
    dies: int | None = None

    def start(self, report=print):
        torch.manual_seed(0)
        weights = torch.nn.Parameter(torch.ones(3))

        def losses(step):
            if step == self.dies and not (self.out / "died").exists():
                (self.out / "died").touch()
                raise KeyboardInterrupt
            return {"loss": (weights - step).square().sum()}

        finished = train_stage(self.stage, self.out, [("weights", weights)], losses, report)
        torch.save(weights.detach(), self.out / "weights.pt")
        return finished


@pytest.fixture
def toys(tmp_path):
    """Three stages, the third of what the two before it have written; and what was said."""
    one, two = Toy(out=tmp_path / "one"), Toy(out=tmp_path / "two", data=(tmp_path / "one",))
    three = Toy(out=tmp_path / "three", data=(tmp_path / "one", tmp_path / "two/inner"))
    links = [Link(name=run.out.name, run=run, says=f"Makes {run.out.name}.") for run in (one, two, three)]
    (tmp_path / "two/inner").mkdir(parents=True)
    (tmp_path / "two/inner/file").touch()
    return ChainRun(links=(replace(links[0], minutes=90), *links[1:]), notes=tmp_path / "notes/done.json")


def starts(chain):
    return [len(path.read_text()) if (path := link.run.out / "starts").exists() else 0 for link in chain.links]


def said(chain):
    lines = []
    chain.start(lines.append)
    return lines


def test_stages_come_in_order_each_with_its_number_its_minutes_and_its_time(toys):
    lines = said(toys)
    assert lines[0] == "stage 1 of 3, one, about 90 min: Makes one."
    assert lines[1] == "wrote one" and re.fullmatch(r"one is done: 0\.\d minutes; 0\.\d of the chain", lines[2])
    assert lines[3] == "stage 2 of 3, two, no minutes said: Makes two." and starts(toys) == [1, 1, 1]


def test_what_is_done_is_not_done_again(toys):
    said(toys)
    assert said(toys) == [f"stage {i + 1} of 3, {name}: done before" for i, name in enumerate(("one", "two", "three"))]
    assert starts(toys) == [1, 1, 1]


def test_a_chain_that_was_killed_goes_on_with_the_stage_that_was_at_work(tmp_path):
    """By the command line and the hard way: SIGKILL while the second stage waits for ever."""
    (tmp_path / "own.py").write_text(OWN)
    line = [sys.executable, "-m", "armillary", "train", "own.py:chain"]
    first = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (tmp_path / "two/starts").exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    assert [*json.loads((tmp_path / "done.json").read_text())] == ["one"]
    (tmp_path / "go").touch()
    again = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
    assert [(tmp_path / name / "starts").read_text() for name in ("one", "two", "three")] == ["x", "xx", "x"]
    assert again.stdout.startswith("stage 1 of 3, one: done before\nstage 2 of 3, two")


def test_learning_that_was_cut_off_goes_on_from_its_state_and_ends_as_if_it_had_not_been(tmp_path):
    stage = Stage(name="toy", steps=6, batch=1, rate=0.1, warmup=1, bf16=False, log_every=1, save_seconds=1e-9)
    whole = Learns(out=tmp_path / "whole", stage=stage)
    whole.start(lambda line: None)
    cut = Learns(out=tmp_path / "cut", stage=stage, dies=4)
    chain = ChainRun(links=(Link(name="learns", run=cut),), notes=tmp_path / "done.json")
    with pytest.raises(KeyboardInterrupt):
        said(chain)
    assert not (tmp_path / "done.json").exists()
    steps = [line.split()[1] for line in said(chain) if line.startswith("step")]
    assert steps == ["5", "6"]  # of the six, those that were not done yet
    ends = [torch.load(run.out / "weights.pt") for run in (whole, cut)]
    assert torch.equal(*ends)


def test_a_stage_whose_minutes_are_over_is_started_again_until_its_steps_are_done(tmp_path):
    stage = Stage(name="toy", steps=3, batch=1, rate=0.1, warmup=1, bf16=False, log_every=1, minutes=1e-9)
    chain = ChainRun(
        links=(Link(name="learns", run=Learns(out=tmp_path / "out", stage=stage)),), notes=tmp_path / "done.json"
    )
    lines = said(chain)
    assert sum("its minutes are over" in line for line in lines) == 2
    assert [line.split()[1] for line in lines if line.startswith("step")] == ["1", "2", "3"]
    assert "done before" in said(chain)[0]


def test_a_result_that_is_gone_is_made_again_and_what_was_made_from_it_is_asked_again(toys):
    said(toys)
    (toys.links[0].run.out / "starts").unlink()
    assert ["done before" in line for line in said(toys) if line.startswith("stage")] == [False] * 3
    assert starts(toys) == [1, 2, 2]
    (toys.links[2].run.out / "starts").unlink()
    said(toys)
    assert starts(toys) == [1, 2, 1]


def test_other_settings_are_another_run(toys):
    said(toys)
    other = replace(toys.links[1], run=replace(toys.links[1].run, word="new"))
    said(replace(toys, links=(toys.links[0], other, toys.links[2])))
    assert starts(toys) == [1, 2, 2]


def test_from_and_until_name_the_first_and_the_last(toys):
    said(replace(toys, until="one"))
    assert starts(toys) == [1, 0, 0]
    said(replace(toys, first="two", until="two"))
    assert starts(toys) == [1, 1, 0]
    with pytest.raises(ConfigError, match=r"'tow' is no stage of this chain.*Nearest: 'two'"):
        said(replace(toys, first="tow"))
    with pytest.raises(ConfigError, match="--from three comes after --until one"):
        said(replace(toys, first="three", until="one"))


def test_a_stage_whose_input_is_missing_says_which_and_who_makes_it(toys, tmp_path):
    with pytest.raises(DataError, match=r"two reads .*one, which is not there: one makes it, say --from one\."):
        said(replace(toys, first="two"))
    alone = Link(name="alone", run=Toy(out=tmp_path / "alone", data=(tmp_path / "absent",)))
    with pytest.raises(DataError, match=r"alone reads .*absent, which is not there and no stage before it makes"):
        said(replace(toys, links=(*toys.links, alone)))
    assert starts(toys) == [1, 1, 1]


def test_a_list_starts_nothing(toys):
    listed = replace(toys, listed=True)
    assert said(listed) == [
        "  1  one, about 90 min: Makes one.", "  2  two, no minutes said: Makes two.",
        "  3  three, no minutes said: Makes three.", "3 stages: 1.5 hours, without 2 that do not say how long.",
    ]  # fmt: skip
    assert starts(toys) == [0, 0, 0] and not toys.notes.exists()
    said(replace(toys, until="one"))
    assert said(listed)[0] == "  1  one, about 90 min, done: Makes one."


def test_a_chain_names_no_stage_twice(toys):
    for links in ((), (toys.links[0], toys.links[0])):
        with pytest.raises(ConfigError, match="one stage or more, none named twice"):
            replace(toys, links=links)


def test_a_stage_reads_the_paths_of_its_settings_that_it_does_not_write(toys, tmp_path):
    one, _, three = toys.links
    assert one.reads == () and three.reads == (tmp_path / "one", tmp_path / "two/inner")
    assert covers(toys.links[1], tmp_path / "two/inner") and not covers(one, tmp_path / "on")
