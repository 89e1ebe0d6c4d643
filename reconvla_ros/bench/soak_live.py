"""The live soak: the command styles of `soak_commands` through the running graph, over DDS, in real time.

`LiveRig` looks to a `Commander` like the rig of the injected clock: what is asked there of the driver's core goes out as
messages and service calls here, raw, so that wrong lengths and numbers that no type of ours would hold reach the node too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Quaternion
from geometry_msgs.msg import Pose as PoseMessage
from sensor_msgs.msg import JointState

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.soak_commands import STYLES, TASK, Commander
from reconvla_ros.bench.soak_live_core import LiveCore
from reconvla_ros.errors import ReconVlaError
from reconvla_ros.msg import ActionChunk, ArmStatus, EndEffectorCommand
from reconvla_ros.nodes import convert, qos
from reconvla_ros.safety.supervisor import State
from reconvla_ros.sim.fault_channel import inject
from reconvla_ros.sim.faults import Faults
from reconvla_ros.types import Float, Pose

_PERIOD = 0.005  # [s] one step of the commander
_NEAR = 1.0  # [s] a freeze this near to a stop or a fault is explained by it
_READY_SHARE = 0.3
_WRONG_SHARE = 0.05  # of the messages get a wrong length or frame on top


class LiveRig:
    """The running graph as a rig. `port` is that of its CAN bus, `told` the pipe to the ear."""

    def __init__(self, node: Any, port: int, config: DriverConfig, told: Connection) -> None:
        def tell(*event: Any) -> None:
            told.send(event)

        self.node, self.core = node, LiveCore(node, config, tell)
        self.judge = SimpleNamespace(expect=lambda what, count=1: tell("expect", what, count), ticks=0)
        self.clock = _Now()
        self.firmware = SimpleNamespace(word=SimpleNamespace(arm_status=0))  # not ours to set
        self.last: Any = None
        self.measured: Float = np.zeros(6)
        self.heard = 0.0
        self._bus, self._due, self.ill = f"udp_multicast:{port}", time.monotonic(), 0
        node.create_subscription(JointState, "joint_states", self._on_joints, qos.STATE)
        node.create_subscription(ArmStatus, "arm/status", self._on_status, qos.STATUS)

    def _on_joints(self, message: JointState) -> None:
        self.measured = np.array(message.position[:6])

    def _on_status(self, message: ArmStatus) -> None:
        self.core.holder, self.core.stop_latched = message.source, message.stop_latched
        state, self.heard = State(message.state), time.monotonic()
        self.last = SimpleNamespace(decision=SimpleNamespace(state=state))
        if state not in (State.MOVING, State.HOLDING):
            self.core.moments.append(self.heard)

    def step(self) -> None:
        """Five milliseconds."""
        self._due = max(self._due + _PERIOD, time.monotonic() - 0.1)
        time.sleep(max(0.0, self._due - time.monotonic()))
        if self.ill:
            self.ill -= 1
            if not self.ill:
                self._suffer(Faults())

    def enable(self) -> None:
        """Power the motors."""
        self.core.enable(True)

    def push(self, offset: Float, ticks: int = 1) -> None:
        """Nobody stands beside this arm: it is blind for a moment instead."""
        del offset
        self.fall_ill(Faults(bus_dead=True), ticks)

    def lose_power(self) -> None:
        """One motor loses it."""
        self.fall_ill(Faults(powerless=2), 20)

    def fall_ill(self, faults: Faults, ticks: int) -> None:
        """Give the simulated arm these faults."""
        self._suffer(faults)
        self.ill = ticks

    def __setattr__(self, name: str, value: Any) -> None:
        faults = {"silent": Faults(bus_dead=True), "stuck": Faults(frozen=True), "zero": Faults(zero="joints"),
                  "blocked": Faults(collision=3)}.get(name)  # fmt: skip
        if faults is not None:
            self.fall_ill(faults, value)
        else:
            super().__setattr__(name, value)

    def _suffer(self, faults: Faults) -> None:
        self.core.moments.append(time.monotonic())
        with contextlib.suppress(ReconVlaError):
            inject(self._bus, faults)


class _Now:
    """The clocks of this machine."""

    @property
    def mono_ns(self) -> int:
        """[ns]"""
        return time.monotonic_ns()

    @property
    def ros_ns(self) -> int:
        """[ns]"""
        return time.time_ns()


class LiveCommander(Commander):
    """Publishes what a `Commander` would hand to the core, unchecked."""

    def __init__(self, rig: LiveRig, seed: int) -> None:
        super().__init__(rig, seed)
        self._chunks = rig.node.create_publisher(ActionChunk, "policy/action_chunk", qos.COMMAND)
        self._points = rig.node.create_publisher(EndEffectorCommand, "arm/ee_command", qos.COMMAND)

    def _wrong(self) -> bool:
        return self._random.random() < _WRONG_SHARE

    def _send_chunk(self, values: dict[str, Any]) -> str:
        positions, quaternions = np.atleast_2d(values["positions"]), np.atleast_2d(values["quaternions"])
        poses = [_pose(p, quaternions[min(k, len(quaternions) - 1)]) for k, p in enumerate(positions) if len(p)]
        gripper, confidence = _float32(values["gripper"]), _float32(values.get("confidence", ()))
        if self._wrong():
            poses = self._random.choice(([], poses[:-1], poses * 500))
        if self._wrong():
            gripper = self._random.choice(([], gripper[:-1], gripper * 3))
        self._chunks.publish(ActionChunk(
            header=convert.header(int(values["stamp_ns"]), "world" if self._wrong() else "base_link"),
            task_id=str(values["task_id"]), sequence=int(values["sequence"]), step_dt=_duration(values["step_dt"]),
            anchor=convert.to_pose(values["anchor"]), poses=poses, gripper=gripper, confidence=confidence,
            token_ids=[1] * self._random.randint(1, 9) if self._wrong() else [], prefix_steps=255 if self._wrong() else 0,
        ))  # fmt: skip
        return "sent"

    def _send_ee(self, stamp_ns: int, source: str, position: Float, quaternion: Float, gripper: float | None) -> str:
        frame = "world" if self._wrong() else "base_link"
        opening = _float32([np.nan if gripper is None else gripper])[0]
        self._points.publish(EndEffectorCommand(
            header=convert.header(stamp_ns, frame), source=source, pose=_pose(position, quaternion), gripper=opening
        ))  # fmt: skip
        return "sent"

    def _corrupt(self) -> str:
        pose: Pose = self._tcp()
        broken = self._random.choice((np.full(3, np.nan), np.full(3, np.inf), np.full(3, 1e308), -pose.position))
        return self._send_ee(
            self._clock.ros_ns, "teleop", broken, self._random.choice((np.zeros(4), pose.quaternion)), 1e30
        )


def _pose(position: Float, quaternion: Float) -> PoseMessage:
    """Whatever is there; what is missing is zero."""
    x, y, z = [*map(float, position), 0.0, 0.0, 0.0][:3]
    qx, qy, qz, qw = [*map(float, quaternion), 0.0, 0.0, 0.0, 0.0][:4]
    return PoseMessage(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def _float32(values: Any) -> list[float]:
    with np.errstate(over="ignore"):
        return [float(v) for v in np.asarray(values, dtype=np.float64).astype(np.float32)]


def _duration(seconds: float) -> Duration:
    whole = 0.0 if np.isnan(seconds) else min(max(seconds, -(2.0**31)), 2.0**31 - 1.0)
    return Duration(sec=int(np.floor(whole)), nanosec=int((whole % 1.0) * 1e9))


def live(
    node: Any,
    port: int,
    minutes: float,
    seed: int,
    config: DriverConfig,
    told: Connection,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Command the running graph for `minutes`; the ear at the other end of `told` judges.

    Returns:
        minutes, commands, frames, sets, violations, examples, freezes, seeds, extremes, lost (datagrams that the ear
        missed; a lost target looks like a leap), outcome, answers.
    """
    random, rig = Random(seed), LiveRig(node, port, config, told)
    commander = LiveCommander(rig, seed + 1)
    begin = said = time.monotonic()
    while (now := time.monotonic()) - begin < 60.0 * minutes:
        if random.random() < _READY_SHARE:
            rig.core.set_source("none")
            rig.core.ready()
            for _ in range(random.randint(50, 400)):
                rig.step()
        commander.phase(random.choice(STYLES), random.randint(20, 400), 1 << 62)
        if now - said > 5.0:
            said = now
            state = rig.last.decision.state.value if rig.last is not None else "silent"
            progress(f"live: {now - begin:.0f}/{60 * minutes:.0f} s, {commander.sent} commands, {state}")
    rig.core.set_task(None)
    rig.core.set_source("none")
    for _ in range(200):
        rig.step()
    silent = time.monotonic() - rig.heard
    told.send(("end",))
    result: dict[str, Any] = told.recv()
    moments = np.array(rig.core.moments)
    alone = [t for t in result["freezes"] if not len(moments) or float(np.abs(moments - t).min()) > _NEAR]
    if alone:
        result["violations"]["unexplained_freeze"] = len(alone)
    if result["lost"]:
        result["violations"]["inconclusive_ear_missed_frames"] = 1
    if silent > 1.0:
        result["violations"]["driver_silent"] = 1
    return result | {
        "minutes": minutes, "commands": commander.sent, "freezes": len(result["freezes"]), "task": TASK,
        "outcome": dict(sorted(commander.outcome.items())), "answers": dict(sorted(rig.core.answers.items())),
    }  # fmt: skip
