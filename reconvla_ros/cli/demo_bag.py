"""What the demo's bag says: counts, times, travel of the arm, and a few pictures. Read with the `mcap` library alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from mcap.records import Channel, Message, Schema
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rclpy.serialization import deserialize_message

from reconvla_ros.errors import RecordingError
from reconvla_ros.graph import CAMERAS
from reconvla_ros.msg import ActionChunk, ActionTrace
from reconvla_ros.nodes import convert
from reconvla_ros.nodes.serialized import stamp_of

COLUMNS = 6  # pictures per camera on the contact sheet


@dataclass
class BagFacts:
    """Everything the report takes from a bag. Times in nanoseconds."""

    counts: dict[str, int] = field(default_factory=dict)
    stamps: dict[str, list[int]] = field(default_factory=dict)  # header stamps
    published: dict[str, list[int]] = field(default_factory=dict)
    joints: list[NDArray[np.float64]] = field(default_factory=list)
    chunk_published: dict[tuple[str, int], int] = field(default_factory=dict)  # (task, sequence) -> time
    chunk_captured: dict[tuple[str, int], int] = field(default_factory=dict)
    chunk_first_applied: dict[tuple[str, int], int] = field(default_factory=dict)
    pictures: dict[str, list[tuple[float, NDArray[np.uint8]]]] = field(default_factory=dict)  # [s] since begin

    @property
    def travel(self) -> float:
        """Sum over the joints of the way each went [rad]; steps below the encoder's noise (0.02 degree) do not count."""
        if len(self.joints) < 2:
            return 0.0
        # One sample in ten: at 20 Hz a real motion is far above the noise.
        steps = np.abs(np.diff(np.array(self.joints)[::10], axis=0))
        return float(np.sum(steps[steps > np.radians(0.02)]))


_HEADED = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/JointState",
           "geometry_msgs/msg/PoseStamped", "reconvla_ros/msg/ActionChunk", "reconvla_ros/msg/ActionTrace")  # fmt: skip


def read(bag: Path) -> BagFacts:
    """Go through the bag once.

    Raises:
        RecordingError: there is no MCAP file in the folder.
    """
    files = sorted(bag.glob("*.mcap"))
    if not files:
        raise RecordingError(f"no .mcap file in {bag}")
    facts = BagFacts()
    with files[0].open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        begin, end = (summary.statistics.message_start_time, summary.statistics.message_end_time) \
            if summary and summary.statistics else (0, 1)  # fmt: skip
        due = {f"{c}/color/image_raw": [begin + (end - begin) * k // COLUMNS for k in range(COLUMNS)] for c in CAMERAS}
        for schema, channel, message in reader.iter_messages():
            if schema is not None:
                _take(facts, schema, channel, message, due, begin)
    return facts


def _take(facts: BagFacts, schema: Schema, channel: Channel, message: Message,
          due: dict[str, list[int]], begin: int) -> None:  # fmt: skip
    topic = channel.topic.lstrip("/")
    facts.counts[topic] = facts.counts.get(topic, 0) + 1
    facts.published.setdefault(topic, []).append(message.publish_time)
    if schema.name not in _HEADED:
        return
    stamp = stamp_of(message.data)  # no image is deserialised for it
    facts.stamps.setdefault(topic, []).append(stamp)
    if schema.name == "sensor_msgs/msg/JointState":
        from sensor_msgs.msg import JointState

        facts.joints.append(np.array(convert.from_joint_state(deserialize_message(message.data, JointState)).position))
    elif schema.name == "reconvla_ros/msg/ActionChunk":
        chunk = deserialize_message(message.data, ActionChunk)
        if not chunk.poses:  # it takes back the one before
            return
        facts.chunk_published[chunk.task_id, chunk.sequence] = message.publish_time
        facts.chunk_captured[chunk.task_id, chunk.sequence] = stamp
    elif schema.name == "reconvla_ros/msg/ActionTrace":
        trace = deserialize_message(message.data, ActionTrace)
        if trace.verdict != ActionTrace.REFUSED and trace.chunk_step >= 0 and np.isfinite(trace.applied_position).all():
            facts.chunk_first_applied.setdefault((trace.task_id, trace.chunk_sequence), stamp)
    elif topic in due and due[topic] and message.log_time >= due[topic][0]:
        from sensor_msgs.msg import Image as ImageMessage

        due[topic].pop(0)
        pixels = convert.to_rgb(deserialize_message(message.data, ImageMessage))
        facts.pictures.setdefault(topic.split("/")[0], []).append(((message.log_time - begin) / 1e9, pixels))


def contact_sheet(facts: BagFacts, path: Path, title: str) -> None:
    """Both cameras over time, one row each, as a PNG.

    Raises:
        RecordingError: the bag held no picture.
    """
    if not any(facts.pictures.values()):
        raise RecordingError("no picture in the bag, so no contact sheet")
    width, height, top = 320, 240, 28
    columns = max(len(row) for row in facts.pictures.values())
    sheet = Image.new("RGB", (columns * width, top + len(facts.pictures) * (height + 18)), (24, 26, 30))
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 8), title, fill=(235, 235, 235))
    for row, (camera, pictures) in enumerate(sorted(facts.pictures.items())):
        y = top + row * (height + 18)
        for column, (seconds, pixels) in enumerate(pictures):
            sheet.paste(Image.fromarray(pixels).resize((width, height)), (column * width, y))
            draw.text((column * width + 6, y + height + 3), f"{camera}  {seconds:.1f} s", fill=(200, 200, 200))
    sheet.save(path)
