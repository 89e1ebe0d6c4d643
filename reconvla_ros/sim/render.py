"""Pictures of a scene: colour and depth of one camera from one rendering pass, in software where there is no GPU."""

from __future__ import annotations

import ctypes
import importlib
import os
from math import radians, tan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import CameraError, choices
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.types import CameraIntrinsics

BACKENDS = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}  # what each needs from the system
REMEDY = (
    "install software OpenGL with: apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri "
    "(for MUJOCO_GL=osmesa: apt-get install -y libosmesa6)"
)
MAX_GEOMS = 256


def intrinsics(model: Any, camera: str, width: int, height: int) -> CameraIntrinsics:
    """The pinhole of a camera of the model: square pixels, no distortion, centre in the middle of the image.

    Raises:
        CameraError: no such camera in the model (the message lists those it has).
    """
    names = [model.camera(i).name for i in range(model.ncam)]
    if camera not in names:
        raise CameraError(f"camera: {choices(camera, names)}")
    focal = height / 2 / tan(radians(float(model.camera(camera).fovy[0])) / 2)
    return CameraIntrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def _backend() -> str:
    """egl or osmesa: MUJOCO_GL when set, else the first whose library loads. A process can use only one of them."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    if asked:
        if asked not in BACKENDS:
            raise CameraError(f"MUJOCO_GL: {choices(asked, BACKENDS)}")
        return asked
    for backend, library in BACKENDS.items():
        try:
            ctypes.CDLL(library)
            return backend
        except OSError:
            continue
    raise CameraError(f"no OpenGL for rendered cameras: none of {list(BACKENDS.values())} loads; {REMEDY}")


def gl_context(width: int, height: int) -> Any:
    """An OpenGL context, current in this thread.

    Raises:
        CameraError: no backend works; says why and which packages to install.
    """
    # One rasteriser thread per camera process is cheapest for pictures this small; Mesa reads this when it starts.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    backend = _backend()
    os.environ["PYOPENGL_PLATFORM"] = backend
    try:
        context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        context.make_current()
    except Exception as error:  # every GL library fails in its own way: no driver, no device, no such function
        raise CameraError(
            f"rendered cameras: OpenGL through {backend} does not start ({type(error).__name__}: {error}); {REMEDY}"
        ) from error
    return context


class Renderer:
    """Renders `camera` of `model` at (height, width). Make it, use it and close it in one and the same thread.

    Raises:
        CameraError: no OpenGL here, or no such camera.
    """

    def __init__(self, model: Any, camera: str, width: int = 640, height: int = 480):
        self.intrinsics = intrinsics(model, camera, width, height)
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        self._model, self._rect = model, mujoco.MjrRect(0, 0, width, height)
        self._gl = gl_context(width, height)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option, self._perturb = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._number = int(model.camera(camera).id)
        extent = float(model.stat.extent)
        near, self._far = float(model.vis.map.znear) * extent, float(model.vis.map.zfar) * extent
        # The depth buffer is reversed: distance = near / (1 - (1 - z) (1 - near / far)); here in mm as a / (b + c z).
        share = 1.0 - near / self._far
        self._depth = (np.float32(near * 1000), np.float32(1.0 - share), np.float32(share))
        self._z = np.empty((height, width), np.float32)
        self._flipped = np.empty((height, width, 3), np.uint8)

    def intrinsics_of(self, camera: str) -> CameraIntrinsics:
        """Of another camera of the model, at this size. Errors as `intrinsics`."""
        return intrinsics(self._model, camera, self._rect.width, self._rect.height)

    def render(self, data: Any, camera: str = "") -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Colour (H, W, 3) uint8 RGB and depth (H, W) uint16 [mm], 0 where nothing is nearer than the far plane.

        `camera`: another of the model than the one it was made for.
        `data` needs current kinematics (`mj_kinematics`, `mj_camlight`). New arrays each time.
        """
        self._camera.fixedcamid = int(self._model.camera(camera).id) if camera else self._number
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._flipped, self._z, self._rect, self._context)
        over, offset, slope = self._depth
        z = self._z
        empty = z <= 0.0
        np.multiply(z, slope, out=z)
        np.add(z, offset, out=z)
        np.divide(over, z, out=z)
        np.add(z, np.float32(0.5), out=z)
        depth = z[::-1].astype(np.uint16)
        if empty.any():
            depth[empty[::-1]] = 0
        return self._flipped[::-1].copy(), depth

    def close(self) -> None:
        """Give the OpenGL objects back; safe to call twice."""
        if self._gl is not None:
            self._context.free()
            self._gl.free()
            self._gl = None
