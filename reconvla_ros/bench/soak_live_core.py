"""What the live soak asks of the driver beside commands: calls of its services that nobody waits for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from std_srvs.srv import SetBool, Trigger

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.msg import TaskState
from reconvla_ros.nodes import convert, qos
from reconvla_ros.srv import Confirmed, Release, SetSource

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
