"""Worlds share one drawing surface a thread, and no world's picture shows that another was drawn before it."""

import threading

import numpy as np

from armillary.worlds.humans import STILL, Humans
from armillary.worlds.labels import Views
from armillary.worlds.spatial import Spatial
from armillary.worlds.tabletop import Tabletop

EXTRAS = ("depth", "segmentation")
SMALL = (48, 64)


def pictures(moment):
    parts = (moment.frames, moment.depth, moment.segmentation)
    return [part[camera] for part in parts for camera in sorted(part)]


def alone(make, seed):
    world = make(size=SMALL, extras=EXTRAS)
    try:
        return pictures(world.reset(seed))
    finally:
        world.close()


def test_whoever_is_drawn_in_between_changes_nothing():
    expected = {make: alone(make, 5) for make in (Tabletop, Humans)}
    one, other = (make(size=SMALL, extras=EXTRAS) for make in expected)
    before = one.reset(5)
    between = other.reset(5)
    again = pictures(one.reset(5))
    for seen, make in ((pictures(before), Tabletop), (again, Tabletop), (pictures(between), Humans)):
        assert all(np.array_equal(a, b) for a, b in zip(seen, expected[make], strict=True))
    one.close()
    after = pictures(other.step(STILL))  # the surface of the one who went is not the surface of the one who stays
    other.close()
    assert np.ptp(after[0]) > 50


def test_another_thread_draws_the_same():
    found = []
    worker = threading.Thread(target=lambda: found.append(alone(Humans, 5)))
    worker.start()
    here = alone(Humans, 5)
    worker.join()
    assert all(np.array_equal(a, b) for a, b in zip(here, found[0], strict=True))


def test_cameras_on_the_wall_see_the_same_room_as_if_drawn_each_time(monkeypatch):
    drawn = []
    look = Views.look
    monkeypatch.setattr(Views, "look", lambda self, data, camera: drawn.append(camera) or look(self, data, camera))
    world = Spatial(size=SMALL, extras=EXTRAS)
    world.reset(3)
    kept = world.step(np.array([0.05, 0, 0.05, 1, 0, 0, 0, 1, 0]))
    assert drawn == ["main", "left", "right", "main"]
    for camera in ("left", "right"):
        fresh = look(world._eyes, world._data, camera)
        assert np.array_equal(fresh.frame, kept.frames[camera])
        assert np.array_equal(fresh.depth, kept.depth[camera])
    world.close()


def test_a_picture_may_be_as_large_as_asked_for():
    world = Tabletop(size=(16, 720), views=("front",))
    assert world.reset(0).frames["front"].shape == (16, 720, 3)
    world.close()
