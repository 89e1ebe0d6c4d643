"""What the running graph shows a calibration: pictures, joints, camera_info, mountings."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from reconvla_ros.calibration.from_bag import grey, pinhole
from reconvla_ros.calibration.geometry import matrix
from reconvla_ros.calibration.views import MAX_APART, PARENTS, Moment, Picture
from reconvla_ros.camera.extrinsics import SIMULATED
from reconvla_ros.cli.client import CallError, Client, wait_until
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import GRIPPER_NAME, JOINT_NAMES, CameraIntrinsics, Float, Pose

STILL, STILL_WITHIN = 0.3, 0.002  # [s], [rad]: the arm stands when no joint moved further for so long
PATIENCE = 10.0  # [s] for streams to come, and for the arm to stand


class Eye:
    """Newest picture per camera, joints of the last two seconds, camera_info, the mounting as tf tells it."""

    def __init__(self, client: Client, cameras: list[str]) -> None:
        from sensor_msgs.msg import CameraInfo, Image, JointState
        from tf2_msgs.msg import TFMessage

        from reconvla_ros.msg import ArmStatus
        from reconvla_ros.nodes import qos

        self._client, self.cameras = client, cameras
        self._lock = threading.Lock()
        self._images: dict[str, Any] = {}
        self._infos: dict[str, Any] = {}
        self._joints: deque[tuple[int, Float]] = deque(maxlen=400)
        self.gripper = 0.0
        self.status: Any = None
        self.mounts: dict[str, tuple[str, Pose]] = {}
        node = client.node
        for c in cameras:
            node.create_subscription(
                Image, f"{c}/color/image_raw", lambda m, c=c: self._put(self._images, c, m), qos.NEWEST
            )
            node.create_subscription(
                CameraInfo, f"{c}/color/camera_info", lambda m, c=c: self._put(self._infos, c, m), qos.NEWEST
            )
        node.create_subscription(JointState, "joint_states", self._on_joints, qos.STATUS)
        node.create_subscription(TFMessage, "tf_static", self._on_tf, qos.RECORD_LATCHED)
        client.listen(ArmStatus, "arm/status", lambda m: setattr(self, "status", m))

    def _put(self, where: dict[str, Any], camera: str, message: Any) -> None:
        with self._lock:
            where[camera] = message

    def _on_joints(self, message: Any) -> None:
        values = dict(zip(message.name, message.position, strict=False))
        if all(n in values for n in JOINT_NAMES):
            joints = np.array([values[n] for n in JOINT_NAMES])
            self.gripper = float(values.get(GRIPPER_NAME, self.gripper))
            with self._lock:
                self._joints.append((_ns(message.header.stamp), joints))

    def _on_tf(self, message: Any) -> None:
        for t in message.transforms:
            p, q = t.transform.translation, t.transform.rotation
            pose = Pose(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))
            self.mounts[t.child_frame_id] = (t.header.frame_id, pose)

    def wait(self) -> None:
        """Until everything streams.

        Raises:
            CalibrationError: names what does not.
        """

        def lacking() -> list[str]:
            with self._lock:
                topics = [f"{c}/color/image_raw" for c in self.cameras if c not in self._images]
                topics += [f"{c}/color/camera_info (no intrinsics)" for c in self.cameras if c not in self._infos]
                topics += [] if self._joints else ["joint_states"]
            return topics + ([] if self.status is not None else ["arm/status"])

        if not wait_until(lambda: not lacking(), PATIENCE):
            raise CalibrationError(
                f"nothing came within {PATIENCE:g} s on {', '.join(lacking())}: is the graph up (reconvla up), with the "
                "same ROS_DOMAIN_ID and namespace? One camera alone: --camera NAME"
            )

    def joints(self) -> Float:
        """Newest (6,) [rad]."""
        with self._lock:
            return self._joints[-1][1]

    def still_since(self) -> int | None:
        """Stamp [ns] from which the arm has stood for STILL; None while it moves or says nothing."""
        with self._lock:
            recent = [(s, q) for s, q in self._joints if s >= self._joints[-1][0] - STILL * 1e9]
            whole = self._joints[-1][0] - self._joints[0][0] >= STILL * 1e9
        spread = np.ptp(np.array([q for _, q in recent]), axis=0)
        return recent[0][0] if whole and float(spread.max()) <= STILL_WITHIN else None

    def take(self, name: str, place: str) -> Moment:
        """A moment of the arm as it stands now.

        Raises:
            CalibrationError: it does not stand still, a picture does not come, or pictures and joints are apart in time.
        """
        if not wait_until(lambda: self.still_since() is not None, PATIENCE):
            raise CalibrationError(f"view {name}: the arm does not stand still within {PATIENCE:g} s")
        since = self._client.node.get_clock().now().nanoseconds

        def ready() -> bool:
            with self._lock:
                return all(_ns(self._images[c].header.stamp) >= since for c in self.cameras)

        if not wait_until(ready, PATIENCE):
            raise CalibrationError(f"view {name}: no new picture within {PATIENCE:g} s; are the clocks of this host and of "
                                   f"the cameras ({', '.join(self.cameras)}) the same?")  # fmt: skip
        with self._lock:
            images, samples = dict(self._images), list(self._joints)
        stamps = np.array([s for s, _ in samples])
        stamp = int(stamps[-1])
        pictures = {}
        for camera, image in images.items():
            taken = _ns(image.header.stamp)
            # While the arm stands its joints are one value; what must fit is that the clocks of both agree.
            late = int(taken - stamps[np.argmin(np.abs(stamps - taken))])
            pictures[camera] = Picture(grey(image), stamp + late)
        if self.still_since() is None:
            raise CalibrationError(f"view {name}: the arm moved while the picture was taken")
        mean = np.mean([q for s, q in samples if s >= since - MAX_APART * 1e9], axis=0)
        return Moment(name, mean, stamp, pictures, place)

    def intrinsics(self, camera: str) -> CameraIntrinsics:
        """Of a camera, as it says."""
        with self._lock:
            return pinhole(self._infos[camera])

    def mount(self, camera: str) -> Float:
        """Where tf has the optical frame in what the camera is fixed to (4, 4).

        Raises:
            CalibrationError: tf does not say.
        """
        made, frame = np.eye(4), f"{camera}_color_optical_frame"
        while frame != PARENTS[camera]:
            if frame not in self.mounts:
                raise CalibrationError(
                    f"{camera}: tf_static says nothing of {frame} in {PARENTS[camera]}; is its node up?"
                )
            frame, pose = self.mounts[frame]
            made = matrix(pose) @ made
        return made

    def serial(self, camera: str) -> str:
        """Of the camera that its node uses; empty = it does not say."""
        from rcl_interfaces.srv import GetParameters

        try:
            answer = self._client.call(
                GetParameters, f"{camera}/get_parameters", GetParameters.Request(names=["source", "serial"]), answer=5.0
            )
        except CallError:
            return ""
        source, serial = (v.string_value for v in answer.values) if len(answer.values) == 2 else ("", "")
        return SIMULATED if source == "sim" else str(serial)


def _ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
