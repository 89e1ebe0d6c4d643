"""Every topic and frame that config/reconvla.rviz names is in the public surface, of the type its display wants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconvla_ros import graph

FILE = Path(__file__).parents[2] / "config" / "reconvla.rviz"
TOPICS = {topic.name: topic for topic in graph.TOPICS}
# What each display subscribes to (rviz_default_plugins).
TYPES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Path": "nav_msgs/msg/Path",
    "rviz_default_plugins/Pose": "geometry_msgs/msg/PoseStamped",
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
}
WITHOUT_TOPIC = {"rviz_default_plugins/Grid", "rviz_default_plugins/TF"}


def manager() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())["Visualization Manager"]


def subscriptions(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping below `node` that describes a subscription: rviz gives each a durability policy."""
    if isinstance(node, dict):
        if "Durability Policy" in node:
            yield node
        for value in node.values():
            yield from subscriptions(value)
    elif isinstance(node, list):
        for value in node:
            yield from subscriptions(value)


DISPLAYS = manager()["Displays"]


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d["Name"])
def test_each_display_names_a_topic_of_the_graph_with_its_type(display: dict[str, Any]) -> None:
    named = list(subscriptions(display))
    if display["Class"] in WITHOUT_TOPIC:
        assert not named
        return
    assert len(named) == 1
    topic = TOPICS.get(named[0]["Value"])
    assert topic is not None, f"{display['Name']}: {named[0]['Value']} is not in graph.TOPICS"
    assert topic.type == TYPES[display["Class"]]
    assert (named[0]["Durability Policy"] == "Transient Local") == topic.latched
    if topic.type == "sensor_msgs/msg/Image":
        assert named[0]["Reliability Policy"] == "Best Effort"


def test_nothing_outside_the_displays_subscribes_or_publishes() -> None:
    rest = {key: value for key, value in manager().items() if key != "Displays"}
    assert not list(subscriptions(rest))
    assert not [tool for tool in rest["Tools"] if "Topic" in tool]


def test_every_frame_is_one_of_the_graph() -> None:
    frames = {manager()["Global Options"]["Fixed Frame"], manager()["Views"]["Current"]["Target Frame"]}
    for display in DISPLAYS:
        frames |= set(display.get("Frames", {})) - {"All Enabled"}
        frames |= {display["Reference Frame"]} if "Reference Frame" in display else set()
    assert frames <= set(graph.FRAMES)
    assert "base_link" in frames


def test_what_the_issue_wants_to_see_is_there() -> None:
    shown = {entry["Value"] for display in DISPLAYS for entry in subscriptions(display)}
    assert shown >= {
        "robot_description",
        "camera_base/color/image_raw",
        "camera_wrist/color/image_raw",
        "policy/ee_pose",
        "policy/path",
        "arm/limits",
    }
