"""What config/recorder.yaml says: where episodes go and which topics are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconvla_ros.config import param
from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.recording.schema import split_type

WORDS = ("latched",)


@dataclass(frozen=True)
class RecorderConfig:
    """Parameters of the recorder node; the file is config/recorder.yaml, the node's name `recorder`."""

    folder: str = param("episodes", "where episodes are written; made when missing, relative to the working folder")
    topics: tuple[str, ...] = param((), "one topic a line: name, type, and 'latched' when its last message is kept")
    operator: str = param("", "who demonstrates, when record/start does not say")
    chunk_crc: bool = param(True, "a checksum per chunk of the bag; costs about 0.2 ms of CPU per MB")
    queue_mb: int = param(256, "messages waiting for the disk; beyond it they are dropped and counted", unit="MB",
                          low=16, high=8192)  # fmt: skip
    image_depth: int = param(60, "messages the middleware keeps per image topic (2 s at 30 Hz)", low=1, high=1000)
    depth: int = param(1000, "messages the middleware keeps per other topic", low=1, high=100000)
    poll_period: float = param(0.005, "how often the middleware's queues are emptied", unit="s", low=0.001, high=0.1)
    flush_period: float = param(0.5, "most that a crash may cost", unit="s", low=0.05, high=1.0)
    match_timeout: float = param(2.0, "longest that record/start waits for publishers to match", unit="s", low=0.0,
                                 high=30.0)  # fmt: skip
    drain: float = param(0.3, "how long record/stop still takes what was published before it", unit="s", low=0.0,
                         high=5.0)  # fmt: skip
    state_rate: float = param(2.0, "how often record/state is published while recording", unit="Hz", low=0.1, high=20.0)


@dataclass(frozen=True)
class RecordedTopic:
    """One line of `topics`: name relative to the namespace, message type, whether it is latched."""

    name: str
    type_name: str
    latched: bool = False

    @property
    def is_image(self) -> bool:
        """Large messages get a shorter queue."""
        return self.type_name == "sensor_msgs/msg/Image"


def parse_topics(lines: tuple[str, ...]) -> tuple[RecordedTopic, ...]:
    """`camera_base/color/image_raw sensor_msgs/msg/Image` and the like -> topics.

    Raises:
        ConfigError: a line of another form, a topic named twice, no topic at all.
    """
    topics: dict[str, RecordedTopic] = {}
    for line in lines:
        words = line.split()
        if len(words) not in (2, 3) or (len(words) == 3 and words[2] not in WORDS):
            extra = f"; {choices(words[2], WORDS)}" if len(words) == 3 else ""
            raise ConfigError(f"recorder.topics: expected 'name type [latched]', got {line!r}{extra}")
        name, type_name = words[0], words[1]
        if len(type_name.split("/")) != 3:
            raise ConfigError(f"recorder.topics: type of {name}: expected package/msg/Type, got {type_name!r}")
        split_type(type_name)
        if name in topics:
            raise ConfigError(f"recorder.topics: {name} is named twice")
        topics[name] = RecordedTopic(name, type_name, len(words) == 3)
    if not topics:
        raise ConfigError("recorder.topics: must name at least one topic")
    return tuple(topics.values())


def episodes_folder(config: RecorderConfig) -> Path:
    """The folder of the episodes, `~` expanded."""
    return Path(config.folder).expanduser()
