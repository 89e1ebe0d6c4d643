"""A RealSense D4xx over pyrealsense2: colour, and depth aligned to it, by serial number.

The stamp is the capture instant: librealsense's global time where the camera has it (the device clock mapped to the
host's), else the device clock shifted by the smallest delay seen, else the arrival. Not yet tried on a real camera;
tested with librealsense's own software device, whose frames take the same way through this file.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyrealsense2 as rs

from reconvla_ros.errors import CameraError
from reconvla_ros.types import CameraFrame, CameraIntrinsics

MM = 1e-3  # [m] unit of CameraFrame.depth; D415, D435 and D455 use it too, a D405 counts 0.1 mm
# Frames over which the delay between device clock and arrival is minimised: 10 s at 30 Hz, in which two clocks that
# differ by 50 ppm drift 0.5 ms apart.
_OFFSET_WINDOW = 300
_HINT = "check the cable, config/99-realsense-libusb.rules, and that no other program has it open"


def by_serial(devices: Iterable[Any]) -> dict[str, Any]:
    """Serial -> device, of those that can stream.

    Raises:
        CameraError: two devices with one serial.
    """
    found: dict[str, Any] = {}
    for device in devices:
        if not device.supports(rs.camera_info.serial_number):
            continue  # in recovery mode: it streams nothing
        serial = device.get_info(rs.camera_info.serial_number)
        if serial in found:
            raise CameraError(f"two RealSense cameras say serial {serial}; they cannot be told apart")
        found[serial] = device
    return found


def describe(serial: str, device: Any) -> str:
    """`012345678901 (Intel RealSense D435, USB 3.2)`."""
    facts = [
        device.get_info(info)
        for info in (rs.camera_info.name, rs.camera_info.usb_type_descriptor)
        if device.supports(info)
    ]
    return f"{serial} ({', '.join(facts)})" if facts else serial


def intrinsics_of(stream: Any) -> CameraIntrinsics:
    """Of a video stream profile."""
    i = stream.as_video_stream_profile().get_intrinsics()
    return CameraIntrinsics(i.width, i.height, i.fx, i.fy, i.ppx, i.ppy, np.array(i.coeffs, dtype=np.float64))


class CaptureClock:
    """Frame timestamp in its domain -> capture instant [ns, ROS time = host clock]."""

    def __init__(self) -> None:
        self._offsets: deque[int] = deque(maxlen=_OFFSET_WINDOW)

    def stamp(self, timestamp_ms: float, domain: Any, arrival_ns: int) -> int:
        """The capture instant; `arrival_ns` is the host clock now [ns]."""
        capture = round(timestamp_ms * 1e6)
        if domain != rs.timestamp_domain.hardware_clock:
            return capture  # global_time and system_time are the host's clock already
        self._offsets.append(arrival_ns - capture)
        return capture + min(self._offsets)


class RealSenseCamera:
    """One D4xx; implements `camera.protocol.Camera`.

    Args:
        name: camera_base or camera_wrist; names the frame.
        serial: as `rs-enumerate-devices` prints it; empty = the only one connected.
        width, height: [px] of colour, and of depth after alignment. rate: frames a second [Hz].
        devices: what is connected; librealsense's list by default, its software devices in tests.
    """

    def __init__(
        self,
        name: str,
        serial: str,
        width: int,
        height: int,
        rate: int,
        devices: Callable[[], Iterable[Any]] | None = None,
    ) -> None:
        self._name, self._serial = name, serial
        self._size, self._rate = (width, height), rate
        self._context: Any = None
        self._devices = devices
        self._pipeline: Any = None
        self._device: Any = None
        self._last_stamp = -1
        self._last_number = -1
        self.statistics: dict[str, object] = {"frames": 0, "dropped": 0}

    def open(self) -> CameraIntrinsics:
        """Start colour and depth.

        Raises:
            CameraError: no such camera (lists those connected), a profile it does not have (lists those it has), or
                librealsense refuses.
        """
        self.close()
        if self._context is None:
            self._context = rs.context()
        serial, self._device = self._find()
        config = rs.config()
        config.enable_stream(rs.stream.color, *self._size, rs.format.rgb8, self._rate)
        config.enable_stream(rs.stream.depth, *self._size, rs.format.z16, self._rate)
        pipeline = rs.pipeline(self._context)
        pipeline.set_device(self._device)
        if not config.can_resolve(rs.pipeline_wrapper(pipeline)):
            self._refuse_profile(serial)
        self._use_global_time()
        try:
            profile = pipeline.start(config)
            self._depth_scale = self._device.first_depth_sensor().get_depth_scale()
            intrinsics = intrinsics_of(profile.get_stream(rs.stream.color))
        except RuntimeError as error:
            raise CameraError(f"{self._name}: {describe(serial, self._device)} does not start: {error}") from error
        self._pipeline, self._align, self._clock = pipeline, rs.align(rs.stream.color), CaptureClock()
        self._intrinsics = intrinsics
        self._last_stamp = self._last_number = -1
        return intrinsics

    def read(self, timeout: float) -> CameraFrame | None:
        """The next frame with both images, or None when none came within `timeout` [s].

        Raises:
            CameraError: not open, or the camera is gone.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._pipeline is None:
                raise CameraError(f"{self._name}: not open; call open() first")
            left = max(1, round((deadline - time.monotonic()) * 1000))
            try:
                came, frames = self._pipeline.try_wait_for_frames(left)
                frame = self._convert(frames) if came else None
            except RuntimeError as error:
                raise CameraError(f"{self._name}: reading failed: {error}") from error
            if frame is not None:
                return frame
            if not came and not self._device.is_connected():
                raise CameraError(f"{self._name}: the camera is gone; {_HINT}")
            if time.monotonic() >= deadline:
                return None

    def close(self) -> None:
        """Stop; safe to call twice."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            try:
                pipeline.stop()
            except RuntimeError:
                self.statistics["stop_failed"] = True  # an unplugged camera refuses; there is nothing left to stop

    def _find(self) -> tuple[str, Any]:
        """(serial, device) of the camera meant."""
        devices = by_serial(self._devices() if self._devices else self._context.query_devices())
        shown = ", ".join(describe(s, d) for s, d in devices.items()) or "none"
        if self._serial:
            if self._serial not in devices:
                raise CameraError(f"{self._name}: no RealSense with serial {self._serial}; connected: {shown}; {_HINT}")
            return self._serial, devices[self._serial]
        if len(devices) != 1:
            what = "no RealSense is connected" if not devices else f"several are connected ({shown}); set its serial"
            raise CameraError(f"{self._name}: {what}; {_HINT}" if not devices else f"{self._name}: {what}")
        return next(iter(devices.items()))

    def _refuse_profile(self, serial: str) -> None:
        have: dict[str, set[str]] = {"color": set(), "depth": set()}
        wanted = {rs.stream.color: ("color", rs.format.rgb8), rs.stream.depth: ("depth", rs.format.z16)}
        for sensor in self._device.query_sensors():
            for profile in sensor.get_stream_profiles():
                kind = wanted.get(profile.stream_type())
                if kind and profile.format() == kind[1]:
                    video = profile.as_video_stream_profile()
                    have[kind[0]].add(f"{video.width()}x{video.height()}@{profile.fps()}")
        lists = "; ".join(f"{name}: {', '.join(sorted(modes)) or 'none'}" for name, modes in have.items())
        wish = f"{self._size[0]}x{self._size[1]}@{self._rate}"
        shown = describe(serial, self._device)
        raise CameraError(f"{self._name}: {shown} has no colour and depth at {wish}; it has {lists}")

    def _use_global_time(self) -> None:
        for sensor in self._device.query_sensors():
            if sensor.supports(rs.option.global_time_enabled) and not sensor.is_option_read_only(
                rs.option.global_time_enabled
            ):
                sensor.set_option(rs.option.global_time_enabled, 1)

    def _convert(self, frames: Any) -> CameraFrame | None:
        """One frameset -> CameraFrame; None for one without both images, or one that is not newer than the last."""
        arrival = time.time_ns()
        raw = frames.get_color_frame()
        if not raw or not frames.get_depth_frame():
            return None
        stamp = self._clock.stamp(raw.get_timestamp(), raw.get_frame_timestamp_domain(), arrival)
        number = raw.get_frame_number()
        if stamp <= self._last_stamp:
            return None
        self._count(number)
        self._last_stamp, self._last_number = stamp, number
        aligned = self._align.process(frames)
        # Copied once: librealsense takes the memory back with the frame.
        color = np.array(aligned.get_color_frame().get_data(), dtype=np.uint8)
        depth = np.array(aligned.get_depth_frame().get_data(), dtype=np.uint16)
        if abs(self._depth_scale - MM) > 1e-9:
            depth = np.clip(np.rint(depth * (self._depth_scale / MM)), 0, 65535).astype(np.uint16)
        return CameraFrame(stamp, f"{self._name}_color_optical_frame", color, depth, self._intrinsics)

    def _count(self, number: int) -> None:
        self.statistics["frames"] = int(self.statistics["frames"]) + 1  # type: ignore[call-overload]
        if 0 <= self._last_number < number:
            lost = number - self._last_number - 1
            self.statistics["dropped"] = int(self.statistics["dropped"]) + lost  # type: ignore[call-overload]
