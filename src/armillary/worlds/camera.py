"""Pictures of a MuJoCo world: colour, metric depth and instance segmentation, rendered without a screen."""

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from armillary.errors import ConfigError

os.environ.setdefault("MUJOCO_GL", "egl")
try:
    import mujoco
except (ImportError, AttributeError, OSError) as error:
    raise ConfigError(
        f"pictures cannot be rendered without a screen ({error}): the GL libraries must be there. On Debian: "
        "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri; or set MUJOCO_GL=osmesa with libosmesa6."
    ) from error

FINER = 2  # colour is drawn so many times finer on each side and averaged: smooth edges, cheaper than multisampling


class Camera:
    """Renders the named cameras of one compiled model. Freed by ``close``."""

    def __init__(self, model: "mujoco.MjModel", size: tuple[int, int], labels: Mapping[int, int]) -> None:
        """``labels``: geom id -> the object's number in segmentation pictures; others are 0."""
        self._renderer = mujoco.Renderer(model, *size)
        self._fine = mujoco.Renderer(model, FINER * size[0], FINER * size[1])
        self._labels = np.zeros(model.ngeom + 1, np.int32)  # the last entry is for "nothing there"
        for geom, label in labels.items():
            self._labels[geom] = label

    def colour(self, data: "mujoco.MjData", camera: str) -> NDArray[np.uint8]:
        """uint8 h w 3."""
        self._fine.update_scene(data, camera)
        fine = np.asarray(self._fine.render(), np.uint16)
        h, w = fine.shape[0] // FINER, fine.shape[1] // FINER
        sums = fine.reshape(h, FINER, w, FINER, 3).sum(axis=(1, 3))
        return ((sums + FINER**2 // 2) // FINER**2).astype(np.uint8)

    def depth(self, data: "mujoco.MjData", camera: str) -> NDArray[np.float32]:
        """float32 h w, metres along the optical axis."""
        self._renderer.enable_depth_rendering()
        self._renderer.update_scene(data, camera)
        picture = np.array(self._renderer.render(), dtype=np.float32)
        self._renderer.disable_depth_rendering()
        return picture

    def segmentation(self, data: "mujoco.MjData", camera: str) -> NDArray[np.int32]:
        """int32 h w, the numbers of ``labels``."""
        self._renderer.enable_segmentation_rendering()
        self._renderer.update_scene(data, camera)
        picture = np.array(self._renderer.render())
        self._renderer.disable_segmentation_rendering()
        is_geom = picture[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        return self._labels[np.where(is_geom, picture[..., 0], -1)]

    def close(self) -> None:
        self._renderer.close()
        self._fine.close()


def calibration(model: "mujoco.MjModel", data: "mujoco.MjData", camera: str, size: tuple[int, int]) -> dict[str, list]:  # type: ignore[type-arg]
    """Intrinsics 3 3 (pixels) and camera-to-world pose 4 4 (OpenCV axes: x right, y down, z forward)."""
    number = model.camera(camera).id
    focal = size[0] / 2 / np.tan(np.deg2rad(model.cam_fovy[number]) / 2)
    pose = np.eye(4)
    pose[:3, :3] = data.cam_xmat[number].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = data.cam_xpos[number]
    intrinsics = [[focal, 0.0, size[1] / 2], [0.0, focal, size[0] / 2], [0.0, 0.0, 1.0]]
    return {"intrinsics": intrinsics, "camera_to_world": pose.tolist()}
