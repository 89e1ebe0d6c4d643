"""What was commanded in a recorded episode, and where the arm was: read with `mcap` and `mcap_ros2`, no ROS needed."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from reconvla_ros.errors import RecordingError, ShapeError, choices
from reconvla_ros.observation.transforms import opening
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES, ActionChunk, EeCommand, Float, Pose

CHUNKS, COMMANDS, JOINTS, STATUS = "policy/action_chunk", "arm/ee_command", "joint_states", "arm/status"


@dataclass(frozen=True, eq=False)
class Refused:
    """A message that is no command at all: why, in words."""

    detail: str


@dataclass(frozen=True)
class Withdrawn:
    """A chunk without steps: the one before it ends here."""


@dataclass
class Episode:
    """Commands (received [ns], command) in order; joints (6,) [rad] and opening [m] by stamp [ns]; the arm's firmware."""

    commands: list[tuple[int, str, ActionChunk | EeCommand | Refused | Withdrawn]] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    joints: list[tuple[Float, float]] = field(default_factory=list)
    firmware: str = ""

    def measured(self, at_ns: int) -> tuple[Float, float] | None:
        """The newest sample not after `at_ns`; None before the first."""
        index = bisect_right(self.stamps, at_ns) - 1
        return self.joints[index] if index >= 0 else None


def _file(bag: Path) -> Path:
    if bag.is_file():
        return bag
    if not bag.exists():
        beside = sorted({p.parent.name for p in bag.parent.glob("*/*.mcap")}) if bag.parent.is_dir() else []
        raise RecordingError(f"no bag {bag}; bags beside it: {', '.join(beside) or 'none'}")
    found = sorted(bag.glob("*.mcap"))
    held = ", ".join(sorted(p.name for p in bag.iterdir())) or "nothing"
    if not found:
        raise RecordingError(f"bag {bag}: no .mcap file in it (it holds {held})")
    if len(found) > 1:
        raise RecordingError(f"bag {bag}: {len(found)} .mcap files; name one of {', '.join(p.name for p in found)}")
    return found[0]


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (McapError, OSError, EOFError, ValueError, KeyError) as error:
        raise RecordingError(f"bag {file} cannot be read: {type(error).__name__}: {error}".rstrip(": ")) from error


def read(bag: Path) -> Episode:
    """The episode in `bag`, a folder with one MCAP file or that file; topics are found in any namespace.

    Raises:
        RecordingError: there is none, it cannot be read, or it holds no commands or no joints (with the topics it holds).
    """
    file, episode, topics = _file(bag), Episode(), set[str]()
    factory, decoders = DecoderFactory(), dict[int, Any]()
    with _readable(file), file.open("rb") as stream:
        for schema, channel, message in make_reader(stream).iter_messages():
            topics.add(channel.topic)
            name = next((n for n in (CHUNKS, COMMANDS, JOINTS, STATUS) if f"/{channel.topic}".endswith(f"/{n}")), "")
            if not name or schema is None:
                continue
            if channel.id not in decoders:
                decoders[channel.id] = factory.decoder_for(channel.message_encoding, schema)
            _take(episode, name, message.log_time, decoders[channel.id](message.data))
    held = ", ".join(sorted(topics)) or "nothing"
    if not episode.commands:
        raise RecordingError(f"bag {file}: no commands in it ({CHUNKS}, {COMMANDS}); it holds {held}")
    if not episode.joints:
        raise RecordingError(f"bag {file}: no {JOINTS} with {JOINT_NAMES[0]}..{JOINT_NAMES[-1]}; it holds {held}")
    return episode


def _command_of(name: str, message: Any) -> ActionChunk | EeCommand | Withdrawn:
    if name != CHUNKS:
        return ee_command_of(message)
    return chunk_of(message) if len(message.poses) or len(message.gripper) else Withdrawn()


def _take(episode: Episode, name: str, received_ns: int, message: Any) -> None:
    if name == STATUS:
        episode.firmware = message.firmware or episode.firmware
    elif name == JOINTS:
        values = dict(zip(message.name, message.position, strict=False))
        if all(joint in values for joint in JOINT_NAMES):
            episode.stamps.append(_time(message.header.stamp))
            joints = np.array([values[joint] for joint in JOINT_NAMES], dtype=np.float64)
            episode.joints.append((joints, float(values.get(GRIPPER_NAME, 0.0))))
    else:
        source = "policy" if name == CHUNKS else str(message.source)
        try:
            command: Any = _command_of(name, message)
        except ShapeError as error:
            command = Refused(str(error))
        episode.commands.append((received_ns, source, command))


def _time(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pose(message: Any) -> Pose:
    p, q = message.position, message.orientation
    return Pose(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


def _require_base_link(name: str, frame_id: str) -> None:
    if frame_id.lstrip("/") != "base_link":
        raise ShapeError(f"{name}.header.frame_id: {choices(frame_id, ['base_link'])}")


def chunk_of(message: Any) -> ActionChunk:
    """A decoded ActionChunk message, as `nodes.convert.from_chunk` takes a live one.

    Raises:
        ShapeError: it is none.
    """
    _require_base_link("action_chunk", message.header.frame_id)
    poses = [_pose(p) for p in message.poses]
    return ActionChunk(
        stamp_ns=_time(message.header.stamp),
        task_id=message.task_id,
        sequence=message.sequence,
        step_dt=message.step_dt.sec + message.step_dt.nanosec * 1e-9,
        anchor=_pose(message.anchor),
        positions=np.array([p.position for p in poses]).reshape(-1, 3),
        quaternions=np.array([p.quaternion for p in poses]).reshape(-1, 4),
        gripper=np.array([opening(v) for v in message.gripper]),
        confidence=np.array(message.confidence, dtype=np.float64),
        token_ids=tuple(message.token_ids),
        prefix_steps=message.prefix_steps,
    )


def ee_command_of(message: Any) -> EeCommand:
    """A decoded EndEffectorCommand message, as `nodes.convert.from_ee_command` takes a live one.

    Raises:
        ShapeError: it is none.
    """
    _require_base_link("ee_command", message.header.frame_id)
    gripper = None if math.isnan(message.gripper) else opening(message.gripper)
    return EeCommand(_time(message.header.stamp), message.source, _pose(message.pose), gripper)
