"""A picture of where the model looked: the overlays that the policy published, out of the demo's bag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image as ImageMessage

from reconvla_ros.errors import RecordingError
from reconvla_ros.nodes import convert

TOPIC = "policy/attention"
COLUMNS = 4
_TOP, _GAP = 28, 8  # [px]

Picture = tuple[float, NDArray[np.uint8]]  # [s] since the bag began, (H, W, 3)


def read(bag: Path, columns: int = COLUMNS) -> list[Picture]:
    """Overlays of a bag, evenly over its time, the first and the last among them.

    Raises:
        RecordingError: there is no MCAP file in the folder, or no overlay in it.
    """
    files = sorted(bag.glob("*.mcap"))
    found: list[tuple[int, bytes]] = []
    begin = 0
    for file in files[:1]:
        with file.open("rb") as stream:
            reader = make_reader(stream)
            summary = reader.get_summary()
            begin = summary.statistics.message_start_time if summary and summary.statistics else 0
            found = [(m.log_time, m.data) for _, c, m in reader.iter_messages() if c.topic.lstrip("/").endswith(TOPIC)]
    if not found:
        raise RecordingError(f"no {TOPIC} in {bag}: did the model answer, with `attention: true`?")
    chosen = np.unique(np.linspace(0, len(found) - 1, min(columns, len(found))).round().astype(int))
    picked = [found[i] for i in chosen]
    return [((at - begin) / 1e9, convert.to_rgb(deserialize_message(data, ImageMessage))) for at, data in picked]


def sheet(pictures: Sequence[Picture], title: str) -> Image.Image:
    """Side by side, each with its time."""
    width, height = (max(pixels.shape[k] for _, pixels in pictures) for k in (1, 0))
    made = Image.new("RGB", (len(pictures) * (width + _GAP) - _GAP, _TOP + height + 18), (24, 26, 30))
    draw = ImageDraw.Draw(made)
    draw.text((8, 8), title, fill=(235, 235, 235))
    for column, (seconds, pixels) in enumerate(pictures):
        x = column * (width + _GAP)
        made.paste(Image.fromarray(pixels), (x, _TOP))
        draw.text((x + 6, _TOP + height + 3), f"{seconds:.1f} s", fill=(200, 200, 200))
    return made


def write(bag: Path, path: Path, kind: str) -> None:
    """The picture of a bag as a PNG; `kind` of checkpoint goes into its title.

    Raises:
        RecordingError: see `read`.
    """
    title = f"reconvla demo, {kind} checkpoint: what the model was shown (base above wrist), and in red where it looked"
    sheet(read(bag), title).save(path)
