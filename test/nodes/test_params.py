"""A parameter file as ROS hands it over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from reconvla_ros.config import param
from reconvla_ros.errors import ConfigError
from reconvla_ros.nodes import params


@dataclass(frozen=True)
class Config:
    """Two fields."""

    boxes: tuple[float, ...] = param((1.0,), "a list")
    rate: float = param(2.0, "a number")


def declared(tmp_path: Path, text: str) -> Config:
    import rclpy

    file = tmp_path / "p.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    {text}\n")
    context = rclpy.Context()
    rclpy.init(context=context, args=["--ros-args", "--params-file", str(file)])
    node = rclpy.create_node("given", context=context, start_parameter_services=False)
    try:
        return params.declare(node, Config)
    finally:
        node.destroy_node()
        context.shutdown()


def test_an_empty_list_is_empty_and_no_missing_value(tmp_path: Path, domain: int) -> None:
    # ROS has no type for [] and says "not set"; the driver did not start with keep_out: [].
    assert declared(tmp_path, "boxes: []").boxes == ()
    assert declared(tmp_path, "boxes: [0.5, 2.0]").boxes == (0.5, 2.0)
    assert declared(tmp_path, "rate: 3.0").boxes == (1.0,)


def test_what_is_no_list_is_still_refused(tmp_path: Path, domain: int) -> None:
    with pytest.raises(ConfigError, match="boxes: must be a list"):
        declared(tmp_path, "boxes: 3.0")
