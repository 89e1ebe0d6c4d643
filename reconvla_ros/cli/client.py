"""A small rclpy client for the command line: services, latched states, and what the nodes say of themselves."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from reconvla_ros.cli.places import middleware_environment
from reconvla_ros.errors import ArmError, ReconVlaError


class CallError(ReconVlaError):
    """A service that is not there or does not answer."""


class Client:
    """One node, spun in a thread; every method may be called from the main thread."""

    def __init__(self, name: str, namespace: str = "") -> None:
        os.environ.update(middleware_environment())
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._rclpy = rclpy
        self.node = rclpy.create_node(f"{name}_{os.getpid()}", namespace=namespace, start_parameter_services=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._closing = threading.Event()
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(Exception):
                self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """Leave the graph."""
        self._closing.set()
        self._thread.join(timeout=2.0)
        self.node.destroy_node()
        self._rclpy.try_shutdown()

    def listen(self, kind: type, topic: str, callback: Callable[[Any], None], *, latched: bool = False) -> None:
        """Call `callback` for every message."""
        from reconvla_ros.nodes import qos

        self.node.create_subscription(kind, topic, callback, qos.LATCHED if latched else qos.STATUS)

    def call(self, kind: type, name: str, request: Any, *, wait: float = 5.0, answer: float = 20.0) -> Any:
        """Call a service.

        Raises:
            CallError: it does not appear within `wait` [s], or does not answer within `answer` [s].
        """
        client = self.node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_sec=wait):
                raise CallError(f"no service {name!r} after {wait:g} s: is the graph up (reconvla up), with the same "
                                f"ROS_DOMAIN_ID ({os.environ.get('ROS_DOMAIN_ID', '0')}) and namespace?")  # fmt: skip
            future = client.call_async(request)
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            if not done.wait(answer):
                raise CallError(f"service {name!r} did not answer within {answer:g} s")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, node: str, label: str) -> None:
        """Take a lifecycle node through 'configure', 'activate' or 'deactivate'.

        Raises:
            ArmError: the node refused; its log says why.
        """
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        ids = {
            "configure": Transition.TRANSITION_CONFIGURE,
            "activate": Transition.TRANSITION_ACTIVATE,
            "deactivate": Transition.TRANSITION_DEACTIVATE,
        }
        request = ChangeState.Request(transition=Transition(id=ids[label], label=label))
        if not self.call(ChangeState, f"{node}/change_state", request, wait=30.0, answer=120.0).success:
            raise ArmError(f"{node} refused to {label}; its log says why")


@contextlib.contextmanager
def connected(name: str, namespace: str = "") -> Iterator[Client]:
    """A client for the length of a block."""
    client = Client(name, namespace)
    try:
        yield client
    finally:
        client.close()


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until true; False after `timeout` [s]."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
