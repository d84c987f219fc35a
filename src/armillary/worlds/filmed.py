"""What worlds with cameras share: where the cameras are, that drawing is freed, and machines that carry a camera.

Filmed, Carried          calibrations() and close() of worlds that keep model, data and drawing alike; pose
mounted, on_ground       poses of a camera on a machine, and of a machine on the ground
nine_numbers             an action of nine numbers, or ``DataError``
arc_action, arc_asked    nine numbers for an arc on the ground, and the arc that nine numbers ask for

Poses are 4 4 with OpenCV's axes (x right, y down, z ahead), from camera to world; machines have x ahead, y left, z up.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.embodiments import pose_from_rot6d, relative_pose, rot6d_from_pose
from armillary.errors import DataError
from armillary.records import WorldSpec
from armillary.worlds.camera import calibration
from armillary.worlds.labels import Look, Views

Array = NDArray[np.float64]


class Filmed:
    """A world that is filmed. ``_eyes`` draws it, None while nothing is to be drawn."""

    spec: WorldSpec
    _model: Any
    _data: Any
    _size: tuple[int, int]
    _eyes: Views | None = None

    def calibrations(self) -> dict[str, Any]:
        """Every camera's intrinsics, and its pose as it stands now."""
        return {name: calibration(self._model, self._data, name, self._size) for name in self.spec.cameras}

    def _looks(self, views: tuple[str, ...]) -> dict[str, Look]:
        """What each of the cameras ``views`` sees of the data as they stand; nothing while nothing is to be drawn."""
        eyes = self._eyes
        return {} if eyes is None else {view: eyes.look(self._data, view) for view in views}

    def close(self) -> None:
        """Free the drawing; the world may be reset again."""
        if self._eyes is not None:
            self._eyes.close()
        self._eyes = None


class Carried(Filmed):
    """A world whose main camera is carried about; ``_pose`` is where it is."""

    _pose: Array

    @property
    def pose(self) -> Array:
        """The main camera's pose, 4 4 (OpenCV axes)."""
        return self._pose.copy()


def mounted(place: tuple[float, float, float], up: tuple[float, float]) -> Array:
    """A camera on a machine at ``place`` in the machine's axes; its own up leans ahead as ``up`` (ahead, high) says."""
    tall = np.array([up[0], 0.0, up[1]]) / np.hypot(*up)
    right, pose = np.array([0.0, -1.0, 0.0]), np.eye(4)
    pose[:3, :3] = np.stack([right, -tall, np.cross(right, -tall)], axis=1)
    pose[:3, 3] = place
    return pose


def on_ground(place: Array) -> Array:
    """The pose of a machine at x, y with its heading."""
    pose, (x, y, yaw) = np.eye(4), place
    pose[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def nine_numbers(action: NDArray[Any], who: str) -> Array:
    """The action as nine finite numbers; ``DataError`` if it is not. ``who`` takes it."""
    numbers = np.asarray(action, np.float64)
    if numbers.shape != (9,) or not np.isfinite(numbers).all():
        raise DataError(f"an action of shape {numbers.shape} came: {who} takes nine finite numbers.")
    return numbers


def arc_action(ahead: float, turn: float, mount: Array) -> Array:
    """Nine numbers for the camera of a machine that goes ``ahead`` metres on an arc that turns by ``turn`` radians."""
    step = np.eye(4)
    step[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    step[:2, 3] = ahead * math.cos(turn / 2), ahead * math.sin(turn / 2)
    return rot6d_from_pose(relative_pose(mount, step @ mount))


def arc_asked(action: Array, mount: Array) -> tuple[float, float]:
    """What nine numbers of its camera ask of a machine: metres straight ahead, and radians."""
    wanted = mount @ pose_from_rot6d(action) @ np.linalg.inv(mount)
    return float(wanted[0, 3]), float(np.arctan2(wanted[1, 0], wanted[0, 0]))
