"""Imagination is a world: however its actions are asked for, the film is one, and it stops where it is doubted."""

import warnings

import numpy as np
import pytest
from tiny import Line, small_checkpoint

import armillary
from armillary.closed_loop.doubt import Change, CycleError, spread
from armillary.closed_loop.drive import drive, drive_together
from armillary.closed_loop.imagined import Doubt, Imagined, foresee
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError
from armillary.records import World

RNG = np.random.default_rng(0)
STILL = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0.5])
ACTIONS = STILL + RNG.normal(0, 0.05, (20, 10))


class Counted(armillary.Omni):
    """A model that notes how many requests came with each call."""

    def __init__(self, parts):
        super().__init__(parts)
        self.calls = []

    def imagine_many(self, requests, **how):
        self.calls.append(len(requests))
        return super().imagine_many(requests, **how)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return armillary.load(small_checkpoint(tmp_path_factory.mktemp("checkpoint")), dtype="float32").parts


@pytest.fixture
def omni(parts):
    return Counted(parts)


def world(omni, **how):
    return Imagined(omni, Line(99), **how)


def seen(one, actions, *, seed=3):
    """Every picture of a life in which these are done, each asked for alone."""
    moments = [one.reset(seed), *(one.step(action) for action in actions)]
    return [moment.frames["front"] for moment in moments]


def near(found, wanted):
    """Equal but for rounding of a last bit."""
    return np.abs(np.asarray(found, int) - np.asarray(wanted, int)).max() <= 1


def test_it_is_a_world_that_shows_the_true_first_picture_and_nothing_hidden(omni):
    one = world(omni)
    assert isinstance(one, World)
    first = one.reset(3, "Stay.")
    np.testing.assert_array_equal(first.frames["front"], Line(99).reset(3).frames["front"])
    assert first.instruction == "Stay." and not omni.calls
    later = one.step(ACTIONS[0])
    assert not later.state and later.frames["front"].shape == (64, 64, 3) and not later.success


def test_sixteen_actions_one_by_one_end_where_one_call_ends_and_the_next_chunk_begins_there(omni):
    alone = seen(world(omni), ACTIONS)
    assert len(omni.calls) == 20
    told = world(omni)
    told.reset(3)
    foresee([told], [ACTIONS])
    assert len(omni.calls) == 22
    foreseen = [told.step(action).frames["front"] for action in ACTIONS]
    assert len(omni.calls) == 22
    assert near(alone[16], foreseen[15]) and near(alone[20], foreseen[19])
    assert not near(alone[16], alone[0])


def test_worlds_foreseen_together_see_what_each_would_alone(omni):
    plans = [ACTIONS, ACTIONS[5:13]]
    together = [world(omni), world(omni)]
    for seed, one in enumerate(together):
        one.reset(seed)
    foresee(together, plans)
    assert omni.calls == [2, 1]
    for seed, (one, plan) in enumerate(zip(together, plans, strict=True)):
        alone = world(omni)
        alone.reset(seed)
        foresee([alone], [plan])
        for action in plan:
            assert near(one.step(action).frames["front"], alone.step(action).frames["front"])


def test_who_does_not_do_what_he_foretold_sees_what_he_did(omni):
    told, alone = world(omni), world(omni)
    told.reset(3)
    foresee([told], [ACTIONS[:16]])
    other = ACTIONS[::-1][:4]
    found = [told.step(action).frames["front"] for action in other]
    assert near(found[-1], seen(alone, other)[-1])


def test_other_chance_imagines_something_else(omni):
    assert not near(seen(world(omni), ACTIONS[:4])[-1], seen(world(omni, chance=1), ACTIONS[:4])[-1])


def test_drives_foresee_a_plan_in_one_batch(omni):
    worlds = [world(omni), Line(99), world(omni)]
    found = [[], [], []]
    planner = lambda moments, seeds: [ACTIONS[:8] for _ in moments]  # noqa: E731
    for i, moment in drive_together(worlds, planner, seeds=[1, 2, 3], max_steps=12):
        found[i].append(moment)
    assert [len(moments) for moments in found] == [13, 13, 13] and omni.calls == [2, 2]


def test_success_is_what_the_judge_says_of_the_pictures(omni):
    shown = []

    def judge(pictures, instruction):
        shown.append((len(pictures), instruction))
        return len(pictures) > 4

    class Doer:
        reset = staticmethod(lambda: None)
        __call__ = staticmethod(lambda moment: ACTIONS[0])

    moments = list(drive(world(omni, judge=judge, judge_every=2), Doer(), seed=0, max_steps=9))
    assert shown == [(3, "Go to 99."), (5, "Go to 99.")]
    assert [moment.success for moment in moments] == [False] * 4 + [True] and moments[-1].over


def stopped_at(one, plan):
    """The moments until the world is over."""
    moments = []
    for action in plan:
        moments.append(one.step(action))
        if moments[-1].over:
            break
    return moments


def test_a_doubted_imagination_stops_and_says_so(omni):
    read = []

    def measure(films, actions):
        read.append([(len(film), len(done)) for film, done in zip(films, actions, strict=True)])
        return [0.1 * len(read) for _ in films]

    plan = np.concatenate([ACTIONS, ACTIONS])
    one = world(omni, judge=lambda *_: True, judge_every=17, doubt=Doubt(measure=measure, most=0.15))
    one.reset(0)
    foresee([one], [plan])
    assert omni.calls == [1, 1] and read == [[(17, 16)], [(17, 16)]]  # the third chunk is not even imagined
    moments = stopped_at(one, plan)
    assert one.stopped == (
        "Stopped at step 17: the doubt about the imagined film is 0.2, and up to 0.15 it is believed."
    )
    assert len(moments) == 17 and not moments[-1].success


def test_whoever_foretells_nothing_is_stopped_at_the_chunk_s_end(omni):
    one = world(omni, doubt=Doubt(measure=lambda films, actions: [1.0 for _ in films], most=0.5))
    one.reset(0)
    assert len(stopped_at(one, ACTIONS)) == 16 and one.stopped.startswith("Stopped at step 16: ")


def test_the_cycle_error_is_the_mean_distance_of_what_is_read_from_what_was_given(omni):
    body = load_embodiment("tabletop")
    films = RNG.integers(0, 256, (2, 17, 64, 64, 3), dtype=np.uint8)
    read = [omni.imagine("inverse-dynamics", video=f, embodiment="tabletop", size=(64, 64)).actions for f in films]
    measure = CycleError(omni=omni, embodiment="tabletop", channels=("step_x", "gripper"))
    assert measure(list(films), read) == pytest.approx([0, 0], abs=1e-4)
    off = [actions + 0.01 for actions in read]
    wanted = np.mean([0.01 / body.normaliser.scale[0], 0.01 / body.normaliser.scale[9]])
    assert measure(list(films), off) == pytest.approx([wanted, wanted], abs=1e-4)


def test_a_film_goes_as_far_as_its_farthest_picture_and_a_still_one_nowhere():
    still = np.full((5, 8, 8, 3), 100, np.uint8)
    there_and_back = still.copy()
    there_and_back[2, :4] += 20  # half of a picture
    assert Change()([still, there_and_back, there_and_back[2:]], [ACTIONS] * 3) == pytest.approx(
        [0, 200**0.5, 200**0.5]
    )


def test_spread_is_nothing_for_equal_films_and_grows_with_their_distance():
    film = np.full((5, 8, 8, 3), 100, np.uint8)
    assert spread([film, film]) == 0 < spread([film, film + 10]) < spread([film, film + 20])


def test_a_camera_that_is_not_there_is_refused(omni):
    with pytest.raises(ConfigError, match="camera='side': line has front"):
        world(omni, camera="side")


def going(omni, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", armillary.sampling.omni.UntrainedWarning)
        return world(omni, going_on=True, **how)


@pytest.mark.filterwarnings("ignore::armillary.sampling.omni.UntrainedWarning")
class TestAFilmThatGoesOn:
    def test_it_shows_what_onwards_shows_in_however_many_plans(self, omni):
        film = omni.onwards(image=Line(99).reset(3).frames["front"], embodiment="tabletop", size=(64, 64),
                            seed=int(np.random.default_rng([0, 3, 0]).integers(2**31)))  # fmt: skip
        wanted = film.push(ACTIONS)
        for plans in ([ACTIONS], [ACTIONS[:16], ACTIONS[16:]], [ACTIONS[:8], ACTIONS[8:12], ACTIONS[12:]]):
            told = going(omni)
            told.reset(3)
            found = []
            for plan in plans:
                foresee([told], [plan])
                found += [told.step(action).frames["front"] for action in plan]
            assert near(found, wanted)
        assert not omni.calls  # nothing was asked for in chunks

    def test_one_by_one_it_comes_to_the_same_after_every_four(self, omni):
        alone, told = seen(going(omni), ACTIONS[:10]), going(omni)
        told.reset(3)
        foresee([told], [ACTIONS[:8]])
        ahead = [told.step(action).frames["front"] for action in ACTIONS[:8]]
        assert near(alone[4], ahead[3]) and near(alone[8], ahead[7])
        assert not near(alone[9], alone[8])

    def test_plans_that_end_between_two_fours_go_on_from_what_was_done(self, omni):
        told, whole = going(omni), going(omni)
        for one in (told, whole):
            one.reset(3)
        foresee([told], [ACTIONS[:6]])
        [told.step(action) for action in ACTIONS[:6]]
        foresee([told], [ACTIONS[6:16]])
        found = [told.step(action).frames["front"] for action in ACTIONS[6:16]]
        foresee([whole], [ACTIONS[:16]])
        wanted = [whole.step(action).frames["front"] for action in ACTIONS[:16]]
        assert near(found[1:], wanted[7:]) and len(told.pictures) == 17

    def test_who_does_not_do_what_he_foretold_sees_what_he_did(self, omni):
        told = going(omni)
        told.reset(3)
        foresee([told], [ACTIONS[:16]])
        other = [*ACTIONS[:5], *ACTIONS[::-1][:7]]
        found = [told.step(action).frames["front"] for action in other]
        assert near(found[11], seen(going(omni), other)[12]) and len(told._marks) <= 2

    def test_it_is_doubted_by_the_chunk_too(self, omni):
        measured = []

        def measure(films, actions):
            measured.extend((len(film), len(done)) for film, done in zip(films, actions, strict=True))
            return [9.0 if len(measured) > 1 else 0.0] * len(films)

        one = going(omni, doubt=Doubt(measure=measure, most=1.0))
        one.reset(3)
        foresee([one], [ACTIONS])
        for action in ACTIONS[:16]:
            assert not one.step(action).over
        assert one.step(ACTIONS[16]).over and one.stopped.startswith("Stopped at step 17")
        assert measured == [(17, 16), (5, 4)]
        measured.clear()
        one.reset(3)
        moments = [one.step(action) for action in ACTIONS[:16]]
        assert measured == [(17, 16)] and not moments[-1].over

    def test_other_chance_imagines_something_else(self, omni):
        assert not near(seen(going(omni), ACTIONS[:4])[-1], seen(going(omni, chance=1), ACTIONS[:4])[-1])


def test_films_go_on_where_an_adapter_is_made_for_it_and_nobodys_own_comes_before():
    pico = armillary.load("pico")
    assert pico.goes_on and Imagined(pico, Line(99)).going_on
    assert not armillary.load("pico", adapter="none").goes_on
    assert not armillary.load("pico", adapter="few-steps").goes_on
