"""A look changes what is seen and nothing that happens, and no training seed can draw it."""

from collections import Counter

import numpy as np
import pytest

from armillary.evaluation.held_out import recorded
from armillary.evaluation.looks import LOOKS, PLAIN, Changed, LookScore, alike, looks_figures, relived, varied
from armillary.worlds.tabletop import Tabletop
from armillary.worlds.tabletop_tasks import Thing, parse

TRAINING_CAMERA_METRES, TRAINING_LEAST_RED, TRAINING_LEAST_KEY = 0.012, 0.75 * 0.85, 0.85
SEED = 1_300_007  # five things, three shapes


@pytest.fixture(scope="module")
def moments():
    """Of each look, the first moment and the one after two steps, and the names of the things."""
    found = {}
    for name, look in LOOKS.items():
        world = Changed(look)
        lived = [world.reset(SEED), *(world.step(np.array([0.01, 0, -0.02, 1, 0, 0, 0, 1, 0, 0.5])) for _ in range(2))]
        found[name] = (lived[0], lived[-1], list(world.names), world.task)
        world.close()
    return found


def test_what_happens_is_the_same_in_every_look(moments):
    plain = moments[PLAIN]
    for first, last, *_ in moments.values():
        for moment, true in ((first, plain[0]), (last, plain[1])):
            assert all(np.array_equal(moment.state[name], true.state[name]) for name in true.state)


def test_what_is_seen_is_not(moments):
    plain = moments[PLAIN][0].frames["front"].astype(int)
    for name, (first, *_) in moments.items():
        differs = np.abs(first.frames["front"] - plain).mean()
        assert differs == 0 if name == PLAIN else differs > 0.2, name
    world = Tabletop(views=("front",))
    assert np.array_equal(world.reset(SEED).frames["front"], moments[PLAIN][0].frames["front"])
    world.close()


def test_no_training_seed_can_draw_these_looks(moments):
    assert LOOKS["dusk"].light < TRAINING_LEAST_KEY and LOOKS["meadow"].table[0] < TRAINING_LEAST_RED
    assert 2 * 0.66 * np.sin(np.deg2rad(LOOKS["aside"].turn_degrees) / 2) > 5 * TRAINING_CAMERA_METRES
    colours = Counter(name.split()[0] for name in moments["alike"][2])
    assert colours.most_common(1)[0][1] >= 3


def test_painted_things_can_still_be_told_apart_and_the_instruction_names_them(moments):
    *_, names, task = moments["alike"]
    assert len(set(names)) == len(names)
    assert parse(moments["alike"][0].instruction, names) == task
    shapes = [name.split()[1] for name in moments[PLAIN][2]]
    assert [name.split()[1] for name in names] == shapes
    one = Thing(colour="red", shape="cube", half=0.03)
    assert [t.name for t in alike([one, Thing(colour="blue", shape="cube", half=0.03)])] == ["red cube", "blue cube"]


def test_a_life_lived_again_in_the_plain_look_is_the_recorded_one(tmp_path):
    episode = recorded(tmp_path, "random", 1_200_000)
    clip = relived(episode, LOOKS[PLAIN], start=1)
    assert np.array_equal(clip.video, episode.frames["front"][1:18])
    assert np.array_equal(clip.actions, episode.actions[1:17])


def test_tables_have_three_shapes():
    world, seeds = Tabletop(views=()), varied(1_300_000)
    for _ in range(2):
        world.reset(next(seeds))
        assert len({thing.shape for thing in world.things}) >= 3


def test_what_a_look_costs_is_paired_with_the_plain_table():
    rng = np.random.default_rng(0)
    easy = rng.normal(3, 2, 40)
    scores = [
        LookScore(seed=i, look=look, ability="foreseeing", kind="expert", which="0", value=value - lost, below=4.0)
        for look, lost in ((PLAIN, 0.0), ("dusk", 0.5))
        for i, value in enumerate(easy)
    ]
    figures = looks_figures(scores)
    lost = figures["db_over_repeat_first_frame_lost_by_dusk"]
    assert lost.value == pytest.approx(0.5) and lost.high - lost.low < 1e-9
    assert figures["db_over_repeat_first_frame_dusk"].high - figures["db_over_repeat_first_frame_dusk"].low > 0.5


def test_a_look_in_which_nobody_succeeds_leaves_room_for_who_does():
    none = [LookScore(seed=i, look=PLAIN, ability="acting", kind="put", which="", value=0.0) for i in range(30)]
    figure = looks_figures(none)[f"success_{PLAIN}"]
    assert (figure.low, figure.high) == (0, pytest.approx(0.1157, abs=1e-4))
