"""What is heard is judged right: an onset where one is, none in what fades; the truth gets full marks, silence none."""

import numpy as np
import pytest
from tiny import small_checkpoint

import armillary
from armillary.evaluation.held_out import HeldOut
from armillary.evaluation.sound import SoundClip, gather_sounds, judged, matched, onsets_of, seen_events, sound_figures
from armillary.evaluation.suite import Plan, measure

LENGTH = 81_600


def ringing(*seconds, loud=0.9, length=LENGTH):
    """A ring of 0.12 s at each of these times, fading as the tabletop's do."""
    sound, clock = np.zeros((2, length + 48_000), np.float32), np.arange(5760) / 48_000
    for when in seconds:
        begin = round(when * 48_000)
        sound[:, begin : begin + 5760] += loud * np.exp(-60 * clock) * np.sin(2 * np.pi * 700 * clock)
    return sound[:, :length]


def clip(*onsets, seed=0):
    film = np.full((17, 64, 64, 3), 90, np.uint8)
    for t, frame in enumerate(film):
        place = 10 + 3 * min(max(t - 7, 0), 5)  # still, moving from frame 8 to frame 12, still
        frame[20:28, place : place + 8] = (220, 30, 30)
    return SoundClip(seed=seed, kind="expert", start=0, words="", fps=10.0, video=film, sound=ringing(*onsets),
                     onsets=onsets, colours=("red",))  # fmt: skip


@pytest.mark.parametrize("when", [(), (0.0,), (0.8,), (0.35, 0.9, 1.3)])
def test_an_onset_is_found_where_one_is_and_none_in_what_fades(when):
    np.testing.assert_allclose(onsets_of(ringing(*when)), when, atol=0.011)


def test_hum_and_what_is_hardly_heard_begin_nothing():
    hum = 0.5 * np.sin(2 * np.pi * 200 * np.arange(LENGTH) / 48_000)[None].repeat(2, 0)
    assert onsets_of(hum)[1:] == [] and onsets_of(ringing(0.5, loud=0.05)) == []


def test_an_event_is_heard_within_a_frame_and_an_onset_elsewhere_is_false():
    assert matched([0.5], [0.58], within=0.1) == (1, 0)
    assert matched([0.5], [0.65], within=0.1) == (0, 1)
    assert matched([0.5, 1.0], [0.5], within=0.1) == (1, 0)
    assert matched([], [0.2, 0.9], within=0.1) == (0, 2)


def test_beginning_and_end_of_motion_are_seen():
    assert seen_events(clip(0.8).video, ("red",), 10.0) == [0.8, 1.3]
    assert seen_events(clip(0.8).video[:7], ("red",), 10.0) == []
    assert seen_events(clip(0.8).video, ("blue",), 10.0) == []


def test_the_truth_gets_full_marks_silence_none_and_chance_what_is_due_to_it():
    clips = [clip(0.8), clip(seed=1), clip(0.4, seed=2), clip(seed=3)]
    sounds = [one.sound for one in clips]
    figures = sound_figures(judged(clips, [one.video for one in clips], sounds, sounds, sounds))
    assert figures["onset_found_to_film"].value == 1 and figures["false_onsets_to_film"].value == 0
    assert figures["onset_found_to_other_film"].value < 1
    figures = sound_figures(judged(clips, [one.video for one in clips], sounds, sounds))
    assert "onset_found_to_film" not in figures
    assert figures["onset_found_imagined"].value == figures["onset_found_codec"].value == 1
    assert figures["onset_found_silence"].value == figures["onset_found_exchanged"].value == 0
    assert figures["false_onsets_imagined"].value == figures["false_onsets_silence"].value == 0
    assert figures["false_onsets_exchanged"].value == pytest.approx(2 / (4 * 1.7))
    assert figures["onset_seen_imagined"].value == figures["onset_seen_true"].value == 0.5  # 0.8 s is seen, 0.4 s not
    noisy = sound_figures(judged(clips, [one.video for one in clips], [ringing(1.6)] * 4, sounds))
    assert noisy["false_onsets_quiet_imagined"].value == pytest.approx(1 / 1.7)


def test_held_out_windows_are_what_they_are_taken_for(tmp_path):
    with_contact, without = sorted(gather_sounds(HeldOut(tmp_path), 2), key=lambda one: not one.onsets)
    assert -0.01 <= with_contact.onsets[0] - onsets_of(with_contact.sound)[0] <= 0.1
    assert all(abs(10 * when - round(10 * when)) < 1e-4 for when in with_contact.onsets)  # when a frame is seen
    assert np.abs(with_contact.sound).max() == pytest.approx(0.95) and not without.sound.any()
    assert min(with_contact.seed, without.seed) >= 1_000_000 and with_contact.video.shape == (17, 128, 128, 3)


def test_a_deaf_checkpoint_is_said_to_be_deaf(tmp_path):
    omni = armillary.load(small_checkpoint(tmp_path / "deaf"), dtype="float32")
    numbers = measure(omni, Plan(clips=1), out=tmp_path / "out", sections=["sound"])
    assert numbers["figures"] == {} and "cannot be heard" in numbers["notes"]["sound"][0]
