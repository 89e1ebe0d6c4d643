"""A node whose wall clock can jump, for the fault bench: `python faults_clock.py EXECUTABLE [ARGUMENTS]`.

SIGUSR1 moves everything this process takes for wall time one hour on, SIGUSR2 one hour back: `time.time`, `time.time_ns`,
the ROS clock, and the kernel's stamps on CAN frames (piper_sdk judges by those). Monotonic time goes on, as it does when a
system clock is set. The system clock is not touched; code in C that asks for the time by itself (DDS) is not fooled.
"""

from __future__ import annotations

import runpy
import signal
import sys
import threading
import time
from typing import Any

JUMP_NS = 3_600_000_000_000
_offset_ns = 0


def _listen() -> None:
    """Wait for the signals in a thread of their own: a main thread that waits in C would be late."""
    global _offset_ns
    while True:
        number = signal.sigwait({signal.SIGUSR1, signal.SIGUSR2})
        _offset_ns += JUMP_NS if number == signal.SIGUSR1 else -JUMP_NS


def install() -> None:
    """Patch the clocks of this process. Call before any other thread starts: threads inherit the blocked signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    threading.Thread(target=_listen, name="clock jump", daemon=True).start()
    real_ns, real = time.time_ns, time.time
    time.time_ns = lambda: real_ns() + _offset_ns
    time.time = lambda: real() + _offset_ns / 1e9
    _patch_ros()
    _patch_can()


def _patch_ros() -> None:
    from rclpy.clock import Clock
    from rclpy.duration import Duration

    now = Clock.now

    def shifted(self: Any) -> Any:
        return now(self) + Duration(nanoseconds=_offset_ns)

    Clock.now = shifted


def _patch_can() -> None:
    from can.interfaces.udp_multicast.bus import GeneralPurposeUdpMulticastBus as Bus

    receive = Bus.recv

    def shifted(self: Any, timeout: float | None = None) -> Any:
        result = receive(self, timeout)
        return None if result is None else (result[0], result[1], result[2] + _offset_ns / 1e9)

    Bus.recv = shifted


def main() -> None:
    """Run the executable named first under the patched clocks."""
    sys.path.pop(0)  # this file's folder: its neighbours must not hide anyone's modules
    sys.argv = sys.argv[1:]
    install()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
