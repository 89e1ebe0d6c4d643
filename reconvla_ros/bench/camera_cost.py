"""What a RealSense frame costs on its way from librealsense to the wire, beside one memcpy of it (B8 for the real camera)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.bench.camera_faults import CONFIG
from reconvla_ros.camera.realsense import RealSenseCamera
from reconvla_ros.camera.software import SoftwareCamera
from reconvla_ros.camera.usb import Mode
from reconvla_ros.errors import CameraError, SetupError

WIDTH, HEIGHT = 640, 480
FRAMES, WARM_UP = 200, 20
BOUND = 0.4  # of performance.md's B8: one memcpy / what we do


def measure(frames: int = FRAMES) -> dict[str, Any]:
    """Medians over `frames` frames, the sides in turn on the same frame, [us], and ratios memcpy / ours.

    copy: the bytes of colour's message from librealsense's memory, the only copy there is; memcpy: the same pixels into a
    buffer. handling: all else that is done for the frame and for a depth frame (queue, number, stamp, pairing, checks; no
    pixels are touched). align: what librealsense takes to align depth, not ours.

    Raises:
        SetupError: no ROS here.
    """
    try:
        from reconvla_ros.nodes.serialized import image_bytes
    except ImportError as error:
        raise SetupError(
            f"the bytes of a message need ROS, and {error.name} is not here; remedy: run it by ./reconvla"
        ) from error
    fake = SoftwareCamera("0001", modes=(Mode(WIDTH, HEIGHT, 30),))
    config = replace(CONFIG, width=WIDTH, height=HEIGHT, patience=60.0)
    camera = RealSenseCamera("camera_base", config, lambda: [fake.device])
    camera.open()
    target = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    taken: dict[str, list[float]] = {"copy": [], "memcpy": [], "handling": [], "align": []}
    for number in range(frames + WARM_UP):
        at = 1000.0 + number * 200.0
        fake.send(2 * number + 1, at)
        whole, _ = _timed(camera)
        fake.send(2 * number + 2, at + 50.0, only="color")
        fake.send(2 * number + 2, at + 90.0, only="depth")  # too far off to be its depth: colour goes alone
        alone, color = _timed(camera)
        sides: dict[str, Callable[[], object]] = {
            "copy": partial(image_bytes, color, "rgb8", 1, "camera"),
            "memcpy": partial(np.copyto, target, color),
        }
        found = {name: _seconds(sides[name]) for name in (sides if number % 2 else reversed(list(sides)))}
        if number >= WARM_UP:
            for name, value in (*found.items(), ("handling", alone), ("align", whole - alone)):
                taken[name].append(value)
    camera.close()
    medians = {f"{name}_us": round(float(np.median(values)) * 1e6, 1) for name, values in taken.items()}
    copy, memcpy, handling = (np.array(taken[name]) for name in ("copy", "memcpy", "handling"))
    return {
        **medians, "frames": frames, "bound": BOUND,
        "ratio": _ratio(memcpy, copy), "whole": _ratio(memcpy, copy + handling),
        "kept": _ratio(memcpy, copy)["median"] >= BOUND,
    }  # fmt: skip


def _ratio(one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, float]:
    """Median and quartiles of one / other."""
    low, median, high = np.quantile(one / other, (0.25, 0.5, 0.75))
    return {"median": round(float(median), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    kept = work()
    took = time.perf_counter() - begin
    del kept
    return took


def _timed(camera: RealSenseCamera) -> tuple[float, Any]:
    """(seconds that the camera took once the frames were there, colour); software frames are there when `send` returns."""
    begin = time.perf_counter()
    frame = camera.read(1.0)
    if frame is None:
        raise CameraError("the software device gave no frame")
    return time.perf_counter() - begin, frame.color
