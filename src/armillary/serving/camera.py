"""A camera's moves: a step to be held or a place to be reached become rows of its embodiment, one for each frame.

Clients say x right, y up, z forward and turn by a quaternion x y z w; the embodiments of cameras say x right, y down,
z ahead, nine numbers a row, each step seen from where the camera then is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armillary.embodiments import pose_from_rot6d, relative_pose, rot6d_from_pose
from armillary.records import Array
from armillary.serving.problems import bad

HERE = np.eye(4)  # where every session begins
_FLIP = np.diag([1.0, -1.0, 1.0, 1.0])
Rows = list[list[float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A place (4 4, seen from where the session began) to be reached in ``count`` equal steps."""

    place: Array
    count: int

    def __len__(self) -> int:
        return self.count


def pose_of(translation: Sequence[float], rotation: Sequence[float]) -> Array:
    """A rigid transform 4 4 in the embodiments' axes; a ``Problem`` if the quaternion is none."""
    quaternion = np.array(rotation, np.float64)
    length = float(np.linalg.norm(quaternion))
    if not 1e-6 < length < 1e6:
        raise bad("rotation is no quaternion: give x, y, z, w, not all zero.", "rotation")
    pose = np.eye(4)
    pose[:3, :3] = _turn(quaternion / length)
    pose[:3, 3] = translation
    return _FLIP @ pose @ _FLIP


def steps_to(target: Target, here: Array) -> Rows:
    """Equal steps from ``here`` to the target: the same turn each time, and the same way seen from the camera."""
    whole = relative_pose(here, target.place)
    step = np.eye(4)
    step[:3, :3] = _turn(_share(_quaternion(whole[:3, :3]), target.count))
    # n steps lead to (1 + R + ... + R^(n-1)) t; together they turn by half a circle at most, so the sum has an inverse
    turns = [np.linalg.matrix_power(step[:3, :3], n) for n in range(target.count)]
    step[:3, 3] = np.linalg.solve(np.sum(turns, axis=0), whole[:3, 3])
    return [rot6d_from_pose(step).tolist()] * target.count


def moved(here: Array, rows: Rows) -> Array:
    """Where the camera is after these rows."""
    for step in pose_from_rot6d(np.array(rows)):
        here = here @ step
    return here


def _turn(quaternion: Array) -> Array:
    """A unit quaternion x y z w as a rotation 3 3."""
    x, y, z, w = quaternion
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def _quaternion(turn: Array) -> Array:
    """A rotation 3 3 as a unit quaternion x y z w, w from 0 on: the shorter way round.

    It is the eigenvector of a symmetric matrix's largest eigenvalue (Bar-Itzhack 2000), exact also near half a turn.
    """
    r = turn
    k = np.array([
        [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
        [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
    ])  # fmt: skip
    found = np.linalg.eigh(k)[1][:, -1]
    return found if found[3] >= 0 else -found


def _share(quaternion: Array, count: int) -> Array:
    """One of ``count`` equal parts of a turn."""
    length = float(np.linalg.norm(quaternion[:3]))
    half = np.arctan2(length, quaternion[3]) / count
    axis = quaternion[:3] / length if length > 1e-12 else np.zeros(3)
    return np.append(np.sin(half) * axis, np.cos(half))
