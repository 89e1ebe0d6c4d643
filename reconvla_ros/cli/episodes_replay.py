"""`reconvla episodes replay`: the arm repeats an episode, through the driver and its filter, under the lease `replay`.

Ready position first, then slowly to where the episode began, then target by target at the recorded pace.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from reconvla_ros.cli import places
from reconvla_ros.cli.client import Client, connected, wait_until
from reconvla_ros.cli.network import free_domain, free_udp_port
from reconvla_ros.cli.supervise import Supervisor
from reconvla_ros.errors import ArmError
from reconvla_ros.graph import describe
from reconvla_ros.recording.replay import Plan, angle_between, compare

_NODES = ("simulator", "driver")
_NEAR, _NEAR_ANGLE = 0.004, 0.05  # [m], [rad] from where the episode began
_APPROACH = 30.0  # [s] to get there
_PERIOD = 0.05  # [s] between targets on the way there; the driver forgets one after 0.3 s


@contextlib.contextmanager
def simulated(scene: str, seed: str) -> Iterator[None]:
    """A simulated arm and its driver in a domain of their own, and this process in it."""
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    given = {"arm": "sim", "scene": scene, "seed": seed, "sim_port": str(free_udp_port())}
    with Supervisor(places.state() / "replay", quiet=True) as supervisor:
        supervisor.start([spec for spec in describe(given) if spec.name in _NODES])
        supervisor.wait_ready(60.0)
        yield


class _Arm:
    """What the graph says of the arm, and the one way to move it from here."""

    def __init__(self, client: Client) -> None:
        from geometry_msgs.msg import PoseStamped

        from reconvla_ros.msg import ArmStatus, EndEffectorCommand
        from reconvla_ros.nodes import qos

        self._client = client
        self._Command = EndEffectorCommand
        self.status: Any = None
        self.path: list[tuple[float, np.ndarray]] = []
        self._publisher = client.node.create_publisher(EndEffectorCommand, "arm/ee_command", qos.COMMAND)
        client.listen(ArmStatus, "arm/status", self._on_status)
        client.listen(PoseStamped, "arm/ee_pose", self._on_pose)

    def _on_status(self, message: Any) -> None:
        self.status = message

    def _on_pose(self, message: Any) -> None:
        p, q = message.pose.position, message.pose.orientation
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self.path.append((stamp, np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])))

    def holds(self) -> bool:
        """Powered, standing, nobody's."""
        return self.status is not None and self.status.state == "HOLDING" and self.status.source == "none"

    def connected(self) -> bool:
        """The driver hears us, and we hear it."""
        return self._publisher.get_subscription_count() > 0 and self.status is not None and bool(self.path)

    def say(self) -> str:
        """What it says of itself."""
        status = self.status
        return (
            "no arm/status"
            if status is None
            else f"{status.state} ({status.reason or 'no reason'}), lease {status.source}"
        )

    def refusals(self) -> dict[str, int]:
        """Reasons so far and how often."""
        return dict(zip(self.status.reasons, map(int, self.status.reason_counts), strict=False)) if self.status else {}

    def send(self, pose: np.ndarray, opening: float) -> None:
        """One target: TCP (7,), opening [m], NaN = keep."""
        command = self._Command(source="replay", gripper=float(opening))
        command.header.stamp = self._client.node.get_clock().now().to_msg()
        command.header.frame_id = "base_link"
        at, turn = command.pose.position, command.pose.orientation
        at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w = map(float, pose)
        self._publisher.publish(command)

    def call(self, kind: Any, name: str, request: Any) -> None:
        """Call a service that says success or accepted.

        Raises:
            ArmError: it refused.
        """
        answer = self._client.call(kind, name, request)
        if not (answer.accepted if hasattr(answer, "accepted") else answer.success):
            raise ArmError(f"{name} was refused: {answer.message}; the arm is {self.say()}")

    def lease(self, source: str) -> None:
        """Take the lease, or give it back."""
        from reconvla_ros.srv import SetSource

        self.call(SetSource, "arm/source", SetSource.Request(source=source))


def _get_ready(arm: _Arm) -> None:
    from std_srvs.srv import Trigger

    if not wait_until(arm.connected, 15.0):
        raise ArmError(f"the driver does not answer: {arm.say()}; is the graph up, and the arm enabled?")
    if not wait_until(arm.holds, 20.0):  # in sim the driver goes to the ready position by itself
        raise ArmError(f"the arm is not free: {arm.say()}; needed: HOLDING, lease none (reconvla doctor --arm)")
    arm.call(Trigger, "arm/ready", Trigger.Request())
    wait_until(lambda: not arm.holds(), 0.5)
    if not wait_until(arm.holds, 30.0):
        raise ArmError(f"the arm does not get ready: {arm.say()}")


def _approach(arm: _Arm, plan: Plan) -> None:
    """To where the episode began, at the ordinary limits."""
    end = time.monotonic() + _APPROACH
    while time.monotonic() < end:
        arm.send(plan.start, plan.opening)
        time.sleep(_PERIOD)
        _check(arm)
        pose = arm.path[-1][1]
        if np.linalg.norm(pose[:3] - plan.start[:3]) < _NEAR and angle_between(pose[3:], plan.start[3:]) < _NEAR_ANGLE:
            return
    off = 1e3 * float(np.linalg.norm(arm.path[-1][1][:3] - plan.start[:3]))
    raise ArmError(f"the arm did not get to where the episode begins within {_APPROACH:g} s: {off:.1f} mm off; "
                   f"reasons of the driver: {arm.refusals() or 'none'}")  # fmt: skip


def _check(arm: _Arm) -> None:
    """Raises ArmError when somebody else took over or the driver stopped."""
    status = arm.status
    if status.state in ("FAULT", "STOPPED", "DISCONNECTED", "DISABLED"):
        raise ArmError(f"replay ended: the arm is {arm.say()}")
    if status.source not in ("replay", "none"):
        raise ArmError(f"replay ended: {status.source} took the lease")


def _play(arm: _Arm, plan: Plan, speed: float) -> float:
    """Send every target when it is due; returns the ROS time of the first [s]."""
    began, began_ros = time.monotonic(), time.time()
    for due, pose, opening in zip(plan.times / speed, plan.poses, plan.grippers, strict=True):
        wait = began + due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        _check(arm)
        arm.send(pose, opening)
    time.sleep(0.3)
    return began_ros


def replay(plan: Plan, options: argparse.Namespace, scene: tuple[str, str]) -> dict[str, Any]:
    """Do it; returns what came of it.

    Raises:
        ArmError: the arm is not free, does not get there, or somebody else took it.
    """
    with contextlib.ExitStack() as stack:
        if options.arm == "sim":
            stack.enter_context(simulated(*scene))
        client = stack.enter_context(connected("reconvla_replay", options.namespace))
        arm = _Arm(client)
        _get_ready(arm)
        arm.lease("replay")
        try:
            _approach(arm, plan)
            before = arm.refusals()
            print(
                f"replay: {len(plan.times)} targets, {plan.duration / options.speed:.1f} s", file=sys.stderr, flush=True
            )
            began = _play(arm, plan, options.speed)
        finally:
            with contextlib.suppress(ArmError):
                arm.lease("none")
        time.sleep(0.3)  # a last arm/status
        after = arm.refusals()
    stamps = np.array([at for at, _ in arm.path])
    off = compare(plan, (stamps - began) * options.speed, np.array([pose for _, pose in arm.path]))
    # Where the recording paused, and at its end, the driver holds: that is no judgement of the filter.
    fresh = {name: count - before.get(name, 0) for name, count in after.items() if name != "command_end"}
    reasons = {name: count for name, count in fresh.items() if count > 0}
    return {
        "targets": len(plan.times), "refused_in_recording": plan.refused, "seconds": round(plan.duration / options.speed, 2),
        "reasons": reasons, "samples": off.samples, "rms_mm": round(1e3 * off.rms, 3), "largest_mm": round(1e3 * off.largest, 3),
        "largest_deg": round(float(np.degrees(off.largest_angle)), 3),
    }  # fmt: skip
