"""Positions read off serialised joint states, against `rosbags`' own serialisation."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

pytest.importorskip("rosbags")
import made_episode as made

from reconvla_ros.recording.cdr import finite_positions, positions_of


@pytest.mark.parametrize("frame", ["", "b", "base_link", "a/longer/frame"])
@pytest.mark.parametrize("names", [[], ["j"], made.NAMES])
def test_positions_are_found_whatever_stands_before_them(frame: str, names: list[str]) -> None:
    figures = np.arange(len(names), dtype=np.float64) + 0.5
    message = made.STORE.types["sensor_msgs/msg/JointState"](
        header=made.header(12, frame), name=names, position=figures, velocity=figures, effort=figures)  # fmt: skip
    data = made.serialised(message, "sensor_msgs/msg/JointState")
    assert positions_of(data).tolist() == figures.tolist()
    assert finite_positions(data)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_figures_that_are_none(bad: float) -> None:
    assert not finite_positions(made.joints(made.T0, bad))


@pytest.mark.parametrize("data", [b"", b"\0\1\0\0", made.joints(made.T0)[:60], struct.pack("<4sII", b"\0\1\0\0", 1, 2)])
def test_bytes_that_are_no_joint_state(data: bytes) -> None:
    assert not finite_positions(data)
