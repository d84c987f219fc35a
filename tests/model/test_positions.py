"""Where tokens stand, by the numbers of the specification (cosmos3.md, appendix A)."""

import pytest
import torch

from armillary.model import PICO, action_positions, video_positions
from armillary.model.positions import rotate, rotation, segment_ids, text_ids, tokens_near


def placed(modality, positions, *, fps, length=20):
    return segment_ids(modality, positions[None], torch.tensor([length]), fps=fps, config=PICO)[0]


def test_a_film_of_24_frames_a_second_advances_one_a_latent_frame():
    ids = placed("video", video_positions((3, 4, 4), fps=24.0), fps=24.0)
    assert ids[:, 0].tolist() == [15020.0] * 4 + [15021.0] * 4 + [15022.0] * 4
    assert ids[:4, 1].tolist() == [0, 0, 1, 1]
    assert ids[:4, 2].tolist() == [0, 1, 0, 1]


def test_actions_stand_where_the_frame_stands_that_they_lead_to():
    ids = placed("action", action_positions(8, fps=24.0), fps=24.0)
    assert ids[:, 0].tolist() == [15020 + 0.25 * (i + 1) for i in range(8)]
    assert not ids[:, 1:].any()


@pytest.mark.parametrize(("modality", "count", "expected"), [("video", 3, 1.6), ("action", 3, 0.4)])
def test_another_frame_rate_stretches_time(modality, count, expected):
    make = {
        "video": lambda: video_positions((count, 2, 2), fps=15.0),
        "action": lambda: action_positions(count, fps=15.0),
    }
    ids = placed(modality, make[modality](), fps=15.0)
    first = 0 if modality == "video" else 1
    want = torch.tensor([15020 + expected * (first + i) for i in range(count)])
    torch.testing.assert_close(ids[:, 0], want, atol=1e-3, rtol=0)


def test_sound_runs_four_times_as_fast():
    seconds = torch.zeros(3, 3)
    seconds[:, 0] = torch.arange(3) / 25
    want = torch.tensor([15020.0, 15020.96, 15021.92])
    torch.testing.assert_close(placed("sound", seconds, fps=10.0)[:, 0], want, atol=1e-3, rtol=0)


def test_each_sample_has_its_own_start_and_rate():
    positions = video_positions((3, 2, 2), fps=10.0).expand(2, -1, -1) * torch.tensor([1.0, 10 / 24])[:, None, None]
    both = segment_ids("video", positions, torch.tensor([7, 30]), fps=torch.tensor([10.0, 24.0]), config=PICO)
    assert both[0, 0, 0] == 15007
    assert both[1, :, 0].tolist() == [15030, 15031, 15032]


@pytest.mark.parametrize(
    ("axis", "frequencies"), [(0, (*range(0, 30, 3), 30, 31)), (1, range(1, 30, 3)), (2, range(2, 30, 3))]
)
def test_frequencies_are_dealt_to_time_row_and_column(axis, frequencies):
    """Moving along one axis turns only that axis's pairs: T H W T H W …, and what is over belongs to time."""
    moved = torch.zeros(1, 1, 3)
    moved[..., axis] = 1.0
    sine = rotation(moved, PICO.tower, torch.float32)[1][0, 0, 0]
    assert {i for i in range(32) if sine[i] != 0} == set(frequencies)
    assert torch.equal(sine[:32], sine[32:])


def test_scores_depend_only_on_how_far_apart_two_tokens_stand():
    q, k = torch.randn(1, 1, 1, 64), torch.randn(1, 1, 1, 64)

    def score(at, other):
        where = [
            rotation(torch.tensor([[place]], dtype=torch.float32), PICO.tower, torch.float32) for place in (at, other)
        ]
        return (rotate(q, where[0]) * rotate(k, where[1])).sum()

    torch.testing.assert_close(score((5, 2, 1), (3, 1, 0)), score((25, 12, 31), (23, 11, 30)), atol=1e-4, rtol=1e-4)


def test_places_beyond_256_stay_apart_under_autocast():
    ids = torch.tensor([[[15020.0, 0, 0], [15020.25, 0, 0]]])
    with torch.autocast("cpu", torch.bfloat16):
        cos, _ = rotation(ids, PICO.tower, torch.float32)
    assert not torch.allclose(cos[0, 0], cos[0, 1], atol=1e-2)


def test_text_counts_on_and_a_picture_jumps_past_its_larger_side():
    mask = torch.ones(1, 12, dtype=torch.bool)
    at = torch.zeros_like(mask)
    at[0, 3:9] = True  # two rows, three columns
    ids, following = text_ids(mask, at, [(1, 4, 6)], merge=2)
    assert ids[0, :3].tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    assert ids[0, 3:9].tolist() == [[3, 3, 3], [3, 3, 4], [3, 3, 5], [3, 4, 3], [3, 4, 4], [3, 4, 5]]
    assert ids[0, 9:].tolist() == [[6, 6, 6], [7, 7, 7], [8, 8, 8]]
    assert following.tolist() == [9]


def test_padding_does_not_count():
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    assert text_ids(mask, None, (), merge=2)[1].tolist() == [2, 4]


@pytest.mark.parametrize(("place", "reach", "near"), [
    ((0.1, 0.1), 0.08, {0}), ((0.2, 0.1), 0.08, {0, 1}), ((0.5, 0.75), 0.08, {9, 10, 13, 14}),
    ((0.99, 0.99), 0.3, {15, 11, 14, 10}), ((0.6, 0.4), 0.01, {6}),
])  # fmt: skip
def test_tokens_near_a_place_are_those_within_reach(place, reach, near):
    assert set(tokens_near(place, (4, 4), reach).nonzero().flatten().tolist()) == near


def test_tokens_near_counts_columns_along_and_rows_down():
    assert tokens_near((0.9, 0.1), (2, 3), 0.01).tolist() == [False, False, True, False, False, False]
