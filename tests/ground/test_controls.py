"""Controls keep what they promise: edges where colours meet, blur without detail, near is bright."""

import numpy as np
import pytest

from armillary import controls
from armillary.errors import ArmillaryError


def scenes(count=6, side=48):
    """Pictures of soft and hard shapes, some noise, some flat: uint8 n h w 3."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    made = []
    for i in range(count):
        picture = np.full((side, side, 3), rng.uniform(0, 255, 3))
        for _ in range(4):
            middle, size, colour = rng.uniform(0, side, 2), rng.uniform(4, 15), rng.uniform(0, 255, 3)
            away = np.hypot(y - middle[0], x - middle[1]) / size
            picture += np.clip((1 - away) * rng.choice([1, 8]), 0, 1)[..., None] * (colour - picture)
        made.append(np.clip(picture + rng.normal(0, 3 * i, picture.shape), 0, 255))
    return np.stack(made).astype(np.uint8)


@pytest.mark.parametrize("strength", controls.EDGES)
def test_edges_are_those_that_opencv_finds(strength):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: nothing to compare with")
    film = scenes()
    low, high = controls.EDGES[strength]
    for frame, found in zip(film, controls.edge(film, strength), strict=True):
        assert np.array_equal(found[..., 0], cv2.Canny(frame, low, high))


def test_an_edge_stands_where_two_colours_meet_and_nowhere_else():
    film = np.zeros((1, 20, 30, 3), np.uint8)
    film[:, :, 15:] = (200, 0, 0)
    found = controls.edge(film)[0, ..., 0] > 0
    assert found[:, 14:16].any(axis=1).all() and found.sum() == 20
    assert not controls.edge(np.full_like(film, 90)).any()


def test_more_strength_leaves_fewer_edges_and_less_detail():
    film = scenes()
    edges = [int(controls.edge(film, name).sum()) for name in controls.EDGES]
    assert edges == sorted(edges, reverse=True) and edges[0] > edges[-1]
    detail = [np.abs(np.diff(controls.blur(film, name).astype(int), axis=2)).mean() for name in controls.BLURS]
    assert detail == sorted(detail, reverse=True)
    assert abs(controls.blur(film).mean() - film.mean()) < 2


def test_near_is_brighter_than_far_and_nothing_is_black():
    metres = np.linspace(0.5, 5, 40 * 40, dtype=np.float32).reshape(1, 40, 40)
    metres[0, 0, :5] = 0
    metres[0, 1, 0] = np.inf
    shown = controls.depth(metres)
    assert shown.shape == (1, 40, 40, 3) and not shown[0, 0, :5].any() and not shown[0, 1, 0].any()
    there = shown[0, ..., 0][shown[0, ..., 0] > 0].astype(int)
    assert (np.diff(there) <= 0).all() and there[0] == 255 and there[-1] == 32
    assert not controls.depth(np.zeros((2, 4, 4))).any()


def test_every_label_has_a_colour_of_its_own_that_other_films_share():
    labels = np.arange(64).reshape(1, 8, 8)
    shown = controls.segmentation(labels)
    assert len({tuple(colour) for colour in shown.reshape(-1, 3)}) == 64 and not shown[0, 0, 0].any()
    assert np.array_equal(controls.segmentation(labels[:, 2:, 1:]), shown[:, 2:, 1:])


def test_a_wrong_strength_or_film_gets_a_sentence():
    with pytest.raises(ArmillaryError, match="medium"):
        controls.edge(scenes(1), "middling")
    with pytest.raises(ArmillaryError, match="uint8 t h w 3"):
        controls.blur(np.zeros((2, 4, 4, 3), np.float32))
