from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.errors import CameraError
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.sim.render import Renderer, intrinsics
from reconvla_ros.sim.scenes import CAMERAS, make
from reconvla_ros.sim.world import World

READY = np.array([0.0, 1.0, -1.1, 0.0, 1.0, 0.0])
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world() -> World:
    world = World(make("fruit_in_bowl", 0))
    world.set_joints(READY)
    return world


@pytest.fixture(params=CAMERAS)
def renderer(request: pytest.FixtureRequest, world: World) -> Iterator[Renderer]:
    one = Renderer(world.model, request.param)
    yield one
    one.close()
    one.close()


def ray_depth(world: World, camera: str, u: int, v: int) -> tuple[str, float]:
    """Body that the ray through pixel (u, v) hits first, and its depth along the optical axis [mm], by ray casting."""
    pinhole = intrinsics(world.model, camera, 640, 480)
    index = world.model.camera(camera).id
    rotation = world.data.cam_xmat[index].reshape(3, 3)
    in_camera = np.array([(u - pinhole.cx) / pinhole.fx, -(v - pinhole.cy) / pinhole.fy, -1.0])
    ray = rotation @ in_camera
    hit, groups = np.zeros(1, np.int32), np.array([1, 1, 1, 0, 0, 0], np.uint8)
    distance = mujoco.mj_ray(world.model, world.data, world.data.cam_xpos[index], ray, groups, 1, -1, hit)
    body = world.model.body(world.model.geom_bodyid[hit[0]]).name
    return body, float(distance) * 1000  # the ray has length 1 along the axis


def test_depth_equals_cast_rays(world: World, renderer: Renderer, request: pytest.FixtureRequest) -> None:
    camera = request.node.callspec.params["renderer"]
    color, depth = renderer.render(world.data)
    assert color.shape == (480, 640, 3) and color.dtype == np.uint8
    assert depth.shape == (480, 640) and depth.dtype == np.uint16
    off = []
    for u in range(20, 640, 40):
        for v in range(20, 480, 40):
            body, wanted = ray_depth(world, camera, u, v)
            if body in ("room", "world", "base_link"):  # flat things: exact; round ones are polygons
                off.append(abs(float(depth[v, u]) - wanted) / wanted)
    assert len(off) > 50
    assert np.quantile(off, 0.95) < 0.004  # edges may differ by a pixel


def test_table_plane_from_depth_is_flat_and_at_zero(world: World) -> None:
    renderer = Renderer(world.model, "camera_base")
    _, depth = renderer.render(world.data)
    renderer.close()
    pinhole, index = renderer.intrinsics, world.model.camera("camera_base").id
    v, u = np.mgrid[300:470:10, 20:380:10]
    z = depth[v, u] / 1000.0
    points = np.stack([(u - pinhole.cx) / pinhole.fx * z, -(v - pinhole.cy) / pinhole.fy * z, -z], axis=-1)
    height = (points @ world.data.cam_xmat[index].reshape(3, 3).T + world.data.cam_xpos[index])[..., 2]
    assert np.median(np.abs(height)) < 0.001
    assert np.quantile(np.abs(height), 0.8) < 0.002  # the rest is fruit and bowl, above the table
    assert height.min() > -0.003


def test_colour_and_depth_show_the_same_fruit(world: World) -> None:
    """Orange pixels are where the orange is, and their depth is nearer than the table behind it."""
    renderer = Renderer(world.model, "camera_base")
    color, depth = renderer.render(world.data)
    renderer.close()
    pinhole, index = renderer.intrinsics, world.model.camera("camera_base").id
    seen = (color[..., 0] > 180) & (color[..., 1] > 60) & (color[..., 1] < 160) & (color[..., 2] < 60)
    v, u = np.nonzero(seen)
    assert len(u) > 300
    in_camera = world.data.cam_xmat[index].reshape(3, 3).T @ (
        world.body_position("orange") - world.data.cam_xpos[index]
    )
    where = (
        pinhole.cx + pinhole.fx * in_camera[0] / -in_camera[2],
        pinhole.cy - pinhole.fy * in_camera[1] / -in_camera[2],
    )
    assert (np.median(u), np.median(v)) == pytest.approx(where, abs=6)
    nearest = -in_camera[2] * 1000 - 30
    assert np.quantile(depth[seen], 0.02) == pytest.approx(nearest, abs=6)


def test_nothing_there_is_depth_zero() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><visual><map znear="0.01" zfar="4"/></visual><statistic extent="1"/><worldbody>'
        '<light pos="0 0 3"/><camera name="c" pos="0 0 1"/><geom type="sphere" size="0.2"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, "c", 64, 48)
    color, depth = renderer.render(data)
    renderer.close()
    assert depth[0, 0] == 0 and not color[0, 0].any()
    assert int(depth[24, 32]) == pytest.approx(800, abs=2)


def test_both_views_show_the_task(world: World) -> None:
    """Things and bowl from the base, the table between two fingers from the wrist."""
    for camera, least in (("camera_base", {"orange", "cube", "can", "bowl"}), ("camera_wrist", {"finger_left"})):
        found = {ray_depth(world, camera, u, v)[0] for u in range(4, 640, 8) for v in range(4, 480, 8)}
        assert least <= found
    assert {"finger_left", "finger_right", "room"} <= found


def test_wrong_camera_names_those_there_are(world: World) -> None:
    with pytest.raises(CameraError, match="did you mean 'camera_wrist'"):
        Renderer(world.model, "camera_wirst")


@pytest.mark.parametrize(("backend", "words"), [("osmesa", "libosmesa6"), ("vulkan", "valid: egl, osmesa")])
def test_no_opengl_is_an_error_with_its_remedy(backend: str, words: str) -> None:
    """Where OSMesa is installed after all, it must simply work."""
    code = (
        "from reconvla_ros.sim.render import gl_context\nfrom reconvla_ros.errors import CameraError\n"
        "try:\n    gl_context(64, 48)\n    print('works')\nexcept CameraError as error:\n    print(error)\n"
    )
    env = {**os.environ, "MUJOCO_GL": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert words in done.stdout or (backend == "osmesa" and done.stdout.startswith("works"))
