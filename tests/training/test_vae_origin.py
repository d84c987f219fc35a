"""A tokenizer's training may begin from another's weights, if the sizes fit, and may keep what those make of clips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.datasets.byte_clips import ByteClips
from armillary.errors import ConfigError, DataError
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig
from armillary.training.vae import VAERun, VAETrainer, train_vae
from armillary.training.vae_data import draw_foreseen

SMALL = VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2))


def test_a_run_begins_with_the_weights_it_is_given(tmp_path):
    torch.manual_seed(7)
    first = VideoVAE(SMALL)
    first.save(tmp_path / "vae")
    trainer = VAETrainer(VAERun(data=tmp_path, out=tmp_path, model=SMALL, origin=tmp_path / "vae"))
    kept = dict(first.named_parameters())
    assert all(torch.equal(kept[name], part) for name, part in zip(trainer.names, trainer.master, strict=True))


def test_weights_of_other_sizes_are_refused(tmp_path):
    VideoVAE(SMALL).save(tmp_path / "vae")
    with pytest.raises(ConfigError, match="other sizes"):
        VAETrainer(VAERun(data=tmp_path, out=tmp_path, origin=tmp_path / "vae"))


def test_a_run_for_the_decoder_leaves_the_latents_as_they_are(tmp_path):
    torch.manual_seed(7)
    first = VideoVAE(replace(SMALL, latents_mean=(0.3,) * 48, latents_std=(2.0,) * 48))
    first.save(tmp_path / "vae")
    np.save(tmp_path / "frames_00.npy", np.random.default_rng(0).integers(0, 255, (8, 5, 32, 32, 3), np.uint8))
    run = VAERun(
        data=tmp_path, out=tmp_path / "run", model=SMALL, origin=tmp_path / "vae", steps=4, decoder_only=True,
        crop=32, warmup_steps=1,
    )  # fmt: skip
    train_vae(run)
    before, after = (VideoVAE.load(folder, dtype=torch.bfloat16) for folder in (tmp_path / "vae", tmp_path / "run/vae"))
    film = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    latents = before.encode(film)
    assert torch.equal(after.encode(film), latents)
    assert not torch.equal(after.decode(latents), before.decode(latents))


def test_a_run_for_the_decoder_without_an_origin_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="origin"):
        VAERun(data=tmp_path, out=tmp_path, decoder_only=True)


def test_a_run_that_keeps_latents_moves_those_less(tmp_path):
    torch.manual_seed(7)
    rng = np.random.default_rng(0)
    first = VideoVAE(replace(SMALL, latents_mean=(0.1,) * 48, latents_std=(0.5,) * 48))
    first.save(tmp_path / "vae")
    for name in ("new", "kept"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "frames_00.npy", rng.integers(0, 255, (8, 5, 32, 32, 3), np.uint8))
    clip = torch.from_numpy(np.load(tmp_path / "kept/frames_00.npy")[:1]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    moved = {}
    for weight in (0.0, 100.0):
        run = VAERun(
            data=tmp_path / "new", out=tmp_path / f"run{weight}", model=SMALL, origin=tmp_path / "vae", steps=10,
            kept=tmp_path / "kept", kept_share=0.7, kept_weight=weight, crop=32, warmup_steps=1, report_steps=1,
        )  # fmt: skip
        train_vae(run)
        after = VideoVAE.load(run.out / "vae", dtype=torch.float32)
        assert after.config.latents_mean == first.config.latents_mean  # whoever uses the latents knows these
        moved[weight] = float((after.encode(clip) - first.encode(clip)).square().mean())
        told = (run.out / "metrics.jsonl").read_text()
        assert '"moved"' in told and '"train_psnr_kept"' in told
    assert 0 < moved[100.0] < 0.7 * moved[0.0]


def test_a_run_that_keeps_latents_needs_those_of_an_origin(tmp_path):
    with pytest.raises(ConfigError, match="keeps latents"):
        VAERun(data=tmp_path, out=tmp_path, kept=tmp_path)


def test_a_decoder_learns_from_kept_clips_too_by_their_share(tmp_path):
    torch.manual_seed(7)
    rng = np.random.default_rng(0)
    VideoVAE(SMALL).save(tmp_path / "vae")
    for name in ("new", "kept"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "frames_00.npy", rng.integers(0, 255, (8, 5, 32, 32, 3), np.uint8))
    made = {}
    for share in (0.0, 1.0):
        run = VAERun(
            data=tmp_path / "new", out=tmp_path / f"run{share}", model=SMALL, origin=tmp_path / "vae", steps=3,
            kept=tmp_path / "kept", kept_share=share, decoder_only=True, crop=32, warmup_steps=1,
        )  # fmt: skip
        train_vae(run)
        made[share] = VideoVAE.load(run.out / "vae", dtype=torch.float32)
    clip = torch.rand(1, 3, 5, 32, 32) * 2 - 1
    one, other = (made[share].encode(clip) for share in (0.0, 1.0))
    assert torch.equal(one, other) and not torch.equal(made[0.0].decode(one), made[1.0].decode(one))


def foreseen_clips(folder, rng):
    """Clips whose latents say nothing of them: whoever is to show them must learn them."""
    folder.mkdir()
    np.save(folder / "frames_00.npy", np.full((6, 5, 32, 32, 3), 230, np.uint8))
    np.save(folder / "latents_00.npy", rng.normal(size=(6, 48, 2, 2, 2)).astype(np.float16))
    return folder


def test_a_decoder_learns_what_imagined_latents_show(tmp_path):
    torch.manual_seed(7)
    rng = np.random.default_rng(0)
    VideoVAE(replace(SMALL, latents_mean=(0.3,) * 48, latents_std=(2.0,) * 48)).save(tmp_path / "vae")
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips/frames_00.npy", rng.integers(0, 255, (8, 5, 32, 32, 3), np.uint8))
    latents = torch.from_numpy(np.load(foreseen_clips(tmp_path / "foreseen", rng) / "latents_00.npy")[:1]).float()
    errors = {}
    for share in (0.0, 1.0):
        run = VAERun(
            data=tmp_path / "clips", foreseen=tmp_path / "foreseen", foreseen_share=share, out=tmp_path / f"run{share}",
            model=SMALL, origin=tmp_path / "vae", decoder_only=True, steps=12, crop=32, warmup_steps=1, report_steps=6,
            learning_rate=1e-2, ema=0.5,
        )  # fmt: skip
        train_vae(run)
        before, after = (VideoVAE.load(f, dtype=torch.bfloat16) for f in (tmp_path / "vae", run.out / "vae"))
        errors[share] = float((after.decode(latents) - (230 / 127.5 - 1)).square().mean())
        film = torch.rand(1, 3, 5, 32, 32) * 2 - 1
        assert torch.equal(after.encode(film), before.encode(film))
        told = (run.out / "metrics.jsonl").read_text()
        assert '"held_psnr_foreseen"' in told
        assert ('"train_psnr_foreseen"' in told, '"train_psnr"' in told) == (share == 1.0, share == 0.0)
    assert errors[1.0] < 0.5 * errors[0.0]


def test_what_is_foreseen_is_the_same_clip_for_the_same_seed_and_never_one_held_out(tmp_path):
    clips = ByteClips(foreseen_clips(tmp_path / "foreseen", np.random.default_rng(3)))
    once, again = (draw_foreseen(clips, seed=(1, 2)) for _ in range(2))
    assert torch.equal(once.latents, again.latents) and once.target.shape == (1, 3, 5, 32, 32)
    known = torch.from_numpy(np.array(clips.files[0].latents[: clips.files[0].known])).float()
    drawn = {
        int((known == draw_foreseen(clips, seed=(0, i)).latents[0]).flatten(1).all(1).nonzero()) for i in range(40)
    }
    assert drawn == set(range(len(known))) and len(known) < 6


def test_clips_without_latents_and_latents_of_other_clips_are_refused(tmp_path):
    np.save(tmp_path / "frames_00.npy", np.zeros((6, 5, 32, 32, 3), np.uint8))
    VideoVAE(SMALL).save(tmp_path / "vae")
    run = VAERun(
        data=tmp_path, foreseen=tmp_path, out=tmp_path / "run", model=SMALL, origin=tmp_path / "vae", decoder_only=True,
        steps=1,
    )  # fmt: skip
    with pytest.raises(DataError, match="no latents"):
        train_vae(run)
    for shape in ((6, 48, 1, 2, 2), (6, 16, 2, 2, 2)):
        np.save(tmp_path / "latents_00.npy", np.zeros(shape, np.float16))
        with pytest.raises(DataError, match=r"must be \(48, 2, 2, 2\)"):
            train_vae(run)
    np.save(tmp_path / "latents_00.npy", np.zeros((5, 48, 2, 2, 2), np.float16))
    with pytest.raises(DataError, match="as many clips"):
        ByteClips(tmp_path)


def test_marked_things_weigh_more_in_what_is_foreseen_too(tmp_path):
    folder = foreseen_clips(tmp_path / "foreseen", np.random.default_rng(3))
    masks = np.zeros((6, 5, 32, 32), np.uint8)
    masks[..., :8] = 1
    np.save(folder / "masks_00.npy", masks)
    weight = draw_foreseen(ByteClips(folder), seed=(0, 0)).weight
    assert weight.shape == (1, 1, 5, 32, 32) and (weight[..., :8] > weight[..., 8:].max()).all()


def test_only_a_decoder_may_learn_what_is_foreseen(tmp_path):
    with pytest.raises(ConfigError, match="decoder_only"):
        VAERun(data=tmp_path, out=tmp_path, foreseen=tmp_path)
    known = {"data": tmp_path, "out": tmp_path, "origin": tmp_path, "decoder_only": True}
    with pytest.raises(ConfigError, match="above 1 together"):
        VAERun(**known, foreseen=tmp_path, foreseen_share=0.7, kept=tmp_path, kept_share=0.4)
    VAERun(**known, foreseen=tmp_path, foreseen_share=0.7, kept_share=0.4)  # nothing is kept
