"""One RGB-D camera as a process: colour, aligned depth, camera_info, under the names of realsense2_camera.

ros2 run reconvla_ros camera_node --ros-args -r __node:=camera_base --params-file config/cameras.yaml
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from reconvla_ros.camera import factory
from reconvla_ros.camera.keeper import CameraKeeper
from reconvla_ros.camera.protocol import Report
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.nodes import compressed, convert, qos
from reconvla_ros.nodes.base import OK, WARN, ManagedNode
from reconvla_ros.nodes.process import run
from reconvla_ros.nodes.serialized import image_bytes
from reconvla_ros.types import CameraFrame, Pose

# Optical frame -> body frame of REP-103 (x forward, y left, z up): the rotation realsense2_camera uses.
_OPTICAL_TO_BODY = Pose(np.zeros(3), np.array([-0.5, 0.5, -0.5, 0.5]))


class CameraNode(ManagedNode):
    """Reads frames in a thread of its own and publishes them from there."""

    def __init__(self) -> None:
        super().__init__("camera_base", CameraConfig)
        name = self.get_name()
        self._keeper: CameraKeeper | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._publish_ms: list[float] = []
        self._color = self.publish_on(Image, f"{name}/color/image_raw", qos.IMAGE)
        self._color_info = self.publish_on(CameraInfo, f"{name}/color/camera_info", qos.IMAGE)
        self._depth = self.publish_on(Image, f"{name}/aligned_depth_to_color/image_raw", qos.IMAGE)
        self._depth_info = self.publish_on(CameraInfo, f"{name}/aligned_depth_to_color/camera_info", qos.IMAGE)
        self._jpeg = self.publish_on(CompressedImage, f"{name}/color/image_raw/compressed", qos.IMAGE)
        depth = f"{name}/aligned_depth_to_color/image_raw/compressedDepth"
        self._depth_png = self.publish_on(CompressedImage, depth, qos.IMAGE)
        self._tf_static = self.publish_on(TFMessage, "tf_static", qos.TF_STATIC, always=True)

    def setup(self) -> None:
        """Choose the source; say where the camera sits."""
        camera = factory.make(self.config, self.get_name())
        self._keeper = CameraKeeper(camera, self._publish, self._tell)
        parent, pose = factory.mount(self.config, self.get_name())
        stored = factory.calibration(self.config, self.get_name())
        if stored is not None:
            self.get_logger().info(f"where it sits: calibrated {stored.date}, {stored.residual_px:g} px left")
        self._tf_static.publish(camera_frames(self.get_name(), parent, pose, self.get_clock().now().nanoseconds))

    def start(self) -> None:
        """Stream."""
        assert self._keeper is not None
        self._stop.clear()
        self._thread = threading.Thread(target=self._keeper.run, args=(self._stop,), name="camera", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cease."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=3.0)
            self._thread = None

    def _tell(self, grave: bool, text: str) -> None:
        # Two lines of code: rclpy refuses another severity from the line that logged before.
        if grave:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)

    def _publish(self, frame: CameraFrame) -> None:
        begin = time.perf_counter()
        info = convert.to_camera_info(frame.intrinsics, frame.stamp_ns, frame.frame_id)
        self._color.publish(image_bytes(frame.color, "rgb8", frame.stamp_ns, frame.frame_id))
        self._color_info.publish(info)
        if frame.depth is not None:
            self._depth.publish(image_bytes(frame.depth, "16UC1", frame.stamp_ns, frame.frame_id))
            self._depth_info.publish(info)
        if self._jpeg.subscribers:  # costs a few ms, so only for whoever listens
            self._jpeg.publish(compressed.jpeg(frame, self.config.jpeg_quality))
        if frame.depth is not None and self._depth_png.subscribers:
            self._depth_png.publish(compressed.depth_png(frame))
        self._publish_ms.append((time.perf_counter() - begin) * 1e3)
        del self._publish_ms[:-300]

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """What is wrong, and what publishing costs."""
        recent = list(self._publish_ms)
        said = self._keeper.report() if self._keeper is not None else Report()
        values: dict[str, object] = {"source": self.config.source, **said.values}
        values["publish_ms_p50"] = round(float(np.median(recent)), 2) if recent else float("nan")
        return (WARN, said.warning, values) if said.warning else (OK, "", values)


def camera_frames(name: str, parent: str, optical: Pose, stamp_ns: int) -> TFMessage:
    """parent -> <camera>_link -> <camera>_color_frame -> <camera>_color_optical_frame (realsense2_camera's chain)."""
    link = _compose(optical, _inverse(_OPTICAL_TO_BODY))
    identity = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
    chain = (
        (parent, f"{name}_link", link),
        (f"{name}_link", f"{name}_color_frame", identity),
        (f"{name}_color_frame", f"{name}_color_optical_frame", _OPTICAL_TO_BODY),
    )
    return TFMessage(transforms=[_transform(stamp_ns, *entry) for entry in chain])


def _compose(a: Pose, b: Pose) -> Pose:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_quat(a.quaternion)
    return Pose(a.position + turn.apply(b.position), (turn * Rotation.from_quat(b.quaternion)).as_quat())


def _inverse(a: Pose) -> Pose:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_quat(a.quaternion).inv()
    return Pose(-turn.apply(a.position), turn.as_quat())


def _transform(stamp_ns: int, parent: str, child: str, pose: Pose) -> TransformStamped:
    x, y, z = map(float, pose.position)
    qx, qy, qz, qw = map(float, pose.quaternion)
    moved = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    return TransformStamped(header=convert.header(stamp_ns, parent), child_frame_id=child, transform=moved)


def main() -> int:
    """Entry of the executable."""
    return run(CameraNode)


if __name__ == "__main__":
    sys.exit(main())
