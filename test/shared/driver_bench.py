"""The driver without ROS on a real bus, ticking in real time as the node does."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
from arm_contract import wait_for  # type: ignore[import-not-found]

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.piper_modes import mode_of
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.safety.supervisor import State

CONFIG = DriverConfig(dry_run=False, rate=100.0)  # arm, reader and ticks share one process: half the usual rate


class Driver:
    """The core on a bus, ticking in real time like the node does."""

    def __init__(self, address: BusAddress, **config: Any) -> None:
        self.config = replace(CONFIG, **config)
        fitted = self.config.gripper == "fitted"
        mode = mode_of(self.config.command_mode, self.config.mit_kp, self.config.mit_kd, fitted)
        self.arm = PiperArm(address, gripper=fitted, mode=mode)
        self.arm.open()
        self.core = DriverCore(self.arm, self.config)
        self.last: TickResult | None = None
        self.slowest = 0.0
        self.changed_at, self._target = 0.0, ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert wait_for(lambda: self.last is not None)

    def _run(self) -> None:
        period, due = 1.0 / self.config.rate, time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            begin = time.monotonic()
            due = max(due + period, begin)
            self.last = self.core.tick(time.monotonic_ns(), time.time_ns())
            self.slowest = max(self.slowest, time.monotonic() - begin)
            if self.last.applied is not None and (target := tuple(self.last.applied.position.tolist())) != self._target:
                self.changed_at, self._target = time.monotonic(), target

    def state(self) -> State:
        assert self.last is not None
        return self.last.decision.state

    def reason(self) -> str:
        assert self.last is not None
        return self.last.decision.reason

    def joints(self) -> np.ndarray:
        return self.arm.state().position

    def start_moving(self) -> None:
        self.core.enable(True)
        assert wait_for(lambda: self.state() is State.HOLDING)
        done, message = self.core.ready()
        assert done, message
        assert wait_for(lambda: self.joints()[1] > 0.15)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)
        self.arm.close()
