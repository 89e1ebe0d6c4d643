"""Brings the arm from view to view through the driver: its filter, its limits, its lease."""

from __future__ import annotations

import time

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration.views import BASE
from reconvla_ros.cli.calibrate_eye import PATIENCE, Eye
from reconvla_ros.cli.client import Client, wait_until
from reconvla_ros.errors import CalibrationError
from reconvla_ros.types import Pose

_STEP, _TURN = 0.20, 0.6  # [m], [rad] of one leg; the driver refuses targets further than 0.3 m
_ARRIVED = (0.004, 0.02)  # [m], [rad]
_PERIOD = 0.05  # [s] between commands; the driver takes them up to 0.3 s old
_STUCK = 3.0  # [s] without getting nearer: the driver does not go there
SOURCE = "replay"  # holder of the lease: a script, which a human's hand pre-empts


class Mover:
    """Brings the arm to poses through the driver: its filter and its lease; gives the lease back at the end."""

    def __init__(self, client: Client, eye: Eye, kinematics: Kinematics) -> None:
        from reconvla_ros.msg import EndEffectorCommand
        from reconvla_ros.nodes import qos

        self._client, self._eye, self._kinematics = client, eye, kinematics
        if eye.status.dry_run:
            raise CalibrationError("the driver is in dry_run: it sends nothing, the arm would not move; dry_run:=false, or "
                                   "move it by hand without --auto")  # fmt: skip
        self._publisher = client.node.create_publisher(EndEffectorCommand, "arm/ee_command", qos.COMMAND)
        if not wait_until(lambda: self._publisher.get_subscription_count() > 0, PATIENCE):
            raise CalibrationError("no driver listens on arm/ee_command")
        self._before = self._counts()
        self._lease(SOURCE)

    def _lease(self, source: str) -> None:
        from reconvla_ros.srv import SetSource

        answer = self._client.call(SetSource, "arm/source", SetSource.Request(source=source))
        if not answer.accepted:
            raise CalibrationError(f"the driver does not give the arm to this script: {answer.message}")
        if not wait_until(lambda: self._eye.status.source == source, PATIENCE):
            raise CalibrationError(f"the driver gave the lease to {source!r}, but its status does not say so")

    def close(self) -> None:
        """Give the lease back, unless somebody else has taken it."""
        if self._eye.status.source == SOURCE:
            self._lease("none")

    def go(self, target: Pose) -> bool:
        """Go to a TCP pose in legs; False when the driver does not go there (it holds, and so does the arm).

        Raises:
            CalibrationError: somebody else took the arm, or the driver may not move.
        """
        self._before = self._counts()
        start = self._kinematics.tcp(self._eye.joints())
        far = float(np.linalg.norm(target.position - start.position))
        turns = Rotation.from_quat(np.array([start.quaternion, target.quaternion]))
        legs = max(1, int(np.ceil(max(far / _STEP, (turns[0].inv() * turns[1]).magnitude() / _TURN))))
        between = Slerp([0.0, 1.0], turns)
        for share in np.arange(1, legs + 1) / legs:
            place = start.position + share * (target.position - start.position)
            if not self._leg(Pose(place, between(share).as_quat()), last=share == 1.0):
                return False
        return True

    def _counts(self) -> dict[str, int]:
        status = self._eye.status
        return {str(r): int(n) for r, n in zip(status.reasons, status.reason_counts, strict=False)}

    def refusals(self) -> str:
        """Reason codes of the driver that came up since the last `go` began."""
        new = [r for r, n in self._counts().items() if n > self._before.get(r, 0)]
        return ", ".join(new) or "it gives no reason"

    def _leg(self, target: Pose, last: bool) -> bool:
        from reconvla_ros.msg import EndEffectorCommand
        from reconvla_ros.nodes import convert

        near, since = np.inf, time.monotonic()
        while True:
            status = self._eye.status
            if status.source != SOURCE or status.stop_latched:
                raise CalibrationError(f"the arm is with {status.source!r} now ({status.state} {status.reason}); "
                                       "nothing was stored")  # fmt: skip
            now = self._client.node.get_clock().now().nanoseconds
            self._publisher.publish(EndEffectorCommand(
                header=convert.header(now, BASE), source=SOURCE, pose=convert.to_pose(target), gripper=float("nan")
            ))  # fmt: skip
            here = self._kinematics.tcp(self._eye.joints())
            off = float(np.linalg.norm(here.position - target.position))
            turn = (Rotation.from_quat(here.quaternion).inv() * Rotation.from_quat(target.quaternion)).magnitude()
            arrived = off < _ARRIVED[0] * (1 if last else 4) and turn < _ARRIVED[1] * (1 if last else 4)
            if arrived and (not last or self._eye.still_since() is not None):
                return True
            if off + turn < near - 1e-3:
                near, since = off + turn, time.monotonic()
            elif time.monotonic() - since > _STUCK:
                return False
            time.sleep(_PERIOD)
