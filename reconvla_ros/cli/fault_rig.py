"""The real graph under the fault bench: its processes, its services, and how it is made whole again after a fault."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

from reconvla_ros.bench import faults_clock
from reconvla_ros.bench.faults_bus import BusLog
from reconvla_ros.bench.faults_judge import IN_FORCE_OPENING
from reconvla_ros.bench.faults_mover import Mover, Say
from reconvla_ros.cli.client import CallError, Client, wait_until
from reconvla_ros.cli.fault_processes import FaultProcesses
from reconvla_ros.errors import ReconVlaError, SetupError
from reconvla_ros.graph import CAMERAS, NodeSpec, describe
from reconvla_ros.sim.bus import BusConfig
from reconvla_ros.sim.fault_channel import inject
from reconvla_ros.sim.faults import HEALTHY, Faults

_BASE = ("simulator", "driver", "task")
_POLICY = (*CAMERAS, "policy")
_UP = 60.0  # [s] for a process to become active
_TOLD = 0.3  # [s] after which arm/status, 10 Hz, tells of what was taken
_PATIENCE = 3.0  # [s] for a service
_FAST = 0.25  # [rad/s] a joint target faster than this is a motion worth breaking; joint1 does 0.3 on the way
_CIRCLE = 0.03  # [rad/s] the scripted policy's circle is slower
_CAMERA_RATE, _CAMERA_SIZE = 20, (160, 120)  # [Hz], [px]: what the policy looks at does not matter here
_POLICY_RATE = 4.0  # [Hz] chunks of 0.5 s overlap, so that the arm moves steadily


class FaultRig:
    """One graph in a domain and on a bus of its own; `ROS_DOMAIN_ID` is set by the caller.

    Attributes:
        log: the bus, heard independently. mover: the bench's own policy.
    """

    def __init__(self, folder: Path, port: int, realtime: str = "auto") -> None:
        self._port, self._realtime = port, realtime
        self._bus_name = BusConfig(port=port).name
        self._processes = FaultProcesses(folder)
        self._client = Client("faults")
        self._services: dict[str, Any] = {}
        self._clock_ns = 0  # how far the driver's clock is from ours
        self._status: tuple[float, Any] | None = None  # receipt [s since the epoch], message
        self.log = BusLog(port)
        self.mover = Mover(self._client.node)
        from reconvla_ros.msg import ArmStatus

        self._client.listen(ArmStatus, "arm/status", self._on_status)

    def _on_status(self, message: Any) -> None:
        self._status = (time.time(), message)

    def close(self) -> None:
        """Leave nothing behind."""
        self._processes.stop_busy()
        self._processes.thaw()
        self.log.close()
        self._processes.stop()
        self._client.close()

    # --- processes ---------------------------------------------------------------------------------------------------
    def _specs(self, names: tuple[str, ...]) -> list[NodeSpec]:
        given = {"sim_port": str(self._port), "policy": "scripted", "camera_rate": str(_CAMERA_RATE), "scene": "empty",
                 "realtime": self._realtime}  # fmt: skip
        chosen = [s for s in describe(given) if s.name in names]
        for spec in chosen:
            if spec.name in CAMERAS:
                spec.parameters.update(width=_CAMERA_SIZE[0], height=_CAMERA_SIZE[1])
            if spec.name == "driver":
                spec.parameters["auto_ready"] = False  # the rig asks for it, and so knows when it is over
            if spec.name == "policy":
                spec.parameters["rate"] = _POLICY_RATE
        return chosen

    def start(self, *, policy: bool = False, jumping: bool = False) -> None:
        """Bring up what is not up: simulator, driver and task node; with `policy` cameras and the scripted policy too.

        `jumping` = whether the driver's wall clock can jump; another driver takes the place of one that differs.

        Raises:
            SetupError: the graph does not come up.
        """
        if self._processes.jumping != jumping:
            self._processes.jumping = jumping
            self._processes.end("driver", signal.SIGTERM)
        for name in _POLICY:
            if not policy:
                self._processes.end(name, signal.SIGTERM)
        missing = [n for n in (*_BASE, *(_POLICY if policy else ())) if not self._processes.alive(n)]
        if missing:
            self._processes.bring_up(self._specs(tuple(missing)), _UP)
        self.mover.fake_policy = not policy
        if not wait_until(lambda: self.mover.connected and self._holds(), _UP):
            raise SetupError(f"fault bench: the arm does not hold: {self.why()}")
        if "driver" in missing:
            self._clock_ns = 0
            self._get_ready()

    def _get_ready(self) -> None:
        """Go to where tasks begin, and wait for it."""
        self.trigger("arm/ready")
        taken = time.time()
        arrived = wait_until(lambda: self._told_after(taken + _TOLD) and self._holds(), _UP)
        if not arrived:
            raise SetupError(f"fault bench: the arm does not get ready: {self.why()}")

    @property
    def processes(self) -> FaultProcesses:
        """The processes of the graph."""
        return self._processes

    def jump(self, number: signal.Signals) -> float:
        """Set the driver's clock one hour on (SIGUSR1) or back (SIGUSR2); when [s since the epoch].

        Chunks keep the stamps of before until the next `begin`.
        """
        self._clock_ns += faults_clock.JUMP_NS if number == signal.SIGUSR1 else -faults_clock.JUMP_NS
        return self._processes.send("driver", number)

    # --- faults of the arm -------------------------------------------------------------------------------------------
    def strike(self, faults: Faults) -> float:
        """Give the simulated arm these faults; when they came into effect [s since the epoch]."""
        began = inject(self._bus_name, faults)
        return time.time() - (time.monotonic_ns() - began) / 1e9

    # --- services ----------------------------------------------------------------------------------------------------
    def _service(self, kind: type, name: str) -> Any:
        """A client that is kept and knows its server."""
        client = self._services.get(name)
        if client is None:
            client = self._services[name] = self._client.node.create_client(kind, name)
        if not client.wait_for_service(timeout_sec=_PATIENCE):
            raise CallError(f"no service {name!r} after {_PATIENCE:g} s")
        return client

    def call(self, kind: type, name: str, request: Any, timeout: float = _PATIENCE) -> tuple[Any, float]:
        """Call a service; its answer, and when it was called [s since the epoch].

        Raises:
            CallError: it is not there, or does not answer within `timeout` [s].
        """
        client, done = self._service(kind, name), threading.Event()
        at = time.time()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(timeout):
            client.remove_pending_request(future)
            raise CallError(f"service {name!r} did not answer within {timeout:g} s")
        return future.result(), at

    def trigger(self, name: str) -> float:
        """Call a Trigger service; when it was called [s since the epoch].

        Raises:
            CallError: it is not there, does not answer, or says no.
        """
        from std_srvs.srv import Trigger

        answer, at = self.call(Trigger, name, Trigger.Request())
        if not answer.success:
            raise CallError(f"{name}: {answer.message}")
        return at

    # --- motion and recovery -----------------------------------------------------------------------------------------
    def why(self) -> str:
        """What the driver said last."""
        if self._status is None:
            return "no arm/status"
        s = self._status[1]
        counts = ", ".join(f"{name} {count}" for name, count in zip(s.reasons, s.reason_counts, strict=False))
        return f"{s.state} {s.reason}".strip() + f", lease {s.source}, task {s.task_id!r}, reasons: {counts or 'none'}"

    def _state(self) -> str:
        return str(self._status[1].state) if self._status is not None and self._told_after(time.time() - 0.5) else ""

    def _told_after(self, at: float) -> bool:
        return self._status is not None and self._status[0] > at

    def _holds(self) -> bool:
        return self._state() == "HOLDING" and self._status is not None and self._status[1].source == "none"

    def begin(self, *, policy: bool = False) -> None:
        """A new task, and the arm well under way for it.

        Raises:
            SetupError: no task is accepted, or the arm does not move.
        """
        from reconvla_ros.srv import Task

        answers: list[Any] = []

        def accepted() -> bool:
            answers.append(self.call(Task, "task", Task.Request(instruction="to and fro", timeout=60.0))[0])
            return bool(answers[-1].accepted)

        if not wait_until(accepted, 15.0):
            raise SetupError(f"fault bench: no task is accepted: {answers[-1].message}")
        if policy:
            self.mover.say = Say.NOTHING
        else:
            self.mover.begin(answers[-1].task_id, self._clock_ns)
        if not wait_until(lambda: self._under_way(policy), 15.0):
            raise SetupError(f"fault bench: the arm does not move: {self.why()}; {self._trace()}")

    def _trace(self) -> str:
        """What the driver says of the request in force; asked only when something is wrong, for it comes often."""
        from reconvla_ros.msg import ActionTrace

        heard: list[Any] = []
        self._client.listen(ActionTrace, "arm/action_trace", heard.append)
        wait_until(lambda: len(heard) > 2, 2.0)
        return f"newest request: {heard[-1].reason} {heard[-1].detail}" if heard else "no request is in force"

    def _under_way(self, policy: bool) -> bool:
        if policy:
            return self.log.speed() > _CIRCLE
        opening = self.log.opening()
        return self.log.speed() > _FAST and opening is not None and abs(opening - IN_FORCE_OPENING) < 1e-4

    def repair(self) -> None:
        """Take the cause of a fault away; nothing else."""
        self._processes.stop_busy()
        self._processes.thaw()
        if self._processes.alive("simulator"):
            self.strike(HEALTHY)

    def recover(self, *, policy: bool = False, jumping: bool = False) -> str:
        """Make the graph whole by its public services and by starting what has ended; "" or why that did not do."""
        try:
            self._processes.reap()
            self.start_missing(policy=policy, jumping=jumping)
            if not wait_until(self._cleared, 10.0):
                return self.why()
        except ReconVlaError as error:
            return str(error)
        finally:
            self.mover.say = Say.NOTHING
        return ""

    def cancel(self) -> None:
        """End the task, if it runs; whatever is said for it from now on is old."""
        self._quietly("task/cancel")

    def start_missing(self, *, policy: bool, jumping: bool) -> None:
        """`start`, unless all is up."""
        names = (*_BASE, *(_POLICY if policy else ()))
        if not all(self._processes.alive(n) for n in names):
            self.start(policy=policy, jumping=jumping)

    def _quietly(self, name: str) -> None:
        """A service that may have nothing to do, or nobody to do it."""
        try:
            self.trigger(name)
        except CallError:
            return

    def _cleared(self) -> bool:
        """One attempt: clear what is latched, power what has none; True when the arm holds and nobody has the lease."""
        from std_srvs.srv import SetBool

        state = self._state()
        if state in ("FAULT", "STOPPED"):
            self._quietly("arm/clear_stop")
        elif state == "DISABLED":
            self.call(SetBool, "arm/enable", SetBool.Request(data=True), 8.0)
        return self._holds()

    def rebuild(self, *, policy: bool, jumping: bool) -> None:
        """Stop everything and bring it up again; for a graph that could not be recovered."""
        self.repair()
        for name in reversed((*_BASE, *_POLICY)):
            self._processes.end(name, signal.SIGKILL)
        self._processes.jumping = jumping
        self.start(policy=policy, jumping=jumping)
