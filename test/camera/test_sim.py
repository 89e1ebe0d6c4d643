from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from camera_contract import CameraContract

from reconvla_ros.camera import sim
from reconvla_ros.camera.protocol import Camera
from reconvla_ros.camera.sim import SimCamera, frame_id, mounting
from reconvla_ros.errors import CameraError
from reconvla_ros.sim.scenes import CAMERAS, make
from reconvla_ros.sim.shared_state import Identity, StateWriter
from reconvla_ros.sim.world import World

READY = np.array([0.1, 1.0, -1.1, 0.1, 1.0, 0.2])


class Simulator:
    """Publishes the state of a scene, as the simulated arm does, at 200 Hz from a thread."""

    def __init__(self, path: Path, opening: float = 0.07):
        self.scene, self.path = make("fruit_in_bowl", 1, opening), path
        self.world = World(self.scene)
        self.world.set_joints(READY)
        self.stamps: set[int] = set()
        self.skew_ns = 0
        model = self.world.model
        identity = Identity(self.scene.name, self.scene.seed, self.scene.digest, model.nq, model.nv)
        self.writer = StateWriter(path, identity)
        self.running = threading.Event()
        self.running.set()
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended:
            if self.running.is_set():
                stamp = time.time_ns() + self.skew_ns
                self.stamps.add(stamp)
                self.writer.publish(stamp, self.world.time, self.world.data.qpos, self.world.data.qvel)
            time.sleep(0.005)

    def end(self) -> None:
        self.ended = True
        self.thread.join()
        self.writer.close()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    one = Simulator(tmp_path / "state")
    yield one
    one.end()


@pytest.fixture
def camera(simulator: Simulator) -> Iterator[SimCamera]:
    one = SimCamera("camera_wrist", simulator.path, rate=100.0)
    one.open()
    yield one
    one.close()
    one.close()


def test_it_is_a_camera(camera: SimCamera) -> None:
    assert isinstance(camera, Camera)


@pytest.mark.parametrize("name", CAMERAS)
def test_frames_carry_stamp_frame_and_both_images(simulator: Simulator, name: str) -> None:
    camera = SimCamera(name, simulator.path, simulator.scene)
    pinhole = camera.open()
    assert (pinhole.width, pinhole.height, pinhole.fx) == (640, 480, pinhole.fy)
    frame = camera.read(5.0)
    camera.close()
    assert frame is not None and frame.depth is not None
    assert frame.frame_id == f"{name}_color_optical_frame" == frame_id(name)
    assert frame.stamp_ns in simulator.stamps  # the stamp of the state, not of the rendering
    assert frame.color.std() > 10 and frame.depth.max() > 100


def test_an_offset_is_taken_from_the_stamps(simulator: Simulator) -> None:
    camera = SimCamera("camera_wrist", simulator.path, width=64, height=48, offset=0.02)
    camera.open()
    frame = camera.read(5.0)
    camera.close()
    assert frame is not None and frame.stamp_ns + 20_000_000 in simulator.stamps


def test_stamps_strictly_increase_at_about_the_rate(camera: SimCamera) -> None:
    stamps: list[int] = []
    begin = time.monotonic()
    while len(stamps) < 20 and time.monotonic() - begin < 30:
        frame = camera.read(0.5)
        if frame is not None:
            stamps.append(frame.stamp_ns)
    assert len(stamps) == 20 and np.all(np.diff(stamps) > 0)
    assert time.monotonic() - begin >= 19 * 0.01 * 0.9  # never faster than asked


def test_read_waits_no_longer_than_its_timeout(simulator: Simulator) -> None:
    camera = SimCamera("camera_base", simulator.path, rate=0.5)
    camera.open()
    assert camera.read(5.0) is not None
    begin = time.monotonic()
    assert camera.read(0.05) is None
    assert 0.04 < time.monotonic() - begin < 1.5
    camera.close()


def test_the_picture_follows_the_state(simulator: Simulator) -> None:
    camera = SimCamera("camera_base", simulator.path)
    camera.open()
    before = camera.read(5.0)
    simulator.world.set_joints(READY + 0.3)
    moved = time.time_ns()
    after = camera.read(5.0)
    while after is None or after.stamp_ns < moved:
        after = camera.read(5.0)
    camera.close()
    assert before is not None
    assert np.abs(before.color.astype(int) - after.color.astype(int)).max() > 100


def test_another_scene_is_refused(simulator: Simulator) -> None:
    with pytest.raises(CameraError, match=r"seed 2, but the simulator .* seed 1"):
        SimCamera("camera_base", simulator.path, make("fruit_in_bowl", 2)).open()


def test_the_large_gripper_is_recognised(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path / "large", 0.1)
    camera = SimCamera("camera_wrist", simulator.path)
    camera.open()
    assert camera.read(5.0) is not None
    camera.close()
    simulator.end()


def test_no_simulator_and_a_silent_one(
    tmp_path: Path, simulator: Simulator, camera: SimCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CameraError, match="camera_base: no simulated arm is running"):
        SimCamera("camera_base", tmp_path / "nothing").open()
    monkeypatch.setattr(sim, "STALE", 0.3)
    assert camera.read(5.0) is not None
    simulator.running.clear()
    with pytest.raises(CameraError, match=f"process {os.getpid()}.*silent"):
        for _ in range(100):
            camera.read(0.1)
    simulator.running.set()
    camera.open()  # may be tried again
    assert camera.read(5.0) is not None


def test_the_end_of_the_simulator_is_an_error(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path / "short")
    camera = SimCamera("camera_base", simulator.path)
    camera.open()
    assert camera.read(5.0) is not None
    simulator.end()
    with pytest.raises(CameraError, match="has ended"):
        for _ in range(10):
            camera.read(0.2)
    camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.read(0.1)


def test_a_clock_that_goes_back_is_an_error(simulator: Simulator, camera: SimCamera) -> None:
    assert camera.read(5.0) is not None
    simulator.skew_ns = -int(60e9)
    with pytest.raises(CameraError, match=r"clock went back by 59|clock went back by 60"):
        for _ in range(50):
            camera.read(0.1)


def test_reading_from_another_thread_works(camera: SimCamera) -> None:
    frames: list[object] = []
    thread = threading.Thread(target=lambda: frames.append(camera.read(5.0)))
    thread.start()
    thread.join(20)
    assert frames and frames[0] is not None


def test_wrong_arguments_name_the_bounds(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="did you mean 'camera_base'"):
        SimCamera("camera_bas", tmp_path)
    with pytest.raises(CameraError, match="1920x1080"):
        SimCamera("camera_base", tmp_path, width=0)
    with pytest.raises(CameraError, match="did you mean 'camera_wrist'"):
        mounting("camera_wirst")


@pytest.mark.parametrize("name", CAMERAS)
def test_mounting_is_where_the_model_has_it(simulator: Simulator, name: str) -> None:
    from scipy.spatial.transform import Rotation

    found, data = mounting(name), simulator.world.data
    assert (found.parent, found.child) == ("base_link" if name == "camera_base" else "link6", frame_id(name))
    parent = data.body(found.parent)
    rotation = parent.xmat.reshape(3, 3)
    np.testing.assert_allclose(parent.xpos + rotation @ found.pose.position, data.camera(name).xpos, atol=1e-9)
    optical = rotation @ Rotation.from_quat(found.pose.quaternion).as_matrix()
    right, up, back = data.camera(name).xmat.reshape(3, 3).T
    np.testing.assert_allclose(optical.T, [right, -up, -back], atol=1e-9)  # x right, y down, z forward


class TestContract(CameraContract):
    """What every camera must do."""

    @pytest.fixture
    def camera(self, simulator: Simulator) -> Iterator[Camera]:
        one = SimCamera("camera_base", simulator.path, width=64, height=48)
        yield one
        one.close()
