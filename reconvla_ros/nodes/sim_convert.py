"""The truth about a simulated scene, as messages."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from scipy.spatial.transform import Rotation
from std_msgs.msg import Bool
from tf2_msgs.msg import TFMessage

from reconvla_ros.nodes import convert
from reconvla_ros.sim.director import Director


def truth_of(director: Director, data: Any, stamp_ns: int) -> tuple[TFMessage, Bool]:
    """sim/objects: the frame of every free body in base_link, by name; sim/success: whether the task is done."""
    transforms = []
    for name, thing in director.things(data).items():
        x, y, z = map(float, thing.position)
        qx, qy, qz, qw = map(float, Rotation.from_matrix(thing.rotation).as_quat())
        moved = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
        head = convert.header(stamp_ns, "base_link")
        transforms.append(TransformStamped(header=head, child_frame_id=name, transform=moved))
    return TFMessage(transforms=transforms), Bool(data=director.done(data))
