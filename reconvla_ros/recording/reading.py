"""One pass over an episode's bag with `mcap` and `mcap_ros2`, which share no code with the recorder: everything is decoded
by the definitions in the bag, checksums are checked, and the audit that ran live runs again."""

from __future__ import annotations

import contextlib
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.stream_reader import CRCValidationError
from mcap_ros2.decoder import DecoderFactory

from reconvla_ros import graph
from reconvla_ros.errors import ObservationError, RecordingError, ShapeError, choices
from reconvla_ros.observation import transforms
from reconvla_ros.recording.audit import Auditor
from reconvla_ros.recording.settings import COLOR, COLORS, DEPTH, IMAGES, STATES

VERDICTS = ("passed", "clamped", "refused")  # ActionTrace.verdict
_BROKEN = (struct.error, UnicodeDecodeError, ValueError, IndexError, OverflowError, MemoryError, McapError)
_EXAMPLES = 3
_KNOWN = {topic.name for topic in graph.TOPICS} | {"arm/ee_command"}

Float = np.ndarray


@dataclass(frozen=True, eq=False)
class Trace:
    """One arm/action_trace: `at` [ns]; poses (7,) [m], quaternion x y z w; grippers [m], NaN = keep; joints (6,) [rad]."""

    at: int
    source: str
    verdict: str
    reason: str
    requested: Float
    requested_gripper: float
    filtered: Float
    filtered_gripper: float
    applied: Float


@dataclass
class Contents:
    """What a bag holds; topics relative to the namespace, times [ns] by header stamp.

    Attributes:
        counts: messages per topic. types: per topic. undefined: topics without a definition in the bag.
        broken: messages that could not be decoded, per topic, and `examples` of why.
        joints: (stamp, joint1..6 [rad], opening [m]); incomplete ones are left out.
        poses: (stamp, TCP position and quaternion (7,)).
        holders: (log time, holder of the lease) at each change.
    """

    counts: Counter[str] = field(default_factory=Counter)
    types: dict[str, str] = field(default_factory=dict)
    undefined: list[str] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    begin: int = 0
    end: int = 0
    joints: list[tuple[int, Float, float]] = field(default_factory=list)
    poses: list[tuple[int, Float]] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    holders: list[tuple[int, str]] = field(default_factory=list)
    contracts: set[str] = field(default_factory=set)
    intrinsics: dict[str, list[float]] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    decoded: int = 0

    @property
    def verdicts(self) -> Counter[str]:
        """Action traces by verdict."""
        return Counter(trace.verdict for trace in self.traces)

    def spans(self, holder: str) -> list[tuple[float, float]]:
        """When `holder` had the lease [s] since the begin."""
        ends = [*(at for at, _ in self.holders[1:]), self.end]
        pairs = zip(self.holders, ends, strict=False)
        return [((at - self.begin) / 1e9, (end - self.begin) / 1e9) for (at, who), end in pairs if who == holder]


def relative(topic: str) -> str:
    """A recorded topic without its namespace; unknown ones without the leading slash."""
    words = topic.lstrip("/").split("/")
    tails = ("/".join(words[k:]) for k in range(len(words)))
    return next((tail for tail in tails if tail in _KNOWN), "/".join(words))


@contextlib.contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn what a reader says of a bad file into ours."""
    try:
        yield
    except (McapError, CRCValidationError, OSError, EOFError, struct.error, UnicodeDecodeError) as error:
        text = f"bag {file} cannot be read: {type(error).__name__}: {error}".rstrip(": ")
        raise RecordingError(f"{text}; a bag that was cut: reconvla episodes recover") from error


def read(file: Path, *, images: bool = True, rates: Mapping[str, float] | None = None) -> Contents:
    """Go through the bag once, in the order it was written.

    Args:
        images: read the images too; without them gaps and skew of the cameras stay unknown.
        rates: what topics should come at [Hz], as far as it is known.

    Raises:
        RecordingError: it cannot be read to its end.
    """
    contents, factory = Contents(), DecoderFactory()
    with readable(file), file.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        if summary is None:
            raise RecordingError(f"bag {file} has no index: it was cut; remedy: reconvla episodes recover")
        for channel in summary.channels.values():
            name, schema = relative(channel.topic), summary.schemas.get(channel.schema_id)
            contents.types[name] = schema.name if schema is not None else ""
            if schema is None or not schema.data:
                contents.undefined.append(name)
        # Depth that was not to be recorded has no channel; the recorder declares what it wants before anything comes.
        watched = [topic for topic in IMAGES if topic in COLORS or topic in contents.types] if images else []
        audit = Auditor(watched, STATES, COLORS[:2] if images else ())
        for topic, rate in (rates or {}).items():
            audit.expect(topic, rate)
        topics = None if images else [
            c.topic for c in summary.channels.values() if contents.types[relative(c.topic)] != "sensor_msgs/msg/Image"
        ]  # fmt: skip
        names = {channel.id: relative(channel.topic) for channel in summary.channels.values()}
        for schema, channel, message in reader.iter_messages(topics, log_time_order=False):
            name = names[channel.id]
            contents.counts[name] += 1
            contents.begin = min(contents.begin or message.log_time, message.log_time)
            contents.end = max(contents.end, message.log_time)
            try:
                decode = factory.decoder_for(channel.message_encoding, schema)
                if decode is None:
                    raise ValueError("no definition in the bag")
                _take(contents, audit, name, message.log_time, decode(message.data))
                contents.decoded += 1
            except _BROKEN as error:
                contents.broken[name] += 1
                if len(contents.examples) < _EXAMPLES:
                    contents.examples.append(f"{name} message {contents.counts[name]}: {type(error).__name__}: {error}")
    contents.quality = audit.quality()
    return contents


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _take(contents: Contents, audit: Auditor, name: str, log: int, message: Any) -> None:
    if name in IMAGES:
        if len(message.data) < message.height * message.step:
            raise ValueError(f"{len(message.data)} bytes for {message.height} rows of {message.step}")
        audit.note(name, _stamp(message), log, log)
    elif name == "joint_states":
        stamp, position = _stamp(message), np.asarray(message.position, dtype=np.float64)
        audit.note(name, stamp, log, log, bool(np.isfinite(position).all()))
        with contextlib.suppress(ObservationError, ShapeError):  # not finite: the audit has it
            state = transforms.arm_state(stamp, message.name, message.position, message.velocity, message.effort)
            contents.joints.append((stamp, state.position, state.gripper))
    elif name == "arm/ee_pose":
        pose = _pose(message.pose)
        audit.note(name, _stamp(message), log, log, bool(np.isfinite(pose).all()))
        contents.poses.append((_stamp(message), pose))
    elif name == "arm/action_trace":
        contents.traces.append(_trace(message))
    elif name == "arm/status":
        if not contents.holders or contents.holders[-1][1] != message.source:
            contents.holders.append((log, message.source))
    elif name == "policy/status" and message.contract_digest:
        contents.contracts.add(message.contract_digest)
    elif name.endswith("color/camera_info"):
        contents.intrinsics.setdefault(name.split("/")[0], list(message.k))


def _pose(message: Any) -> Float:
    p, q = message.position, message.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def _trace(message: Any) -> Trace:
    return Trace(
        _stamp(message), message.source, VERDICTS[message.verdict], message.reason,
        _pose(message.requested_pose), float(message.requested_gripper),
        _pose(message.filtered_pose), float(message.filtered_gripper), np.asarray(message.applied_position, dtype=float),
    )  # fmt: skip


def rates_of(parameters: Mapping[str, Any]) -> dict[str, float]:
    """What the cameras were told to give [Hz], by topic, from the parameters in the sidecar."""
    rates: dict[str, float] = {}
    for node, values in parameters.items():
        camera, rate = node.rsplit("/", 1)[-1], values.get("rate")
        if camera in graph.CAMERAS and isinstance(rate, (int, float)) and math.isfinite(rate):
            rates |= {f"{camera}/{kind}": float(rate) for kind in (COLOR, DEPTH)}
    return rates


def pictures(file: Path, topic: str, count: int) -> list[tuple[float, Float]]:
    """`count` pictures of a colour topic spread over the bag, the last one included: ([s] since the begin, (H, W, 3) RGB).

    Raises:
        RecordingError: it cannot be read, or the topic is not in it.
    """
    factory, found = DecoderFactory(), list[tuple[float, Float]]()
    with readable(file), file.open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        full = {relative(c.topic): c.topic for c in summary.channels.values()} if summary else {}
        if summary is None or summary.statistics is None or topic not in full:
            raise RecordingError(f"bag {file}: no topic {choices(topic, full)}")
        begin, end = summary.statistics.message_start_time, summary.statistics.message_end_time
        for k in range(count):
            at, last = begin + (end - begin) * k // max(count - 1, 1), 0 < k == count - 1
            for schema, channel, message in reader.iter_messages(
                full[topic], starting_at=None if last else at, reverse=last
            ):
                decode = factory.decoder_for(channel.message_encoding, schema)
                image = decode(message.data) if decode is not None else None
                if image is not None:
                    pixels = transforms.color_from_bytes(
                        image.data, image.height, image.width, image.step, image.encoding
                    )
                    found.append(((message.log_time - begin) / 1e9, pixels))
                break
    return found
