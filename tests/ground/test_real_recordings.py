"""Films and actions that nobody here made are read as what their makers say they are."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from armillary.embodiments import integrate, load_embodiment, pose_from_rot6d
from armillary.media import read_image, read_video

REAL = os.environ.get("ARMILLARY_REAL_DATA")
pytestmark = pytest.mark.skipif(not REAL, reason="set ARMILLARY_REAL_DATA to a folder of real recordings to run this")


def real(*parts):
    return Path(str(REAL)).joinpath(*parts)


@pytest.mark.parametrize(
    ("film", "shape", "fps"),
    [(("av", "av_0.mp4"), (61, 480, 832, 3), 10.0), (("umi", "umi.mp4"), (33, 256, 256, 3), 20.0)],
)
def test_a_real_film_has_its_published_size_and_rate(film, shape, fps):
    frames, rate = read_video(real(*film))
    assert frames.shape == shape
    assert rate == pytest.approx(fps)
    assert frames.std() > 10


def test_a_real_still_is_the_first_frame_of_its_film():
    picture, first = read_image(real("umi", "umi.png")), read_video(real("umi", "umi.mp4"), max_frames=1)[0][0]
    assert picture.shape == first.shape
    assert np.abs(picture.astype(float) - first).mean() < 6


@pytest.mark.parametrize("name", ["forward", "left", "right"])
def test_real_driving_actions_are_within_the_cars_limits_and_are_rotations(name):
    car = load_embodiment("av")
    actions = car.check(json.loads(real("av", f"action_{name}.json").read_text()), limits=True)
    assert actions.shape == (60, 9)
    turns = pose_from_rot6d(actions)[:, :3, :3]
    assert np.allclose(turns[:, :, 0], actions[:, 3:6], atol=1e-3)  # columns: already orthonormal as they stand
    assert np.allclose(turns[:, :, 1], actions[:, 6:9], atol=1e-3)
    path = integrate(np.eye(4), actions)[:, :3, 3]
    assert path[-1, 2] > 5  # metres in six seconds: the car goes ahead, along z
    assert np.abs(car.decode(car.encode(actions)) - actions).max() < 1e-5


def test_real_left_and_right_turns_go_to_their_sides():
    ends = {}
    for name in ("left", "right"):
        actions = json.loads(real("av", f"action_{name}.json").read_text())
        ends[name] = integrate(np.eye(4), np.array(actions))[-1, 0, 3]  # x is to the right
    assert ends["left"] < 0 < ends["right"]


def test_real_gripper_actions_pass_through_unchanged():
    hand = load_embodiment("umi")
    actions = hand.check(json.loads(real("umi", "action.json").read_text()), limits=True)
    assert actions.shape == (32, 10)
    assert np.allclose(hand.encode(actions)[:, :10], actions, atol=1e-6)
