"""`reconvla task "put fruit in bowl"`: give, watch or cancel a task of a running graph."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from reconvla_ros.cli.client import connected, wait_until


def main(words: list[str]) -> int:
    """0 = accepted (with --wait: succeeded), 1 = refused or not succeeded."""
    parser = argparse.ArgumentParser("reconvla task", description="Give, watch or cancel a task of a running graph.")
    parser.add_argument("instruction", nargs="?", help='what to do, e.g. "put fruit in bowl"')
    parser.add_argument("--timeout", type=float, default=0.0, help="[s]; 0 = the default of config/tasks.yaml")
    parser.add_argument("--cancel", action="store_true", help="end the running task; the arm holds")
    parser.add_argument("--state", action="store_true", help="print the state of the running or the last task")
    parser.add_argument("--wait", action="store_true", help="stay until the task has ended")
    parser.add_argument("--namespace", default="", help="of the graph")
    options = parser.parse_args(words)
    if (options.instruction is not None) + options.cancel + options.state != 1:
        parser.error("give exactly one of: an instruction, --cancel, --state")
    with connected("reconvla_task", options.namespace) as client:
        if options.state:
            return _state(client)
        if options.cancel:
            from std_srvs.srv import Trigger

            answer = client.call(Trigger, "task/cancel", Trigger.Request())
            print(answer.message)
            return 0 if answer.success else 1
        return _give(client, options)


def _give(client: Any, options: argparse.Namespace) -> int:
    from reconvla_ros.srv import Task

    states: list[Any] = []
    if options.wait:
        _watch(client, states)
    request = Task.Request(instruction=options.instruction, timeout=options.timeout)
    answer = client.call(Task, "task", request)
    if not answer.accepted:
        print(f"refused: {answer.message}", file=sys.stderr)
        return 1
    print(f"accepted as {answer.task_id}: {answer.message}")
    if not options.wait:
        return 0

    def ended() -> bool:
        return any(s.task_id == answer.task_id and s.state != "RUNNING" for s in list(states))

    while not wait_until(ended, 1.0):
        pass
    last = states[-1]
    print(f"{last.state}" + (f": {last.reason}" if last.reason else ""))
    return 0 if last.state == "SUCCEEDED" else 1


def _watch(client: Any, states: list[Any]) -> None:
    from reconvla_ros.msg import TaskState

    client.listen(TaskState, "task/state", states.append, latched=True)


def _state(client: Any) -> int:
    states: list[Any] = []
    _watch(client, states)
    if not wait_until(lambda: bool(states), 5.0):
        print("no task/state within 5 s: is the graph up, with the same ROS_DOMAIN_ID and namespace?", file=sys.stderr)
        return 1
    last = states[-1]
    print(f"{last.state} {last.task_id} {last.instruction!r} {last.reason}".rstrip())
    return 0
