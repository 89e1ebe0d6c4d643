"""Nonsense over DDS to the real driver: each is refused and counted, and no target changes on the bus."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from running import Graph

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]
NAN = math.nan


def pose(x: float, y: float = 0.0, z: float = 0.2, w: float = 1.0) -> Any:
    from geometry_msgs.msg import Point, Pose, Quaternion

    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=w))


def commands() -> list[tuple[str, dict[str, Any]]]:
    """Reason code the driver must count, and what is wrong with an otherwise good command for the holder of the lease."""
    now = time.time_ns()
    return [
        ("shape", {"pose": pose(NAN)}),
        ("shape", {"pose": pose(math.inf)}),
        ("shape", {"pose": pose(0.3, w=0.0)}),
        ("shape", {"frame": "map"}),
        ("shape", {"source": "nobody"}),
        ("shape", {"gripper": math.inf}),
        ("lease", {"source": "replay"}),
        ("age", {"stamp": now - 3_600_000_000_000}),
        ("age", {"stamp": now + 3_600_000_000_000}),
        ("age", {"stamp": 0}),
        ("distance", {"pose": pose(30.0)}),
        ("distance", {"pose": pose(1e300)}),
        ("gripper_range", {"gripper": 10.0}),
    ]


def test_nonsense_moves_nothing(graph: Graph) -> None:
    from reconvla_ros.msg import EndEffectorCommand
    from reconvla_ros.srv import Release, SetSource
    from std_srvs.srv import SetBool

    from reconvla_ros.nodes import convert, qos

    graph.start("simulator", "driver")
    graph.wait(lambda: graph.ear.joints()[1] > 0.5 and graph.ear.still(0.3), "the arm is ready", 60.0)
    publisher = graph.client.node.create_publisher(EndEffectorCommand, "arm/ee_command", qos.COMMAND)
    graph.wait(lambda: publisher.get_subscription_count() > 0, "the driver listens")
    assert graph.client.call(SetSource, "arm/source", SetSource.Request(source="teleop")).accepted

    def count(reason: str) -> int:
        status = graph.monitor.arm
        return int(dict(zip(status.reasons, status.reason_counts, strict=True)).get(reason, 0)) if status else -1

    graph.wait(lambda: count("shape") >= 0, "a status came")
    held = graph.ear.targets()
    here = pose(0.25)
    for reason, wrong in commands():
        before = count(reason)
        stamp = wrong.get("stamp")

        def said(reason: str = reason, wrong: dict[str, Any] = wrong, before: int = before, stamp: Any = stamp) -> bool:
            publisher.publish(EndEffectorCommand(
                header=convert.header(time.time_ns() if stamp is None else stamp, wrong.get("frame", "base_link")),
                source=wrong.get("source", "teleop"), pose=wrong.get("pose", here), gripper=wrong.get("gripper", NAN),
            ))  # fmt: skip
            time.sleep(0.05)
            return count(reason) > before

        graph.wait(said, f"{reason} is counted for {wrong}", 10.0)
        assert np.array_equal(graph.ear.targets(), held), (reason, wrong)

    answer = graph.client.call(SetSource, "arm/source", SetSource.Request(source="robot"))
    assert not answer.accepted
    assert "none, policy, teleop, home, replay" in answer.message
    answer = graph.client.call(Release, "arm/release", Release.Request(mode="let go"))
    assert not answer.success
    assert "open, back_off" in answer.message
    answer = graph.client.call(SetBool, "arm/enable", SetBool.Request(data=False))
    assert not answer.success
    assert "falls" in answer.message
    assert all(graph.ear.enabled())
    assert np.array_equal(graph.ear.targets(), held)
