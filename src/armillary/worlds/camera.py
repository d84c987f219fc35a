"""Pictures of a MuJoCo world: colour, metric depth and instance segmentation, rendered without a screen."""

import atexit
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any

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


_HELD = threading.local()


def held_context() -> Any:
    """The GL context that all drawing of this thread shares, made with the first.

    A new one compiles its shaders again, some 0.13 processor seconds: as long as a short film takes to draw.
    """
    if "gl" not in vars(_HELD):
        _HELD.gl = mujoco.GLContext(64, 64)  # nothing is drawn on the context's own surface
        atexit.register(_free, weakref.ref(_HELD.gl))  # a thread that ends takes its own along
    return _HELD.gl


def _free(held: "weakref.ref[Any]") -> None:
    context = held()
    if context is not None:
        context.free()


class Surface:
    """What the cameras of one compiled model are drawn on; freed by ``close``.

    Colour is drawn ``FINER`` times finer and averaged. ``numbers`` of geoms come with the depth, in a drawing of
    their own.
    """

    def __init__(self, model: "mujoco.MjModel", size: tuple[int, int], *, most: int = 2000) -> None:
        """``size``: height, width in pixels. ``most``: so many geoms can be drawn."""
        self._model, self._size = model, size
        model.vis.global_.offheight, model.vis.global_.offwidth = FINER * size[0], FINER * size[1]
        self._gl = held_context()
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene, self._options = mujoco.MjvScene(model, maxgeom=most), mujoco.MjvOption()

    def close(self) -> None:
        """Free what the model takes on the graphics card."""
        self._gl.make_current()
        self._context.free()

    def _update(self, data: Any, camera: str) -> None:
        """Look through that camera from now on."""
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, view, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )

    def _colour(self) -> NDArray[np.uint8]:
        """uint8 h w 3."""
        h, w = self._size
        whole = mujoco.MjrRect(0, 0, FINER * w, FINER * h)
        fine = np.empty((FINER * h, FINER * w, 3), np.uint8)
        mujoco.mjr_render(whole, self._scene, self._context)
        mujoco.mjr_readPixels(fine, None, whole, self._context)
        sums = np.zeros((h, w, 3), np.uint16)
        for i in range(FINER**2):
            sums += fine[i // FINER :: FINER, i % FINER :: FINER]
        return np.ascontiguousarray(((sums + FINER**2 // 2) // FINER**2).astype(np.uint8)[::-1])

    def _numbers(self) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
        """Upside down, h w: place of the geom in the scene + 1 (0: none); depth as it is kept; geom id of each place.

        The last is n + 1 long, -1 where what is drawn there is no geom of the model.
        """
        h, w = self._size
        whole, flags = mujoco.MjrRect(0, 0, w, h), self._scene.flags.copy()
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = True
        self._scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        codes, raw = np.empty((h, w, 3), np.uint8), np.empty((h, w), np.float32)
        mujoco.mjr_render(whole, self._scene, self._context)
        mujoco.mjr_readPixels(codes, raw, whole, self._context)
        self._scene.flags[:] = flags
        numbers = codes.astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        geom_of = np.full(self._scene.ngeom + 1, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == int(mujoco.mjtObj.mjOBJ_GEOM):
                geom_of[geom.segid + 1] = geom.objid
        return numbers, raw, geom_of


class Camera(Surface):
    """Renders the named cameras of one compiled model. Freed by ``close``."""

    def __init__(self, model: "mujoco.MjModel", size: tuple[int, int], labels: Mapping[int, int]) -> None:
        """``labels``: geom id -> the object's number in segmentation pictures; others are 0."""
        super().__init__(model, size, most=10_000)
        self._labels = np.zeros(model.ngeom + 1, np.int32)  # the last entry is for "nothing there"
        for geom, label in labels.items():
            self._labels[geom] = label

    def colour(self, data: "mujoco.MjData", camera: str) -> NDArray[np.uint8]:
        """uint8 h w 3."""
        self._update(data, camera)
        return self._colour()

    def marks(self, data: "mujoco.MjData", camera: str) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth float32 h w, metres along the optical axis, and segmentation int32 h w, the numbers of ``labels``."""
        self._update(data, camera)
        numbers, raw, geom_of = self._numbers()
        extent, sight = self._model.stat.extent, self._model.vis.map
        near, far = np.float32(sight.znear * extent), np.float32(sight.zfar * extent)
        # the reversed depth buffer holds 1 at the near plane and 0 at the far one; float32 as MuJoCo's own renderer
        scale = np.float32(-0.5) * -((far + near) / (far - near)) - np.float32(0.5)
        shift = np.float32(-0.5) * -(np.float32(2) * far * near / (far - near))
        depth = (shift / (raw.astype(np.float64) + scale)).astype(np.float32)
        return np.ascontiguousarray(depth[::-1]), np.ascontiguousarray(self._labels[geom_of[numbers]][::-1])


def calibration(model: "mujoco.MjModel", data: "mujoco.MjData", camera: str, size: tuple[int, int]) -> dict[str, list]:  # type: ignore[type-arg]
    """Intrinsics 3 3 (pixels) and camera-to-world pose 4 4 (OpenCV axes: x right, y down, z forward)."""
    number = model.camera(camera).id
    focal = size[0] / 2 / np.tan(np.deg2rad(model.cam_fovy[number]) / 2)
    pose = np.eye(4)
    pose[:3, :3] = data.cam_xmat[number].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = data.cam_xpos[number]
    intrinsics = [[focal, 0.0, size[1] / 2], [0.0, focal, size[0] / 2], [0.0, 0.0, 1.0]]
    return {"intrinsics": intrinsics, "camera_to_world": pose.tolist()}
