"""One RGB-D camera of noise at a steady rate, published as a camera node publishes: the load of `reconvla bench record`.

python -m reconvla_ros.bench.record_publisher camera_base 30 [joints]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, JointState

from reconvla_ros.nodes import convert, qos
from reconvla_ros.recording.settings import COLOR, DEPTH
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES, CameraIntrinsics

_JOINT_RATE = 200  # [Hz]
_FRAMES = 4  # different pictures, made beforehand


class Source:
    """Publishes until it is told to stop, by SIGTERM."""

    def __init__(self, node: Node, camera: str, joints: bool) -> None:
        noise = np.random.default_rng(1)
        self._node, self._frame = node, f"{camera}_color_optical_frame"
        self._colors = noise.integers(0, 255, (_FRAMES, 480, 640, 3), dtype=np.uint8)
        self._depths = noise.integers(300, 1500, (_FRAMES, 480, 640), dtype=np.uint16)
        self._intrinsics = CameraIntrinsics(640, 480, 600.0, 600.0, 320.0, 240.0)
        self._color = node.create_publisher(Image, f"{camera}/{COLOR}", qos.IMAGE)
        self._depth = node.create_publisher(Image, f"{camera}/{DEPTH}", qos.IMAGE)
        self._info = node.create_publisher(CameraInfo, f"{camera}/color/camera_info", qos.IMAGE)
        self._joints = node.create_publisher(JointState, "joint_states", qos.STATE) if joints else None
        self._count = 0

    def picture(self) -> None:
        """Colour, depth and intrinsics at one stamp."""
        stamp, k = self._node.get_clock().now().nanoseconds, self._count % _FRAMES
        self._count += 1
        self._color.publish(convert.to_image(self._colors[k], "rgb8", stamp, self._frame))
        self._info.publish(convert.to_camera_info(self._intrinsics, stamp, self._frame))
        self._depth.publish(convert.to_image(self._depths[k], "16UC1", stamp, self._frame))

    def joints(self) -> None:
        """One joint state."""
        if self._joints is not None:
            stamp, names = self._node.get_clock().now().nanoseconds, [*JOINT_NAMES, GRIPPER_NAME]
            figures = [0.0] * len(names)
            self._joints.publish(
                JointState(header=convert.header(stamp, "base_link"), name=names, position=figures, velocity=figures,
                           effort=figures)
            )  # fmt: skip


def main(words: list[str]) -> int:
    """Publish at the rate until the process is ended."""
    camera, rate, joints = words[0], float(words[1]), "joints" in words[2:]
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    source = Source(Node(camera), camera, joints)
    begin, pictures, ticks = time.monotonic(), 0, 0
    while True:
        now = time.monotonic() - begin
        if now * rate >= pictures:
            source.picture()
            pictures += 1
        while joints and now * _JOINT_RATE >= ticks:
            source.joints()
            ticks += 1
        time.sleep(0.001)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
