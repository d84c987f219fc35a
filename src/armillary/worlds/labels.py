"""Pictures with everything that is known of them: depth, segmentation, boxes, tracks, and where a point is seen.

    Views.look      colour, metric depth and segmentation of one camera, in two drawings
    boxes, tracks   what segmentation says about where things are seen, in one frame and through many
    project         world points to pixels, with a calibration of ``camera.calibration``

Pixels count from the top left corner; boxes are (left, top, right, bottom) with right and bottom exclusive. Cameras
have OpenCV's axes: x right, y down, z forward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.camera import Surface, mujoco

Box = tuple[int, int, int, int]
SEEN_PIXELS = 40  # of a picture of 128 by 128; see ``least_pixels``


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What one camera sees: uint8 h w 3, float32 h w metres (0: nothing there), int32 h w (0: no object)."""

    frame: NDArray[np.uint8]
    depth: NDArray[np.float32]
    segmentation: NDArray[np.int32]


class Views(Surface):
    """Draws the cameras of one compiled model; freed by ``close``.

    ``labels``: geom id -> the object's number in segmentation pictures. Depth and segmentation come together from
    one drawing.
    """

    def __init__(self, model: Any, size: tuple[int, int], labels: Mapping[int, int]) -> None:
        super().__init__(model, size)
        self._labels = np.zeros(model.ngeom + 1, np.int32)  # the last entry is for "nothing there"
        for geom, label in labels.items():
            self._labels[geom] = label

    def look(self, data: Any, camera: str) -> Look:
        """Colour, depth and segmentation of one camera."""
        self._update(data, camera)
        frame = self._colour()
        depth, marks = self._marks()
        return Look(frame=frame, depth=depth, segmentation=marks)

    def colour(self, data: Any, camera: str) -> NDArray[np.uint8]:
        """uint8 h w 3 alone, where depth and segmentation are not wanted."""
        self._update(data, camera)
        return self._colour()

    def _marks(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        numbers, raw, geom_of = self._numbers()
        extent, sight = self._model.stat.extent, self._model.vis.map
        near, far = sight.znear * extent, sight.zfar * extent
        # the reversed depth buffer holds 1 at the near plane and 0 at the far one
        depth = near * far / (near + raw.astype(np.float64) * (far - near))
        depth = np.where(numbers == 0, 0.0, depth).astype(np.float32)
        return np.ascontiguousarray(depth[::-1]), np.ascontiguousarray(self._labels[geom_of[numbers]][::-1])


def least_pixels(size: tuple[int, int]) -> int:
    """From how many pixels on a thing counts as seen, in a picture of this height and width."""
    return max(12, round(SEEN_PIXELS * size[0] * size[1] / 128**2))


def boxes(marks: NDArray[np.int32], names: Sequence[str], *, least: int | None = None) -> dict[str, Box]:
    """The boxes of the things seen: number i + 1 in ``marks`` (int32 h w) is ``names[i]``."""
    least = least_pixels((marks.shape[0], marks.shape[1])) if least is None else least
    counts, found = np.bincount(np.clip(marks.ravel(), 0, None), minlength=len(names) + 1), {}
    for number, name in enumerate(names, 1):
        if counts[number] >= least:
            mine = marks == number
            rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
            found[name] = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return found


def boxes_in(camera: str, marks: Mapping[str, NDArray[np.int32]] | None, names: Sequence[str]) -> dict[str, Box]:
    """``boxes`` of what ``camera`` marked of a moment; none if it marked nothing."""
    return boxes(marks[camera], names) if marks and camera in marks else {}


def tracks(frames: Sequence[Mapping[str, Box]]) -> dict[str, list[tuple[int, Box]]]:
    """Each thing's way through an episode: (frame's number, box), where it was seen."""
    found: dict[str, list[tuple[int, Box]]] = {}
    for number, frame in enumerate(frames):
        for name, box in frame.items():
            found.setdefault(name, []).append((number, box))
    return found


def box_words(box: Box, size: tuple[int, int]) -> str:
    """A box in hundredths of the picture (height, width in pixels), as the reasoner writes it."""
    left, top, right, bottom = box
    numbers = (left / size[1], top / size[0], right / size[1], bottom / size[0])
    a, b, c, d = (min(99, round(100 * n)) for n in numbers)
    return f"<|box_start|>({a},{b}),({c},{d})<|box_end|>"


def in_camera(points: Any, calibration: Mapping[str, Any]) -> NDArray[np.float64]:
    """World points n 3 in the camera's axes, metres: right, down, forward."""
    pose = np.asarray(calibration["camera_to_world"], np.float64)
    return (np.atleast_2d(np.asarray(points, np.float64)) - pose[:3, 3]) @ pose[:3, :3]


def project(points: Any, calibration: Mapping[str, Any]) -> NDArray[np.float64]:
    """World points n 3 -> n 3: column and row in pixels, and metres along the optical axis (negative: behind)."""
    seen = in_camera(points, calibration)
    numbers = np.asarray(calibration["intrinsics"], np.float64)
    ahead = np.where(np.abs(seen[:, 2:]) < 1e-9, 1e-9, seen[:, 2:])
    return np.concatenate([seen[:, :2] / ahead * numbers[[0, 1], [0, 1]] + numbers[:2, 2], seen[:, 2:]], axis=1)


def pose_looking(place: Any, at: Any) -> NDArray[np.float64]:
    """The pose 4 4 of a camera that stands at ``place`` and looks at ``at``, upright."""
    ahead = np.asarray(at, np.float64) - np.asarray(place, np.float64)
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right) if np.linalg.norm(right) > 1e-9 else np.array([1.0, 0.0, 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], axis=1)
    pose[:3, 3] = place
    return pose


def quaternion_of(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """MuJoCo's quaternion for a camera with this pose: its axes are x right, y up, z backward."""
    out = np.zeros(4)
    mujoco.mju_mat2Quat(out, (pose[:3, :3] @ np.diag([1.0, -1.0, -1.0])).ravel())
    return out


def pose_step(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 9 numbers of embodiment ``camera_pose`` between two poses 4 4: translation, two rotation columns."""
    change = np.linalg.inv(before) @ after
    return np.concatenate([change[:3, 3], change[:3, 0], change[:3, 1]])


def pose_after(pose: NDArray[np.float64], action: Any) -> NDArray[np.float64]:
    """The pose 4 4 after a step of 9 numbers; the columns are made orthonormal (Gram-Schmidt)."""
    numbers = np.asarray(action, np.float64)
    first = numbers[3:6] / max(float(np.linalg.norm(numbers[3:6])), 1e-9)
    second = numbers[6:9] - first * float(first @ numbers[6:9])
    second = second / max(float(np.linalg.norm(second)), 1e-9)
    change = np.eye(4)
    change[:3, :3] = np.stack([first, second, np.cross(first, second)], axis=1)
    change[:3, 3] = numbers[:3]
    return pose @ change
