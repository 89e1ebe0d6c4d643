"""The live soak: the command styles of `soak_commands` through the running graph, over DDS, in real time.

`LiveRig` looks to a `Commander` like the rig of the injected clock: what is asked there of the driver's core goes out as
messages and service calls here, raw, so that wrong lengths and numbers that no type of ours would hold reach the node too.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
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
from std_srvs.srv import SetBool, Trigger

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.soak_commands import STYLES, TASK, Commander
from reconvla_ros.errors import ReconVlaError
from reconvla_ros.msg import ActionChunk, ArmStatus, EndEffectorCommand, TaskState
from reconvla_ros.nodes import convert, qos
from reconvla_ros.safety.supervisor import State
from reconvla_ros.sim.fault_channel import inject
from reconvla_ros.sim.faults import Faults
from reconvla_ros.srv import Confirmed, Release, SetSource
from reconvla_ros.types import Float, Pose

_PERIOD = 0.005  # [s] one step of the commander
_NEAR = 1.0  # [s] a freeze this near to a stop or a fault is explained by it
_READY_SHARE = 0.3
_WRONG_SHARE = 0.05  # of the messages get a wrong length or frame on top
_CALLS: dict[str, tuple[Any, str]] = {
    "stop": (Trigger, "arm/stop"), "clear_stop": (Trigger, "arm/clear_stop"), "home": (Trigger, "arm/home"),
    "ready": (Trigger, "arm/ready"), "release": (Release, "arm/release"), "enable": (SetBool, "arm/enable"),
    "source": (SetSource, "arm/source"), "damped_stop": (Confirmed, "arm/damped_stop"),
    "power_cycle": (Confirmed, "arm/power_cycle"),
}  # fmt: skip


class LiveCore:
    """What a `Commander` asks of the driver, as calls of its services on `node`; nothing here waits for an answer."""

    def __init__(self, node: Any, config: DriverConfig, tell: Callable[..., None]) -> None:
        self.kinematics = Kinematics(1, config.tcp_offset, config.joint_lower, config.joint_upper)
        self.holder, self.stop_latched, self.answers = "none", False, Counter[str]()
        self.moments: list[float] = []  # [s, monotonic] at which a target may come to a stand at once
        self._tell, self._epoch, self._pending = tell, 0, set[str]()
        self._clients = {name: node.create_client(kind, service) for name, (kind, service) in _CALLS.items()}
        self._task = node.create_publisher(TaskState, "task/state", qos.LATCHED)

    def _call(self, name: str, then: Callable[[Any], None] | None = None, **fields: Any) -> tuple[bool, str]:
        if name in self._pending or not self._clients[name].service_is_ready():
            return False, "pending"
        self._pending.add(name)

        def done(future: Any) -> None:
            answer = future.result()
            good = bool(getattr(answer, "success", getattr(answer, "accepted", False)))
            self.answers[f"{name} {good}"] += 1
            if then is not None:
                then(answer)
            self._pending.discard(name)

        self._clients[name].call_async(_CALLS[name][0].Request(**fields)).add_done_callback(done)
        return True, "asked"

    def stop(self) -> None:
        """Stop; from the answer on the target stands."""
        # A clear that is under way may be served after the stop: then nobody knows whether it is latched.
        epoch = self._epoch if "clear_stop" not in self._pending else -1
        self.moments.append(time.monotonic())
        self._call("stop", lambda _: self._tell("stopped", True, True) if epoch == self._epoch else None)

    def clear_stop(self) -> tuple[bool, str]:
        """Clear the stop."""
        self._epoch += 1
        self._tell("stopped", False, True)
        return self._call("clear_stop")

    def home(self) -> tuple[bool, str]:
        """Go home."""
        return self._call("home")

    def ready(self) -> tuple[bool, str]:
        """Go to the ready position."""
        return self._call("ready")

    def release_gripper(self) -> tuple[bool, str]:
        """Stop and open the gripper."""
        self.moments.append(time.monotonic())
        return self._call("release", mode="open")

    def halt(self) -> None:
        """The task ends."""
        self.set_task(None)

    def enable(self, on: bool) -> None:
        """Power, or no power."""

        def then(answer: Any) -> None:
            if on:
                self._tell("expect", "enable", 0)
            elif not answer.success:
                self._tell("expect", "disable", -6)

        if on:
            self._tell("expect", "enable", 1)
        if not self._call("enable", then, data=on)[0] and not on:
            self._tell("expect", "disable", -6)

    def damped_stop(self) -> None:
        """The firmware's e-stop."""
        self.moments.append(time.monotonic())
        self._call("damped_stop", confirmation="SINK")

    def power_cycle(self) -> None:
        """The firmware's reset."""
        self._call("power_cycle", confirmation="FALL")

    def set_source(self, source: str) -> tuple[bool, str]:
        """Ask for the lease."""
        return self._call("source", source=source)

    def set_task(self, task_id: str | None) -> None:
        """A task runs, or none."""
        state = "RUNNING" if task_id else "IDLE"
        self._task.publish(TaskState(header=convert.header(time.time_ns(), ""), state=state, task_id=task_id or ""))


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
