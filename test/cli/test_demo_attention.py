"""Overlays out of a bag, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")

from mcap.writer import Writer
from PIL import Image
from rclpy.serialization import serialize_message

from reconvla_ros.cli import demo_attention
from reconvla_ros.errors import RecordingError
from reconvla_ros.nodes import convert


def bag(folder: Path, shades: list[int], topic: str = "/robot/policy/attention") -> Path:
    folder.mkdir()
    with (folder / "bag_0.mcap").open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", b"")
        channel = writer.register_channel(topic, "cdr", schema)
        for k, shade in enumerate(shades):
            pixels = np.full((40, 30, 3), shade, np.uint8)
            data = serialize_message(convert.to_image(pixels, "rgb8", k, "x"))
            writer.add_message(channel, log_time=5_000_000_000 + k * 1_000_000_000, data=data, publish_time=k)
        writer.finish()
    return folder


def test_the_first_the_last_and_some_between(tmp_path: Path) -> None:
    pictures = demo_attention.read(bag(tmp_path / "b", list(range(0, 100, 10))))
    assert [seconds for seconds, _ in pictures] == [0.0, 3.0, 6.0, 9.0]
    assert [int(pixels[0, 0, 0]) for _, pixels in pictures] == [0, 30, 60, 90]
    path = tmp_path / "a.png"
    demo_attention.write(tmp_path / "b", path, "random")
    made = np.asarray(Image.open(path))
    assert made.shape == (40 + 28 + 18, 4 * 38 - 8, 3)
    assert [int(made[40, 38 * k + 5, 1]) for k in range(4)] == [0, 30, 60, 90]
    assert len(demo_attention.read(bag(tmp_path / "short", [7, 8]))) == 2


def test_a_bag_without_overlays_is_named(tmp_path: Path) -> None:
    for folder in (bag(tmp_path / "other", [1], topic="/policy/attention_raw"), tmp_path):
        with pytest.raises(RecordingError, match=r"no policy/attention in .*attention: true"):
            demo_attention.read(folder)
