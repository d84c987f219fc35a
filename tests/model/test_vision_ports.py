"""Ways in and out: pictures to patches, latents to tokens, levels to vectors."""

import math

import numpy as np
import pytest
import torch

from armillary.errors import DataError
from armillary.model import (
    VisionConfig,
    Visual,
    channel_weights,
    patchify,
    patchify_images,
    patchify_video,
    unpatchify,
)
from armillary.model.ports import DomainLinear, TimeEmbedder
from armillary.model.vision import VisionTower

EYES = VisionConfig(depth=2, width=16, heads=2, mlp_width=24, grid_side=3, deepstack=(0,))


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_a_still_picture_is_two_equal_frames():
    visual = patchify_images(pixels(1, 64, 96, 3))
    assert visual.grids == ((1, 4, 6),)
    assert visual.tokens() == [6]
    frames = visual.patches.reshape(24, 3, 2, 16, 16)
    assert torch.equal(frames[:, :, 0], frames[:, :, 1])


def test_the_first_four_patches_are_one_block_of_the_picture():
    picture = pixels(1, 64, 64, 3)
    first = patchify_images(picture).patches[:4].reshape(2, 2, 3, 2, 16, 16)[:, :, :, 0]
    block = first.permute(0, 3, 1, 4, 2).reshape(32, 32, 3)  # row py column px colour
    np.testing.assert_allclose(block, picture[0, :32, :32] / 127.5 - 1, atol=1e-6)


def test_a_film_of_odd_length_repeats_its_last_frame():
    film = pixels(3, 32, 32, 3)
    visual = patchify_video(film)
    assert visual.grids == ((2, 2, 2),)
    assert torch.equal(visual.patches, patchify_video(np.concatenate((film, film[-1:]))).patches)


def test_pictures_of_many_sizes_are_seen_as_alone():
    torch.manual_seed(0)
    tower = VisionTower(EYES, 8).requires_grad_(False)
    parts = [patchify_images([pixels(*size, 3, seed=i)]) for i, size in enumerate(((64, 64), (32, 96), (64, 64)))]
    together, extra = tower(Visual.join(parts), torch.float32)
    alone = [tower(part, torch.float32) for part in parts]
    torch.testing.assert_close(together, torch.cat([tokens for tokens, _ in alone]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(extra[0], torch.cat([more[0] for _, more in alone]), atol=1e-5, rtol=1e-5)


def test_the_eyes_know_where_a_patch_stands():
    torch.manual_seed(0)
    tower = VisionTower(EYES, 8).requires_grad_(False)
    left = np.zeros((1, 64, 64, 3), np.uint8)
    left[:, :, :32] = 255
    first, other = (tower(patchify_images(picture), torch.float32)[0] for picture in (left, left[:, :, ::-1].copy()))
    assert not torch.allclose(first, other.reshape(2, 2, 8).flip(1).reshape(4, 8), atol=1e-3)


@pytest.mark.parametrize(
    ("picture", "words"),
    [(np.zeros((1, 50, 64, 3), np.uint8), "multiples of 32"), (np.zeros((1, 64, 64, 3), np.float32), "must be uint8")],
)
def test_pictures_that_cannot_be_cut_are_refused(picture, words):
    with pytest.raises(DataError, match=words):
        patchify_images(picture)


@pytest.mark.parametrize("size", [(5, 8, 8), (2, 3, 5), (1, 4, 7)])
def test_cutting_latents_and_joining_them_is_the_identity(size):
    latents = torch.randn(2, 48, *size)
    assert torch.equal(unpatchify(patchify(latents, 2), size, 2), latents)


def test_a_token_of_latents_is_ordered_row_column_channel():
    latents = torch.arange(3 * 2 * 2).reshape(1, 3, 1, 2, 2).float()
    assert patchify(latents, 2)[0, 0].tolist() == [
        latents[0, c, 0, y, x].item() for y in (0, 1) for x in (0, 1) for c in range(3)
    ]


def test_the_level_is_waves_with_the_cosines_first():
    embedder = TimeEmbedder(8)
    seen = []
    embedder.linear_1.weight.data.copy_(torch.eye(8, 256))
    embedder.linear_1.bias.data.zero_()
    embedder.linear_2.weight.data.copy_(torch.eye(8))
    embedder.linear_2.bias.data.zero_()
    level = 0.37
    for k in range(8):
        wave = math.cos(level * math.exp(-math.log(10000) * k / 128))
        seen.append(wave / (1 + math.exp(-wave)))  # silu
    torch.testing.assert_close(embedder(torch.tensor(level)), torch.tensor(seen), atol=1e-6, rtol=1e-6)


def test_the_level_stays_fp32_under_autocast():
    embedder = TimeEmbedder(8)
    exact = embedder(torch.tensor([0.731]))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(embedder(torch.tensor([0.731])), exact)


def test_an_embodiment_uses_its_own_row_input_major():
    port = DomainLinear(3, 5, 4)
    x = torch.randn(2, 7, 3)
    found = port(x, torch.tensor([3, 1]))
    for row, slot in enumerate((3, 1)):
        want = x[row] @ port.fc.weight[slot].reshape(3, 5) + port.bias.weight[slot]
        torch.testing.assert_close(found[row], want, atol=1e-5, rtol=1e-5)


def test_padded_channels_weigh_nothing():
    assert channel_weights(2, 5).tolist() == [1, 1, 0, 0, 0]
