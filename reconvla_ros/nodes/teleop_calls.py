"""The services that teleoperation asks for; nothing waits for an answer, which comes as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from reconvla_ros.srv import RecordStart, RecordStop, SetSource
from reconvla_ros.teleop.ear import Ear
from reconvla_ros.teleop.protocol import Act
from reconvla_ros.teleop.settings import TeleopConfig

_NOBODY = "nobody answers {}: is its node running?"


class TeleopCalls:
    """Clients on `node`.

    Args:
        say: gets the words of every answer.
        granted: gets the holder of the lease with every answer of `arm/source`.
    """

    def __init__(self, node: Node, say: Callable[[str], None], granted: Callable[[str], None]) -> None:
        self._say, self._granted = say, granted
        kinds = {
            "arm/source": SetSource, "arm/stop": Trigger, "arm/clear_stop": Trigger, "task/cancel": Trigger,
            "record/start": RecordStart, "record/stop": RecordStop,
        }  # fmt: skip
        self._clients = {name: node.create_client(kind, name) for name, kind in kinds.items()}

    def call(self, name: str, request: Any, then: Callable[[Any], None] | None = None) -> None:
        """Send a request; `then` gets the answer, else its message is said."""
        client = self._clients[name]
        if not client.service_is_ready():
            self._say(_NOBODY.format(name))
            return

        def answered(future: Any) -> None:
            try:
                answer = future.result()
            except Exception as error:
                self._say(f"{name}: {error}")
                return
            if then is None:
                self._say(answer.message)
            else:
                then(answer)

        client.call_async(request).add_done_callback(answered)

    def trigger(self, name: str) -> None:
        """A service without arguments."""
        self.call(name, Trigger.Request())

    def source(self, *wanted: str) -> None:
        """Ask for one holder of the lease after the other, as long as each is granted."""

        def answered(answer: Any) -> None:
            self._granted(answer.holder)
            self._say(answer.message)
            if answer.accepted and wanted[1:]:
                self.source(*wanted[1:])

        self.call("arm/source", SetSource.Request(source=wanted[0]), answered)

    def leave(self, ear: Ear) -> None:
        """Give the arm back to nobody. A task whose arm a person had taken ends: it must not go on by itself."""
        if ear.task == "RUNNING":
            self.trigger("task/cancel")
        self.source("none")

    def perform(self, act: Act, ear: Ear, config: TeleopConfig) -> None:
        """What one press asks of other nodes."""
        if act is Act.STOP:
            self.trigger("arm/stop")
        elif act is Act.CLEAR_STOP:
            self.trigger("arm/clear_stop")
        elif act is Act.HAND_OVER and ear.holder == "teleop":
            # Two words, for `none` alone lets nobody go on: a teleoperation that ends or crashes starts no motion.
            self.source(*(("none", "policy") if ear.task == "RUNNING" else ("none",)))
        elif act is Act.RECORD and not ear.recording:
            tags = ["teleop", f"device:{config.device}"]
            request = RecordStart.Request(instruction=config.instruction, operator_name=config.operator, tags=tags)
            self.call("record/start", request)
        elif act in (Act.RECORD, Act.FAILED):  # without an episode the recorder says so
            self.call("record/stop", RecordStop.Request(outcome="success" if act is Act.RECORD else "failure"))
        elif act is Act.DISCARD:
            self.call("record/stop", RecordStop.Request(discard=True))
