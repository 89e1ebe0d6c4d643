"""The driver as its node runs it, without ROS, for `reconvla bench driver`: a simulated arm in a process of its own, the real
`PiperArm` and `DriverCore` here, and somebody who keeps the arm moving.

``python -m reconvla_ros.bench.driver_bench_arm PORT`` is the arm's process; it ends when its input is closed.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.loop import DeadlineLoop
from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.errors import SetupError
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.bus import DEFAULT_GROUP, BusConfig
from reconvla_ros.sim.scenes import make
from reconvla_ros.types import ActionChunk, Pose

_BUSY = "import os; os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)); print(flush=True)\nwhile True: pass"
_POLICY = """
import os
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
import torch
a = torch.randn(768, 768)
a @ a
print(flush=True)
while True: a @ a
"""
CONDITIONS = ("idle", "busy", "policy_busy")
_START = 60.0  # [s] for a process to come up; torch is slow to import on a busy machine
_WAY = 30.0  # [s] to the ready position; 3 at first-motion speeds on a quiet host
_THERE = 0.02  # [rad]
_RADIUS, _SPEED = 0.04, 0.07  # [m], [m/s] of the circle that the TCP follows, below the first-motion limit of 0.10 m/s
_STEPS, _STEP_DT = 10, 0.1  # of a chunk [1], [s]
_CHUNK_EVERY = 0.5  # [s] a new chunk before the last one ends, as a policy gives them


def give_turn_back() -> None:
    """An ordinary thread again."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def process(words: list[str]) -> Iterator[None]:
    """A child that prints a line when it is up; it is ended with the block.

    Raises:
        SetupError: it does not come up.
    """
    child = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    timer = threading.Timer(_START, child.kill)
    timer.start()
    try:
        assert child.stdout is not None
        if not child.stdout.readline():
            raise SetupError(f"bench driver: a helper process did not come up ({words[:2]}, status {child.poll()})")
        timer.cancel()
        yield
    finally:
        timer.cancel()
        child.kill()
        child.wait()


@contextmanager
def load(condition: str) -> Iterator[None]:
    """What else the host does meanwhile: nothing, a busy loop on every core, or a process that multiplies matrices."""
    with contextlib.ExitStack() as stack:
        for _ in range((os.cpu_count() or 1) if condition == "busy" else 0):
            stack.enter_context(process(["-c", _BUSY]))
        if condition == "policy_busy":
            stack.enter_context(process(["-c", _POLICY]))
        yield


class Session:
    """Opened arm and driver, powered and at the ready position. Use as a context manager.

    Attributes:
        arm, core: the real ones. config: of the driver.
    """

    def __init__(self) -> None:
        port = 20_000 + os.getpid() % 9_000
        self.config = DriverConfig(dry_run=False, udp_group=DEFAULT_GROUP, sim_port=port)
        self._stack = contextlib.ExitStack()
        self.arm = PiperArm(BusAddress(*self.config.bus), self.config.speed_percent, wait=5.0)
        self._next_chunk, self._sequence = 0, 0
        self._centre: Pose | None = None

    def __enter__(self) -> Session:
        try:
            self._stack.enter_context(process(["-m", "reconvla_ros.bench.driver_bench_arm", str(self.config.sim_port)]))
            self.arm.open()
            self._stack.callback(self.arm.close)
            self.core = DriverCore(self.arm, self.config)
            self._get_ready()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _get_ready(self) -> None:
        enabling = threading.Thread(target=lambda: self.core.enable(True), daemon=True)
        self.run(0.2, self.tick)
        enabling.start()
        end, ready = time.monotonic() + _WAY, np.array(self.config.ready_position)
        while time.monotonic() < end:
            self.run(0.1, self.tick)
            if enabling.is_alive() or not self.core.standing or self.core.holder != "none":
                continue
            state = self.newest.state
            if state is not None and float(np.abs(state.position - ready).max()) < _THERE:
                break
            self.core.ready()  # again, should a fault of a busy host (stale feedback) have ended the way
        else:
            raise SetupError(f"bench driver: the simulated arm did not get ready within {_WAY:g} s")
        self._centre = self.newest.tcp
        self.core.set_task("bench")

    def run(self, seconds: float, tick: object) -> DeadlineLoop:
        """A `DeadlineLoop` at the driver's rate for so long, here."""
        loop = DeadlineLoop(1.0 / self.config.rate, tick)  # type: ignore[arg-type]
        timer = threading.Timer(seconds, loop.stop)
        timer.start()
        try:
            loop.run()
        finally:
            timer.cancel()
        return loop

    def tick(self) -> int | None:
        """One tick, as the driver node does it; the age of what it read [ns]."""
        now = time.time_ns()
        self.newest: TickResult = self.core.tick(time.monotonic_ns(), now)
        self.feed()
        return now - self.newest.state.stamp_ns if self.newest.state is not None else None

    def feed(self) -> None:
        """Give a chunk along the circle when one is due."""
        now = time.monotonic_ns()
        if self._centre is None or self.newest.tcp is None or now < self._next_chunk:
            return
        self._next_chunk, self._sequence = now + int(_CHUNK_EVERY * 1e9), self._sequence + 1
        angles = now / 1e9 * _SPEED / _RADIUS + _SPEED / _RADIUS * _STEP_DT * np.arange(1, _STEPS + 1)
        around = _RADIUS * np.stack([np.cos(angles), np.sin(angles), np.zeros(_STEPS)], axis=1)
        stamp = time.time_ns()
        chunk = ActionChunk(
            stamp, "bench", self._sequence, _STEP_DT, self.newest.tcp, self._centre.position + around,
            np.tile(self._centre.quaternion, (_STEPS, 1)), np.full(_STEPS, 0.04),
        )  # fmt: skip
        self.core.accept_chunk(chunk, now, stamp)

    @property
    def moving(self) -> bool:
        """Whether the newest tick sent a target of a motion."""
        return self.newest.applied is not None and not self.core.standing

    def frames_per_second(self) -> float:
        """What the SDK's reader decodes."""
        rate = self.arm._sdk.GetCanFps()
        return float(rate) if math.isfinite(rate) else 0.0


def main(port: int) -> None:
    """The arm's process: until standard input ends."""
    stop = threading.Event()
    with SimulatedArm(BusConfig(port=port), make("empty", 0)) as arm:
        print("ready", flush=True)

        def until_the_parent_is_gone() -> None:
            sys.stdin.read()
            stop.set()

        threading.Thread(target=until_the_parent_is_gone, daemon=True).start()
        arm.run(stop)


if __name__ == "__main__":
    main(int(sys.argv[1]))
