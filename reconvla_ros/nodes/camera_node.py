"""One RGB-D camera as a process: colour, aligned depth, camera_info, under the names of realsense2_camera.

ros2 run reconvla_ros camera_node --ros-args -r __node:=camera_base --params-file config/cameras.yaml
"""

from __future__ import annotations

import sys
import threading
import time

import cv2
import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from reconvla_ros.camera import factory
from reconvla_ros.camera.protocol import Camera
from reconvla_ros.camera.settings import CameraConfig
from reconvla_ros.errors import CameraError
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.base import OK, WARN, ManagedNode
from reconvla_ros.nodes.process import run
from reconvla_ros.nodes.serialized import image_bytes
from reconvla_ros.types import CameraFrame, CameraIntrinsics, Pose

RETRY = 0.5  # [s] between attempts to get a lost camera back
START_PATIENCE = 5.0  # [s] in which a camera that is not there is no error yet

# Optical frame -> body frame of REP-103 (x forward, y left, z up): the rotation realsense2_camera uses.
_OPTICAL_TO_BODY = Pose(np.zeros(3), np.array([-0.5, 0.5, -0.5, 0.5]))


class CameraNode(ManagedNode):
    """Reads frames in a thread of its own and publishes them from there."""

    def __init__(self) -> None:
        super().__init__("camera_base", CameraConfig)
        name = self.get_name()
        self._camera: Camera | None = None
        self._intrinsics: CameraIntrinsics | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._recoveries = 0
        self._publish_ms: list[float] = []
        self._color = self.publish_on(Image, f"{name}/color/image_raw", qos.IMAGE)
        self._color_info = self.publish_on(CameraInfo, f"{name}/color/camera_info", qos.IMAGE)
        self._depth = self.publish_on(Image, f"{name}/aligned_depth_to_color/image_raw", qos.IMAGE)
        self._depth_info = self.publish_on(CameraInfo, f"{name}/aligned_depth_to_color/camera_info", qos.IMAGE)
        self._jpeg = self.publish_on(CompressedImage, f"{name}/color/image_raw/compressed", qos.IMAGE)
        self._tf_static = self.publish_on(TFMessage, "tf_static", qos.TF_STATIC, always=True)

    def setup(self) -> None:
        """Choose the source; say where the camera sits."""
        self._camera = factory.make(self.config, self.get_name())
        parent, pose = factory.mount(self.config, self.get_name())
        stored = factory.calibration(self.config, self.get_name())
        if stored is not None:
            self.get_logger().info(f"where it sits: calibrated {stored.date}, {stored.residual_px:g} px left")
        self._tf_static.publish(camera_frames(self.get_name(), parent, pose, self.get_clock().now().nanoseconds))

    def start(self) -> None:
        """Stream."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, name="camera", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cease."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=3.0)
            self._thread = None

    def _loop(self) -> None:
        """Read and publish; a camera that goes away is tried again until it is back."""
        assert self._camera is not None
        opened, begin = False, time.monotonic()
        while not self._stop.is_set():
            try:
                if not opened:
                    self._intrinsics = self._camera.open()
                    opened = True
                    if self._problem:
                        self._recoveries += 1
                        self.get_logger().info("the camera is back")
                    self._problem = ""
                frame = self._camera.read(timeout=0.5)
                if frame is not None:
                    self._publish(frame)
            except CameraError as error:
                if str(error) != self._problem:  # once per problem, not per attempt
                    # At start the simulator, or a hub that powers up, may simply not be there yet.
                    early = time.monotonic() - begin < START_PATIENCE
                    log = self.get_logger().info if early else self.get_logger().error
                    log(str(error))
                self._problem = str(error)
                self._camera.close()
                opened = False
                self._stop.wait(RETRY)
        self._camera.close()

    def _publish(self, frame: CameraFrame) -> None:
        begin = time.perf_counter()
        info = convert.to_camera_info(frame.intrinsics, frame.stamp_ns, frame.frame_id)
        self._color.publish(image_bytes(frame.color, "rgb8", frame.stamp_ns, frame.frame_id))
        self._color_info.publish(info)
        if frame.depth is not None:
            self._depth.publish(image_bytes(frame.depth, "16UC1", frame.stamp_ns, frame.frame_id))
            self._depth_info.publish(info)
        if self._jpeg.subscribers:  # costs a few ms, so only for whoever listens
            self._jpeg.publish(self._compressed(frame))
        self._publish_ms.append((time.perf_counter() - begin) * 1e3)
        del self._publish_ms[:-300]

    def _compressed(self, frame: CameraFrame) -> CompressedImage:
        options = [cv2.IMWRITE_JPEG_QUALITY, self.config.jpeg_quality]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(frame.color, cv2.COLOR_RGB2BGR), options)
        return CompressedImage(
            header=convert.header(frame.stamp_ns, frame.frame_id),
            format="rgb8; jpeg compressed bgr8",
            data=data.tobytes(),
        )

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """What is wrong, and what publishing costs."""
        recent = list(self._publish_ms)
        values: dict[str, object] = {"source": self.config.source, "recoveries": self._recoveries}
        values["publish_ms_p50"] = round(float(np.median(recent)), 2) if recent else float("nan")
        values.update(getattr(self._camera, "statistics", {}))
        return (WARN, self._problem, values) if self._problem else (OK, "", values)


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
