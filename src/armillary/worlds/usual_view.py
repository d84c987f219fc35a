"""The table's cameras where no seed has moved them (each does, by up to 12 mm): places and pixels into one another."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armillary import worlds
from armillary.worlds.camera import calibration, mujoco

Floats = NDArray[np.float64]
RESTING = 0.028  # metres above the table: the middle of a thing that lies there


@cache
def usual_camera(camera: str, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Intrinsics 3 3 (pixels of a picture of ``size`` h w) and camera-to-world pose 4 4 of one of the table's cameras.

    ``KeyError`` for a camera that the table does not have.
    """
    model = mujoco.MjModel.from_xml_path(str(Path(worlds.__file__).parent / "tabletop.xml"))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    found = calibration(model, data, camera, size)
    return np.array(found["intrinsics"]), np.array(found["camera_to_world"])


def on_picture(places: Floats, camera: str, size: tuple[int, int]) -> Floats:
    """Where places n 3 (metres) are seen by it: columns and rows n 2 (pixels), which may lie outside the picture."""
    intrinsics, pose = usual_camera(camera, size)
    seen = (places - pose[:3, 3]) @ pose[:3, :3] @ intrinsics.T
    return np.asarray(seen[:, :2] / seen[:, 2:])
