"""Who is where: middles and sizes as boxes say, scenery left out, the impossible between its two moments."""

from dataclasses import replace

import numpy as np
import pytest

from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.datasets.whereabouts import EACH, STRANGE, WINDOW, Feat, feat_of, lives_of, strange_questions, watched
from armillary.errors import DataError
from armillary.worlds.physics_questions import NOTHING
from armillary.worlds.physics_record import record_physics
from armillary.worlds.physics_twins import TWINS


@pytest.fixture(scope="module")
def conjured():
    """A life in which something turns another colour."""
    return record_physics(4, "conjurer", size=(64, 64), extras=("segmentation",), twin="changes colour")


def test_things_are_where_their_boxes_are_and_scenery_is_left_out(conjured):
    life = watched(conjured)
    assert life.world == "physics" and life.frames.shape == (31, 64, 64, 3) and len(life.things) == 31
    boxes = conjured.boxes[0]
    assert {*life.things[0]} < {*boxes}
    assert not {"lane", "table", "near ramp", "left rail"} & {*life.things[0]}
    for name, thing in life.things[0].items():
        left, top, right, bottom = boxes[name]
        assert (thing.x - thing.width / 2) * 64 == pytest.approx(left) and thing.x * 128 == pytest.approx(left + right)
        assert (thing.y + thing.height / 2) * 64 == pytest.approx(bottom) and thing.height * 64 == pytest.approx(
            bottom - top
        )


def test_what_turns_another_colour_is_named_by_it_from_then_on(conjured):
    life, feat = watched(conjured), feat_of(conjured)
    assert feat is not None and feat.kind == "changes colour" and feat.name != feat.after
    assert feat.name.split()[1] == feat.after.split()[1]
    assert feat.name in life.things[feat.step] and feat.after not in life.things[feat.step]
    assert feat.after in life.things[feat.step + 1] and feat.name not in life.things[feat.step + 1]


@pytest.mark.parametrize("kind", TWINS)
def test_the_impossible_is_seen_by_who_sees_the_moments_before_and_after(kind):
    feat = Feat(kind=kind, name="red ball", after="red ball", step=7)
    assert feat.within(7, 8) and feat.within(0, 30) and not feat.within(3, 7) and not feat.within(7, 7)
    assert not feat.within(20, 24)


def test_a_life_in_which_nothing_impossible_happens_has_no_feat():
    assert feat_of(record_physics(4, "still", size=(64, 64), extras=())) is None


def test_lives_without_boxes_are_passed_over_and_none_at_all_is_an_error(conjured, tmp_path):
    plain = replace(conjured, boxes=None, depth=None, segmentation=None, sound=None)
    save_raw(tmp_path / "episode_000001.npz", plain)
    with pytest.raises(DataError, match="no episode among these has boxes"):
        lives_of(raw_files(tmp_path))
    with pytest.raises(DataError, match="has no boxes"):
        watched(plain)
    save_raw(tmp_path / "episode_000002.npz", replace(conjured, depth=None, segmentation=None))
    (life,) = lives_of(raw_files(tmp_path))
    assert np.array_equal(life.frames, load_raw(raw_files(tmp_path)[1]).frames["main"])


def test_windows_show_the_impossible_whole_or_not_at_all(conjured):
    feat, asked = feat_of(conjured), strange_questions(conjured)
    assert feat is not None and len(asked) == 2 * EACH and {one.words for one in asked} == {STRANGE}
    for one in asked:
        assert one.frames[1] - one.frames[0] == WINDOW - 1 and one.frames[1] < 31
        happens = one.frames[0] <= feat.step < one.frames[1]
        assert one.answer == ("something changes colour" if happens else NOTHING)
    assert sum(one.answer == NOTHING for one in asked) == EACH
    (of_all,) = (one for one in conjured.questions if one.task == "plausibility")
    assert of_all.words == STRANGE, "the world asks in the same words"
    plain = strange_questions(record_physics(4, "still", size=(64, 64), extras=()))
    assert [one.answer for one in plain] == [NOTHING] * EACH
    assert strange_questions(record_physics(4, "orbit", size=(64, 64), extras=())) == []
