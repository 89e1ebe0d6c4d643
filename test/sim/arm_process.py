"""Runs a simulated arm until SIGTERM; started by tests: arm_process.py PORT [SCENE [GRIPPER_RANGE]]."""

from __future__ import annotations

import signal
import sys
import threading

from reconvla_ros.sim.arm_io import FirmwareOptions
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.bus import BusConfig
from reconvla_ros.sim.scenes import make


def main() -> None:
    port, scene = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "empty"
    gripper = int(sys.argv[3]) if len(sys.argv) > 3 else 70
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    options = FirmwareOptions(gripper_range=gripper)
    with SimulatedArm(BusConfig(port=port), make(scene, 0, (gripper or 70) / 1000), options) as arm:
        print("ready", flush=True)
        arm.run(stop)


if __name__ == "__main__":
    main()
