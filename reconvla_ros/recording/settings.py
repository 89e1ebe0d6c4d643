"""What config/recorder.yaml says: where episodes go and which topics are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconvla_ros import graph
from reconvla_ros.config import param
from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.recording.audit import AuditLimits
from reconvla_ros.recording.schema import split_type

WORDS = ("latched",)
RECORDER_TOPIC = "record/state"  # what the recorder says itself; recording it would change it
COLOR, DEPTH = "color/image_raw", "aligned_depth_to_color/image_raw"  # of one camera
COLORS = tuple(f"{camera}/{COLOR}" for camera in graph.CAMERAS)
IMAGES = tuple(f"{camera}/{kind}" for camera in graph.CAMERAS for kind in (COLOR, DEPTH))  # what the audit watches
STATES = ("joint_states", "arm/ee_pose")
CALIBRATION = tuple(f"{camera}/color/camera_info" for camera in graph.CAMERAS)


@dataclass(frozen=True)
class RecorderConfig:
    """Parameters of the recorder node; the file is config/recorder.yaml, the node's name `recorder`."""

    folder: str = param("episodes", "where episodes are written; made when missing, relative to the working folder")
    extra: tuple[str, ...] = param((), "topics besides those of the graph: name, type, 'latched' if it is")
    exclude: tuple[str, ...] = param((), "topics of the graph that are not recorded")
    record_at_start: bool = param(False, "open an episode as soon as the node is active")
    instruction: str = param("not given", "of the episode that record_at_start opens")
    operator: str = param("", "who demonstrates, when record/start does not say")
    chunk_crc: bool = param(True, "a checksum per chunk of the bag; costs about 0.3 ms of CPU per MB")
    queue_mb: int = param(256, "messages waiting for the disk; beyond it they are dropped and counted", unit="MB",
                          low=16, high=8192)  # fmt: skip
    poll_period: float = param(0.005, "how often the middleware's queues are emptied", unit="s", low=0.001, high=0.1)
    flush_period: float = param(0.4, "most that a crash may cost", unit="s", low=0.05, high=1.0)
    match_timeout: float = param(2.0, "longest that record/start waits for publishers to match", unit="s", low=0.0,
                                 high=30.0)  # fmt: skip
    drain: float = param(0.3, "how long record/stop still takes what was published before it", unit="s", low=0.0,
                         high=5.0)  # fmt: skip
    state_rate: float = param(2.0, "how often record/state is published while recording", unit="Hz", low=0.1, high=20.0)
    quota_gb: float = param(0.0, "most that all episodes together may take; 0 = no bound", unit="GB", low=0.0,
                            high=1e6)  # fmt: skip
    min_free_gb: float = param(
        2.0, "what stays free on the disk: below it recording ends", unit="GB", low=0.0, high=1e4
    )
    silent_after: float = param(0.25, "a watched stream that is silent so long, or three of its periods, is warned of",
                                unit="s", low=0.05, high=0.35)  # fmt: skip
    gap_factor: float = param(1.8, "an interval of so many periods is a gap", low=1.1, high=10.0)
    slow_factor: float = param(1.25, "a camera whose mean period is so many times the expected one is slow", low=1.05,
                               high=10.0)  # fmt: skip
    skew: float = param(0.05, "largest distance of the two cameras' stamps", unit="s", low=0.001, high=1.0)
    image_stale: float = param(0.5, "oldest image, by its stamp, that is not warned of", unit="s", low=0.01, high=10.0)
    state_stale: float = param(0.1, "oldest joint state, by its stamp, that is not warned of", unit="s", low=0.005,
                               high=10.0)  # fmt: skip

    @property
    def audit(self) -> AuditLimits:
        """The bounds of the live audit."""
        return AuditLimits(
            self.silent_after, self.gap_factor, self.slow_factor, self.skew, self.image_stale, self.state_stale
        )


@dataclass(frozen=True)
class RecordedTopic:
    """One topic to record: name relative to the namespace, message type, whether it is latched."""

    name: str
    type_name: str
    latched: bool = False


def parse_topics(lines: tuple[str, ...]) -> tuple[RecordedTopic, ...]:
    """`camera_base/color/image_raw sensor_msgs/msg/Image` and the like -> topics.

    Raises:
        ConfigError: a line of another form, a topic named twice.
    """
    topics: dict[str, RecordedTopic] = {}
    for line in lines:
        words = line.split()
        if len(words) not in (2, 3) or (len(words) == 3 and words[2] not in WORDS):
            extra = f"; {choices(words[2], WORDS)}" if len(words) == 3 else ""
            raise ConfigError(f"recorder.extra: expected 'name type [latched]', got {line!r}{extra}")
        name, type_name = words[0], words[1]
        if len(type_name.split("/")) != 3:
            raise ConfigError(f"recorder.extra: type of {name}: expected package/msg/Type, got {type_name!r}")
        split_type(type_name)
        if name in topics:
            raise ConfigError(f"recorder.extra: {name} is named twice")
        topics[name] = RecordedTopic(name, type_name, len(words) == 3)
    return tuple(topics.values())


def episodes_folder(config: RecorderConfig) -> Path:
    """The folder of the episodes, absolute, `~` expanded."""
    return Path(config.folder).expanduser().absolute()


def recorded_topics(config: RecorderConfig) -> tuple[RecordedTopic, ...]:
    """Every topic of the graph but our own, less `exclude`, plus `extra`.

    Raises:
        ConfigError: `exclude` names a topic that is not there, `extra` one that is.
    """
    topics = {t.name: RecordedTopic(t.name, t.type, t.latched) for t in graph.TOPICS if t.name != RECORDER_TOPIC}
    extra = parse_topics(config.extra)
    for topic in extra:
        if topic.name in topics:
            raise ConfigError(f"recorder.extra: {topic.name} is recorded already")
    topics |= {topic.name: topic for topic in extra}
    for name in config.exclude:
        if name not in topics:
            raise ConfigError(f"recorder.exclude: {choices(name, topics)}")
        del topics[name]
    return tuple(topics.values())
