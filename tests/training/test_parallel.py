"""Training on several processes is training on one: the same losses and weights, whoever began and whoever goes on."""

import itertools
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shared_run import HALF, PLACE, STEPS, cut_off, described, make

from armillary.errors import ConfigError
from armillary.run_kinds import Data, WholeWay, start
from armillary.runs import find_run
from armillary.training import parallel
from armillary.training.imagination import FlowSource
from armillary.training.parallel import Company, company, launched

LOSSES, WEIGHTS = 1e-5, 1e-5  # relative, in float32; measured .8e-6 and 1.0e-6 (docs/log.md)
TESTS = Path(__file__).resolve().parents[1]


def quiet(line):
    pass


def processes(*line, **more):
    """What child processes are started with: this tree's code, one thread."""
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | more
    return subprocess.Popen(
        [sys.executable, *line], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Every run of ``shared_run.py``, on one process and on two; also what the two said."""
    root = tmp_path_factory.mktemp("shared")
    make(root)
    cut_off(described(root, "one_then_two", muon=True), quiet)
    (root / "mine.py").write_text("from shared_run import all_of_them\n")
    two = processes(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "armillary", "train",
        f"{root / 'mine.py'}:all_of_them", **{PLACE: str(root)},
    )  # fmt: skip
    for muon in (False, True):
        described(root, f"one_{muon}", muon=muon).start(quiet)
    said, wrong = two.communicate(timeout=300)
    written = (root / "one_then_two/checkpoint/defaults.json").exists()  # the last thing that is done
    assert written, wrong[-3000:]
    described(root, "two_then_one", muon=True).start(quiet)
    return root, said


@dataclass
class Difference:
    """How far two runs are apart, relatively: the worst loss, the worst tensor."""

    losses: float
    weights: float


def logged(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def difference(one, other):
    """Of everything that is logged but the speed, and of everything in the state, which must be the same things."""
    losses = weights = 0.0
    for a, b in zip(logged(one), logged(other), strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"samples_per_second"}:
            scale = 1.0 if name.startswith("hears") else max(abs(a[name]), 0.1)
            losses = max(losses, abs(a[name] - b[name]) / scale)
    a, b = (load_file(folder / "state/state.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].shape == b[name].shape and a[name].dtype == b[name].dtype
        apart = (a[name] - b[name]).norm() / a[name].norm().clamp(min=1e-6)
        weights = max(weights, apart.item())
    return Difference(losses, weights)


@pytest.mark.parametrize("muon", [False, True])
def test_two_processes_learn_what_one_learns(done, muon):
    root, _ = done
    told = {name for row in logged(root / f"one_{muon}") for name in row}
    assert told >= {"action", "painted", "held", "sound", "hears_video", "hears_control"}  # every kind was met
    apart = difference(root / f"one_{muon}", root / f"two_{muon}")
    assert apart.losses < LOSSES and apart.weights < WEIGHTS


@pytest.mark.parametrize("name", ["two_then_one", "one_then_two"])
def test_what_some_processes_began_any_number_may_finish(done, name):
    root, _ = done
    assert [row["step"] for row in logged(root / name)] == list(range(1, STEPS + 1)) and HALF < STEPS
    apart = difference(root / "one_True", root / name)
    assert apart.losses < LOSSES and apart.weights < WEIGHTS


def test_the_same_processes_go_on_with_exactly_what_they_would_have_had(done):
    root, _ = done
    assert difference(root / "two_True", root / "two_then_two") == Difference(0.0, 0.0)


def test_one_writes_and_one_reports(done):
    root, said = done
    assert said.count("4 single frames") == 6 and said.count(f"step {STEPS} ") == 4
    one, two = (load_file(root / f"{name}_True/checkpoint/transformer/diffusion_pytorch_model.safetensors")
                for name in ("one", "two"))  # fmt: skip
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name].float(), two[name].float(), rtol=0.02, atol=1e-4)  # bfloat16


def test_the_tolerance_would_catch_one_per_cent(done, monkeypatch):
    """Of every third number: as much as one row counted twice in a hundred. Films that were lived on are met, too."""
    root, _ = done
    true, asked, said, lived = Company.mean, itertools.count(), FlowSource._said, []

    def wrong(self, own, samples):
        return true(self, own, samples) * (1.0 if next(asked) % 3 else 1.01)

    monkeypatch.setattr(Company, "mean", wrong)
    monkeypatch.setattr(FlowSource, "_said", lambda *asked: lived.append(said(*asked)) or lived[-1])
    described(root, "wrong", muon=True).start(quiet)
    apart = difference(root / "one_True", root / "wrong")
    assert apart.losses > 100 * LOSSES and apart.weights > 20 * WEIGHTS and lived


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("samples", [1, 2, 4, 7])
def test_every_row_counts_once_whoever_asks_about_it(monkeypatch, size, samples):
    """The sum of everybody's number is the mean over the batch, and everybody's gradient is as FSDP's mean wants it."""
    monkeypatch.setattr(parallel.distributed, "all_reduce", lambda total: None)
    values = torch.arange(samples, dtype=torch.float64, requires_grad=True)
    errors = (values + 1).square()
    here = [Company(rank=rank, size=size) for rank in range(size)]
    means = [one.mean(errors[one.rows(samples)].mean(), samples) for one in here]
    torch.testing.assert_close(sum(means), errors.mean())
    (whole,) = torch.autograd.grad(errors.mean(), values, retain_graph=True)
    (spread,) = torch.autograd.grad(sum(means) / size, values)
    torch.testing.assert_close(spread, whole)


def test_alone_nothing_is_different():
    assert company() == Company() == launched()
    x = torch.ones(3)
    assert Company().mean(x, 3) is x and Company().leader_says(True) and not Company().leader_says(False)


def test_too_small_a_batch_and_runs_for_one_are_refused_in_a_sentence(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="a batch of 2 cannot be shared by 3 processes"):
        Company(size=3).check_batch(2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2 is set without RANK.*torchrun --nproc-per-node"):
        launched()
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    run = find_run("tiny")()
    assert isinstance(run, WholeWay)
    with pytest.raises(ConfigError, match=r"2 processes were started for a WholeWay run, .* without torchrun"):
        start(run, quiet)


def test_of_data_every_process_makes_its_share(monkeypatch, tmp_path):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "1",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    taken = []
    monkeypatch.setattr(Data, "start", lambda self, report: taken.append(self.share))
    for share in ((0, 1), (1, 3)):
        start(Data(out=tmp_path, episodes=9, share=share), quiet)
    assert taken == [(1, 2), (4, 6)]


LEFT = """
import torch
from torch import distributed
from armillary.training.parallel import together
with together() as here:
    here.wait()
    if not here.leads:
        raise SystemExit("mine alone")
    here.mean(torch.ones(()), 2)
"""


def test_who_is_left_by_another_says_so_and_ends():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    both = [processes("-c", LEFT, WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank, MASTER_ADDR="localhost", MASTER_PORT=port)
            for rank in "01"]  # fmt: skip
    first, second = (process.communicate(timeout=120)[1] for process in both)
    assert "mine alone" in second and all(process.returncode for process in both)
    assert "process 1 of 2 has lost another, which ended early and says why" in first
