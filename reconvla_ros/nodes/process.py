"""One node as a process: real-time turn, signals, bringing itself up, an orderly end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from reconvla_ros.arm.loop import take_turn
from reconvla_ros.errors import ReconVlaError
from reconvla_ros.graph import REALTIME
from reconvla_ros.nodes import params
from reconvla_ros.nodes.base import ManagedNode


def _notify(name: str) -> None:
    """Tell a supervisor, where there is one, that this node is up."""
    address = os.environ.get("RECONVLA_NOTIFY")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, contextlib.suppress(OSError):
            out.sendto(name.encode(), "\0" + address)


class AutostartFailed(ReconVlaError):
    """A node with autostart did not come up; the first line of why, for whoever supervises it."""


def _bring_up(node: ManagedNode) -> None:
    if not node.get_parameter(params.AUTOSTART).value:
        return
    for transition in (node.trigger_configure, node.trigger_activate):
        if transition() != TransitionCallbackReturn.SUCCESS:
            raise AutostartFailed(node.refusal.splitlines()[0] if node.refusal else "a transition failed")
    node.get_logger().info("active")


def _wake_on_signal(executor: Executor) -> None:
    """Make `spin_once` return at once: it waits in C, where no Python handler runs, and ends only for work."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())

    def watch() -> None:
        while reader.recv(1):
            executor.create_task(lambda: None)

    threading.Thread(target=watch, name="signals", daemon=True).start()
    _SIGNAL_SOCKETS.append(writer)


_SIGNAL_SOCKETS: list[socket.socket] = []  # kept open for the life of the process


# mallopt(3): what each option is called in <malloc.h>, and its value here [bytes].
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT, _GROWTH, _LARGEST = 256 << 20, 16 << 20, 32 << 20


def keep_memory() -> bool:
    """Let freed buffers of images be used again instead of going back to the system; False where the C library cannot.

    glibc maps large blocks afresh and gives them back when they are freed. An image passes five buffers between camera and
    policy, and the page faults of each (225 of them) cost more than its copy: 3.6 ms a hop with them, 1.9 without.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _GROWTH))
    return all(mallopt(option, value) for option, value in options)


def make_executor(by_events: bool) -> Executor:
    """What waits for messages: the usual executor, or where there is one and it is asked for, the one that is told of them.

    The usual one goes over everything a node listens to, in Python, before it waits: 0.3 ms a message in the policy's node, which
    hears some 500 a second. The other one is called by the middleware.
    """
    if by_events:
        with contextlib.suppress(ImportError):
            from rclpy.experimental import EventsExecutor

            executor: Executor = EventsExecutor()
            return executor
    return SingleThreadedExecutor()


def run(factory: Callable[[], ManagedNode], args: list[str] | None = None) -> int:
    """Spin one node until SIGINT or SIGTERM; returns the exit status (2 = something the user can fix)."""
    # Where the graph asks for it, and before any thread starts: threads inherit it.
    turn = take_turn() if os.environ.get(REALTIME) == "1" else "off"
    keep_memory()
    rclpy.init(args=args if args is not None else sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    stopping = threading.Event()
    executor = make_executor(getattr(factory, "by_events", False))

    def on_signal(number: int, frame: object) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    _wake_on_signal(executor)
    node: ManagedNode | None = None
    status = 0
    try:
        node = factory()
        node.turn = turn
        node.asked_to_end = stopping.is_set  # type: ignore[method-assign]
        executor.add_node(node)
        _bring_up(node)
        _notify(node.get_name())
        while not stopping.is_set() and not getattr(node, "finished", False):
            executor.spin_once(timeout_sec=0.2)
    except ReconVlaError as error:
        if stopping.is_set():
            return 0  # it was told to end while it waited for something
        name = node.get_name() if node else "node"
        print(f"{name} did not come up: {error}", file=sys.stderr, flush=True)
        status = 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            # Whatever state it is in: stop first (the driver holds the arm here), then give back.
            for action in (node.stop, node.close):
                try:
                    action()
                except Exception as error:
                    print(f"[{node.get_name()}] while stopping: {error}", file=sys.stderr, flush=True)
            executor.remove_node(node)
            node.destroy_node()
        rclpy.try_shutdown()
    return status
