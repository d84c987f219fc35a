"""Dynamics are marked right: one who knows the future gets full marks, one who repeats the past gets none."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Identity

from armillary.evaluation.dynamics import (
    forward_figures,
    inverse_figures,
    measure_forward,
    measure_inverse,
    other_episodes,
)
from armillary.evaluation.held_out import HeldClip
from armillary.records import Rollout


def sliding_clip(seed: int, *, alone: bool = True) -> HeldClip:
    """A red square goes 32 pixels; its actions say by how much a step, and the gripper closes half-way."""
    rng = np.random.default_rng(seed)
    row = int(rng.integers(20, 90))
    video = np.full((17, 128, 128, 3), (170, 155, 135), np.uint8)
    for i, frame in enumerate(video):
        frame[row : row + 14, 20 + 2 * i : 34 + 2 * i] = (209, 26, 26)
    actions = np.zeros((16, 10))
    actions[:, :3], actions[:, 9] = rng.normal(0, 0.02, (16, 3)), np.arange(16) < 8
    return HeldClip(
        seed=seed, kind=("expert", "clumsy")[seed % 2], start=0, instruction="", video=video, actions=actions,
        moved="red cube", box=(52, row, 66, row + 14), alone=alone,
    )  # fmt: skip


class Seer:
    """Answers from ``clips``: ``knows`` the future by first frame and actions, or repeats the first frame."""

    def __init__(self, clips, *, knows: bool) -> None:
        self.clips, self.knows = clips, knows
        self.parts = SimpleNamespace(vae=Identity(), device=torch.device("cpu"))

    def imagine_many(self, requests):
        return [self._one(request) for request in requests]

    def _one(self, request):
        if request["mode"] == "inverse-dynamics":
            (clip,) = [clip for clip in self.clips if np.array_equal(clip.video, request["video"])]
            actions = clip.actions if self.knows else np.zeros_like(clip.actions)
            return Rollout(mode="inverse-dynamics", fps=10.0, actions=actions)
        film = np.broadcast_to(request["image"], (17, *request["image"].shape)).copy()
        for clip in self.clips if self.knows else ():
            if np.array_equal(clip.actions, request["actions"]) and np.array_equal(clip.video[0], request["image"]):
                film = clip.video
        return Rollout(mode="forward-dynamics", fps=10.0, video=film)


@pytest.fixture(scope="module")
def clips():
    return [sliding_clip(seed) for seed in range(6)]


def test_who_knows_the_future_is_better_than_repeating_and_loses_all_of_it_under_other_actions(clips):
    figures = forward_figures(measure_forward(Seer(clips, knows=True), clips))
    assert figures["psnr"].value == pytest.approx(100)
    assert figures["db_over_repeat_first_frame"].value > 50
    assert figures["db_below_codec"].value == pytest.approx(0, abs=1e-6)
    assert figures["centre_within_5_percent"].value == 1
    assert figures["centre_within_5_percent_shuffled_actions"].value == 0
    assert figures["db_lost_with_shuffled_actions"].value == figures["db_over_repeat_first_frame"].value


def test_who_repeats_the_first_frame_gains_nothing(clips):
    figures = forward_figures(measure_forward(Seer(clips, knows=False), clips))
    assert figures["db_over_repeat_first_frame"].value == 0
    assert figures["centre_within_5_percent"].value == 0
    assert figures["centre_within_5_percent_true_frame"].value == 1


def test_the_first_frame_is_not_marked(clips):
    scores = measure_forward(Seer(clips, knows=False), clips[:2])
    errors = (clips[0].video[1:].astype(float) - clips[0].video[0]) ** 2
    assert scores[0].psnr == pytest.approx(-10 * np.log10(errors.mean() / 255**2), abs=1e-3)


def test_a_centre_is_not_judged_where_another_thing_has_its_colour(clips):
    lone, crowd = sliding_clip(0), sliding_clip(1, alone=False)
    scores = measure_forward(Seer([lone, crowd], knows=True), [lone, crowd])
    assert [score.judged for score in scores] == [True, False]
    assert forward_figures(scores)["centre_within_5_percent"].n == 1


def test_a_thing_that_is_nowhere_counts_as_lost(clips):
    blank = Seer(clips, knows=False)
    hidden = [sliding_clip(7)]
    for clip in hidden:
        clip.video[0] = (170, 155, 135)
    scores = measure_forward(blank, hidden)
    assert scores[0].judged and scores[0].off is None
    assert forward_figures(scores)["centre_within_5_percent"].value == 0


def test_other_actions_come_from_another_episode():
    seeds = [1, 1, 2, 2, 3, 3, 3]
    found = other_episodes(seeds)
    assert all(seeds[i] != seeds[other] for i, other in enumerate(found))


def test_who_reads_actions_right_explains_all_and_who_says_nothing_explains_none(clips):
    right = inverse_figures(measure_inverse(Seer(clips, knows=True), clips))
    assert right["r2_translation_expert"].value == right["r2_translation_clumsy"].value == pytest.approx(1)
    assert right["gripper_accuracy"].value == 1 and right["gripper_accuracy"].n == 6
    silent = inverse_figures(measure_inverse(Seer(clips, knows=False), clips))
    assert silent["r2_translation_expert"].value <= 0
    assert silent["gripper_accuracy"].value == 0.5
