"""What an episode was recorded with: contract, calibration, who had the lease, parameters of the nodes, versions.

Nothing is asked of the hot path but to keep the last serialised message of a few slow topics; they are deserialised when
the sidecar is written.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from reconvla_ros.msg import ArmStatus, PolicyStatus
from reconvla_ros.recording.session import Taken

_STATIC_KEPT = 32  # messages of tf_static: one a publisher is usual
_HUMAN = "teleop"
_PACKAGES = ("reconvla_ros", "mcap", "numpy", "rclpy", "ros-rclpy", "piper_sdk", "pyrealsense2", "torch", "mujoco")


def software_versions() -> dict[str, str]:
    """What wrote the episode: packages, Python, ROS distribution, machine."""
    versions = {"python": platform.python_version(), "ros_distro": os.environ.get("ROS_DISTRO", ""),
                "platform": f"{platform.system()} {platform.machine()}"}  # fmt: skip
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {name: version for name, version in versions.items() if version}


class Provenance:
    """Keeps what the sidecar wants to know; `take` is called from the taps' thread, `snapshot` from any.

    Args:
        names: relative name -> resolved name of the recorded topics.
        cameras: relative names of the camera_info topics.
    """

    def __init__(self, names: Mapping[str, str], cameras: tuple[str, ...]) -> None:
        self._info = {names[name]: name for name in cameras if name in names}
        self._policy, self._static = names.get("policy/status", ""), names.get("tf_static", "")
        self._arm = names.get("arm/status", "")
        self.topics = frozenset(filter(None, (*self._info, self._policy, self._static, self._arm)))
        self._last: dict[str, bytes] = {}
        self._frames: dict[bytes, None] = {}
        self._begin = 0
        self._holder = ""
        self._spans: list[list[Any]] = []

    def take(self, taken: Taken) -> None:
        """One message of `topics`."""
        if taken.topic == self._static:
            if len(self._frames) < _STATIC_KEPT:
                self._frames[bytes(taken.data)] = None
        elif taken.topic == self._arm:
            self._lease(deserialize_message(taken.data, ArmStatus).source, taken.log_ns)  # 10 Hz
        else:
            self._last[taken.topic] = taken.data

    def _lease(self, holder: str, at_ns: int) -> None:
        if holder == _HUMAN:
            if self._holder != _HUMAN:
                self._spans.append([holder, at_ns, at_ns])
            self._spans[-1][2] = at_ns
        self._holder = holder

    def snapshot(self, started_ns: int) -> dict[str, Any]:
        """Fields of the sidecar: contract_digest, checkpoint, calibration, interventions (times [s] since `started_ns`)."""
        spans = [[who, round((a - started_ns) / 1e9, 3), round((b - started_ns) / 1e9, 3)] for who, a, b in self._spans]
        fields: dict[str, Any] = {"calibration": self._calibration(), "interventions": spans}
        if self._policy in self._last:
            status = deserialize_message(self._last[self._policy], PolicyStatus)
            fields |= {"contract_digest": status.contract_digest, "checkpoint": status.checkpoint}
        return fields

    def _calibration(self) -> dict[str, Any]:
        cameras: dict[str, Any] = {}
        for topic, name in self._info.items():
            if topic in self._last:
                info = deserialize_message(self._last[topic], CameraInfo)
                cameras[name.split("/")[0]] = {
                    "width": info.width, "height": info.height, "frame": info.header.frame_id,
                    "distortion_model": info.distortion_model, "d": list(info.d), "k": list(info.k),
                }  # fmt: skip
        frames: dict[str, Any] = {}
        for data in list(self._frames):
            for entry in deserialize_message(data, TFMessage).transforms:
                t, q = entry.transform.translation, entry.transform.rotation
                frames[entry.child_frame_id] = {
                    "parent": entry.header.frame_id, "position": [t.x, t.y, t.z], "quaternion": [q.x, q.y, q.z, q.w],
                }  # fmt: skip
        return {"cameras": cameras, "frames": frames} if cameras or frames else {}


class ParameterSnapshot:
    """Asks every node of the graph for its parameters, without waiting; `values` fills as the answers come.

    Args:
        node: asks; its executor brings the answers.
        told: called with (node name, parameters) for each answer.
    """

    def __init__(self, node: Node, told: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._node, self._told = node, told
        self._clients: list[Any] = []
        self._waiting: list[tuple[str, Any, Any]] = []  # node, its lister and getter, not asked yet
        self._closed = False
        self.values: dict[str, dict[str, Any]] = {}
        for service, types in node.get_service_names_and_types():
            if types == ["rcl_interfaces/srv/ListParameters"]:
                of = service.rsplit("/", 1)[0]
                lister = node.create_client(ListParameters, f"{of}/list_parameters")
                getter = node.create_client(GetParameters, f"{of}/get_parameters")
                self._clients += [lister, getter]
                self._waiting.append((of.lstrip("/"), lister, getter))

    def poll(self) -> None:
        """Ask those that are connected by now; a new client needs a moment for that."""
        ready = [entry for entry in self._waiting if entry[1].service_is_ready() and entry[2].service_is_ready()]
        for entry in ready:
            self._waiting.remove(entry)
            self._ask(*entry)

    def _ask(self, of: str, lister: Any, getter: Any) -> None:
        def listed(future: Any) -> None:
            if not self._closed and future.exception() is None:
                names = list(future.result().result.names)
                getter.call_async(GetParameters.Request(names=names)).add_done_callback(lambda f: got(names, f))

        def got(names: list[str], future: Any) -> None:
            if not self._closed and future.exception() is None:
                self.values[of] = {n: _plain(v) for n, v in zip(names, future.result().values, strict=False)}
                self._told(of, self.values[of])

        lister.call_async(ListParameters.Request()).add_done_callback(listed)

    def close(self) -> None:
        """Ask no more; answers that have not come are not waited for."""
        self._closed = True
        for client in self._clients:
            self._node.destroy_client(client)
        self._clients, self._waiting = [], []


def _plain(value: ParameterValue) -> Any:
    found = parameter_value_to_python(value)
    if isinstance(found, (bool, int, float, str)) or found is None:
        return found
    return [int.from_bytes(v, "little") if isinstance(v, bytes) else v for v in found]
