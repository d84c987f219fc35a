"""Laws of the tokenizer's judge: what is there counts as kept, what lost its colour or place does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from armillary.datasets.byte_clips import ByteClips
from armillary.errors import DataError
from armillary.evaluation.codec import count_kept, evaluate_vae
from armillary.evaluation.held_out import held_out_clips
from armillary.evaluation.pixels import HUES, nearest_hue
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig


def picture(colour: tuple[int, int, int] = (200, 30, 30), left: int = 8) -> tuple[np.ndarray, np.ndarray]:
    frame = np.full((32, 32, 3), 110, np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    frame[10:18, left : left + 8] = colour
    mask[10:18, left : left + 8] = 1
    return frame, mask


@pytest.mark.parametrize(
    ("colour", "name"),
    [((200, 20, 20), "red"), ((220, 210, 10), "yellow"), ((20, 160, 30), "green"), ((0, 180, 200), "cyan"),
     ((30, 40, 220), "blue"), ((130, 20, 150), "purple")],
)  # fmt: skip
def test_every_colour_has_its_name(colour: tuple[int, int, int], name: str) -> None:
    found = nearest_hue(np.array([[colour]], np.uint8))
    assert list(HUES)[int(found[0, 0])] == name


def test_grey_black_and_pale_pixels_have_no_hue() -> None:
    assert (nearest_hue(np.array([[[90, 90, 90], [20, 0, 0], [210, 170, 170]]], np.uint8)) == -1).all()


def test_an_object_left_as_it_was_is_kept() -> None:
    frame, mask = picture()
    assert count_kept(frame, frame, mask) == (1, 1, 0)


def test_an_object_that_lost_its_colour_its_place_or_itself_is_not_kept() -> None:
    frame, mask = picture()
    for other in (picture(colour=(30, 30, 200))[0], picture(left=14)[0], np.full_like(frame, 110)):
        assert count_kept(frame, other, mask) == (0, 1, 0)


def test_an_object_moved_by_one_pixel_is_kept() -> None:
    frame, mask = picture()
    assert count_kept(frame, picture(left=9)[0], mask) == (1, 1, 0)


def test_a_grey_object_and_the_robots_body_are_not_looked_for() -> None:
    frame, mask = picture(colour=(60, 60, 60))
    assert count_kept(frame, frame, mask) == (0, 0, 1)
    assert count_kept(frame, frame, mask * 100) == (0, 0, 0)


def test_an_untrained_tokenizer_fails_and_the_sheet_is_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    VideoVAE(VideoVAEConfig(base_dim=4, decoder_base_dim=4)).save(tmp_path / "vae")
    pairs = [picture(left=left) for left in (2, 6, 12, 20)]
    np.save(tmp_path / "frames_00.npy", np.stack([np.stack([frame] * 5) for frame, _ in pairs]))
    with pytest.raises(DataError, match="without masks"):
        evaluate_vae(tmp_path / "vae", ByteClips(tmp_path).held(1))
    np.save(tmp_path / "masks_00.npy", np.stack([np.stack([mask] * 5) for _, mask in pairs]))
    for canvas in (False, True):
        score = evaluate_vae(tmp_path / "vae", ByteClips(tmp_path).held(1), canvas=canvas, sheet=tmp_path / "sheet.png")
        assert (score.clips, score.objects, score.kept, score.passes) == (1, 5, 0.0, False)
        assert len(score.psnr_frames) == 5
        assert score.worst <= min(score.psnr_frames) <= score.psnr
    assert (tmp_path / "sheet.png").stat().st_size > 100
    uncoloured = evaluate_vae(tmp_path / "vae", ByteClips(tmp_path).held(1), coloured=False)
    assert (uncoloured.objects, uncoloured.kept, uncoloured.object_psnr) == (0, None, None)
    assert uncoloured.kept_95 is None and uncoloured.psnr_95 == pytest.approx((uncoloured.psnr, uncoloured.psnr))
    two = evaluate_vae(tmp_path / "vae", [*ByteClips(tmp_path).held(1)] * 2)
    assert two.clips == 2 and two.kept_95 == pytest.approx((0.0, 0.8419), abs=1e-4)
    assert replace(uncoloured, psnr=30.1).passes and not replace(uncoloured, psnr=29.9).passes


def test_held_out_clips_are_the_same_each_time_and_show_what_their_masks_say() -> None:
    (frames, masks), (again, _) = next(held_out_clips(1)), next(held_out_clips(1))
    assert frames.shape == (17, 128, 128, 3) and np.array_equal(frames, again)
    assert sum(np.array([count_kept(f, f, m) for f, m in zip(frames, masks, strict=True)]))[1] >= 34
