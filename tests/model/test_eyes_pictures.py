"""Laws of what the eyes are given: whole pictures, neither too small to see on nor larger than asked."""

import json
from dataclasses import replace

import numpy as np
import pytest

from armillary.model import EDGE, PICO, fit_for_eyes, load_config
from armillary.model.vision import preprocessor
from armillary.model.weights import save_preprocessor
from armillary.sampling.defaults import Defaults
from armillary.sampling.parts import find_checkpoint


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


def test_the_bundled_file_for_other_libraries_is_what_is_written_today(tmp_path):
    folder = find_checkpoint("pico")
    save_preprocessor(tmp_path, load_config(folder), most=max(Defaults.load(folder).size))
    name = "preprocessor_config.json"
    assert (tmp_path / name).read_bytes() == (folder / "text_tokenizer" / name).read_bytes()


def test_what_other_libraries_are_told_of_pictures_is_of_these_eyes(tmp_path):
    told = preprocessor(replace(PICO.vision, patch=14), most=512)
    assert told["patch_size"] == 14 and told["temporal_patch_size"] == PICO.vision.temporal_patch
    assert 512**2 < told["size"]["longest_edge"] < 544**2 and 224**2 < told["size"]["shortest_edge"] < 256**2
    save_preprocessor(tmp_path, EDGE, most=256)
    assert not list(tmp_path.iterdir()), "Edge's eyes have a processor of their own"
    (tmp_path / "preprocessor_config.json").write_text("{}")
    save_preprocessor(tmp_path, PICO, most=256)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text()) == {}, "a published one stays"
