from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from visualization_msgs.msg import Marker

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.nodes.driver_convert import to_markers
from reconvla_ros.types import Pose

LIMITS = DriverConfig().limits()


def test_limits_without_boxes_and_cone() -> None:
    markers = to_markers(LIMITS, None, 5).markers
    assert [m.id for m in markers] == [0, 1, 2] and markers[2].action == Marker.DELETE
    assert math.isclose(markers[0].scale.x, 0.52) and math.isclose(markers[0].pose.position.x, 0.34)


def test_boxes_cone_and_refused_target_are_drawn_where_they_are() -> None:
    limits = replace(LIMITS, keep_out=(0.1, 0.2, 0.0, 0.3, 0.6, 0.4, 0.5, -0.3, 0.0, 0.6, -0.1, 0.2), tool_cone=0.5)
    target = Pose(np.array([0.3, 0.1, 0.2]), np.array([0.0, 1.0, 0.0, 0.0]))
    markers = {m.id: m for m in to_markers(limits, target, 5).markers}
    assert sorted(markers) == [0, 1, 2, 3, 10, 11]
    box = markers[10]
    assert np.allclose([box.pose.position.x, box.pose.position.y, box.pose.position.z], [0.2, 0.4, 0.2])
    assert np.allclose([box.scale.x, box.scale.y, box.scale.z], [0.2, 0.4, 0.4])
    assert markers[2].action == Marker.ADD and math.isclose(markers[2].pose.position.y, 0.1)
    rim = np.array([[p.x, p.y, p.z] for p in markers[3].points if (p.x, p.y, p.z) != (0.0, 0.0, 0.0)])
    angles = np.arccos(rim @ [0.0, 0.0, -1.0] / np.linalg.norm(rim, axis=1))
    assert len(rim) == 36 and np.allclose(angles, 0.5) and len({m.ns for m in markers.values()}) == 1
