"""What the loop of every training keeps: a kill takes nothing, what is logged is true, the end is the average."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from armillary.errors import CheckpointError, ConfigError
from armillary.training.loop import Stage, _optimizers, train_stage

STAGE = Stage(
    name="test", steps=8, batch=2, rate=1e-2, warmup=2, bf16=False, log_every=1, save_seconds=0.0, seed=5, minutes=5
)


class Killed(KeyboardInterrupt):
    """What a kill looks like from inside."""


def line():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())
    return nn.ModuleDict({"layers": layers, "out": nn.Linear(4, 1)})


def answer(model, x):
    return model["out"](model["layers"](x))


def losses_of(model, *, killed_at=None):
    def losses(step):
        if step == killed_at:
            raise Killed
        x = torch.randn(2, 3, generator=torch.Generator().manual_seed(1000 * STAGE.seed + step))
        error = answer(model, x) - x.sum(dim=1, keepdim=True)
        return {"loss": error.square().mean(), "step seen": torch.tensor(float(step))}

    return losses


def run(folder, stage=STAGE, *, killed_at=None):
    model = line()
    finished = train_stage(
        stage, folder, model.named_parameters(), losses_of(model, killed_at=killed_at), lambda _: None
    )
    return model, finished


def logged(folder):
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "samples_per_second"} for row in rows]


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("killed_at", [1, 4, 7])
def test_a_killed_stage_goes_on_with_exactly_the_losses_it_would_have_had(tmp_path, killed_at, muon):
    stage = replace(STAGE, muon=muon)
    whole, finished = run(tmp_path / "whole", stage)
    assert finished
    with pytest.raises(Killed):
        run(tmp_path / "killed", stage, killed_at=killed_at)
    again, _ = run(tmp_path / "killed", stage)
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_two_optimizers_share_the_work():
    model = line()
    first = replace(STAGE, muon=True)
    adam, muon = _optimizers(first, dict(model.named_parameters()))
    inner = [model["layers"][0].weight, model["layers"][2].weight]
    assert [p for group in muon.param_groups for p in group["params"]] == inner
    outer = {id(p) for group in adam.param_groups for p in group["params"]}
    assert outer == {id(p) for p in model.parameters()} - {id(p) for p in inner}


def test_a_kill_between_the_two_renames_of_a_save_takes_nothing(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, killed_at=4)
    (tmp_path / "state").rename(tmp_path / "state.old")
    run(tmp_path)
    assert [row["step"] for row in logged(tmp_path)] == list(range(1, 9))


def test_a_finished_stage_learns_no_more(tmp_path):
    first, _ = run(tmp_path)
    second, finished = run(tmp_path)
    assert finished and len(logged(tmp_path)) == 8
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("changed", "said"), [
    ({"rate": 5e-2}, r"begun with rate 0\.01, now it is 0\.05"), ({"seed": 6}, "begun with seed 5, now it is 6"),
    ({"steps": 4}, "has done 8 steps and 4 are asked for"),
])  # fmt: skip
def test_a_stage_that_would_learn_otherwise_than_it_began_is_refused_and_loses_nothing(tmp_path, changed, said):
    run(tmp_path)
    kept = {path.name: path.read_bytes() for path in (*tmp_path.glob("state/*"), *tmp_path.glob("*.json*"))}
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, replace(STAGE, **changed))
    assert kept == {path.name: path.read_bytes() for path in (*tmp_path.glob("state/*"), *tmp_path.glob("*.json*"))}


def test_a_stage_may_be_given_more_steps_and_another_clock(tmp_path):
    run(tmp_path)
    _, finished = run(tmp_path, replace(STAGE, steps=10, minutes=7, log_every=2))
    assert finished and [row["step"] for row in logged(tmp_path)] == [*range(1, 9), 10]


def test_steps_that_are_done_again_are_logged_once(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, replace(STAGE, save_seconds=1e9), killed_at=5)
    assert len(logged(tmp_path)) == 5 and not (tmp_path / "state").exists()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6.0, "lo')
    run(tmp_path)
    assert [row["step"] for row in logged(tmp_path)] == list(range(1, 9))


def test_what_is_logged_is_the_mean_of_the_steps_since_the_last_line(tmp_path):
    stage = replace(STAGE, log_every=4)
    run(tmp_path / "whole", stage)
    assert [row["step seen"] for row in logged(tmp_path / "whole")] == [1.5, 5.5]
    with pytest.raises(Killed):
        run(tmp_path / "killed", stage, killed_at=6)
    run(tmp_path / "killed", stage)
    assert [row["step seen"] for row in logged(tmp_path / "killed")] == [1.5, 6.5]


def test_minutes_end_a_stage_with_its_state_kept(tmp_path):
    _, finished = run(tmp_path, replace(STAGE, minutes=1e-9))
    assert not finished and len(logged(tmp_path)) == 1
    _, finished = run(tmp_path)
    assert finished and len(logged(tmp_path)) == 8


def test_the_state_of_another_model_is_refused(tmp_path):
    run(tmp_path)
    other = nn.Linear(3, 1)
    with pytest.raises(CheckpointError, match="another model"):
        train_stage(STAGE, tmp_path, other.named_parameters(), losses_of(other), lambda _: None)


def test_a_step_without_a_finite_gradient_changes_nothing(tmp_path):
    model = line()
    before = [p.detach().clone() for p in model.parameters()]

    def losses(step):
        return {"loss": sum(p.sum() for p in model.parameters()) * math.inf}

    train_stage(STAGE, tmp_path, model.named_parameters(), losses, lambda _: None)
    for one, other in zip(model.parameters(), before, strict=True):
        assert torch.equal(one, other)


def test_the_model_ends_as_the_average_of_its_weights(tmp_path):
    model = line()
    seen = []
    plain = losses_of(model)

    def losses(step):
        seen.append(model["layers"][0].weight.detach().clone())
        return plain(step)

    train_stage(STAGE, tmp_path, model.named_parameters(), losses, lambda _: None)
    stacked = torch.stack(seen[1:])
    assert (model["layers"][0].weight >= stacked.amin(0) - 0.02).all() and (
        model["layers"][0].weight <= stacked.amax(0) + 0.02
    ).all()
    assert not torch.equal(model["layers"][0].weight, seen[-1])


def test_the_rate_rises_stays_and_falls_to_nothing():
    stage = Stage(name="r", steps=100, batch=1, rate=1.0, warmup=10, decay=0.3)
    rates = [stage.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:70] == [1.0] * 61
    assert all(a > b for a, b in pairwise(rates[70:])) and 0 < rates[-1] < 0.05


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"minutes": 0.0}])
def test_a_stage_without_length_is_refused_when_it_is_made(wrong):
    with pytest.raises(ConfigError, match="must be positive"):
        Stage(**({"name": "x", "steps": 1, "batch": 1, "rate": 1.0} | wrong))
