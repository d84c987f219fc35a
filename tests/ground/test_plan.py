"""A plan knows what a request takes: its counts are those of the model, and what it advises helps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import small_checkpoint

from armillary import plan
from armillary.errors import ConfigError, RequestError
from armillary.model import FAMILY, write_model_index
from armillary.model.weights import load_model, open_model
from armillary.tokenizers.costs import counted
from armillary.tokenizers.sound import SoundVAE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("tiny"))


def machine(gib, speed=1e12):
    return plan.Machine(towers=speed, codec=speed, room=int(gib * plan.GIB))


def test_weights_are_those_that_imagining_loads(folder):
    job = plan.request_of(folder, "text-to-video", dtype="bfloat16")
    model = load_model(folder, towers=("generator",))
    vae = plan.VideoVAE(job.vae)
    count = sum(p.numel() for p in model.parameters()) + sum(p.numel() for p in vae.parameters())
    assert plan.work_of(job).weights == 2 * count


def bytes_held(model, wide):
    """Of the numbers in memory, were all that are not whole ``wide`` bytes long."""
    held = [p for p in model.parameters() if not p.is_meta]
    return sum(p.numel() * (1 if p.dtype == torch.int8 else wide) for p in held)


@pytest.mark.parametrize("offload", ["towers", "layers"])
def test_offloaded_weights_are_those_of_the_tower_or_layer_at_work(folder, offload):
    job = plan.request_of(folder, "text-to-video", dtype="bfloat16", offload=offload)
    stock, most = open_model(folder, dtype=torch.bfloat16), 0
    if offload == "layers":
        stock.stream()
    for kinds in (("memory",), ("generator",)):
        model = stock.hold(kinds)
        for _ in model.transformer.layers:
            most = max(most, bytes_held(model, 2))
    vae = 2 * sum(p.numel() for p in plan.VideoVAE(job.vae).parameters())
    assert plan.work_of(job).weights - vae == pytest.approx(most, rel=0.02)
    assert plan.work_of(job).weights < plan.work_of(replace(job, offload="none")).weights


def test_whole_numbers_take_a_byte_each(folder):
    job = plan.request_of(folder, "text-to-video", dtype="float32", weights="int8")
    model = load_model(folder, towers=("generator",), int8=True)
    vae = 4 * sum(p.numel() for p in plan.VideoVAE(job.vae).parameters())
    assert plan.work_of(job).weights - vae == pytest.approx(bytes_held(model, 4), rel=0.02)
    assert plan.this_machine(job).towers > 0


def test_steps_without_guidance_run_one_branch(folder):
    job = plan.request_of(folder, "text-to-video", steps=8, guidance=3.0, guided_steps=2)
    whole, none = (plan.work_of(replace(job, guided_steps=None, guidance=g)).stages["walk"][1] for g in (3.0, 1.0))
    assert plan.work_of(job).stages["walk"][1] == pytest.approx((2 * whole + 6 * none) / 8)
    with pytest.raises(ConfigError, match="give 1 to 8"):
        plan.request_of(folder, "text-to-video", steps=8, guided_steps=9)
    with pytest.raises(ConfigError, match="take offload='towers'"):
        plan.request_of(folder, "text-to-video", weights="int8", offload="layers")


@pytest.mark.parametrize("mode", ["text-to-video", "policy", "text-to-image", "inverse-dynamics"])
def test_tokens_and_stages_follow_the_request(folder, mode):
    job = plan.request_of(folder, mode, size=(64, 96))
    work = plan.work_of(job)
    film = 6 if job.frames == 1 else 5 * 6
    assert job.tokens == film + (16 if mode in ("policy", "inverse-dynamics") else 0)
    assert ("decode" in work.stages) == (mode != "inverse-dynamics")
    assert ("encode" in work.stages) == (mode in ("policy", "inverse-dynamics"))


def test_sound_adds_its_tokens_its_tokenizer_and_its_decoding(tmp_path):
    heard = small_checkpoint(tmp_path, sound=True)
    silent, loud = (plan.request_of(heard, "text-to-video", sound=one, fps=16.0) for one in (False, True))
    assert loud.tokens - silent.tokens == loud.sound_latents == -(-17 * 48_000 // 16 // 1920)
    more = plan.work_of(loud).weights - plan.work_of(silent).weights
    assert more == 2 * sum(p.numel() for p in SoundVAE.load(heard / "sound_tokenizer").parameters())
    assert plan.work_of(loud).stages["sound"][1] > 0 == len(set(plan.work_of(silent).stages) & {"sound"})
    assert plan.foresee(plan.work_of(loud), machine(8)).seconds["sound"] > 0
    nano = plan.request_of("nano", "text-to-video", sound=True)
    assert nano.sound_latents == round(25 * 189 / 24 + 0.5)
    assert plan.work_of(nano).stages["sound"][0] > 4 * 2 * 48_000 * 189 / 24, "at least the waves themselves"
    for checkpoint, mode in ((heard, "inverse-dynamics"), ("edge", "text-to-video"), ("edge", "sound-to-video")):
        with pytest.raises(ConfigError, match="is silent"):
            plan.request_of(checkpoint, mode, sound=True)


def test_a_sound_that_is_given_is_encoded_and_not_decoded(tmp_path):
    heard = small_checkpoint(tmp_path, sound=True)
    film, policy = plan.request_of(heard, "sound-to-video"), plan.request_of(heard, "policy", sound=True)
    waves = plan.work_of(plan.request_of(heard, "image-to-video", sound=True)).stages["sound"]
    for job, plain in ((film, "image-to-video"), (policy, "policy")):
        assert job.tokens - plan.request_of(heard, plain).tokens == job.sound_latents > 0
        assert 0 < plan.work_of(job).stages["sound"][1] != waves[1]


def test_twice_the_steps_and_guidance_take_twice_the_walk(folder):
    job = plan.request_of(folder, "text-to-video", steps=4, guidance=1.0)
    walk = plan.work_of(job).stages["walk"][1]
    assert plan.work_of(replace(job, steps=8)).stages["walk"][1] == 2 * walk
    assert plan.work_of(replace(job, guidance=3.0)).stages["walk"][1] == 2 * walk


def test_controls_cost_what_they_add(folder):
    """A film of n tokens under c controls: c pairs of n and 2n looked at, and the film alone where controls guide."""
    one, two = (plan.request_of(folder, "transfer", size=(64, 96), guidance=1.0, controls=c) for c in (1, 2))
    n, text = one.tokens, one.text
    assert one.passes == [(2 * n, 2 * n * (2 * n + text)), (n, n * (n + text))]
    assert two.passes == [(3 * n, 2 * 2 * n * (2 * n + text)), (n, n * (n + text))]
    assert replace(one, guidance=3.0).passes[0][0] == 4 * n
    assert len(replace(one, control_guidance=1.0).passes) == 1
    assert plan.work_of(two).stages["encode"][1] == 2 * plan.work_of(one).stages["encode"][1] > 0
    for mode, count in (("transfer", 0), ("transfer", 6), ("policy", 1)):
        with pytest.raises(ConfigError, match="films under controls are transfer"):
            plan.request_of(folder, mode, controls=count)


def test_arithmetic_of_the_published_model_is_that_of_its_design():
    """cosmos3.md 11: Nano, 256p, 189 frames: a step 4.7e13, decoding 2.12e14 operations."""
    job = plan.request_of("nano", "text-to-video", size=(192, 320), frames=189, steps=1, guidance=1.0, text=1500)
    assert job.tokens == 2880
    work = plan.work_of(job)
    assert work.stages["walk"][1] == pytest.approx(4.7e13, rel=0.02)
    assert work.stages["decode"][1] == pytest.approx(2.12e14, rel=0.05)
    assert work.weights == pytest.approx(2 * (15.17e9 - 0.62e9 + 0.705e9), rel=0.01)


def test_what_does_not_fit_says_what_would():
    job = plan.request_of("edge", "text-to-video", size=(480, 832), frames=121, dtype="float32")
    work = plan.work_of(job)
    peak = plan.foresee(work, machine(1000)).peak
    tight = plan.foresee(work, machine(0.8 * peak / plan.GIB))
    assert not tight.fits and any("bfloat16" in words for words in tight.advice)
    hopeless = plan.foresee(work, machine(1))
    assert len(hopeless.advice) == 1 and "Take a smaller model" in hopeless.advice[0]
    assert plan.foresee(work, machine(1000)).advice == ()


def test_seconds_are_operations_over_speed(folder):
    work = plan.work_of(plan.request_of(folder, "text-to-video"))
    slow, fast = (plan.foresee(work, machine(8, speed)) for speed in (1e9, 2e9))
    assert slow.total_seconds == pytest.approx(2 * fast.total_seconds)


def test_this_machine_is_measured(folder):
    found = plan.this_machine(plan.request_of(folder, "text-to-video", dtype="float32"))
    assert found.measured and found.towers > 1e6 and found.codec > 1e6 and found.room > found.taken > 0


def test_the_meter_counts_what_lives_at_once():
    def run():
        first = torch.empty(1000, device="meta")
        second = first + 1  # two live at once
        del first
        return second * 2  # and again two

    most, _ = counted(run)
    assert most == 2 * 4000


@pytest.mark.parametrize("said_in", ["modular_model_index.json", "scheduler/scheduler_config.json", ""])
def test_a_distilled_model_walks_its_own_steps(tmp_path, said_in):
    checkpoint = "super-text2image-4step"
    if said_in:
        checkpoint = small_checkpoint(tmp_path)
        write_model_index(checkpoint, sampling=FAMILY["super-text2image-4step"].sampling)
        for other in {"modular_model_index.json", "scheduler/scheduler_config.json"} - {said_in}:
            (checkpoint / other).unlink()
    job = plan.request_of(checkpoint, "text-to-image")
    assert (job.steps, job.guidance, job.branches) == (4, 1.0, 1)
    assert plan.request_of(checkpoint, "text-to-image", steps=4) == job
    for asked in ({"steps": 20}, {"guidance": 3.0}):
        with pytest.raises(ConfigError, match="is distilled to 4 steps"):
            plan.request_of(checkpoint, "text-to-image", **asked)


def test_a_checkpoint_walks_its_own_steps_where_it_says_them(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    told = {"size": [64, 64], "fps": 10, "steps": {"policy": 1, "transfer": 4}}
    (own / "defaults.json").write_text(json.dumps(told))
    for mode, usual, its in (("policy", 10, 1), ("transfer", 35, 4), ("text-to-video", 20, 20)):
        assert [plan.request_of(one, mode).steps for one in (folder, own)] == [usual, its]
    assert plan.request_of(own, "policy", steps=7).steps == 7
    assert plan.request_of("pico", "policy").steps == 1
    few, many = (plan.request_of("pico", "image-to-video", **more) for more in ({}, {"steps": 20}))
    assert (few.steps, few.guidance) == (4, 1.0) and (many.steps, many.guidance) == (20, 3.0)  # it wears an adapter
    assert few.acted and not plan.request_of("pico", "policy").acted  # and may be acted out instead
    assert plan.request_of("pico", "sound-to-video").steps == 4  # of an adapter that says steps for this mode


def test_an_adapter_s_steps_are_counted_for_each_mode_it_says(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "adapters/mine").mkdir(parents=True)
    told = own / "adapters/mine/adapter.json"
    told.write_text(json.dumps({"modes": ["policy", "transfer"], "steps": {"transfer": 3}, "guidance": 1.0}))
    jobs = {mode: plan.request_of(own, mode) for mode in ("policy", "transfer")}
    assert {mode: (job.steps, job.guidance) for mode, job in jobs.items()} == {
        "policy": (10, 1.0),
        "transfer": (3, 1.0),
    }
    told.write_text(json.dumps({"modes": ["policy"], "steps": {"policy": "few"}}))
    with pytest.raises(ConfigError, match="may say steps and guidance"):
        plan.request_of(own, "policy")


def test_what_is_painted_is_counted_as_it_is_walked(folder, tmp_path):
    """The bare place in both branches, each thing's picture beside itself, as often as it may be tried."""
    paints = shutil.copytree(folder, tmp_path / "paints")
    told = {"size": [64, 64], "fps": 10, "painting": {"bare_steps": 5, "bare_guidance": 2.0, "steps": 3, "tries": 2}}
    (paints / "defaults.json").write_text(json.dumps(told))
    bare = plan.request_of(paints, "text-to-image", things=0, steps=5, guidance=2.0)
    one, two, more = (
        plan.request_of(paints, "text-to-image", **asked) for asked in ({}, {"things": 2}, {"things": 2, "steps": 6})
    )
    assert bare.painted is None and (one.steps, one.guidance, one.painted.things) == (3, 1.0, 1)
    walks = [plan.work_of(job).stages["walk"][1] for job in (bare, one, two, more)]
    assert walks[2] - walks[1] == pytest.approx(walks[1] - walks[0]) == pytest.approx((walks[3] - walks[2]) / 2)
    beside = replace(bare, controls=1, guidance=1.0, steps=3 * 2)
    assert walks[1] - walks[0] == pytest.approx(plan.work_of(beside).stages["walk"][1])
    decoded = [plan.work_of(job).stages["decode"][1] for job in (bare, one, two)]
    assert decoded[1:] == [2 * decoded[0], 4 * decoded[0]]
    film, plain = (plan.request_of(paints, "text-to-video", things=things) for things in (2, 0))
    assert film.steps == plain.steps == 20
    for stage in ("walk", "decode"):
        whole = plan.work_of(plain).stages[stage][1] + plan.work_of(two).stages[stage][1]
        assert plan.work_of(film).stages[stage][1] == pytest.approx(whole)
    for checkpoint, mode, things in (
        (folder, "text-to-image", 1),
        (paints, "policy", 1),
        (paints, "text-to-image", -1),
    ):
        with pytest.raises(ConfigError, match=f"things={things}"):
            plan.request_of(checkpoint, mode, things=things)
    with pytest.raises(ConfigError, match="painted has none"):
        plan.request_of(paints, "text-to-image", guided_steps=1)


def test_every_model_of_the_family_can_be_planned():
    for name in FAMILY:
        assert plan.request_of(name, "text-to-image").tokens > 0


def test_what_cannot_be_planned_is_said(folder):
    with pytest.raises(ConfigError, match="dtype='int8' is not computed in"):
        plan.request_of(folder, "policy", dtype="int8")
    with pytest.raises(ConfigError, match="'step' is no setting"):
        plan.request_of(folder, "policy", step=3)
    with pytest.raises(ConfigError, match="choose from pico, edge"):
        plan.request_of("gigantic", "policy")
    with pytest.raises(RequestError, match="mode"):
        plan.request_of(folder, "dream")
    with pytest.raises(ConfigError, match="a mode with pictures"):
        plan.request_of(folder, "reason")
    assert Path(folder).is_dir()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"frames": 18}, r"frames=18: a film has 4k\+1 frames, such as 17"),
        ({"frames": 0}, r"such as 1\."),
        ({"size": (100, 64)}, r"size=\(100, 64\): height and width are multiples of 32"),
        ({"steps": 0}, "all must be above 0"),
        ({"text": 0}, "all must be above 0"),
    ],
    ids=str,
)
def test_a_film_that_cannot_be_is_not_planned(folder, asked, words):
    with pytest.raises(ConfigError, match=words):
        plan.request_of(folder, "text-to-video", **asked)


def test_a_machine_is_measured_with_no_more_than_it_does_in_a_moment(monkeypatch):
    """One layer of Super and 2,048 tokens would keep a laptop busy for minutes."""
    tried = []
    monkeypatch.setattr(plan, "_one_layer", lambda layer, job, n, device: tried.append((n, device.type)))
    monkeypatch.setattr(plan, "_rate", lambda run, clock, operations=0.0: (run(), 1.0)[1])
    monkeypatch.setattr(plan.Layer, "to_empty", lambda layer, device: layer)
    job = plan.request_of("super", "text-to-video")
    plan.this_machine(replace(job, vae=replace(job.vae, base_dim=4, decoder_base_dim=4)))
    counted, timed = tried
    assert counted[1] == "meta" and counted[0] == timed[0]
    assert 2.0 * timed[0] * plan._parameters(job.config)[1][1] <= 4e10


def test_where_actions_are_found_the_usual_film_of_a_published_model_is_one_chunk():
    assert [plan.request_of("nano", mode).frames for mode in ("policy", "inverse-dynamics", "text-to-video")] == [
        17,
        17,
        189,
    ]
