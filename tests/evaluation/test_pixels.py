"""What pixels say is right: against pictures painted for the purpose."""

import numpy as np
import pytest

from armillary.evaluation.pixels import blobs, blobs_of, centre_of, mask_of, psnr, within
from armillary.worlds.tabletop_tasks import COLOURS


def ground() -> np.ndarray:
    """A greyish table, 96 96."""
    return np.full((96, 96, 3), (170, 155, 135), np.uint8)


def paint(picture: np.ndarray, colour: str, left: int, top: int, side: int = 10) -> np.ndarray:
    picture[top : top + side, left : left + side] = np.round(255 * np.array(COLOURS[colour]))
    return picture


def test_psnr_of_a_known_error_is_the_closed_form():
    truth = np.full((4, 8, 8, 3), 100, np.uint8)
    assert psnr(truth + 10, truth) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(truth, truth) == pytest.approx(100)
    assert psnr(truth - 10, truth) == psnr(truth + 10, truth)  # bytes must not wrap around


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_found_where_it_is_and_nowhere_else(colour):
    picture = paint(ground(), colour, left=20, top=50)
    (blob,) = blobs_of(picture, colour)
    np.testing.assert_array_equal(centre_of(blob), (25, 55))
    for other in COLOURS:
        assert other == colour or not blobs_of(picture, other)


def test_patches_come_apart_and_the_largest_comes_first():
    picture = paint(paint(ground(), "red", 5, 5, side=6), "red", 60, 60, side=12)
    large, small = blobs_of(picture, "red")
    assert (large.sum(), small.sum()) == (144, 36)
    assert not (large & small).any()


def test_a_winding_patch_is_one_patch():
    mask = np.zeros((40, 40), bool)
    for row in range(0, 40, 2):
        mask[row] = True
        mask[row + 1, 39 if row % 4 == 0 else 0] = True
    (blob,) = blobs(mask, least=1)
    np.testing.assert_array_equal(blob, mask)


def test_specks_are_no_patches():
    assert blobs_of(paint(ground(), "blue", 30, 30, side=3), "blue", least=12) == []
    assert blobs(np.zeros((8, 8), bool), least=1) == []


def test_within_a_box_only_the_box_is_kept():
    mask = mask_of(paint(paint(ground(), "red", 5, 5), "red", 60, 60), "red")
    np.testing.assert_array_equal(centre_of(within(mask, (50, 50, 80, 80))), (65, 65))
