"""Success seen in pictures is the world's own success, for every kind of task; what is hidden is no success."""

import numpy as np
import pytest

from armillary.closed_loop.drive import drive
from armillary.errors import RequestError
from armillary.evaluation.success import (
    judge_tabletop,
    judgeable,
    look,
    on_table,
    patch_of,
    progress_tabletop,
    task_of,
)
from armillary.worlds.experts import tabletop_controller
from armillary.worlds.tabletop import Tabletop

LIVES = {"Put": 1_000_000, "Stack": 1_000_001, "Touch": 1_000_004, "Push": 1_000_005, "Lift": 1_000_007}
STAY = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0.0])


def test_a_thing_s_place_is_read_off_the_picture():
    world = Tabletop(views=("front",))
    moment = world.reset(1_000_000)
    for thing, place in zip(world.things, moment.state["objects"], strict=True):
        patch = patch_of(moment.frames["front"], thing.colour)
        assert patch is not None
        assert np.linalg.norm(patch.place - place[:2]) < 0.02  # the seed moves the camera by up to 12 mm
    world.close()
    middle, _ = on_table(np.array([64.0, 64.0]), 128, 128)
    np.testing.assert_allclose(on_table(np.array([128.0, 128.0]), 256, 256)[0], middle, atol=1e-9)


@pytest.mark.parametrize("kind", LIVES)
def test_what_the_expert_does_is_seen_to_be_done_and_not_before(kind):
    world = Tabletop(views=("front",))
    moments = list(drive(world, tabletop_controller(world, "expert"), seed=LIVES[kind], max_steps=44))
    words = moments[0].instruction
    assert words.startswith(kind) and moments[-1].success and judgeable(words, world.names)
    stay = STAY + np.eye(10)[9] * moments[-1].state["openness"]
    pictures = [moment.frames["front"] for moment in moments]
    assert not any(judge_tabletop(pictures[: i + 1], words) for i in range(0, len(pictures) - 3, 3))
    pictures += [world.step(stay).frames["front"] for _ in range(4)]
    world.close()
    assert judge_tabletop(pictures, words)
    assert progress_tabletop(pictures[:1], words) == 0 and progress_tabletop(pictures, words) == 1
    gone = [progress_tabletop(pictures[: i + 1], words) for i in range(1, len(pictures))]
    assert max(gone[: len(gone) // 2]) <= max(gone[len(gone) // 2 :]) and any(0 < one < 1 for one in gone)
    other = next(name for name in world.names if name not in words)
    assert not judge_tabletop(pictures, f"Lift the {other}.")


def test_a_thing_that_is_nowhere_to_be_seen_is_not_done():
    blank = np.full((128, 128, 3), 150, np.uint8)
    assert look([blank, blank], task_of("Lift the red cube.")) == {}
    assert not judge_tabletop([blank, blank], "Lift the red cube.")
    assert progress_tabletop([blank, blank], "Lift the red cube.") == 0


def test_colour_must_tell_the_things_apart():
    assert judgeable("Lift the red cube.", ["red cube", "blue ball", "blue cross"])
    assert not judgeable("Lift the red cube.", ["red cube", "red ball"])
    assert not judgeable("Stack the red cube on the blue cross.", ["red cube", "blue ball", "blue cross"])
    with pytest.raises(RequestError, match="fits no template"):
        judgeable("Dance.", ["red cube"])
