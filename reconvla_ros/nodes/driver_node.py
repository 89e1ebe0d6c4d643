"""The driver: the only process that holds the arm. Safety runs here, right before the bus.

ros2 run reconvla_ros driver_node --ros-args --params-file config/piper.yaml
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from reconvla_ros.arm import firmware, health
from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.dry_run import DryRun
from reconvla_ros.arm.loop import DeadlineLoop
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.piper_modes import mode_of
from reconvla_ros.arm.preflight import failures
from reconvla_ros.arm.protocol import Arm
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.arm.urdf import RobotTree, description_file, for_variant
from reconvla_ros.errors import ReconVlaError, ShapeError
from reconvla_ros.msg import ActionChunk, EndEffectorCommand, TaskState
from reconvla_ros.nodes import convert, driver_convert, qos
from reconvla_ros.nodes.base import ERROR, OK, WARN, ManagedNode
from reconvla_ros.nodes.driver_services import DriverServices
from reconvla_ros.nodes.driver_speaker import DriverSpeaker
from reconvla_ros.nodes.process import run
from reconvla_ros.safety.filter import Verdict
from reconvla_ros.safety.supervisor import State
from reconvla_ros.task.chunk_player import Accepted

_HALT = 2.0  # [s] for the last deceleration, and for power to show
_WAY = 30.0  # [s] to the ready position


class DriverNode(ManagedNode):
    """The loop runs in one thread, publishing in another; callbacks only hand data over."""

    def __init__(self) -> None:
        super().__init__("driver", DriverConfig)
        self._core: DriverCore | None = None
        self._arm: Arm | None = None
        self._loop: DeadlineLoop | None = None
        self._threads: list[threading.Thread] = []
        self._newest: TickResult | None = None
        self._problem = ""
        self._speaker = DriverSpeaker(self, self.config.dry_run, self.config.trace_rate)
        self.create_subscription(ActionChunk, "policy/action_chunk", self._on_chunk, qos.COMMAND)
        self.create_subscription(EndEffectorCommand, "arm/ee_command", self._on_ee, qos.COMMAND)
        self.create_subscription(TaskState, "task/state", self._on_task, qos.LATCHED)
        self._driver_services = DriverServices(self, lambda: self._core)

    def setup(self) -> None:
        """Check the limits, find the arm; nothing moves and nothing is powered."""
        config: DriverConfig = self.config
        config.limits()  # refuses before the bus is touched
        description = description_file().read_text(encoding="utf-8")
        arm: Arm = PiperArm(
            BusAddress(*config.bus), config.speed_percent, config.mounting, config.gripper_effort, config.wait_for_arm,
            gripper=config.gripper == "fitted",
            mode=mode_of(config.command_mode, config.mit_kp, config.mit_kd, config.gripper == "fitted"),
            stop=lambda: self.asked_to_end(),
        )  # fmt: skip
        self._arm = DryRun(arm) if config.dry_run else arm
        self._arm.open()
        self._core = DriverCore(self._arm, config)
        for check in failures(self._core.preflight.checks):
            self.get_logger().error(f"preflight {check.name} {check}")
        if config.command_mode == "end_pose":
            self.get_logger().warning(health.END_POSE)
        variant = firmware.dh_variant(self._core.preflight.version)
        tree = RobotTree(for_variant(description, variant))
        self._speaker.introduce(self._core, tree, self.get_clock().now().nanoseconds)

    def start(self) -> None:
        """Run the loop; power the motors where that is wanted."""
        assert self._core is not None
        self._loop = DeadlineLoop(1.0 / self.config.rate, self._tick)
        self._threads = [
            threading.Thread(target=self._run_loop, name="loop", daemon=True),
            threading.Thread(target=self._speaker.run, name="speak", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        if self.config.auto_enable and not self.config.dry_run:
            try:
                self._core.enable(True)
            except ReconVlaError:
                self.stop()  # nothing of an arm that may not be driven goes on in the background
                raise
            if self.config.auto_ready:
                threading.Thread(target=self._get_ready, args=(self._core,), name="ready", daemon=True).start()

    def _get_ready(self, core: DriverCore) -> None:
        """Ask until the motors' power shows in the feedback, and again when a passing fault (late feedback) ended the way."""
        end, asked, message = time.monotonic() + _HALT, False, ""
        while time.monotonic() < end and not core.stop_latched:
            if not asked or (core.broken_off and core.holder == "none"):
                done, message = core.ready()
                if done:
                    asked, end = True, time.monotonic() + _WAY
            elif core.holder not in ("none", "home") or (core.standing and core.holder == "none"):
                return  # somebody has taken over, or it is there
            time.sleep(0.05)
        if core.stop_latched:
            return
        self.get_logger().error(f"cannot get ready: {message}")

    def stop(self) -> None:
        """Decelerate, hold, end the loop; the arm stays enabled."""
        if self._loop is None or self._core is None:
            return
        self._core.halt()
        end = time.monotonic() + _HALT
        while not self._core.standing and not self._problem and time.monotonic() < end:
            time.sleep(0.01)
        self._loop.stop()
        self._speaker.hand_over(None)
        for thread in self._threads:
            thread.join(timeout=1.0)
        self._loop = None

    def close(self) -> None:
        """Leave the bus; the arm holds its last target."""
        if self._arm is not None:
            self._arm.close()
            self._arm = self._core = self._newest = None

    def _run_loop(self) -> None:
        assert self._loop is not None
        try:
            self._loop.run()
        except Exception as error:
            self._problem = f"the loop ended: {type(error).__name__}: {error}; the arm holds its last target"
            self.get_logger().fatal(self._problem)

    def _tick(self) -> int | None:
        assert self._core is not None
        now = time.time_ns()
        result = self._core.tick(time.monotonic_ns(), now)
        self._newest = result
        self._speaker.hand_over(result)
        return now - result.state.stamp_ns if result.state is not None else None

    def _on_chunk(self, message: ActionChunk) -> None:
        if not message.poses and not message.gripper:  # the policy takes its chunk back
            self._hand_over("policy/action_chunk", lambda core, *now: core.end_chunk(message.task_id))
            return
        self._hand_over("policy/action_chunk", lambda core, *now: core.accept_chunk(convert.from_chunk(message), *now))

    def _on_ee(self, message: EndEffectorCommand) -> None:
        self._hand_over("arm/ee_command", lambda core, *now: core.accept_ee(convert.from_ee_command(message), *now))

    def _hand_over(self, topic: str, accept: Callable[[DriverCore, int, int], Accepted]) -> None:
        self.received[topic] = self.received.get(topic, 0) + 1
        if self._core is None:
            return
        try:
            accepted = accept(self._core, time.monotonic_ns(), self.get_clock().now().nanoseconds)
        except ShapeError as error:
            self._core.count(Verdict.REFUSED, "shape")
            self.get_logger().warning(f"{topic} refused: {error}", throttle_duration_sec=1.0)
            return
        if not accepted.ok:
            self.get_logger().warning(f"{topic} refused: {accepted.detail}", throttle_duration_sec=1.0)

    def _on_task(self, message: TaskState) -> None:
        if self._core is not None:
            self._core.set_task(message.task_id if message.state == "RUNNING" else None)

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Loop, frames, reasons, state."""
        if self._loop is None or self._newest is None or self._core is None:
            findings = {} if self._core is None else driver_convert.preflight_values(self._core)
            return (ERROR if self._problem else OK), self._problem, findings
        decision, values = self._newest.decision, driver_convert.to_values(self._newest, self._loop.stats(), self._core)
        if self._problem or decision.state in (State.FAULT, State.DISCONNECTED):
            return ERROR, self._problem or f"{decision.state.value}: {decision.reason}", values
        refusal = self._core.preflight.refusal
        state = self._newest.state
        look = health.warnings(self._newest.report, state, self.config) if state is not None else ()
        level = OK if decision.may_move and not refusal and not look else WARN
        return level, f"{decision.state.value} {refusal or decision.reason or '; '.join(look)}".strip(), values


def main() -> int:
    """Entry of the executable."""
    return run(DriverNode)


if __name__ == "__main__":
    sys.exit(main())
