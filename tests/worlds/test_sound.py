"""Worlds whose movers go along lines are heard in time, on the right side, and silent where nothing sounds."""

import numpy as np
import pytest

from armillary.records import SOUND_HZ
from armillary.worlds.driving import Driving
from armillary.worlds.humans import STILL, Humans
from armillary.worlds.labels import pose_looking
from armillary.worlds.motors import Motor, Soundscape, Source, heels
from armillary.worlds.warehouse import Warehouse

EAR = pose_looking((0.0, -4.0, 1.5), (0.0, 0.0, 1.0))
CAR = Source(coat="steel", width=1.8, wheels="asphalt", motor=Motor(idle_hz=40, rise_hz=7, loud=0.1))


def begins_at(sound, seconds):
    """Whether within 2 ms of that moment it is louder than anything in the 8 ms before."""
    loud, begin = np.abs(sound).max(axis=0), round(seconds * SOUND_HZ)
    return loud[begin : begin + 96].max() > 2 * loud[begin - 480 : begin - 96].max()


def stood(world, steps):
    """The sound of a world whose driven machine stands."""
    return np.concatenate([world.step(world.action_for(0.0, 0.0)).sound for _ in range(steps)], axis=1)


def test_a_footfall_is_heard_in_the_row_in_which_the_foot_comes_down():
    world = Humans(views=(), extras=("sound",), acts=("walk",))
    world.reset(4)
    sound = np.concatenate([world.step(STILL).sound for _ in range(50)], axis=1)
    rows = [row for row, _ in heels(world.acts[0].planted, 0, world.row())]
    assert len(rows) >= 4 and sound.shape == (2, 5 * SOUND_HZ) and sound.dtype == np.float32
    assert all(begins_at(sound, row / 50) for row in rows)
    quiet = round((rows[0] / 50 - 0.01) * SOUND_HZ)
    assert not sound[:, :quiet].any(), "before the first foot comes down nothing sounds"


def test_who_stays_where_he_is_makes_no_sound():
    world = Humans(views=(), extras=("sound",), acts=("wave",))
    world.reset(4)
    assert not any(world.step(STILL).sound.any() for _ in range(30))


@pytest.mark.parametrize(("incident", "after"), [("dropped box", None), ("spill", 0.5)])
def test_what_falls_in_the_warehouse_is_heard_when_it_lands(incident, after):
    world = Warehouse(views=(), extras=("sound",), incident=incident)
    world.reset(5)
    lands = world.hall.happens + (after or 0.0)
    if after is None:
        lands += np.sqrt(2 * (world.hall.falling.place[2] - world.hall.falling.half[2]) / 9.81)
    assert begins_at(stood(world, 45), lands)


def test_a_collision_is_heard_within_a_step_of_the_first_touch():
    """The steel of the fork-lift rings when, and only when, the state says that two touch."""
    world = Warehouse(views=(), extras=("sound",), incident="collision")
    world.reset(0)
    world.robot = np.array([-8.5, -3.4, 0.0])
    sounds, touched = [], None
    for step in range(110):
        moment = world.step(world.action_for(0.0, 0.0))
        sounds.append(moment.sound)
        if moment.state["collision"][0] and touched is None:
            touched = step
    assert touched is not None
    pitch = [np.abs(np.fft.rfft(one.sum(axis=0)))[200:].max() for one in sounds]  # above 2 kHz: steel
    loudest = int(np.argmax(pitch))
    assert touched <= loudest <= touched + 1


def test_a_touch_on_the_road_is_heard_in_its_step():
    world = Driving(views=(), extras=("sound",), scenario="emergency brake")
    world.reset(1)
    for _ in range(80):
        moment = world.step(world.action_for(1.0, 0.0))
        rings = np.abs(np.fft.rfft(moment.sound.sum(axis=0)))[150:].max()
        if moment.over:
            break
        before = rings
    after = np.abs(np.fft.rfft(world.step(world.action_for(0.0, 0.0)).sound.sum(axis=0)))[150:].max()
    assert "touched" in world.failed
    assert max(rings, after) > 5 * before


def test_the_side_is_the_cameras_and_the_far_is_fainter():
    def heard(place):
        scape = Soundscape([CAR], "asphalt", seed=0)
        return np.abs(scape.collect(0.1, np.array([place]), np.array([5.0]), EAR)).max(axis=1)

    left, right, far = heard((-3.0, 0.0, 1.0)), heard((3.0, 0.0, 1.0)), heard((3.0, 40.0, 1.0))
    assert left[0] > 2 * left[1] and right[1] > 2 * right[0] and far.max() < 0.5 * right.max()


def test_a_motor_climbs_with_its_speed_and_never_jumps():
    scape = Soundscape([Source(coat="steel", width=1.0, motor=CAR.motor)], "asphalt", seed=1)
    speeds = np.concatenate([np.zeros(5), np.linspace(0, 10, 10)])
    film = [scape.collect(0.1, np.array([[0.1 * k, 3.0, 0.6]]), np.array([v]), EAR) for k, v in enumerate(speeds)]
    assert np.abs(np.diff(np.concatenate(film, axis=1), axis=1)).max() < 0.02
    tones = [np.abs(np.fft.rfft(one[0], 16 * 4800)).argmax() * SOUND_HZ / (16 * 4800) for one in (film[2], film[-1])]
    assert abs(tones[0] - 40) < 4 and abs(tones[1] - 107) < 8


def test_looking_changes_nothing_of_what_is_heard():
    heard = []
    for views in ((), ("hall",)):
        world = Warehouse(views=views, extras=("sound",), size=(32, 32))
        world.reset(2)
        heard.append(np.concatenate([world.step(world.action_for(0.1, 0.02)).sound for _ in range(4)], axis=1))
        world.close()
    assert np.array_equal(*heard)
