"""Ablations: arms differ in one thing, nothing that is asked about was learnt from, and one tower really is one."""

import argparse
import json

import numpy as np
import pytest
import torch
from benchmarks import ablations, measure
from benchmarks.ablations import ARMS, LEVELS, answers, beginning, chosen, difference, learning, prepare
from benchmarks.kept_out import ALL, FORWARD, INVERSE, POLICY, divide, exchanged, exercise, held_out, wrong
from benchmarks.one_tower import Afresh, inner, share_weights
from safetensors.torch import save_file
from tiny import small_checkpoint, small_model

from armillary.errors import ConfigError, DataError
from armillary.model.shelf import Shelf
from armillary.model.two_towers import tower_of
from armillary.model.weights import load_model
from armillary.prompts import action_prompt
from armillary.training.imagination import FlowConfig, Pool
from armillary.training.latents import FRAMES, load_cache

NAMES = {arm.name: arm for arm in ARMS}


def cache(folder, frames, names=("episode_000000", "episode_000225", "episode_000226")):
    """Files of two windows each, as a cache keeps them."""
    folder.mkdir()
    told = {"frames": FRAMES, "fps": 10.0, "height": 256, "width": 256}
    for number, name in enumerate(names):
        rng = torch.Generator().manual_seed(number)
        actions = torch.randn(2, FRAMES - 1, 64, generator=rng)
        actions[..., 10:] = 0
        video = torch.randn(2, 16 * frames, 192, generator=rng).bfloat16()
        tensors = {"video": video, "actions": actions, "things": torch.zeros(2, 16 * frames)}
        rows = [{"task": action_prompt(f"Push the red cube {number}", **told), "fps": 10.0, "start": 0, "domain": 6,
                 "width": 10, "caption": "A film.", "placed": "", "acts": i == 1, "tells": True, "named": {}}
                for i in range(2)]  # fmt: skip
        save_file(tensors, folder / f"{name}.safetensors", metadata={"rows": json.dumps(rows)})
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    room = tmp_path_factory.mktemp("ablations")
    return argparse.Namespace(
        cache=cache(room / "films", 5), stills=cache(room / "stills", 1), out=room / "out", arms="base,dense",
        origin=str(small_checkpoint(room / "small")), seeds="0", steps=2, batch=4, episodes=9, layers=8, plain=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(given, tmp_path_factory):
    """What two arms said, and the lines that were written about them."""
    lines = tmp_path_factory.mktemp("lines") / "results.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "RESULTS", lines)
        patch.setattr(ablations, "ASKED", 2)
        ablations.main(given)
        ablations.main(given)  # finds everything done
    return [json.loads(line) for line in lines.read_text().splitlines()]


def test_each_arm_and_seed_is_one_line_however_often_it_is_started(done):
    assert [(line["arm"], line["seed"], line["samples"]) for line in done] == [("base", 0, 8), ("dense", 0, 8)]
    for line in done:
        figures = [line[f"{figure}@{level:g}"] for figure in ALL for level in LEVELS]
        assert np.isfinite(figures).all() and min(figures) > 0 and (line["n"], line["n_policy"]) == (2, 2)


def test_no_window_that_is_asked_about_was_learnt_from(given, done):
    learnt, kept = ({path.name for path in (given.out / name).iterdir()} for name in ("films", "held"))
    stills = {path.name for path in (given.out / "stills").iterdir()}
    assert learnt == stills == {"episode_000000.safetensors"} and len(kept) == 2
    assert all(held_out(given.out / name) for name in kept)
    with pytest.raises(DataError, match="give caches of at least 250 episodes"):
        divide(given.cache, given.out / "none", lambda _: False)


def test_arms_of_other_settings_are_not_put_beside_those_of_a_folder(given, done):
    with pytest.raises(ConfigError, match="holds arms with steps=2: say so again, or choose another folder"):
        prepare(argparse.Namespace(**vars(given) | {"steps": 3, "arms": "all"}))


def test_a_frozen_reasoner_answers_as_before_and_a_learning_one_does_not(given, done, monkeypatch):
    monkeypatch.setattr(ablations, "ASKED", 2)
    base, dense = done
    ground = prepare(given)
    with torch.no_grad():
        usual = round(float(np.mean(answers(ground, load_model(ground.origin, dtype=torch.float32))["words_loss"])), 5)
    assert base["words_loss"] == usual and dense["words_loss"] != usual
    assert base["layers"] > 1.9 * dense["layers"] > 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    model, words = small_model(tmp_path_factory.mktemp("shared"))
    share_weights(model)
    return model, words


def test_one_tower_has_one_set_of_weights(shared):
    model, _ = shared
    assert not any(tower_of(name) == "generator" for name, _ in inner(model))
    for layer in model.transformer.layers:
        x = torch.randn(1, 3, 32)
        assert torch.equal(layer.mlp(x), layer.mlp_moe_gen(x))
        assert layer.self_attn.add_q_proj.weight is layer.self_attn.to_q.weight


def test_what_is_read_afresh_is_what_a_shelf_reads_and_learns(shared):
    model, words = shared
    ids = [words.prompt_ids(text) for text in ("Move the arm.", "an arm pushes the red cube", "Move the arm.")]
    with torch.no_grad():
        kept = Shelf(lambda: model).batch(ids)
    memory = Afresh(model).batch(ids)
    assert torch.equal(memory.mask, kept.mask)
    for new, old in zip(memory.keys + memory.values, kept.keys + kept.values, strict=True):
        there = kept.mask[:, None, :, None]
        torch.testing.assert_close(new.detach() * there, old * there, rtol=1e-4, atol=1e-5)
    sum(x.square().sum() for x in memory.keys).backward()
    assert model.transformer.layers[0].self_attn.to_k.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "reasoner", "generator"), [
    ("base", False, True), ("dense", True, False), ("dense_kept", False, False),
])  # fmt: skip
def test_of_the_layers_only_those_of_the_arm_learn(given, done, name, reasoner, generator):
    ground = argparse.Namespace(origin=ablations.find_checkpoint(given.origin), layers=8)
    model = beginning(ground, NAMES[name], 0)
    learnt = {path for path, _ in learning(model, NAMES[name])}
    assert {"transformer.proj_in.weight", "transformer.action_proj_out.fc.weight"} <= learnt
    assert ("transformer.layers.0.mlp.up_proj.weight" in learnt) == reasoner
    assert ("transformer.layers.0.mlp_moe_gen.up_proj.weight" in learnt) == generator
    assert {path for path, p in model.named_parameters() if p.requires_grad} == learnt


def test_arms_differ_from_the_base_in_one_thing():
    base = NAMES["base"]
    for arm in ARMS[1:]:
        changed = {
            name for name in base.flow.__dataclass_fields__ if getattr(arm.flow, name) != getattr(base.flow, name)
        }
        assert (arm.tower != base.tower) + len(changed - {"stills_share"}) == 1


def test_an_interval_holds_what_seeds_and_windows_say():
    base = [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    same, each = difference(base, base)
    assert (same.value, same.low, same.high, each) == (0, 0, 0, [0, 0])
    figure, each = difference(base, [[1.1] * 4, [1.3] * 4])
    assert each == pytest.approx([0.1, 0.3]) and (figure.n, figure.episodes) == (8, 4)
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.2, 0.1, 0.3))
    figure, _ = difference(base, [[0.5, 1.5, 0.5, 1.5]] * 2)
    assert figure.low < -0.3 and figure.high > 0.3


def test_arms_are_run_in_the_order_of_the_table_and_a_wrong_name_is_told():
    assert [arm.name for arm in chosen("dense,base")] == ["base", "dense"] and chosen("all") == list(ARMS)
    with pytest.raises(ConfigError, match="arm 'bse' is unknown: it must be of base, dense"):
        chosen("base,bse")


@pytest.mark.parametrize(("figure", "part", "channels"), [
    (FORWARD, 0, 192), (INVERSE, 1, 10), (POLICY, 1, 10),
])  # fmt: skip
def test_an_error_is_the_mean_square_of_what_is_hidden_and_exists(given, done, figure, part, channels):
    class Silent:
        def velocity(self, memory, segments, *, fps):
            return [torch.zeros_like(one.tokens) for one in segments]

    class NoShelf:
        def batch(self, prompts):
            return None

    asked = exercise(Pool(load_cache(given.out / "held"), FlowConfig()), [0, 2], figure, 0.6)
    segments, targets, _ = asked.made(torch.Generator().manual_seed(0))
    hidden = segments[part].level > 0
    true = [row[where][:, :channels].square().mean().item()
            for row, where in zip(targets[part], hidden, strict=True)]  # fmt: skip
    assert [int(one.sum()) for one in hidden] == [64 if part == 0 else 16] * 2
    assert wrong(Silent(), NoShelf(), [[0], [0]], asked, figure) == pytest.approx(true, rel=1e-5)


def test_other_instructions_are_other_ones():
    turned = exchanged(["a", "a", "b", "a"])
    assert turned == ["b", "b", "a", "b"]
