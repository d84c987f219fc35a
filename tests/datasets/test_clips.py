"""Laws of clips: frames keep their time, actions keep their meaning, nothing is dropped without a reason."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.datasets.clips import (
    ClipPlan,
    ClipSource,
    Dropped,
    clips_of,
    cut,
    fitted,
    frame_places,
    question_clips,
    thinned,
)
from armillary.datasets.store import EpisodeWriter
from armillary.embodiments import integrate, load_embodiment, pose_from_euler, relative_pose, rot6d_from_pose
from armillary.errors import ArmillaryError
from armillary.records import Episode, Question

POINTS = load_embodiment("pusht")
ARM = load_embodiment("tabletop")


def poses(count, seed=0):
    rng = np.random.default_rng(seed)
    return pose_from_euler(np.cumsum(rng.normal(size=(count, 6)) * 0.05, axis=0))


def arm_actions(matrices, openness):
    steps = rot6d_from_pose(relative_pose(matrices[:-1], matrices[1:]))
    return np.concatenate([steps, openness[:, None]], axis=1)


def episode(frames=40, fps=10.0, side=24, wide=24):
    """Frame i is of one colour, i; the action into frame i is (i, 2i): so every clip can be checked by eye."""
    video = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, side, wide, 3)).copy()
    target = np.arange(1, frames, dtype=np.float32)
    return Episode(
        world="counting",
        seed=5,
        fps=fps,
        frames={"top": video},
        actions=np.stack([target, 2 * target], axis=1),
        embodiment="pusht",
        states={},
        instruction="count",
        captions={"short": "It counts."},
        questions=[Question(task="which", words="Which?", answer="seven", frames=(7, 9))],
        sound=np.zeros((2, int(frames / fps * 48_000)), np.float32),
    )


def test_windows_show_the_frames_they_say_with_the_actions_between():
    dropped = Dropped()
    clips = list(cut(episode(), ClipPlan(frames=9, stride=8, size=(24, 24)), dropped))
    assert [clip.source["frames"] for clip in clips] == [[0, 8], [8, 16], [16, 24], [24, 32]]
    for clip in clips:
        first, last = clip.source["frames"]
        assert clip.video[:, 0, 0, 0].tolist() == list(range(first, last + 1))
        assert clip.actions[:, 0].tolist() == list(range(first + 1, last + 1))
    assert dropped.frames == {"after the last whole window": 7}


@pytest.mark.parametrize(("recorded", "fps"), [(15.0, 10.0), (30.0, 10.0), (10.0, 5.0), (50.0, 15.0)])
def test_thinned_windows_show_the_nearest_frames_and_reach_the_same_targets(recorded, fps):
    clips = list(cut(episode(60, recorded), ClipPlan(frames=9, stride=9, fps=fps, size=(24, 24)), Dropped()))
    shown = clips[0].video[:, 0, 0, 0].astype(int)
    assert np.abs(shown / recorded - np.arange(9) / fps).max() <= 0.5 / recorded + 1e-9
    assert clips[0].actions[:, 0].tolist() == shown[1:].tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.floats(5, 60), st.floats(0.1, 1.0))
def test_no_frame_is_shown_twice(total, recorded, share):
    places = frame_places(total, recorded, recorded * share)
    assert places[0] == 0
    assert places[-1] < total
    assert np.all(np.diff(places) >= 1)


def test_pose_steps_compose_so_that_the_same_pose_is_reached():
    matrices = poses(31)
    openness = np.linspace(0, 1, 30)
    places = frame_places(31, 15.0, 10.0)
    thin = thinned(arm_actions(matrices, openness), places, ARM)
    reached = integrate(matrices[0], thin[:, :9])
    assert np.allclose(reached, matrices[places], atol=1e-9)
    assert np.allclose(thin[:, 9], openness[places[1:] - 1])


def test_an_unchanged_rate_leaves_actions_untouched():
    actions = arm_actions(poses(12), np.ones(11)).astype(np.float32)
    assert np.array_equal(thinned(actions, np.arange(12), ARM), actions)


def test_relative_numbers_of_an_unknown_kind_are_refused():
    odd = replace(POINTS, channels=tuple(replace(c, frame="relative") for c in POINTS.channels))
    with pytest.raises(ArmillaryError, match="only absolute numbers and framewise relative poses"):
        thinned(np.zeros((4, 2)), np.array([0, 2, 4]), odd)


def test_a_rate_above_the_recordings_is_refused():
    with pytest.raises(ArmillaryError, match="ask for 10 fps or less"):
        list(cut(episode(), ClipPlan(fps=20.0), Dropped()))


def test_an_episode_that_is_too_short_is_counted_with_its_reason():
    dropped = Dropped()
    assert not list(cut(episode(5), ClipPlan(frames=9), dropped))
    assert dropped.windows == {"the episode is shorter than a window": 1}
    assert dropped.frames == {"in an episode shorter than a window": 5}


def test_still_windows_are_dropped_only_if_asked_and_counted():
    still = replace(episode(), frames={"top": np.zeros((40, 24, 24, 3), np.uint8)})
    dropped = Dropped()
    plan = ClipPlan(frames=9, stride=8, size=(24, 24))
    assert len(list(cut(still, plan, dropped))) == 4
    assert not list(cut(still, replace(plan, least_motion=0.5), dropped))
    assert dropped.windows == {"nothing moves in it": 4}


def test_sound_is_that_of_the_window():
    made = replace(episode(), sound=np.arange(4 * 48_000, dtype=np.float32)[None].repeat(2, 0))
    clips = list(cut(made, ClipPlan(frames=10, stride=10, size=(24, 24)), Dropped()))
    assert [clip.sound.shape for clip in clips] == [(2, 48_000)] * 4
    assert [clip.sound[0, 0] for clip in clips] == [0, 48_000, 96_000, 144_000]


def test_fitting_keeps_a_picture_of_the_right_size_and_the_sides_ratio():
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    assert fitted(picture, (90, 160)) is picture
    square = np.zeros((90, 160, 3), np.uint8)
    square[30:60, 60:90] = 255
    for fit in ("cover", "contain"):
        marked = fitted(square, (64, 64), fit)[..., 0] > 127
        assert marked.shape == (64, 64)
        marked = marked[:36] if fit == "contain" else marked  # below stands the mirror image
        tall, wide = np.ptp(np.flatnonzero(marked.any(1))), np.ptp(np.flatnonzero(marked.any(0)))
        assert abs(int(tall) - int(wide)) <= 1
    assert fitted(picture, (64, 64), "stretch").shape == (64, 64, 3)


def test_contain_mirrors_what_it_adds_below():
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    contained = fitted(picture, (64, 64), "contain")
    assert np.array_equal(contained[:48], picture)
    assert np.array_equal(contained[48:63], picture[46:31:-1])


def test_questions_become_clips_of_their_own_frames():
    clip = next(question_clips(episode(), ClipPlan(size=(24, 24))))
    assert clip.video[:, 0, 0, 0].tolist() == [7, 9]
    assert (clip.question, clip.answer) == ("Which?", "seven")


def test_unknown_cameras_and_words_are_named():
    with pytest.raises(ArmillaryError, match="it has top"):
        list(cut(episode(), ClipPlan(camera="front"), Dropped()))
    with pytest.raises(ArmillaryError, match="it has instruction, short"):
        list(cut(episode(), ClipPlan(words="dense", size=(24, 24)), Dropped()))


def test_a_source_gives_every_clip_by_number():
    episodes = [episode(40), episode(5), replace(episode(25), seed=6)]
    source = ClipSource(lambda i: episodes[i], 3, ClipPlan(frames=9, stride=8, size=(24, 24)), keep=1)
    places = [(source[i].source["seed"], *source[i].source["frames"]) for i in range(len(source))]
    assert places == [(5, 0, 8), (5, 8, 16), (5, 16, 24), (5, 24, 32), (6, 0, 8), (6, 8, 16), (6, 16, 24)]
    assert source.dropped.windows == {"the episode is shorter than a window": 1}
    with pytest.raises(ArmillaryError, match="shorter than a window"):
        ClipSource(lambda i: episode(3), 1, ClipPlan())


def test_clips_of_a_folder_are_those_of_its_episodes(tmp_path):
    made = replace(episode(30), sound=None)
    with EpisodeWriter(tmp_path / "set", fps=10, cameras=("top",)) as writer:
        writer.write(made)
    plan = ClipPlan(frames=9, stride=9, size=(24, 24))
    kept, straight = clips_of(tmp_path / "set", plan), list(cut(made, plan, Dropped()))
    assert len(kept) == len(straight) == 3
    for number, clip in enumerate(straight):
        assert np.array_equal(kept[number].video, clip.video)
        assert np.array_equal(kept[number].actions, clip.actions)
        assert kept[number].embodiment == "pusht"
