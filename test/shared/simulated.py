"""A simulated arm on a bus of its own, in a thread of the test's process."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.sim import scenes
from reconvla_ros.sim.arm_io import FirmwareOptions
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.bus import BusConfig

_ports = itertools.count(30000 + os.getpid() % 10000)
GROUP = "239.74.163.2"


def free_address() -> BusAddress:
    """A bus nobody else uses."""
    return BusAddress("udp_multicast", GROUP, next(_ports))


@contextmanager
def simulated(address: BusAddress, version: str = "S-V1.8-5") -> Iterator[SimulatedArm]:
    """Run the arm, of firmware `version`, until the block ends."""
    stop, options = threading.Event(), FirmwareOptions(version=version)
    with SimulatedArm(BusConfig(port=address.port), scenes.make("empty", 0), options) as arm:
        thread = threading.Thread(target=arm.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield arm
        finally:
            stop.set()
            thread.join(timeout=2.0)
