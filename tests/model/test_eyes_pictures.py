"""Laws of what the eyes are given: whole pictures, neither too small to see on nor larger than asked."""

import numpy as np
import pytest

from armillary.model import fit_for_eyes


@pytest.mark.parametrize(("size", "most"), [((128, 128), 128), ((480, 640), 128), ((480, 640), 320), ((40, 500), 720)])
def test_a_picture_for_the_eyes_is_whole_and_of_a_sensible_size(size, most):
    ramp = np.broadcast_to(np.linspace(0, 255, size[1]).astype(np.uint8)[:, None], (1, *size, 3))
    shown = fit_for_eyes(ramp, most=most, unit=32)[0]
    assert shown.shape[0] % 32 == shown.shape[1] % 32 == 0
    assert 0.7 * 256**2 <= shown.shape[0] * shown.shape[1] <= 1.3 * max(most, 256) ** 2
    assert shown[0, 0, 0] < 10 and shown[0, -1, 0] > 245  # nothing is cut off


def test_a_picture_that_fits_is_not_touched():
    frames = np.zeros((2, 256, 256, 3), np.uint8)
    assert fit_for_eyes(frames, most=128, unit=32) is frames
