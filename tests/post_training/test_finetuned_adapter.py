"""Post-training with a rank: an adapter learns and nothing else, and worn it does what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import kept_raw, moving_square, small_checkpoint

import armillary
from armillary.datasets.raw import save_raw
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, RequestError
from armillary.model.low_rank import LowRank
from armillary.post_training import teaching
from armillary.post_training.figures import measure
from armillary.post_training.finetune import FinetuneRun, finetune, sheet
from armillary.post_training.recordings import clips_of, open_recordings, split
from armillary.sampling.adapters import Adapter
from armillary.training import loop


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return kept_raw(tmp_path_factory.mktemp("raw"), (moving_square(number, frames=24) for number in range(4)))


@pytest.fixture(scope="module")
def run(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small_checkpoint(folder / "small")
    return FinetuneRun(
        origin=str(folder / "small"), data=raw, out=folder / "out", embodiment="pusht", steps=4, rank=2, windows=6,
        clips=2, batch=2, solver_steps=1, rate=0.05,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bytes_before(run):
    return {path: path.read_bytes() for path in Path(run.origin).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def told(run, bytes_before):
    return finetune(run, lambda _: None)


def test_only_an_adapter_comes_of_it_and_the_checkpoint_is_to_the_bit_what_it_was(run, told, bytes_before):
    assert {path: path.read_bytes() for path in Path(run.origin).rglob("*") if path.is_file()} == bytes_before
    made = {path.name for path in run.out.iterdir()}
    assert {"adapter", "figures.json", "sheet.png", "run.json"} <= made and not {"checkpoint", "before"} & made
    low_rank = LowRank.load(run.out / "adapter")
    assert (low_rank.rank, low_rank.alpha) == (2, 4.0)
    assert all(b.any() for _, b in low_rank.pairs.values()), "it has learnt"
    assert Adapter.of(run.out / "adapter").modes == ("forward-dynamics", "inverse-dynamics", "policy")


def test_worn_it_does_what_was_measured(run, told):
    omni = armillary.load(run.origin, adapter=run.out / "adapter")
    body = load_embodiment("pusht", Path(run.origin))
    clips = clips_of(split(open_recordings(run.data, body), run.held_out).held, run.clips)
    said = measure(omni, clips, body, steps=run.solver_steps, seed=run.seed)
    assert told["figures"]["forward: after, dB"]["value"] == pytest.approx(said.forward.mean(), abs=1e-6)
    before = measure(armillary.load(run.origin), clips, body, steps=run.solver_steps, seed=run.seed)
    assert told["figures"]["forward: before, dB"]["value"] == pytest.approx(before.forward.mean(), abs=1e-6)
    assert not np.array_equal(said.policy, before.policy) and sheet(clips, before, said).any()
    assert told["figures"]["tokenizer: after, dB"] == told["figures"]["tokenizer: before, dB"]


class Killed(BaseException):
    """The machine went down."""


def test_after_a_kill_it_comes_to_the_same_factors(run, told, tmp_path, monkeypatch):
    again = replace(run, out=tmp_path / "out")
    learn, seconds = loop.learn, []

    def dying(stage, step, *rest):
        if step == 2:
            raise Killed
        return learn(stage, step, *rest)

    monkeypatch.setattr(loop, "learn", dying)
    monkeypatch.setattr(loop.time, "monotonic", lambda: (seconds.append(1), 1000.0 * len(seconds))[1])
    with pytest.raises(Killed):
        finetune(again, lambda _: None)
    assert json.loads((again.out / "state/state.json").read_text())["step"] == 2
    monkeypatch.undo()
    assert finetune(again, lambda _: None)["figures"] == told["figures"]
    name = "adapter/adapter_model.safetensors"
    assert (again.out / name).read_bytes() == (run.out / name).read_bytes()


def test_minutes_are_planned_for_the_factors_alone(run, tmp_path, monkeypatch):
    planned = []
    plan = teaching._planned
    monkeypatch.setattr(teaching, "_planned", lambda run, p, losses: (planned.append(len(p)), plan(run, p, losses))[1])
    found = finetune(replace(run, out=tmp_path / "out", steps=None, minutes=0.001), lambda _: None)
    steps = json.loads((tmp_path / "out/steps.json").read_text())["steps"]
    assert planned == [2 * 7 * 2] and steps == 10 and found["windows"] == 6


def test_a_run_with_another_rank_is_another_run(run, told):
    with pytest.raises(ConfigError, match="was begun with rank 2, now it is 3"):
        finetune(replace(run, rank=3), lambda _: None)


def test_runs_begun_before_there_were_ranks_go_on(run, told, tmp_path):
    from armillary.post_training.finetune import _begin

    _begin(replace(run, out=tmp_path, rank=0), "some")
    kept = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({k: v for k, v in kept.items() if k not in ("rank", "alpha")}))
    _begin(replace(run, out=tmp_path, rank=0), "some")
    with pytest.raises(ConfigError, match="was begun with rank 0, now it is 2"):
        _begin(replace(run, out=tmp_path), "some")


@pytest.mark.parametrize(("more", "said"), [
    ({"vae_minutes": 3.0}, "the tokenizer stays the checkpoint's. Take vae_minutes 0"),
    ({"vae_steps": 3}, "the tokenizer stays the checkpoint's"), ({"like": "tabletop"}, "no body a slot of its own"),
    ({"rank": -1}, "a rank from 1 on"), ({"rank": 0, "alpha": 4.0}, "a rank from 1 on"),
])  # fmt: skip
def test_settings_that_do_not_go_together_are_one_sentence(run, more, said):
    with pytest.raises(ConfigError, match=said):
        replace(run, **more)


def test_a_body_that_the_checkpoint_does_not_know_as_it_is_is_refused(run, told, tmp_path):
    other = replace(run, out=tmp_path / "out")
    mine = (Path(armillary.__file__).parent / "embodiment_files/pusht.toml").read_text()
    (tmp_path / "mine.toml").write_text(mine.replace('name = "pusht"', 'name = "mine"'))
    with pytest.raises(ConfigError, match="'mine' is not known to small, and an adapter gives no body a slot"):
        finetune(replace(other, embodiment=str(tmp_path / "mine.toml")), lambda _: None)
    (tmp_path / "pusht.toml").write_text(mine.replace("rate_hz = 10", "rate_hz = 20"))
    with pytest.raises(RequestError, match="the weights were trained with"):
        finetune(replace(other, embodiment=str(tmp_path / "pusht.toml")), lambda _: None)
    fast = tmp_path / "fast"
    fast.mkdir()
    for number in range(3):
        save_raw(fast / f"episode_{number:06d}.npz", replace(moving_square(number, frames=24), fps=20.0))
    with pytest.raises(ConfigError, match="have 20 frames a second, but small knows pusht at 10"):
        finetune(replace(other, data=fast), lambda _: None)
    assert not (tmp_path / "out").exists()
