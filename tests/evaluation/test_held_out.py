"""What is held out is really held out, kept as it was, and a moving clip really moves."""

import numpy as np
import pytest

from armillary.datasets.raw import save_raw
from armillary.errors import ConfigError
from armillary.evaluation import held_out
from armillary.evaluation.demo import FIRST_SEED
from armillary.evaluation.held_out import HELD_OUT, HeldOut, clip_at, moving_clips, scene
from armillary.records import Episode
from armillary.worlds.tabletop import Tabletop


def sliding(step: float, frames: int = 45, second: str = "blue ball") -> Episode:
    """A red cube that slides ``step`` pixels a frame to the right, and another thing that stays."""
    boxes = [
        {"red cube": (int(10 + step * i), 60, int(22 + step * i), 72), second: (60, 20, 72, 32)} for i in range(frames)
    ]
    return Episode(
        world="tabletop", seed=HELD_OUT, fps=10.0, frames={"front": np.zeros((frames, 128, 128, 3), np.uint8)},
        actions=np.arange((frames - 1) * 10.0).reshape(-1, 10), embodiment="tabletop", states={},
        instruction="Push the red cube to the right.", boxes=boxes,
        recipe={"controller": "expert", "parameters": {"objects": [{"name": "red cube"}, {"name": second}]}},
    )  # fmt: skip


def test_seeds_that_training_may_use_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 1000000"):
        HeldOut(tmp_path, seed=HELD_OUT - 1)


def test_no_two_kinds_share_a_seed(tmp_path):
    held = HeldOut(tmp_path)
    first = sorted(held.seed_of(kind, 0) for kind in held_out.RANGES)
    assert first[0] == HELD_OUT and np.diff([*first, FIRST_SEED]).min() >= 50_000  # nor with the demo's


def test_an_episode_that_is_kept_is_not_simulated_again(tmp_path, monkeypatch):
    made = []

    def simulate(seed, kind, **how):
        made.append((seed, kind))
        return sliding(1)

    monkeypatch.setattr(held_out, "record_tabletop", simulate)
    held = HeldOut(tmp_path)
    first, again = held.episode("expert", 3), held.episode("expert", 3)
    assert made == [(HELD_OUT + 3, "expert")]
    assert first.boxes == again.boxes and np.array_equal(first.actions, again.actions)


def test_a_moving_clip_has_something_that_goes_a_tenth_of_the_width():
    assert [clip.start for clip in moving_clips(sliding(1))] == [0, 16]  # 16 pixels in 16 steps
    assert moving_clips(sliding(0.75)) == []  # 12 pixels: less than 12.8
    assert {clip.moved for clip in moving_clips(sliding(1))} == {"red cube"}


def test_a_clip_is_cut_where_its_frames_its_actions_and_its_box_agree(tmp_path):
    save_raw(tmp_path / "episode.npz", sliding(1))
    clip = clip_at(held_out.load_raw(tmp_path / "episode.npz"), 8)
    assert clip.video.shape == (17, 128, 128, 3)
    np.testing.assert_array_equal(clip.actions, np.arange(80.0, 240.0).reshape(16, 10))
    assert clip.box == (10 + 24, 60, 22 + 24, 72)


def test_a_thing_is_not_alone_if_another_has_its_colour():
    assert clip_at(sliding(1), 0).alone
    assert not clip_at(sliding(1, second="red ball"), 0).alone


def test_a_scene_names_what_its_picture_shows():
    world = Tabletop(views=("front",), extras=("segmentation",))
    found = scene(HELD_OUT + 400_000, world)
    world.close()
    assert found.boxes and found.picture.shape == (128, 128, 3)
    for name, (left, top, right, bottom) in found.boxes.items():
        assert f"a {name}" in found.words
        assert 0 <= left < right <= 128 and 0 <= top < bottom <= 128
