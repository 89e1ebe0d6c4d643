"""Frames as image_transport's compressed topics carry them: colour as JPEG, depth as lossless PNG."""

from __future__ import annotations

import struct

import cv2
from sensor_msgs.msg import CompressedImage

from reconvla_ros.nodes import convert
from reconvla_ros.types import CameraFrame

# compressed_depth_image_transport, ConfigHeader: int32 format (0 = INV_DEPTH), two floats that 16UC1 does not use.
_DEPTH_HEADER = struct.pack("<iff", 0, 0.0, 0.0)


def jpeg(frame: CameraFrame, quality: int) -> CompressedImage:
    """Colour, as compressed_image_transport does it; `quality` in 1..100."""
    bgr = cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _message(frame, "rgb8; jpeg compressed bgr8", data.tobytes())


def depth_png(frame: CameraFrame) -> CompressedImage:
    """Depth [mm], as compressed_depth_image_transport does it, without loss."""
    assert frame.depth is not None
    _, data = cv2.imencode(".png", frame.depth, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return _message(frame, "16UC1; compressedDepth png", _DEPTH_HEADER + data.tobytes())


def _message(frame: CameraFrame, kind: str, data: bytes) -> CompressedImage:
    return CompressedImage(header=convert.header(frame.stamp_ns, frame.frame_id), format=kind, data=data)
