"""metadata.yaml of rosbag2, which `ros2 bag` reads beside the MCAP file; written last, so its presence says "closed"."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconvla_ros.errors import RecordingError, choices

METADATA_FILE = "metadata.yaml"
# rosbag2 metadata version 8 (Iron, Jazzy): the newest one whose QoS text Humble, Jazzy and Kilted all read.
METADATA_VERSION = 8
# rmw's "infinite" as rosbag2 writes it.
_INFINITE = {"sec": 9223372036, "nsec": 854775807}
# Values of the rmw enumerations (rmw/types.h).
_HISTORY = {"keep_last": 1, "keep_all": 2}
_RELIABILITY = {"reliable": 1, "best_effort": 2}
_DURABILITY = {"transient_local": 1, "volatile": 2}
_LIVELINESS_AUTOMATIC = 1


@dataclass(frozen=True)
class TopicQos:
    """What a publisher offers, as far as a player needs it to offer the same again."""

    reliability: str = "reliable"
    durability: str = "volatile"
    depth: int = 10

    def as_rosbag2(self) -> dict[str, Any]:
        """The mapping rosbag2 stores up to metadata version 8."""
        for name, known in (("reliability", _RELIABILITY), ("durability", _DURABILITY)):
            if getattr(self, name) not in known:
                raise RecordingError(f"qos.{name}: {choices(getattr(self, name), known)}")
        return {
            "history": _HISTORY["keep_last"],
            "depth": self.depth,
            "reliability": _RELIABILITY[self.reliability],
            "durability": _DURABILITY[self.durability],
            "deadline": dict(_INFINITE),
            "lifespan": dict(_INFINITE),
            "liveliness": _LIVELINESS_AUTOMATIC,
            "liveliness_lease_duration": dict(_INFINITE),
            "avoid_ros_namespace_conventions": False,
        }


def qos_text(offers: Sequence[TopicQos]) -> str:
    """The offers as rosbag2 keeps them in a channel; empty for none."""
    return yaml.safe_dump([q.as_rosbag2() for q in offers], sort_keys=False).strip() if offers else ""


@dataclass(frozen=True)
class TopicLine:
    """One topic of metadata.yaml; `qos` as `qos_text` gives it."""

    name: str
    type_name: str
    type_hash: str
    qos: str
    count: int


def document(file_name: str, topics: Iterable[TopicLine], start_ns: int, end_ns: int) -> dict[str, Any]:
    """What metadata.yaml holds for one MCAP file; times are log times [ns], 0 when it is empty."""
    lines = list(topics)
    count = sum(line.count for line in lines)
    start, duration = {"nanoseconds_since_epoch": start_ns}, {"nanoseconds": end_ns - start_ns}
    entries = [
        {
            "topic_metadata": {
                "name": line.name,
                "type": line.type_name,
                "serialization_format": "cdr",
                "offered_qos_profiles": line.qos,
                "type_description_hash": line.type_hash,
            },
            "message_count": line.count,
        }
        for line in lines
    ]
    piece = {"path": file_name, "starting_time": start, "duration": duration, "message_count": count}
    return {
        "rosbag2_bagfile_information": {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            "duration": duration,
            "starting_time": start,
            "message_count": count,
            "topics_with_message_count": entries,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [file_name],
            "files": [piece],
            "custom_data": {},
            "ros_distro": os.environ.get("ROS_DISTRO", "jazzy"),
        }
    }


def write_document(folder: Path, data: dict[str, Any]) -> None:
    """Replace metadata.yaml of `folder` in one step, on the disk when this returns.

    Raises:
        OSError: the folder cannot be written.
    """
    replace_file(folder / METADATA_FILE, yaml.safe_dump(data, sort_keys=False))


def replace_file(path: Path, text: str) -> None:
    """Write a small text file so that a crash or a power cut leaves the old one or the new one, never half of it.

    Raises:
        OSError: the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.part")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: a file that is synced but has no name is lost in a power cut."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
