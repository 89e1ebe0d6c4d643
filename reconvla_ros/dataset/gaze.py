"""Where to look in an episode: boxes in the base view, tick by tick, in `gaze.json` beside the sidecar.

Format: docs/reference/samples.md. Written by `reconvla gaze` or by hand; here it is only read.
"""

from __future__ import annotations

import bisect
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconvla_ros.dataset.frame import Rgb
from reconvla_ros.errors import DatasetError

FILE_NAME = "gaze.json"
VERSION = 1
WITHIN_NS = 50_000_000
"""How far an entry may lie from a sample's stamp: the largest skew of the two cameras."""
MIN_SIDE = 2  # [px]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Gaze:
    """The boxes of one episode: stamps [ns] in order, and at each x0, y0, x1, y1 [px] of a (height, width) image or None."""

    width: int
    height: int
    stamps: tuple[int, ...]
    boxes: tuple[Box | None, ...]

    def at(self, stamp_ns: int) -> Box | None:
        """The box for a sample of this stamp; None where there is nothing to look at or nothing is known."""
        k = bisect.bisect_left(self.stamps, stamp_ns)
        near = [i for i in (k - 1, k) if 0 <= i < len(self.stamps)]
        best = min(near, key=lambda i: abs(self.stamps[i] - stamp_ns), default=-1)
        if best < 0 or abs(self.stamps[best] - stamp_ns) > WITHIN_NS:
            return None
        return self.boxes[best]

    def crop(self, base: Rgb, box: Box) -> Rgb:
        """The part of `base` (H, W, 3) inside `box`, whole pixels, cut to the image.

        Raises:
            DatasetError: less than 2 pixels of it lie in the image.
        """
        height, width = base.shape[:2]
        fx, fy = width / self.width, height / self.height
        x0, y0 = max(0, math.floor(box[0] * fx)), max(0, math.floor(box[1] * fy))
        x1, y1 = min(width, math.ceil(box[2] * fx)), min(height, math.ceil(box[3] * fy))
        if x1 - x0 < MIN_SIDE or y1 - y0 < MIN_SIDE:
            raise DatasetError(
                f"gaze box {list(box)}: {max(0, x1 - x0)} x {max(0, y1 - y0)} pixels of it lie in the {width} x {height} "
                f"image, at least {MIN_SIDE} x {MIN_SIDE} are needed"
            )
        return base[y0:y1, x0:x1]


def read_gaze(folder: Path) -> Gaze | None:
    """The gaze regions of an episode's folder; None when there are none.

    Raises:
        DatasetError: the file is not as docs/reference/samples.md says.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] != VERSION:
            raise DatasetError(f"{path}: version {data['version']}, this software knows {VERSION}")
        entries = sorted(((int(e["stamp_ns"]), _box(e.get("box"), path)) for e in data["frames"]), key=lambda e: e[0])
        stamps, boxes = tuple(s for s, _ in entries), tuple(b for _, b in entries)
        width, height = int(data["width"]), int(data["height"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path} is not readable as gaze regions: {type(error).__name__}: {error}") from error
    if width < 1 or height < 1:
        raise DatasetError(f"{path}: width and height must be positive, got {width} x {height}")
    return Gaze(width, height, stamps, boxes)


def _box(value: Any, path: Path) -> Box | None:
    if value is None:
        return None
    box = tuple(float(v) for v in value)
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]:
        raise DatasetError(f"{path}: box {list(value)}: expected x0 < x1, y0 < y1, finite")
    return box[0], box[1], box[2], box[3]
