"""RealSenseCamera on librealsense's own software device: real frames, the same way through our code."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from reconvla_ros.camera.protocol import Camera
from reconvla_ros.errors import CameraError

rs = pytest.importorskip("pyrealsense2", exc_type=ImportError)

from camera_contract import CameraContract, read  # type: ignore[import-not-found]  # noqa: E402

from reconvla_ros.camera.realsense import CaptureClock, RealSenseCamera  # noqa: E402

WIDTH, HEIGHT, RATE = 64, 48, 30


class FakeCamera:
    """A software device with colour and depth of one pinhole, and a thread that feeds it."""

    def __init__(self, serial: str, depth_units: float = 0.001, level: int = 500) -> None:
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.serial_number, serial)
        self.device.register_info(rs.camera_info.name, "Software D435")
        depth_sensor = self.device.add_sensor("Stereo Module")
        color_sensor = self.device.add_sensor("RGB Camera")
        depth = depth_sensor.add_video_stream(self._stream(rs.stream.depth, 0, rs.format.z16, 2))
        color = color_sensor.add_video_stream(self._stream(rs.stream.color, 1, rs.format.rgb8, 3))
        depth_sensor.add_read_only_option(rs.option.depth_units, depth_units)
        same = rs.extrinsics()
        same.rotation, same.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]
        depth.register_extrinsics_to(color, same)
        self._streams = ((depth_sensor, depth, 2), (color_sensor, color, 3))
        self._level = level
        self._stop = threading.Event()
        self._numbers = iter(range(1, 1_000_000))
        self._thread = threading.Thread(target=self._feed, daemon=True)

    @staticmethod
    def _stream(kind: Any, uid: int, pixel: Any, size: int) -> Any:
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = WIDTH, HEIGHT
        intrinsics.fx, intrinsics.fy, intrinsics.ppx, intrinsics.ppy = 60.0, 61.0, 31.5, 23.5
        intrinsics.model, intrinsics.coeffs = rs.distortion.brown_conrady, [0.0] * 5
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt, stream.bpp = kind, 0, uid, pixel, size
        stream.width, stream.height, stream.fps, stream.intrinsics = WIDTH, HEIGHT, RATE, intrinsics
        return stream

    def send(self, number: int, stamp_ms: float, only: str = "") -> None:
        """One frame of each stream: colour of value `number`, depth of the level, a hole in the first row."""
        depth = np.full((HEIGHT, WIDTH), self._level, np.uint16)
        depth[0, :] = 0
        color = np.full((HEIGHT, WIDTH, 3), number % 256, np.uint8)
        color[:, :, 0] = 255
        for (sensor, profile, size), pixels, name in zip(
            self._streams, (depth, color), ("depth", "color"), strict=True
        ):
            if only in ("", name):
                frame = rs.software_video_frame()
                frame.pixels, frame.stride, frame.bpp = pixels, WIDTH * size, size
                frame.timestamp, frame.domain, frame.frame_number = stamp_ms, rs.timestamp_domain.system_time, number
                frame.profile = profile.as_video_stream_profile()
                sensor.on_video_frame(frame)

    def _feed(self) -> None:
        while not self._stop.wait(1 / RATE):
            self.send(next(self._numbers), time.time() * 1000)

    def __enter__(self) -> FakeCamera:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def make(*devices: FakeCamera, serial: str = "0001", rate: int = RATE) -> RealSenseCamera:
    return RealSenseCamera("camera_base", serial, WIDTH, HEIGHT, rate, devices=lambda: [d.device for d in devices])


class TestRealSenseCamera(CameraContract):
    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        with FakeCamera("0001") as fake:
            camera = make(fake)
            yield camera
            camera.close()


def test_pixels_stamp_and_intrinsics_arrive() -> None:
    fake = FakeCamera("0001")
    camera = make(fake)
    intrinsics = camera.open()
    assert (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy) == (60.0, 61.0, 31.5, 23.5)
    with fake:
        frame = read(camera)
    camera.close()
    assert frame.depth is not None
    assert set(np.unique(frame.color[:, :, 0])) == {255}, "red first: RGB"
    assert frame.color[0, 0, 1] == frame.color[-1, -1, 2]
    assert frame.depth[HEIGHT // 2, WIDTH // 2] == 500
    assert frame.depth[0, WIDTH // 2] == 0
    assert frame.frame_id == "camera_base_color_optical_frame"


def test_depth_of_a_camera_that_counts_tenths_of_a_millimetre() -> None:
    with FakeCamera("0001", depth_units=0.0001, level=5004) as fake:
        camera = make(fake)
        camera.open()
        frame = read(camera)
        camera.close()
    assert frame.depth is not None
    assert frame.depth[HEIGHT // 2, WIDTH // 2] == 500


def test_lost_frames_are_counted() -> None:
    fake = FakeCamera("0001")
    camera = make(fake)
    camera.open()
    start = time.time() * 1000
    for i, number in enumerate((1, 2, 6, 7)):
        fake.send(number, start + 33 * i)
        read(camera)
    camera.close()
    assert camera.statistics == {"frames": 4, "dropped": 3}


def test_a_stamp_that_goes_back_is_not_given_out() -> None:
    fake = FakeCamera("0001")
    camera = make(fake)
    camera.open()
    start = time.time() * 1000
    fake.send(1, start)
    first = read(camera)
    fake.send(2, start - 500)
    assert camera.read(0.3) is None
    fake.send(3, start + 33)
    assert read(camera).stamp_ns > first.stamp_ns
    camera.close()


def test_colour_without_depth_is_no_frame() -> None:
    fake = FakeCamera("0001")
    camera = make(fake)
    camera.open()
    fake.send(1, time.time() * 1000, only="color")
    assert camera.read(0.3) is None
    camera.close()


@pytest.mark.parametrize(
    ("serial", "devices", "message"),
    [
        (
            "0001",
            [],
            r"camera_base: no RealSense with serial 0001; connected: none; check the cable, config/99-realsense",
        ),
        ("", [], "camera_base: no RealSense is connected; check the cable"),
        ("0009", ["0001", "0002"], r"serial 0009; connected: 0001 \(Software D435\), 0002 \(Software D435\)"),
        ("", ["0001", "0002"], r"several are connected \(0001 .*, 0002 .*\); set its serial"),
        ("0001", ["0001", "0001"], "two RealSense cameras say serial 0001"),
    ],
)
def test_the_wrong_camera_is_named_with_those_there(serial: str, devices: list[str], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        make(*(FakeCamera(s) for s in devices), serial=serial).open()


def test_no_camera_on_this_machine() -> None:
    """librealsense's own list, not a list of ours."""
    if len(rs.context().query_devices()):
        pytest.skip("a RealSense is connected")
    with pytest.raises(CameraError, match="no RealSense with serial 123; connected: none"):
        RealSenseCamera("camera_wrist", "123", 640, 480, 30).open()


def test_an_empty_serial_takes_the_only_camera() -> None:
    with FakeCamera("0007") as fake:
        camera = make(fake, serial="")
        camera.open()
        assert read(camera)
        camera.close()


def test_an_unsupported_profile_lists_those_there_are() -> None:
    with pytest.raises(CameraError, match=r"no colour and depth at 64x48@60; it has color: 64x48@30; depth: 64x48@30"):
        make(FakeCamera("0001"), rate=60).open()


def test_device_clock_is_shifted_by_the_smallest_delay_seen() -> None:
    clock = CaptureClock()
    hardware = rs.timestamp_domain.hardware_clock
    delays_ms = (9.0, 4.0, 30.0)
    got = [
        clock.stamp(100.0 + 33 * i, hardware, round((5000.0 + 100 + 33 * i + d) * 1e6)) for i, d in enumerate(delays_ms)
    ]
    assert got == [round(v * 1e6) for v in (5109.0, 5137.0, 5170.0)]
    assert clock.stamp(1234.5, rs.timestamp_domain.global_time, 0) == 1_234_500_000
    assert clock.stamp(1234.5, rs.timestamp_domain.system_time, 0) == 1_234_500_000
