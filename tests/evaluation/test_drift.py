"""Drift is marked right: frame by frame, horizon by horizon, against one who knows and one who forgets."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Identity

from armillary.evaluation.curves import band_of, curves_of
from armillary.evaluation.drift import FRAMES, HORIZONS, drift_figures, measure_drift, together
from armillary.evaluation.held_out import long_life
from armillary.evaluation.pixels import psnr
from armillary.records import Episode, Rollout


def life(seed: int) -> Episode:
    """A bright square goes over a grey ground for 64 frames, in a row of its own."""
    rng = np.random.default_rng(seed)
    row, film = 2 + 7 * (seed % 4), np.full((FRAMES, 32, 32, 3), 90, np.uint8)
    for i, frame in enumerate(film):
        frame[row : row + 6, i % 26 : i % 26 + 6] = 220
    return Episode(
        world="tabletop", seed=seed, fps=10.0, frames={"front": film}, actions=rng.normal(0, 0.02, (FRAMES - 1, 10)),
        embodiment="tabletop", states={}, instruction="", recipe={"controller": "expert"},
    )  # fmt: skip


class Forgetful:
    """Knows the future of ``lives`` for so many frames; from then on everything stands still. Going on it knows all."""

    def __init__(self, lives, *, frames: int, goes_on: bool = False) -> None:
        self.lives, self.frames = lives, frames
        self.parts = SimpleNamespace(vae=Identity(), device=torch.device("cpu"), goes_on=goes_on)

    def imagine_many(self, requests):
        rollouts = []
        for request in requests:
            film = np.broadcast_to(request["image"], (FRAMES, *request["image"].shape)).copy()
            for one in self.lives:
                if np.array_equal(one.actions, request["actions"]):
                    film[: self.frames] = one.frames["front"][: self.frames]
                    film[self.frames :] = film[self.frames - 1]
            rollouts.append(Rollout(mode="forward-dynamics", fps=10.0, video=film))
        return rollouts

    def onwards(self, *, image, embodiment, seed):
        (life,) = [one for one in self.lives if np.array_equal(one.frames["front"][0], image)]

        def push(actions):
            assert len(actions) == 64 and np.array_equal(actions[:63], life.actions)
            film = life.frames["front"]
            return np.concatenate([film[1:], film[-1:]])

        return SimpleNamespace(push=push)


@pytest.fixture(scope="module")
def lives():
    return [life(seed) for seed in range(4)]


def test_who_knows_the_future_keeps_it_over_all_horizons(lives):
    figures = drift_figures(measure_drift(Forgetful(lives, frames=FRAMES), lives))
    for horizon in HORIZONS:
        assert figures[f"psnr_to_frame_{horizon}"].value == pytest.approx(100)
        assert figures[f"db_below_codec_to_frame_{horizon}"].value == pytest.approx(0, abs=1e-6)
        assert figures[f"db_lost_with_shuffled_actions_to_frame_{horizon}"].value > 50


def test_who_forgets_after_a_chunk_is_seen_to_drift_from_there_on(lives):
    figures = drift_figures(measure_drift(Forgetful(lives, frames=17), lives))
    gains = [figures[f"db_over_repeat_first_frame_to_frame_{horizon}"].value for horizon in HORIZONS]
    assert gains[0] > 50 and gains[0] > gains[1] > gains[2]
    assert figures["db_over_repeat_first_frame_in_frames_18_to_33"].value < 1


def test_who_goes_on_is_marked_beside_chunks_and_nobody_else(lives):
    """Of four lives whose first pictures differ; who has not learnt it has no such figures."""
    figures = drift_figures(measure_drift(Forgetful(lives, frames=17, goes_on=True), lives))
    chunks = [figures[f"db_over_repeat_first_frame_to_frame_{horizon}"].value for horizon in HORIZONS]
    on = [figures[f"db_over_repeat_first_frame_going_on_to_frame_{horizon}"].value for horizon in HORIZONS]
    more = [figures[f"db_more_than_chunks_going_on_to_frame_{horizon}"].value for horizon in HORIZONS]
    assert figures["psnr_going_on_to_frame_64"].value == pytest.approx(100)
    assert more == pytest.approx([a - b for a, b in zip(on, chunks, strict=True)]) and more[0] == 0 < more[1] < more[3]
    plain = drift_figures(measure_drift(Forgetful(lives, frames=17), lives))
    assert not any("going_on" in name for name in plain) and set(plain) < set(figures)


def test_frames_together_are_marked_as_the_film_they_make(lives):
    truth = lives[0].frames["front"][:9]
    other = np.clip(truth.astype(int) + np.arange(9)[:, None, None, None], 0, 255).astype(np.uint8)
    by_frame = np.array([[psnr(a, b) for a, b in zip(other[1:], truth[1:], strict=True)]])
    assert together(by_frame)[0] == pytest.approx(psnr(other[1:], truth[1:]))


def test_a_long_life_goes_on_after_success_and_is_kept(tmp_path):
    first = long_life(tmp_path, "expert", 1_600_000, frames=22)
    again = long_life(tmp_path, "expert", 1_600_000, frames=22)
    assert first.frames["front"].shape[0] == 22 and len(first.actions) == 21
    assert np.array_equal(first.frames["front"], again.frames["front"])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_drawing_holds_every_curve_and_the_band_around_one():
    rng = np.random.default_rng(0)
    curves = {"truth": rng.normal(30, 1, (8, 20)), "<b>imagined</b>": rng.normal(25, 1, (8, 20))}
    low, high = band_of(curves["<b>imagined</b>"])
    mean = curves["<b>imagined</b>"].mean(axis=0)
    assert ((low <= mean) & (mean <= high)).all() and (high - low).mean() == pytest.approx(2 * 1.96 / 8**0.5, rel=0.3)
    drawn = curves_of(curves, banded="<b>imagined</b>", first=2)
    assert drawn.count("<polyline") == 2 and drawn.count("<polygon") == 1
    assert "&lt;b&gt;imagined" in drawn and "<b>" not in drawn
