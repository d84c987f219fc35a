"""Actions go to the model's channels and back unchanged, and a body that does not fit is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from armillary import embodiments
from armillary.embodiments import (
    Embodiment,
    bundled,
    fit_normaliser,
    integrate,
    load_embodiment,
    load_embodiments,
    matrix_from_rot6d,
    pose_from_euler,
    pose_from_rot6d,
    relative_pose,
    rot6d_from_matrix,
    rot6d_from_pose,
    save_embodiments,
)
from armillary.errors import ConfigError, DataError, RequestError
from armillary.prompts import VIEWS

ALL = bundled()


def some_actions(body, rng, t=50):
    low = np.array([channel.low for channel in body.channels])
    high = np.array([channel.high for channel in body.channels])
    return rng.uniform(low, high, (t, body.width))


def some_poses(rng, t=20):
    return pose_from_rot6d(rng.normal(size=(t, 9)))


@pytest.mark.parametrize("name", ALL)
def test_decoding_undoes_encoding_and_unused_channels_are_zero(name):
    body = load_embodiment(name)
    actions = some_actions(body, np.random.default_rng(0))
    encoded = body.encode(actions)
    assert encoded.dtype == np.float32
    assert encoded.shape == (50, 64)
    assert not encoded[:, body.width :].any()
    span = np.array([channel.high - channel.low for channel in body.channels])
    assert (np.abs(body.decode(encoded) - actions) / span).max() < 1e-6


@pytest.mark.parametrize("name", ALL)
def test_a_body_survives_json(name):
    body = load_embodiment(name)
    assert Embodiment.from_dict(json.loads(json.dumps(body.to_dict()))) == body


@pytest.mark.parametrize("name", ALL)
def test_a_bundled_body_says_everything(name):
    body = load_embodiment(name)
    assert body.name == name
    assert body.about
    assert body.normaliser.source
    assert body.cameras
    assert all(camera.view in VIEWS for camera in body.cameras)
    assert all(channel.low < channel.high for channel in body.channels)
    if body.gripper is not None:
        assert body.gripper.opened != body.gripper.closed


def test_widths_and_slots_are_the_published_ones():
    slots = {name: (load_embodiment(name).domain, load_embodiment(name).domain_id) for name in ALL}
    widths = {name: load_embodiment(name).width for name in ALL}
    assert slots["tabletop"] == slots["umi"] == ("umi", 6)
    assert slots["pusht"] == ("pusht", 4)
    assert slots["droid"] == ("droid_lerobot", 8)
    assert slots["av"] == ("av", 1)
    assert slots["camera_pose"] == ("camera_pose", 2)
    own = {
        "metaworld": ("metaworld", 24),
        "highway": ("highway", 25),
        "pusht_steps": ("pusht_steps", 26),
    }  # of ids that nobody has published
    assert {name: slots[name] for name in own} == own
    published = {"tabletop": 10, "umi": 10, "pusht": 2, "droid": 10, "av": 9, "camera_pose": 9}
    assert widths == published | {"metaworld": 4, "highway": 2, "pusht_steps": 2}


def test_droid_maps_the_published_quantiles_to_one():
    body = load_embodiment("droid")
    low = [-0.01420, -0.01342, -0.01521, 0.99846, -0.04766, -0.03477, -0.04761, 0.99843, -0.03555, 0]
    high = [0.01452, 0.01152, 0.01452, 1, 0.04760, 0.03466, 0.04765, 1, 0.03889, 1]
    ends = body.encode([low, high])[:, :10]
    floored = [3, 7]  # their range is below the scale's floor, so they stay inside
    free = [column for column in range(10) if column not in floored]
    assert np.allclose(ends[0, free], -1, atol=2e-3)
    assert np.allclose(ends[1, free], 1, atol=2e-3)
    assert (np.abs(ends[:, floored]) < 1).all()


@pytest.mark.parametrize("name", ["tabletop", "pusht", "av"])
def test_a_fitted_normaliser_brings_the_common_range_to_one(name):
    body = load_embodiment(name)
    actions = some_actions(body, np.random.default_rng(1), t=4000)
    fitted = fit_normaliser(body, actions)
    assert fitted.normaliser.method == "quantile"
    assert "4000 actions" in fitted.normaliser.source
    share = (np.abs(fitted.encode(actions)[:, : body.width]) <= 1.0 + 1e-6).mean()
    assert 0.97 < share <= 1.0
    assert replace(fitted, normaliser=body.normaliser) == body


def test_a_channel_that_never_moves_does_not_become_noise():
    body = load_embodiment("tabletop")
    still = np.tile([0, 0, 0, 1, 0, 0, 0, 1, 0, 1.0], (100, 1))
    trembling = still + np.random.default_rng(0).normal(scale=1e-6, size=still.shape)
    fitted = fit_normaliser(body, still)
    assert min(fitted.normaliser.scale) >= 1e-3
    assert np.abs(fitted.encode(trembling)[:, :9]).max() < 0.01


def test_a_gripper_that_never_closed_can_still_close():
    body = load_embodiment("tabletop")
    still = np.tile([0, 0, 0, 1, 0, 0, 0, 1, 0, 1.0], (100, 1))
    closing = still[:1] * np.array([1] * 9 + [0])
    assert fit_normaliser(body, still).encode(closing)[0, 9] == pytest.approx(-1.0)


@pytest.mark.parametrize("actions", [np.zeros((3, 9)), np.zeros(10), np.zeros((1, 3, 10)), "no numbers", [[1], [1, 2]]])
def test_actions_of_another_shape_are_refused(actions):
    with pytest.raises(DataError, match=r"tabletop|rows of 10"):
        load_embodiment("tabletop").encode(actions)


def test_a_number_that_is_none_is_refused_by_row_and_name():
    actions = np.zeros((5, 2))
    actions[3, 1] = np.inf
    with pytest.raises(DataError, match="action 3 has inf for target_y"):
        load_embodiment("pusht").encode(actions)


@pytest.mark.parametrize("number", [1e37, -1e38, 1e300])
def test_a_number_that_is_too_large_once_normalised_is_refused(number):
    body = load_embodiment("droid")
    actions = np.tile(body.rest, (3, 1))
    assert np.isfinite(body.encode(actions)).all()
    actions[2, 1] = number
    with pytest.raises(DataError, match=r"action 2 has .* for step_y: .*more than 32 bits hold"):
        body.encode(actions)


def test_limits_are_checked_on_request_and_name_unit_and_frame():
    actions = np.array([[100.0, 100.0], [100.0, 700.0]])
    body = load_embodiment("pusht")
    body.encode(actions)
    with pytest.raises(DataError, match=r"target_y is 700 pixel .*allows 0.0 to 512.0.*absolute"):
        body.check(actions, limits=True)


def test_model_numbers_that_are_too_narrow_are_refused():
    with pytest.raises(DataError, match="at least 10"):
        load_embodiment("tabletop").decode(np.zeros((3, 9)))


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(RequestError, match="Did you mean 'tabletop'"):
        load_embodiment("tabeltop")
    with pytest.raises(RequestError, match="there is no embodiment file"):
        load_embodiment("nowhere/robot.toml")


def test_the_checkpoints_statistics_come_before_the_bundled_ones(tmp_path):
    body = load_embodiment("tabletop")
    fitted = fit_normaliser(body, some_actions(body, np.random.default_rng(2)))
    save_embodiments(tmp_path, [fitted])
    assert load_embodiments(tmp_path) == {"tabletop": fitted}
    assert load_embodiment("tabletop", tmp_path) == fitted != body
    assert load_embodiment("pusht", tmp_path) == load_embodiment("pusht")


def test_a_file_that_means_something_else_than_the_weights_is_refused(tmp_path):
    body = load_embodiment("tabletop")
    path = embodiments.FILES / "tabletop.toml"
    save_embodiments(tmp_path, [body])
    assert load_embodiment(path, tmp_path) == body
    changed = tmp_path / "mine.toml"
    changed.write_text(path.read_text().replace("rate_hz = 10.0", "rate_hz = 20.0"))
    assert load_embodiment(changed).rate_hz == 20.0
    with pytest.raises(RequestError, match=r"rate_hz 20.0, but the weights were trained with 10.0"):
        load_embodiment(changed, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("domain_id = 4", "domain_id = 40", "slots 0 to 31"),
        ("rate_hz = 10.0", "rate_hz = 0", "above 0"),
        ("scale = [256.0, 256.0]", "scale = [256.0]", "it needs 2"),
        ("scale = [256.0, 256.0]", "scale = [256.0, 0.0]", "at least 0.001"),
        ('"target_x", "target_y"', '"target_x", "target_x"', "names a channel twice"),
        ("domain_id = 4", "domain_ix = 4", "Nearest: 'domain_id'"),
        ("domain_id = 4", "", "incomplete"),
        ("domain_id = 4", "domain_id = = 4", "not TOML"),
    ],
)
def test_a_file_that_cannot_work_says_why(tmp_path, old, new, words):
    text = (embodiments.FILES / "pusht.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=words):
        load_embodiment(tmp_path / "mine.toml")


def test_poses_and_their_nine_numbers_are_the_same_thing():
    poses = some_poses(np.random.default_rng(3))
    assert np.allclose(pose_from_rot6d(rot6d_from_pose(poses)), poses)
    turns = poses[:, :3, :3]
    assert np.allclose(turns @ turns.swapaxes(1, 2), np.eye(3))
    assert np.allclose(np.linalg.det(turns), 1)
    assert np.allclose(rot6d_from_matrix(turns)[:, :3], turns[:, :, 0])  # columns, not rows


def test_steps_integrate_back_to_the_poses_they_came_from():
    poses = some_poses(np.random.default_rng(4))
    steps = rot6d_from_pose(relative_pose(poses[:-1], poses[1:]))
    assert np.allclose(integrate(poses[0], steps), poses)
    assert np.allclose(relative_pose(poses, poses), np.eye(4))


def test_a_step_is_seen_from_the_body_itself():
    """Moving the whole world does not change the steps: they are framewise relative."""
    rng = np.random.default_rng(5)
    poses, elsewhere = some_poses(rng), some_poses(rng, 1)[0]
    assert np.allclose(
        relative_pose(poses[:-1], poses[1:]), relative_pose(elsewhere @ poses[:-1], elsewhere @ poses[1:])
    )


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, (6,), elements=st.floats(-2, 2)))
def test_any_six_numbers_are_a_rotation_or_refused(numbers):
    try:
        turn = matrix_from_rot6d(numbers)
    except DataError:
        first, second = numbers[:3], numbers[3:]
        assert np.linalg.norm(np.cross(first, second)) <= 1e-5 * max(np.linalg.norm(first), 1)
        return
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_euler_angles_turn_about_fixed_axes_in_turn():
    quarter = np.pi / 2
    turn = pose_from_euler(np.array([1.0, 2.0, 3.0, quarter, 0.0, quarter]))
    assert np.allclose(turn[:3, 3], [1, 2, 3])
    # y goes to z by the roll about x; the yaw about z then leaves it
    assert np.allclose(turn[:3, :3] @ [0, 1, 0], [0, 0, 1])
    # x stays by the roll; the yaw takes it to y
    assert np.allclose(turn[:3, :3] @ [1, 0, 0], [0, 1, 0])
