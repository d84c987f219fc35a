"""Films by their sound are marked right: physics is asked what their actions touch, and when, beside what was told."""

import json
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import Line, small_checkpoint

import armillary
from armillary.datasets.sounds import sound_again
from armillary.embodiments import load_embodiment
from armillary.evaluation.by_sound import (
    DEAF,
    DELAY,
    LATER,
    OTHER,
    OWN,
    PLAIN,
    PLAIN_OTHER,
    UNHEARD,
    BySoundScore,
    Window,
    _late_onsets,
    _later,
    by_sound,
    by_sound_figures,
    contacts_of,
    measure_by_sound,
)
from armillary.evaluation.samples import figures_again
from armillary.evaluation.sound import SoundClip, clip_of
from armillary.evaluation.suite import Plan, measure
from armillary.records import Rollout
from armillary.worlds.record import record_tabletop
from armillary.worlds.tabletop import Tabletop

SEEDS = (7, 8)  # lives in whose window one thing is touched once


@pytest.fixture(scope="module")
def windows():
    found = []
    for seed in SEEDS:
        life = record_tabletop(seed, "expert", views=("front",), extras=(), max_steps=44)
        found.append(Window(clip=clip_of(life, sound_again(life), contact=True), life=life))
    return found


@pytest.fixture(scope="module")
def world():
    with closing(Tabletop(views=(), extras=("sound",))) as world:
        yield world


def done(window):
    """What was really done in a window."""
    return window.life.actions[window.clip.start : window.clip.start + 16]


def waits(window, count=16):
    """Actions in which the arm rests, its gripper as it was."""
    resting = np.tile(np.float32(load_embodiment("tabletop").rest), (count, 1))
    resting[:, -1] = done(window)[0, -1]
    return resting


class Stub:
    """Who answers each request by ``answer``: of the window, by the way it is asked, a film and actions; actions are
    left out where nobody acts."""

    def __init__(self, windows, answer, *, acts=True):
        self.windows, self.answer, self.acts, self.asked = windows, answer, acts, []

    def imagine_many(self, requests):
        self.asked += requests
        return [self._made(request) for request in requests]

    def _made(self, request):
        (window,) = [one for one in self.windows if (one.clip.video[0] == request["image"]).all()]
        video, actions = self.answer(window, self._way(window, request))
        acts = self.acts and request.get("acting") != "none"
        return Rollout(mode=request["mode"], fps=10.0, video=video, actions=actions if acts else None)

    def _way(self, window, request):
        if request["mode"] == "image-to-video":
            return UNHEARD
        sounds = {OWN: window.clip.sound, LATER: _later(window.clip.sound, 10.0)}
        return next((way for way, sound in sounds.items() if np.array_equal(sound, request["sound"])), OTHER)


def still(window):
    return np.broadcast_to(window.clip.video[:1], window.clip.video.shape)


def hears(window, way):
    """Who does what is heard, when it is heard; without hearing, and by another's sound, nothing."""
    late = np.concatenate([waits(window, DELAY), done(window)[:-DELAY]])
    actions = {OWN: done(window), LATER: late}.get(way, waits(window))
    return window.clip.video if way == OWN else still(window), actions


def deaf(window, way):
    """Who does the same whatever is heard."""
    return window.clip.video, done(window)


def test_true_actions_make_the_contacts_of_their_window_and_waiting_makes_them_later(windows, world):
    for window in windows:
        clip = window.clip
        assert contacts_of(window.life, clip.start, done(window), world) == pytest.approx(clip.onsets)
        assert contacts_of(window.life, clip.start, waits(window), world) == []
        late = np.concatenate([waits(window, DELAY), done(window)])
        assert contacts_of(window.life, clip.start, late, world) == pytest.approx(
            [at + DELAY / 10 for at in clip.onsets], abs=0.101)  # fmt: skip


def test_what_is_told_later_is_told_so_many_frames_later_as_far_as_the_window_holds_it():
    sound = np.random.default_rng(0).normal(size=(2, 81_600)).astype(np.float32)
    later = _later(sound, 10.0)
    assert later.shape == sound.shape and later.dtype == np.float32
    assert not later[:, : 480 * 10 * DELAY].any() and np.array_equal(later[:, 19_200:], sound[:, :-19_200])
    clip = SoundClip(seed=0, kind="expert", start=0, words="", fps=10.0, video=np.zeros((17, 4, 4, 3), np.uint8),
                     sound=sound, onsets=(0.3, 1.2, 1.3), colours=())  # fmt: skip
    assert _late_onsets(clip) == pytest.approx([0.7, 1.6])  # the last frame is seen after 1.6 s


def test_who_hears_makes_what_is_told_when_it_is_told(windows, world):
    omni = Stub(windows, hears)
    scores = measure_by_sound(omni, windows, world)
    for score, window in zip(scores, windows, strict=True):
        assert (score.seed, score.contacts, score.late) == (window.clip.seed, 1, 1)
        assert score.made == {OWN: 1, LATER: 1, OTHER: 0, UNHEARD: 0, DEAF: 0}
        assert set(score.false.values()) == {0} and score.still == score.psnr[UNHEARD] < score.psnr[OWN]
    figures = by_sound_figures(scores)
    shares = {name: figures[f"contacts_made{name}"].value for name in ("", "_later", "_unheard", "_other_sound")}
    assert shares == {"": 1, "_later": 1, "_unheard": 0, "_other_sound": 0}
    assert (
        figures["contacts_made_more_than_unheard"].value == figures["contacts_made_later_more_than_unheard"].value == 1
    )
    assert figures["db_lost_with_other_sound"].low > 10 and figures["db_over_repeat_first_frame_unheard"].value == 0


def test_to_the_deaf_every_sound_is_the_same_and_what_is_told_later_comes_too_early(windows, world):
    figures = by_sound_figures(measure_by_sound(Stub(windows, deaf), windows, world))
    assert [figures[f"contacts_made{end}"].value for end in ("", "_other_sound", "_unheard", "_later")] == [1, 1, 1, 0]
    for name in ("db_lost_with_other_sound", "db_more_than_unheard", "contacts_made_more_than_unheard",
                 "contacts_made_later_more_than_unheard", "db_lost_with_other_sound_plain"):  # fmt: skip
        assert figures[name].value == 0, name
    assert figures["false_contacts"].value == 0
    assert (
        figures["false_contacts_later"].value == figures["false_contacts_later_unheard"].value == pytest.approx(1 / 1.6)
    )


def test_each_window_is_asked_in_every_way_from_one_noise(windows, world):
    omni = Stub(windows, hears)
    measure_by_sound(omni, windows, world)
    assert [request["mode"] for request in omni.asked] == ["sound-to-video"] * 6 + ["image-to-video"] * 2 + [
        "sound-to-video"] * 4  # fmt: skip
    assert [request["seed"] for request in omni.asked] == [0, 1] * 6
    assert [request.get("acting") for request in omni.asked] == [None] * 8 + ["none"] * 4
    own, other = omni.asked[:2], omni.asked[2:4]
    assert all(one["sound"] is two["sound"] for one, two in zip(own, other[::-1], strict=True))  # another life's
    assert not any("sound" in request for request in omni.asked[6:8])
    assert {(request["frames"], request["fps"]) for request in omni.asked} == {(17, 10.0)}


def test_where_nobody_acts_physics_is_not_asked(windows):
    class Untouched(Line):
        def reset(self, seed, instruction=None):
            raise AssertionError("nobody acted")

    omni, counted = Stub(windows, hears, acts=False), []
    scores = measure_by_sound(omni, windows, Untouched(1.0), on_done=counted.append)
    assert len(omni.asked) == 12 and counted == [2] and not any(score.made or score.false for score in scores)
    figures = by_sound_figures(scores)
    assert not any("contacts" in name or "plain" in name for name in figures)
    assert {"psnr", "psnr_repeat_first_frame", "db_over_repeat_first_frame", "db_lost_with_other_sound",
            "db_more_than_unheard"} <= set(figures)  # fmt: skip


def score(seed, own, *, made=None, **fields):
    psnr = {OWN: own, OTHER: own - 2, UNHEARD: own - 3, LATER: own, PLAIN: own - 1, PLAIN_OTHER: own - 1.5}
    false = dict.fromkeys(made, 1) if made else {}
    told = {"contacts": 2, "late": 1, "seconds": 1.6, "still": 20.0} | fields
    return BySoundScore(seed=seed, start=0, psnr=psnr, made=made or {}, false=false, **told)


def test_figures_are_what_their_names_say():
    scores = [score(1, 24.0, made={OWN: 2, OTHER: 1, UNHEARD: 0, LATER: 1, DEAF: 0}),
              score(2, 22.0, made={OWN: 1, OTHER: 0, UNHEARD: 1, LATER: 0, DEAF: 0}, late=0)]  # fmt: skip
    values = {name: figure.value for name, figure in by_sound_figures(scores).items()}
    assert values == pytest.approx({
        "psnr": 23, "psnr_repeat_first_frame": 20, "db_over_repeat_first_frame": 3,
        "db_over_repeat_first_frame_other_sound": 1, "db_over_repeat_first_frame_unheard": 0,
        "db_lost_with_other_sound": 2, "db_more_than_unheard": 3,
        "db_over_repeat_first_frame_plain": 2, "db_lost_with_other_sound_plain": 0.5,
        "contacts_made": 3 / 4, "contacts_made_other_sound": 1 / 4, "contacts_made_unheard": 1 / 4,
        "contacts_made_later": 1, "contacts_made_later_unheard": 0,
        "contacts_made_more_than_other_sound": 2 / 4, "contacts_made_more_than_unheard": 2 / 4,
        "contacts_made_later_more_than_unheard": 1,
        **{f"false_contacts{end}": 2 / 3.2 for end in ("", "_other_sound", "_unheard", "_later", "_later_unheard")},
    })  # fmt: skip
    assert by_sound_figures([]) == {}


def test_contacts_are_counted_where_a_film_was_acted_out_and_others_only_seen():
    acted = score(1, 24.0, made={OWN: 2, OTHER: 1, UNHEARD: 0, LATER: 1, DEAF: 0})
    figures = by_sound_figures([acted, score(2, 22.0)])
    assert figures["contacts_made"].n == 1 and figures["psnr"].n == 2


def test_who_has_no_ears_gets_a_note_and_no_figures(tmp_path):
    folder = small_checkpoint(tmp_path / "deaf")
    bench = SimpleNamespace(omni=SimpleNamespace(parts=SimpleNamespace(folder=folder)))
    assert by_sound(bench) == ([], {}, ["Not measured: deaf has no ears."])


@pytest.mark.filterwarnings("ignore::armillary.sampling.omni.UntrainedWarning")
def test_the_section_measures_held_out_windows_and_its_lines_give_the_figures_again(tmp_path):
    folder = small_checkpoint(tmp_path / "hearer", sound=True)
    quick = {"steps": {"sound-to-video": 1, "image-to-video": 1}, "size": [128, 128], "fps": 10.0}
    (folder / "defaults.json").write_text(json.dumps(quick))
    omni, out = armillary.load(folder, dtype="float32"), tmp_path / "out"
    numbers = measure(omni, Plan(clips=2, known=1), out=out, sections=["sound-to-video"])
    figures = {name.removeprefix("sound-to-video/"): figure for name, figure in numbers["figures"].items()}
    assert {"psnr", "db_lost_with_other_sound"} <= set(figures) and not any("contacts" in name for name in figures)
    assert all(figure["n"] == figure["episodes"] == 2 for figure in figures.values())
    lines = [json.loads(line) for line in (out / "sound-to-video.jsonl").read_text().splitlines()]
    assert all(line["seed"] >= 1_900_000 and line["contacts"] > 0 for line in lines)
    again = figures_again(out, "sound-to-video")
    assert {name: figure.value for name, figure in again.items()} == {
        name: figure["value"] for name, figure in figures.items()}  # fmt: skip
