"""What people and recorders see of the policy's intention; the driver reads none of it."""

from __future__ import annotations

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import Image
from std_msgs.msg import Float32

from reconvla_ros.graph import CAMERAS
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.base import ManagedNode
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.types import ActionChunk

TARGET_PERIOD = 0.1  # [s] policy/ee_pose and policy/gripper


class PolicyViews:
    """Publishes the way of a chunk, the step of it that is in force, and where the model looks.

    Args:
        node: that publishes.

    Attributes:
        chunk: the one in force, or None.
    """

    def __init__(self, node: ManagedNode) -> None:
        self.chunk: ActionChunk | None = None
        self._clock = node.get_clock()
        self._target = node.publish_on(PoseStamped, "policy/ee_pose", qos.STATUS)
        self._gripper = node.publish_on(Float32, "policy/gripper", qos.STATUS)
        self._path = node.publish_on(Path, "policy/path", qos.STATUS)
        self._overlay = node.publish_on(Image, "policy/attention", qos.STATUS)
        self._attention = node.publish_on(Image, "policy/attention_raw", qos.STATUS)
        node.create_timer(TARGET_PERIOD, self._publish_target)

    def show(self, chunk: ActionChunk, policy: Policy | None) -> None:
        """A new chunk is in force; `policy` made it. In the worker's thread."""
        self.chunk = chunk
        self._path.publish(convert.to_path(chunk))
        attention, overlay = getattr(policy, "attention", None), getattr(policy, "overlay", None)
        if attention is None:
            return
        frame = f"{CAMERAS[0]}_color_optical_frame"
        self._attention.publish(convert.to_image(attention, "32FC1", chunk.stamp_ns, frame))
        if overlay is not None and self._overlay.subscribers:
            self._overlay.publish(convert.to_image(overlay(), "rgb8", chunk.stamp_ns, frame))

    def _publish_target(self) -> None:
        """The step of the last chunk that the driver follows now, by the age of its observation."""
        chunk, now_ns = self.chunk, self._clock.now().nanoseconds
        if chunk is None:
            return
        step = max(0, int((now_ns - chunk.stamp_ns) / 1e9 / chunk.step_dt))
        if step >= chunk.steps:
            self.chunk = None
            return
        self._target.publish(convert.to_pose_stamped(chunk.pose(step), now_ns))
        self._gripper.publish(Float32(data=float(chunk.gripper[step])))
