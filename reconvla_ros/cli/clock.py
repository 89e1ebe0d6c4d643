"""This computer's clock against that of the robot whose graph is up: for `reconvla doctor`."""

from __future__ import annotations

import time

from reconvla_ros.cli.client import CallError, Client, connected
from reconvla_ros.observation.clock_offset import ClockOffset, Offset

_EXCHANGES = 8  # the shortest of them counts
_PATIENCE = 2.0  # [s] for a graph to be found


def measure(client: Client) -> Offset | None:
    """Ours minus the robot's; None when no robot answers."""
    from reconvla_ros.nodes.clock_echo import LIMIT, ROBOT, SERVICE, WARN, exchange_of
    from reconvla_ros.srv import ClockEcho

    found = ClockOffset(ROBOT, WARN, LIMIT)
    clock = client.node.get_clock()
    echo = client.node.create_client(ClockEcho, SERVICE)
    if not echo.wait_for_service(timeout_sec=_PATIENCE):
        return None
    for _ in range(_EXCHANGES):
        stamps: list[int] = []
        asked = clock.now().nanoseconds
        future = echo.call_async(ClockEcho.Request())
        future.add_done_callback(lambda _, s=stamps: s.append(clock.now().nanoseconds))
        deadline = time.monotonic() + _PATIENCE
        while not stamps and time.monotonic() < deadline:
            time.sleep(0.001)
        if not stamps:
            raise CallError(f"service {SERVICE!r} did not answer within {_PATIENCE:g} s")
        found.add(exchange_of(asked, future.result(), stamps[0]), time.monotonic())
    return found.read(time.monotonic())


def look() -> tuple[bool, str, str]:
    """(good, name, what was found) for doctor."""
    from reconvla_ros.nodes.clock_echo import LIMIT

    with connected("reconvla_clock") as client:
        offset = measure(client)
    if offset is None:
        return (True, "clock", "no graph is up here: there is no other clock to compare with")
    good = abs(offset.value) - offset.bound <= LIMIT
    return (good, "clock", f"{offset} from that of the robot's computer (refused beyond {LIMIT * 1e3:g} ms)")
