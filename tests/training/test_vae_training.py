"""Laws of the video tokenizer's training: it learns, it weighs small things, it resumes exactly."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from armillary.datasets.byte_clips import ByteClips
from armillary.errors import ConfigError, DataError
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig
from armillary.training.muon import orthogonal
from armillary.training.vae import VAERun, train_vae
from armillary.training.vae_data import MOTION_WEIGHT, OBJECT_WEIGHT, CropPlan, check_clips, draw

WHOLE = CropPlan(side=None, pixels=4 * 5 * 32 * 32, canvas_share=0.0, lengths=(0.0, 1.0, 0.0, 0.0))


def write_clips(folder: Path, count: int = 20) -> Path:
    """A grey table on which a red square of 8x8 moves; the square is masked."""
    frames = np.full((count, 5, 32, 32, 3), 96, np.uint8)
    masks = np.zeros(frames.shape[:-1], np.uint8)
    rng = np.random.default_rng(0)
    for clip in range(count):
        y, x = rng.integers(0, 20, 2)
        for t in range(5):
            frames[clip, t, y : y + 8, x + t : x + t + 8] = (200, 30, 30)
            masks[clip, t, y : y + 8, x + t : x + t + 8] = 1
    folder.mkdir()
    np.save(folder / "frames_00.npy", frames)
    np.save(folder / "masks_00.npy", masks)
    return folder


def small_run(data: Path, out: Path, steps: int) -> VAERun:
    model = VideoVAEConfig(base_dim=4, decoder_base_dim=4)
    return VAERun(data=data, out=out, steps=steps, model=model, batch=1, crop=16, warmup_steps=2, report_steps=10)


def test_the_same_seed_draws_the_same_batch_and_another_seed_another(tmp_path: Path) -> None:
    clips = ByteClips(write_clips(tmp_path / "data"))
    one, two, other = (draw(clips, WHOLE, seed=(0, step)) for step in (3, 3, 4))
    torch.testing.assert_close(one.video, two.video, rtol=0, atol=0)
    assert not torch.equal(one.video, other.video)


def test_marked_and_moving_pixels_weigh_more_and_stay_with_their_pixels(tmp_path: Path) -> None:
    batch = draw(ByteClips(write_clips(tmp_path / "data")), WHOLE, seed=(0, 0))
    red = batch.target[:, 0] > 0.3
    assert (batch.weight[:, 0][red] >= 1 + OBJECT_WEIGHT).all()
    assert set(batch.weight[:, 0][~red].unique().tolist()) <= {1.0, 1 + MOTION_WEIGHT}
    assert (batch.weight == 1 + OBJECT_WEIGHT + MOTION_WEIGHT).any()


def test_the_canvas_goes_in_and_the_picture_must_come_out(tmp_path: Path) -> None:
    plan = replace(WHOLE, canvas_share=1.0)
    batch = draw(ByteClips(write_clips(tmp_path / "data")), plan, seed=(0, 0))
    assert batch.video.shape[-1] > batch.target.shape[-1] == 32
    torch.testing.assert_close(batch.video[..., :32, :32], batch.target)


def test_clips_held_out_are_never_drawn(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "data")
    frames = np.load(folder / "frames_00.npy")
    frames[-2:] = 255
    np.save(folder / "frames_00.npy", frames)
    clips = ByteClips(folder)
    assert all((frames == 255).all() for frames, _ in clips.held(10))
    assert all(draw(clips, WHOLE, seed=(0, step)).target.max() < 1.0 for step in range(20))


def test_a_folder_without_fitting_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips"):
        ByteClips(tmp_path)
    np.save(tmp_path / "frames_00.npy", np.zeros((4, 4, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match="4k"):
        check_clips(ByteClips(tmp_path))
    with pytest.raises(ConfigError, match="multiple of 16"):
        VAERun(data=tmp_path, out=tmp_path, crop=10)


def test_an_orthogonal_step_has_the_gradients_directions_in_equal_strength() -> None:
    matrix = torch.randn(8, 60, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -2, 8)[:, None]
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.4
    assert values.max() < 1.4
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity((left @ right).flatten(), orthogonal(matrix).flatten(), dim=0) > 0.95


def test_training_lowers_the_error_and_leaves_a_tokenizer_with_its_statistics(tmp_path: Path) -> None:
    data = write_clips(tmp_path / "data")
    short = train_vae(replace(small_run(data, tmp_path / "short", 2), warmup_steps=1))
    longer = train_vae(small_run(data, tmp_path / "longer", 40))
    assert longer["held_psnr"] > short["held_psnr"] + 2
    vae = VideoVAE.load(tmp_path / "longer" / "vae")
    assert vae.config.latents_std != VideoVAEConfig().latents_std
    assert all(not part.any() for name, part in vae.state_dict().items() if ".attentions.0.proj." in name)
    rows = [json.loads(line) for line in (tmp_path / "longer" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 40]


def test_a_run_that_is_cut_ends_where_the_uncut_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_clips(tmp_path / "data")
    train_vae(small_run(data, tmp_path / "whole", 4))
    cut = small_run(data, tmp_path / "cut", 4)
    seen = []

    def stop(vae: VideoVAE, out: Path) -> dict[str, float]:
        seen.append(out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_vae(replace(cut, checkpoint_seconds=0.0), judge=stop)
    assert len(seen) == 1
    train_vae(cut)
    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
