"""What the workspace installed is what `ros2 run` and `ros2 launch` look for."""

from __future__ import annotations

import os

import pytest

from reconvla_ros.cli.places import executables, share
from reconvla_ros.graph import describe


@pytest.mark.parametrize("name", sorted({n.executable for n in describe({})}))
def test_every_node_is_an_executable(name: str) -> None:
    """`ros2 launch` once did not find any: links to files without the permission to be executed."""
    path = executables() / name
    assert path.is_file()
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env python3")


def test_launch_configuration_and_description_are_installed() -> None:
    names = (
        "launch/bringup.launch.py",
        "config/piper.yaml",
        "config/fastdds.xml",
        "config/reconvla.rviz",
        "urdf/piper.urdf",
    )
    assert [n for n in names if not (share() / n).is_file()] == []
