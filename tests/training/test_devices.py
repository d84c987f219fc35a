"""Training on a GPU, as far as a machine without one can tell: everything is moved, and the numbers are the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretended_gpu import AWAY, Away, elsewhere
from safetensors.torch import load_file
from shared_run import cut_off, described, make
from tiny import SMALL_SOUND, wide_model

from armillary.datasets.byte_clips import ByteClips
from armillary.datasets.raw import save_raw
from armillary.errors import ConfigError
from armillary.model import load_model, save_model
from armillary.tokenizers.video import VideoVAEConfig
from armillary.training.dreams import Lesson
from armillary.training.hand import notice_hand
from armillary.training.latents import encode_windows
from armillary.training.loop import Stage
from armillary.training.parallel import Company, spread
from armillary.training.reasoner import ReasonerRun, train_reasoner
from armillary.training.sound import SoundRun, SoundTrainer
from armillary.training.vae import VAERun, VAETrainer
from armillary.training.vae_data import CropPlan, draw
from armillary.worlds.record import record_tabletop

SOUND = replace(SMALL_SOUND, encoder_enabled=True, enc_dim=2, enc_num_blocks=1)
CLOSE, APART = 1e-4, 1e-2  # figures, weights, relatively: norms are summed in another order, Muon makes that larger


def quiet(line):
    pass


def logged(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def same_figures(one, other):
    for a, b in zip(logged(one), logged(other), strict=True):
        assert a == pytest.approx(b, rel=CLOSE, abs=CLOSE)


def alike(one, other):
    """Whether two files hold the same tensors, up to the order of a sum."""
    one, other = load_file(one), load_file(other)
    assert one.keys() == other.keys() and one
    for name in one:
        apart = (one[name].float() - other[name].float()).norm() / (other[name].float().norm() + 1e-6)
        assert apart < APART, f"{name}: {apart}"


def test_the_gpu_that_is_not_there_refuses_what_a_gpu_refuses(monkeypatch):
    with elsewhere(monkeypatch):
        here, there = torch.ones(3), torch.ones(3).to("cuda:0")
        assert there.device == AWAY and isinstance(there * 2, Away) and type(there.cpu()) is torch.Tensor
        for wrong in (lambda: here + there, lambda: torch.stack([here, there]), lambda: there.numpy(),
                      lambda: torch.rand(3, device="cuda:0", generator=torch.Generator())):  # fmt: skip
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
        assert there[torch.tensor([0, 2])].device == AWAY and float(there.sum()) == 3.0
        layer = torch.nn.Linear(3, 2).to("cuda:0")
        assert layer.weight.device == AWAY and isinstance(layer.weight, torch.nn.Parameter)
        layer(there).sum().backward()
        assert layer.weight.grad.device == AWAY and torch.equal(layer.weight.grad.cpu(), torch.ones(2, 3))
        assert torch.zeros(2, device=there.device).device == AWAY
    assert not torch.cuda.is_available() or torch.zeros(2, device="cuda").device == AWAY


def test_a_generator_learns_there_what_it_learns_here_and_goes_on_on_either(tmp_path, monkeypatch):
    make(tmp_path)
    runs = {name: described(tmp_path, name, muon=True) for name in ("here", "there", "moved")}
    runs["here"].start(quiet)
    there = {name: replace(run, stage=replace(run.stage, device="cuda:0")) for name, run in runs.items()}
    with elsewhere(monkeypatch):
        there["there"].start(quiet)
    cut_off(runs["moved"], quiet)
    with elsewhere(monkeypatch):
        there["moved"].start(quiet)
    for name in ("there", "moved"):
        same_figures(tmp_path / name, tmp_path / "here")
        alike(tmp_path / name / "state/state.safetensors", tmp_path / "here/state/state.safetensors")


def test_a_reasoner_its_eyes_and_its_lessons_learn_there_what_they_learn_here(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    save_raw(tmp_path / "raw/episode_000003.npz", record_tabletop(3, views=("front",), extras=(), max_steps=8))
    origin = tmp_path / "origin"
    model, _ = wide_model(origin)
    save_model(origin, model, dtype=torch.float32)

    def run(name, device, eyes):
        stage = Stage(name="r", steps=2, batch=2, rate=1e-3, warmup=1, bf16=False, log_every=1, device=device)
        lesson = Lesson(stage=stage, shares={"colour": 1.0})
        return ReasonerRun(data=tmp_path / "raw", out=tmp_path / name, stage=stage, origin=origin, lessons=(lesson,),
                           eyes=replace(stage, device=eyes), keep=1.0, look_once=name.endswith("once"))  # fmt: skip

    for kind, eyes in (("once", "cuda:0"), ("often", "cpu")):
        assert train_reasoner(run(f"here {kind}", "cpu", "cpu"), quiet)
        with elsewhere(monkeypatch):
            assert train_reasoner(run(f"there {kind}", "cuda:0", eyes), quiet)
        for part in ("", "eyes", "lesson_0"):
            same_figures(tmp_path / f"there {kind}" / part, tmp_path / f"here {kind}" / part)


def test_a_hand_is_noticed_there_as_here(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    save_raw(tmp_path / "raw/episode_000003.npz", record_tabletop(3, views=("front",), extras=(), max_steps=24))

    def noticed(name, device):
        model, words = wide_model(tmp_path / name)
        stage = Stage(name="hand", steps=2, batch=2, rate=1e-3, warmup=1, bf16=False, log_every=1, device=device)
        assert notice_hand(model, words, [tmp_path / "raw"], stage, tmp_path / name, quiet)

    noticed("here", "cpu")
    with elsewhere(monkeypatch):
        noticed("there", "cuda:0")
    same_figures(tmp_path / "there", tmp_path / "here")


def test_both_tokenizers_learn_there_what_they_learn_here_and_encode_the_same(tmp_path, monkeypatch):
    films = np.random.default_rng(0).integers(0, 255, (20, 5, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "frames_00.npy", films)
    clips, ring = ByteClips(tmp_path), torch.randn(1, 2, 3 * SOUND.hop, generator=torch.Generator().manual_seed(1)) / 5
    plan = CropPlan(side=None, pixels=2 * 5 * 32 * 32, canvas_share=0.5, lengths=(0.0, 1.0, 0.0, 0.0))
    small = {"data": tmp_path, "steps": 4, "batch": 1, "warmup_steps": 2}

    def learnt(name, device):
        for kind in ("pictures", "sounds"):
            (tmp_path / name / kind).mkdir(parents=True)
        codec = VideoVAEConfig(base_dim=4, decoder_base_dim=4)
        pictures = VAETrainer(VAERun(out=tmp_path / name / "pictures", model=codec, crop=16, device=device, **small))
        ears = SoundTrainer(SoundRun(out=tmp_path / name / "sounds", model=SOUND, crop=3, device=device, **small))
        said = [float(pictures.learn(draw(clips, plan, seed=(0, step)))["loss"]) for step in range(2)]
        said += [float(ears.learn(ring)["loss"]) for _ in range(2)]
        for trainer in (pictures, ears):
            trainer.save()
            assert trainer.resume()
        said += [float(pictures.learn(draw(clips, plan, seed=(0, 2)))["loss"]), float(ears.learn(ring)["loss"])]
        said.append(float(encode_windows(pictures.averaged().to(device), films[0], [0], 5).square().mean()))
        return said

    here = learnt("here", "cpu")
    with elsewhere(monkeypatch):
        there = learnt("there", "cuda:0")
    assert there == pytest.approx(here, rel=1e-2)


def test_a_device_that_is_not_here_and_several_processes_on_one_are_refused(tmp_path, monkeypatch):
    make(tmp_path)
    run = described(tmp_path, "run", muon=True)
    with pytest.raises(ConfigError, match="sees no CUDA here"):
        replace(run, stage=replace(run.stage, device="cuda")).start(quiet)
    with pytest.raises(ConfigError, match="unknown to torch"):
        replace(run, stage=replace(run.stage, device="gpu")).start(quiet)
    with elsewhere(monkeypatch), pytest.raises(ConfigError, match="several processes learn on the CPU only"):
        spread(load_model(tmp_path / "start").to("cuda:0"), Company(rank=0, size=2))
