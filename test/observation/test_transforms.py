"""Bytes and names as ROS carries them."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ObservationError, ShapeError
from reconvla_ros.observation.transforms import arm_state, color_from_bytes, depth_from_bytes

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
NAMES = ["gripper", "joint6", "joint5", "joint4", "joint3", "joint2", "joint1"]
VALUES = [0.07, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def test_packed_rgb_is_not_copied() -> None:
    data = RGB.tobytes()
    got = color_from_bytes(data, 2, 3, 9, "rgb8")
    assert np.array_equal(got, RGB)
    assert np.shares_memory(got, np.frombuffer(data, np.uint8))


def test_bgr_and_alpha() -> None:
    assert np.array_equal(color_from_bytes(RGB[:, :, ::-1].tobytes(), 2, 3, 9, "bgr8"), RGB)
    rgba = np.dstack([RGB, np.full((2, 3), 255, np.uint8)])
    assert np.array_equal(color_from_bytes(rgba.tobytes(), 2, 3, 12, "rgba8"), RGB)
    assert np.array_equal(color_from_bytes(rgba[:, :, [2, 1, 0, 3]].tobytes(), 2, 3, 12, "bgra8"), RGB)


def test_row_padding_is_cut() -> None:
    padded = np.zeros((2, 16), np.uint8)
    padded[:, :9] = RGB.reshape(2, 9)
    assert np.array_equal(color_from_bytes(padded.tobytes(), 2, 3, 16, "rgb8"), RGB)


def test_depth_both_byte_orders() -> None:
    depth = np.array([[1, 500], [65535, 0]], np.uint16)
    assert np.array_equal(depth_from_bytes(depth.astype("<u2").tobytes(), 2, 2, 4, "16UC1"), depth)
    big = depth_from_bytes(depth.astype(">u2").tobytes(), 2, 2, 4, "16UC1", big_endian=True)
    assert big.dtype == np.uint16
    assert np.array_equal(big, depth)


def test_wrong_encoding_and_short_data_are_named() -> None:
    with pytest.raises(ObservationError, match=r"'rgb_8'.*rgb8"):
        color_from_bytes(b"", 2, 3, 9, "rgb_8")
    with pytest.raises(ObservationError, match="depth encoding '32FC1'"):
        depth_from_bytes(b"", 2, 2, 4, "32FC1")
    with pytest.raises(ObservationError, match="17 bytes do not hold 2 rows"):
        color_from_bytes(RGB.tobytes()[:-1], 2, 3, 9, "rgb8")
    with pytest.raises(ObservationError, match="do not hold"):
        color_from_bytes(RGB.tobytes(), 2, 3, 8, "rgb8")


def test_joints_in_any_order() -> None:
    got = arm_state(5, NAMES, VALUES, [v / 10 for v in VALUES], [1.0] * 7)
    assert np.allclose(got.position, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert np.allclose(got.velocity, [0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert got.gripper == 0.07
    assert got.stamp_ns == 5


def test_nothing_is_filled_with_zeros() -> None:
    with pytest.raises(ObservationError, match="lacks joint1"):
        arm_state(0, NAMES[:-1], VALUES[:-1], VALUES[:-1], VALUES[:-1])
    with pytest.raises(ObservationError, match=r"velocity: 7 joints are named, 0 values"):
        arm_state(0, NAMES, VALUES, [], VALUES)
    with pytest.raises(ShapeError, match="position"):
        arm_state(0, NAMES, [*VALUES[:-1], float("nan")], VALUES, VALUES)
