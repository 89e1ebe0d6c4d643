"""What every Camera must do. A test file of an implementation subclasses `CameraContract` and provides `camera`.

class TestSimCamera(CameraContract):
    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        ...  # start what feeds it; yield it closed; stop what feeds it
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from reconvla_ros.camera.protocol import Camera
from reconvla_ros.errors import CameraError
from reconvla_ros.types import CameraFrame

TIMEOUT = 5.0  # [s] far beyond one frame; a test that waits so long fails


def read(camera: Camera) -> CameraFrame:
    """The next frame; a camera that has none within TIMEOUT fails the test."""
    frame = camera.read(TIMEOUT)
    assert frame is not None, f"no frame within {TIMEOUT} s"
    return frame


class CameraContract:
    """The suite; `camera` is closed, fed, and of the size its test file chose."""

    @pytest.fixture
    def camera(self) -> Camera:
        raise NotImplementedError("a test file of an implementation provides this fixture")

    def test_it_is_a_camera(self, camera: Camera) -> None:
        assert isinstance(camera, Camera)

    def test_frames_have_the_shape_that_open_promised(self, camera: Camera) -> None:
        intrinsics = camera.open()
        frame = read(camera)
        camera.close()
        assert frame.color.shape == (intrinsics.height, intrinsics.width, 3)
        assert frame.color.dtype == np.uint8
        assert frame.depth is not None
        assert frame.depth.shape == (intrinsics.height, intrinsics.width)
        assert frame.depth.dtype == np.uint16
        assert frame.intrinsics.fx == intrinsics.fx
        assert frame.frame_id.endswith("_color_optical_frame")

    def test_stamps_strictly_increase_and_are_of_now(self, camera: Camera) -> None:
        camera.open()
        stamps = [read(camera).stamp_ns for _ in range(5)]
        camera.close()
        assert all(a < b for a, b in itertools.pairwise(stamps))
        assert abs(time.time_ns() - stamps[-1]) < TIMEOUT * 1e9

    def test_a_frame_stays_as_it_was(self, camera: Camera) -> None:
        """The images are given away: later frames do not write into them."""
        camera.open()
        first = read(camera)
        assert first.depth is not None
        color, depth = first.color.copy(), first.depth.copy()
        for _ in range(3):
            read(camera)
        camera.close()
        assert np.array_equal(first.color, color)
        assert np.array_equal(first.depth, depth)

    def test_read_before_open_is_refused(self, camera: Camera) -> None:
        with pytest.raises(CameraError, match="not open"):
            camera.read(0.1)

    def test_read_after_close_is_refused(self, camera: Camera) -> None:
        camera.open()
        camera.close()
        with pytest.raises(CameraError, match="not open"):
            camera.read(0.1)

    def test_close_twice_and_before_open(self, camera: Camera) -> None:
        camera.close()
        camera.open()
        camera.close()
        camera.close()

    def test_it_opens_again(self, camera: Camera) -> None:
        camera.open()
        before = read(camera).stamp_ns
        camera.close()
        camera.open()
        after = read(camera).stamp_ns
        camera.close()
        assert after > before

    def test_read_returns_none_in_time_when_nothing_comes(self, camera: Camera) -> None:
        """With no time to wait it may give a frame or None, but it does not block."""
        camera.open()
        read(camera)
        begin = time.monotonic()
        camera.read(0.0)
        took = time.monotonic() - begin
        camera.close()
        assert took < 1.0
