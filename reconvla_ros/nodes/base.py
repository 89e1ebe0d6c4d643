"""What every node of the package shares: lifecycle, parameters, counters, diagnostics, signals.

A node overrides `setup` (configure), `start` (activate), `stop` (deactivate) and `diagnose`; all of them may raise a
`ReconVlaError`, which is logged with its message and refuses the transition. With ``autostart`` (default true) a node
brings itself up, so that `ros2 launch` and `reconvla up` need no lifecycle manager.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from reconvla_ros.errors import ReconVlaError
from reconvla_ros.nodes import params, qos

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class CountedPublisher:
    """A publisher that counts what it sent, and sends only while its node is active (or `always`)."""

    def __init__(self, node: ManagedNode, publisher: Publisher, topic: str, always: bool) -> None:
        self._node, self._publisher, self.topic, self._always = node, publisher, topic, always
        self.count = 0

    def publish(self, message: Any) -> bool:
        """Send a message (or serialised bytes); False when the node is not active."""
        if not (self._always or self._node.active):
            return False
        self.count += 1
        self._publisher.publish(message)
        return True

    @property
    def subscribers(self) -> int:
        """How many subscriptions are matched."""
        return int(self._publisher.get_subscription_count())


class ManagedNode(LifecycleNode):
    """A lifecycle node with a config dataclass, counted publishers and a diagnostics message a second.

    Attributes:
        by_events: whether `process.run` spins it by `EventsExecutor`: cheaper for a node that hears many messages.
    """

    by_events = False

    def __init__(self, name: str, config_class: type, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.config: Any = params.declare(self, config_class)
        self.active = False
        self.publishers_by_topic: dict[str, CountedPublisher] = {}
        self.received: dict[str, int] = {}
        self.turn = "off"
        self.refusal = ""  # why the last transition was refused
        self._diagnostics = self.publish_on(DiagnosticArray, "diagnostics", qos.STATUS, always=True)
        self.create_timer(1.0, self.publish_diagnostics)

    def asked_to_end(self) -> bool:
        """Whether the process was told to end; whoever waits in `setup` asks. Set by `process.run`."""
        return False

    def publish_on(self, kind: type, topic: str, profile: QoSProfile, *, always: bool = False) -> CountedPublisher:
        """Create a counted publisher; one that is `always` on also speaks while the node is inactive."""
        publisher = CountedPublisher(self, self.create_publisher(kind, topic, profile), topic, always)
        self.publishers_by_topic[topic] = publisher
        return publisher

    # What a node fills in.
    def setup(self) -> None:
        """Make everything ready; nothing moves yet."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Cease; also called before shutdown. Safe to call twice."""

    def close(self) -> None:
        """Give back what `setup` took. Called once, after `stop`."""

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """Level (OK, WARN, ERROR), one line for a person, and values."""
        return OK, "", {}

    # Lifecycle, once for all nodes.
    def _transition(self, name: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except ReconVlaError as error:
            self.refusal = str(error)
            self.get_logger().error(f"cannot {name}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it in silence
            self.refusal = f"{type(error).__name__}: {error}"
            self.get_logger().fatal(f"{name} failed: {self.refusal}")
            import traceback

            traceback.print_exc()
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure."""
        return self._transition("configure", self.setup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate; publishers speak from here on."""

        def action() -> None:
            self.active = True
            try:
                self.start()
            except BaseException:
                self.active = False
                raise

        return self._transition("activate", action)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate; publishers are silent from here on, and a last diagnostics message carries the final counts."""

        def action() -> None:
            self.stop()
            self.active = False
            self.publish_diagnostics()

        return self._transition("deactivate", action)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undo configure."""
        return self._transition("clean up", self.close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Shut down from any state."""

        def action() -> None:
            self.stop()
            self.active = False
            self.close()

        return self._transition("shut down", action)

    def publish_diagnostics(self) -> None:
        """One DiagnosticStatus: the node's own values, and the counts of every topic."""
        level, text, values = self.diagnose()
        values = {"pid": os.getpid(), "active": self.active, "realtime": self.turn, **values}
        values |= {f"published:{t}": p.count for t, p in self.publishers_by_topic.items()}
        values |= {f"subscribers:{t}": p.subscribers for t, p in self.publishers_by_topic.items()}
        values |= {f"received:{t}": n for t, n in self.received.items()}
        status = DiagnosticStatus(
            level=level,
            name=self.get_fully_qualified_name().lstrip("/"),
            message=text or ("active" if self.active else "inactive"),
            hardware_id=self.get_name(),
            values=[KeyValue(key=k, value=str(v)) for k, v in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
