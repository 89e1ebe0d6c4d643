"""The recorder's file and its topic lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconvla_ros import graph
from reconvla_ros.config import load
from reconvla_ros.errors import ConfigError
from reconvla_ros.recording.settings import RecordedTopic, RecorderConfig, parse_topics, recorded_topics

FILE = Path(__file__).parents[2] / "config" / "recorder.yaml"


def test_the_file_fits_the_dataclass_and_states_its_defaults() -> None:
    config = load(RecorderConfig, FILE, "recorder")
    defaults = RecorderConfig()
    for name in ("folder", "chunk_crc", "queue_mb", "flush_period", "drain", "record_at_start", "state_rate"):
        assert getattr(config, name) == getattr(defaults, name)
    extra = {t.name for t in parse_topics(config.extra)}
    assert "arm/ee_command" in extra
    assert not extra & {t.name for t in graph.TOPICS}


def test_the_graph_passes_only_known_parameters() -> None:
    node = next(n for n in graph.describe({}) if n.name == "recorder")
    known = set(RecorderConfig.__dataclass_fields__)
    assert set(node.parameters) <= known | {"autostart"}


def test_lines() -> None:
    assert parse_topics(("a/b std_msgs/msg/String", "c std_msgs/msg/String latched")) == (
        RecordedTopic("a/b", "std_msgs/msg/String"),
        RecordedTopic("c", "std_msgs/msg/String", True),
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a",), "expected 'name type"),
        (("a std_msgs/msg/String latch",), "did you mean 'latched'"),
        (("a std_msgs/String",), "expected package/msg/Type"),
        (("a std_msgs/msg/String", "a std_msgs/msg/Bool"), "a is named twice"),
    ],
)
def test_bad_lines(lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_topics(lines)


def test_every_topic_of_the_graph_is_recorded_but_our_own() -> None:
    names = {t.name for t in recorded_topics(RecorderConfig(extra=("x std_msgs/msg/String",)))}
    assert names == {t.name for t in graph.TOPICS} - {"record/state"} | {"x"}
    assert "tf" not in {t.name for t in recorded_topics(RecorderConfig(exclude=("tf",)))}
    latched = {t.name for t in recorded_topics(RecorderConfig()) if t.latched}
    assert {"robot_description", "tf_static", "task/state"} <= latched


def test_wrong_extra_and_exclude_are_named() -> None:
    with pytest.raises(ConfigError, match="tf is recorded already"):
        recorded_topics(RecorderConfig(extra=("tf tf2_msgs/msg/TFMessage",)))
    with pytest.raises(ConfigError, match="did you mean 'joint_states'"):
        recorded_topics(RecorderConfig(exclude=("joint_state",)))
