"""The action `execute_task`: the task service for callers that want to wait and watch."""

from __future__ import annotations

import time
from collections.abc import Callable

import rclpy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from reconvla_ros.action import ExecuteTask
from reconvla_ros.errors import TaskError
from reconvla_ros.task.machine import Task, TaskMachine

_FEEDBACK_PERIOD = 0.5  # [s]


class TaskAction:
    """Serves the action on `node`.

    Args:
        machine: the one owner of tasks.
        begin: (instruction, timeout [s]) -> the accepted task, or TaskError.
        ended: called after the machine's task was ended here.
        chunks: chunks made for the running task.
        active: whether goals are taken at all.
    """

    def __init__(
        self,
        node: Node,
        machine: TaskMachine,
        begin: Callable[[str, float], Task],
        ended: Callable[[], None],
        chunks: Callable[[], int],
        active: Callable[[], bool],
    ) -> None:
        self._node, self._machine, self._begin, self._ended, self._chunks = node, machine, begin, ended, chunks
        self._server = ActionServer(
            node,
            ExecuteTask,
            "execute_task",
            execute_callback=self._execute,
            goal_callback=lambda goal: GoalResponse.ACCEPT if active() else GoalResponse.REJECT,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def close(self) -> None:
        """Give the server back."""
        self._server.destroy()

    async def _execute(self, handle: ServerGoalHandle) -> ExecuteTask.Result:
        goal = handle.request
        try:
            task = self._begin(goal.instruction, goal.timeout)
        except TaskError as error:
            handle.abort()
            return ExecuteTask.Result(success=False, state="FAILED", message=str(error))
        while self._machine.task.task_id == task.task_id and self._machine.task.running and rclpy.ok():
            if handle.is_cancel_requested:
                self._machine.cancel("canceled by the action's client")
                self._ended()
                break
            elapsed = self._machine.task.elapsed(time.monotonic_ns())
            handle.publish_feedback(ExecuteTask.Feedback(
                task_id=task.task_id, elapsed=elapsed, remaining=task.timeout - elapsed, chunks=self._chunks()))  # fmt: skip
            await self._pause(_FEEDBACK_PERIOD)
        return self._result(handle, task)

    def _result(self, handle: ServerGoalHandle, task: Task) -> ExecuteTask.Result:
        # Another task may have begun meanwhile; then the last we know of ours is that it ended.
        last = self._machine.task if self._machine.task.task_id == task.task_id else None
        state = last.status.value if last else "CANCELED"
        {"SUCCEEDED": handle.succeed, "CANCELED": handle.canceled if handle.is_cancel_requested else handle.abort}.get(
            state, handle.abort
        )()
        return ExecuteTask.Result(
            success=state == "SUCCEEDED", state=state, message=last.reason if last else "superseded",
            task_id=task.task_id, elapsed=task.elapsed(time.monotonic_ns()),
        )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        """Let the executor run other callbacks for a while; one thread serves them all."""
        future = rclpy.task.Future(executor=self._node.executor)
        timer = self._node.create_timer(seconds, lambda: future.set_result(None) if not future.done() else None)
        await future
        self._node.destroy_timer(timer)
