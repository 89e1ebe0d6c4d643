"""Owns tasks on the robot's side: the service `task`, the action `execute_task`, `task/cancel`, the latched `task/state`.

ros2 service call /task reconvla_ros/srv/Task "{instruction: 'put fruit in bowl'}"
"""

from __future__ import annotations

import secrets
import sys
import time

from std_srvs.srv import Trigger

from reconvla_ros.errors import TaskError
from reconvla_ros.msg import ArmStatus, PolicyStatus, TaskState
from reconvla_ros.nodes import qos
from reconvla_ros.nodes.base import OK, ManagedNode
from reconvla_ros.nodes.clock_echo import answer_clock
from reconvla_ros.nodes.process import run
from reconvla_ros.nodes.task_action import TaskAction
from reconvla_ros.srv import Task as TaskService
from reconvla_ros.task.machine import Task, TaskMachine
from reconvla_ros.task.settings import TaskConfig

# States of the driver in which no task can go on; it says so itself in arm/status.
_DRIVER_ENDS_TASK = ("STOPPED", "DISABLED")
# Faults may clear by themselves (a feedback frame that came late): the arm holds meanwhile, the task ends if they stay.
_DRIVER_TROUBLED = ("FAULT", "DISCONNECTED")
_PATIENCE = 2.0  # [s]
_ARM_SILENT = 1.0  # [s] without arm/status after which the driver counts as gone (it speaks at 10 Hz)
_POLICY_SILENT = 5.0  # [s] without policy/status (1 Hz at least) after which a task has nobody working on it
_POLICY_PATIENCE = 5.0  # [s] that a policy may be in FAULT (an inference that hangs may still return)
_TICK = 0.05  # [s]
_LATE = 0.3  # [s] after which this node itself was away, so that what it has not heard says nothing about others


class TaskNode(ManagedNode):
    """Tasks as services, an action and a latched state."""

    def __init__(self) -> None:
        super().__init__("task", TaskConfig)
        # Ids differ across restarts: a chunk of an old process must not match a task of a new one.
        self._machine = TaskMachine(secrets.token_hex(4), self.config.default_timeout)
        self._started_wall = self.get_clock().now().to_msg()
        self._arm: tuple[float, ArmStatus] | None = None
        self._policy: tuple[float, PolicyStatus] | None = None
        self._arm_well = self._policy_well = 0.0
        self._ticked = self._awake = 0.0
        self._chunks_before = 0
        self._state = self.publish_on(TaskState, "task/state", qos.LATCHED)
        self.create_service(TaskService, "task", self._on_task)
        self.create_service(Trigger, "task/cancel", self._on_cancel)
        self.create_subscription(ArmStatus, "arm/status", self._on_arm, qos.STATUS)
        self.create_subscription(PolicyStatus, "policy/status", self._on_policy, qos.STATUS)
        self.create_timer(_TICK, self._tick)
        answer_clock(self)
        self._action = TaskAction(
            self, self._machine, self._begin, self._publish, self._chunks_made, lambda: self.active
        )  # fmt: skip

    def start(self) -> None:
        """Latch the state a late joiner sees."""
        self._publish()

    def stop(self) -> None:
        """A task ends with its owner."""
        if self._machine.task.running:
            self._machine.cancel("the task node stops")
            self._publish()

    def close(self) -> None:
        """Give back the action server."""
        self._action.close()

    def _on_arm(self, message: ArmStatus) -> None:
        self._arm = (time.monotonic(), message)
        if message.state not in _DRIVER_TROUBLED:
            self._arm_well = time.monotonic()

    def _on_policy(self, message: PolicyStatus) -> None:
        self._policy = (time.monotonic(), message)
        if message.state != "FAULT":
            self._policy_well = time.monotonic()

    def _chunks_made(self) -> int:
        return max((self._policy[1].chunks if self._policy else 0) - self._chunks_before, 0)

    def _publish(self) -> None:
        task = self._machine.task
        message = TaskState(
            state=task.status.value, task_id=task.task_id, instruction=task.instruction, reason=task.reason,
            started=self._started_wall, timeout=float(task.timeout),
        )  # fmt: skip
        message.header.stamp = self.get_clock().now().to_msg()
        self._state.publish(message)

    def _why_not(self) -> str:
        """Why no task can begin now; empty when one can."""
        if not self.active:
            return "the task node is not active"
        now = time.monotonic()
        if self._arm is None or now - self._arm[0] > _ARM_SILENT:
            return "the driver is silent (no arm/status for 1 s): is it running?"
        status = self._arm[1]
        if status.state in (*_DRIVER_ENDS_TASK, *_DRIVER_TROUBLED):
            remedy = {"DISABLED": "arm/enable", "STOPPED": "arm/clear_stop"}.get(status.state, "")
            return f"the arm is {status.state} ({status.reason or 'no reason given'})" + (
                f"; call {remedy} first" if remedy else ""
            )
        if self._policy is None or now - self._policy[0] > _POLICY_SILENT:
            return "no policy is active (no policy/status): it is not running, or still loads its checkpoint"
        if self._policy[1].state in ("LOADING", "WARMING_UP", "FAULT"):
            return f"the policy is {self._policy[1].state} ({self._policy[1].reason or 'wait for IDLE'})"
        return ""

    def _begin(self, instruction: str, timeout: float) -> Task:
        """Accept a task, or raise TaskError with the reason."""
        why_not = self._why_not()
        if why_not:
            raise TaskError(why_not)
        task = self._machine.request(instruction, timeout, time.monotonic_ns())
        self._chunks_before = self._policy[1].chunks if self._policy else 0
        self._started_wall = self.get_clock().now().to_msg()
        self._publish()
        self.get_logger().info(f"task {task.task_id}: {task.instruction!r}, {task.timeout:g} s")
        return task

    def _on_task(self, request: TaskService.Request, response: TaskService.Response) -> TaskService.Response:
        try:
            task = self._begin(request.instruction, request.timeout)
        except TaskError as error:
            response.accepted, response.message = False, str(error)
            self.get_logger().warning(f"task refused: {error!s:.200}")
            return response
        response.accepted, response.task_id = True, task.task_id
        response.message = f"running for at most {task.timeout:g} s; task/cancel ends it and the arm holds"
        return response

    def _on_cancel(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            task = self._machine.cancel("canceled by request")
        except TaskError as error:
            response.success, response.message = False, str(error)
            return response
        self._publish()
        response.success, response.message = True, f"task {task.task_id} canceled; the arm holds"
        return response

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._ticked > _LATE:
            self._awake = now  # what came meanwhile may still wait behind this timer
        self._ticked = now
        if not self._machine.task.running:
            return
        if self._machine.tick(time.monotonic_ns()):
            self._publish()
            return
        reason = ""
        if self._arm is None or now - max(self._arm[0], self._awake) > _ARM_SILENT:
            reason = "the driver went silent"
        elif self._arm[1].state in _DRIVER_ENDS_TASK:
            reason = f"the arm is {self._arm[1].state}: {self._arm[1].reason}"
        elif now - max(self._arm_well, self._awake) > _PATIENCE:
            reason = f"the arm is {self._arm[1].state} for {_PATIENCE:g} s: {self._arm[1].reason}"
        elif self._policy is None or now - max(self._policy[0], self._awake) > _POLICY_SILENT:
            reason = "the policy went silent"
        elif now - max(self._policy_well, self._awake) > _POLICY_PATIENCE:
            reason = f"the policy is {self._policy[1].state} for {_POLICY_PATIENCE:g} s: {self._policy[1].reason}"
        if reason:
            self._machine.finish(False, reason)
            self.get_logger().error(f"task failed: {reason}")
            self._publish()

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """The running task."""
        task = self._machine.task
        return OK, task.status.value, {"task_id": task.task_id, "instruction": task.instruction}


def main() -> int:
    """Entry of the executable."""
    return run(TaskNode)


if __name__ == "__main__":
    sys.exit(main())
