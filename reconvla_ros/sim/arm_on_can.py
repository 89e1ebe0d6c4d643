"""A PiPER that exists only as CAN frames: firmware model and physics behind a bus, 200 cycles a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import FirmwareOptions
from reconvla_ros.sim.bus import ArmBus, BusConfig
from reconvla_ros.sim.fault_channel import FaultChannel
from reconvla_ros.sim.faults import HEALTHY, Faults
from reconvla_ros.sim.faulty_bus import FaultyBus
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.sim.leader import LeaderMode
from reconvla_ros.sim.scenes import Scene
from reconvla_ros.sim.shared_state import Identity, StateWriter, path_for
from reconvla_ros.sim.world import World

PERIOD = 0.005  # [s] one cycle: 200 Hz
STEPS = 2  # time steps of the world in a cycle
SLOW_EVERY = 5  # cycles: 40 Hz
TELL_EVERY = 10  # cycles between two tellings of the truth about the scene: 20 Hz
CATCH_UP = 10  # cycles of physics made up for at most when the loop was held up; time beyond that is lost


@dataclass
class LoopStats:
    """What the loop did: `cycles` of physics, `wakes`, `late` wakes (more than one cycle due), `lost` cycles."""

    cycles: int = 0
    wakes: int = 0
    late: int = 0
    lost: int = 0


class SimulatedArm:
    """The arm of `scene` on the bus `config`; its state goes to shared memory for the cameras.

    Use as a context manager, or call `close`. `run` is real time; `cycle` advances by hand, for tests. It can be made to
    fail: see `faults` and `fault_channel.py`.

    Attributes:
        told: called in the thread of the cycles, 20 times a second, with the stamp [ns] of what the world is then.

    Raises:
        BusError: the bus cannot be opened, or another arm is on it (the message names the port).
    """

    def __init__(self, config: BusConfig, scene: Scene, options: FirmwareOptions | None = None):
        self.config = config
        self.firmware = Firmware(options or FirmwareOptions())
        self.leader = LeaderMode(self.firmware.options.leader)
        self.world = World(scene)
        self.stats = LoopStats()
        self._next: World | None = None
        self.told: Callable[[int], None] | None = None
        self._faults = HEALTHY
        self._sensed = self.world.sensed()
        self._writer = self._open_state()
        try:
            self._bus = FaultyBus(ArmBus(config))
        except BaseException:
            self._writer.close()
            raise
        self._channel = FaultChannel(config.name)

    def _open_state(self) -> StateWriter:
        scene, model = self.world.scene, self.world.model
        identity = Identity(scene.name, scene.seed, scene.digest, model.nq, model.nv)
        return StateWriter(path_for(self.config.name), identity)

    def load(self, scene: Scene) -> None:
        """Put another scene on the table; the arm stays as it is. From any thread; in effect with the next cycle.

        Cameras see the shared state end, and find the new one.
        """
        self._next = World(scene)

    def _swap(self, world: World) -> None:
        old, self.world = self.world, world
        world.take_arm(old)
        self._writer.close()
        self._writer = self._open_state()

    def __enter__(self) -> SimulatedArm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bus and remove the shared state; safe to call twice."""
        self._channel.close()
        self._bus.close()
        self._writer.close()

    @property
    def faults(self) -> Faults:
        """What is wrong with the arm; may be set from any thread and comes into effect with the next cycle."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults

    def run(self, stop: threading.Event) -> None:
        """Run in real time until `stop` is set, on absolute deadlines.

        A loop that was held up makes up the physics (up to `CATCH_UP` cycles) but sends its feedback once: no bursts.

        Raises:
            BusError: the bus is gone.
        """
        due = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
                continue
            behind = int((now - due) / PERIOD)
            self.stats.late += behind > 0
            self.stats.lost += max(behind - CATCH_UP, 0)
            self.cycle(1 + min(behind, CATCH_UP))
            due += (1 + behind) * PERIOD

    def cycle(self, steps: int = 1) -> None:
        """Take what came in, advance `steps` cycles of 5 ms, send the feedback of the last one, publish the state."""
        self._channel.serve(self._take_faults)
        if self._next is not None:
            world, self._next = self._next, None
            self._swap(world)
        faults = self._bus.faults = self._faults
        self.firmware.suffer(faults)
        for can_id, data in self._bus.received():
            standby = not self.firmware.word.ctrl_mode and not any(m.enabled for m in self.firmware.motors)
            if not self.leader.takes(can_id, data, standby):
                self.firmware.receive(can_id, data)
        before_all = self.stats.cycles
        before = before_all // SLOW_EVERY
        for _ in range(steps):
            if self.leader.active:
                drive = self.leader.drive(self.world.time, self._sensed)
            else:
                drive = self.firmware.tick(self.world.time, self._sensed)
            self.world.step(drive, STEPS)
            self._sensed = self.world.sensed()
        self.stats.cycles += steps
        self.stats.wakes += 1
        data = self.world.data
        stamp = time.time_ns()
        self._writer.publish(stamp, self.world.time, data.qpos, data.qvel)
        if self.told is not None and self.stats.cycles // TELL_EVERY != before_all // TELL_EVERY:
            self.told(stamp)
        self.firmware.sensed = self._sensed
        self._send(self.stats.cycles // SLOW_EVERY != before)

    def _take_faults(self, faults: Faults) -> int:
        self._faults = faults
        return time.monotonic_ns()

    def power_cycle(self) -> None:
        """Switch the arm off and on; what its flash holds stays. Between two cycles only."""
        flash = self.firmware.flash
        self.firmware = Firmware(self.firmware.options)
        self.firmware.flash, self.firmware.sensed = flash, self._sensed
        self.leader.restart()

    def _send(self, slow: bool) -> None:
        if self.leader.active:
            self._bus.send(self.leader.sent(self._sensed))
            return
        self._bus.send_cycle(frames.FAST_IDS, self.firmware.fast())
        if slow:
            self._bus.send_cycle(frames.SLOW_IDS, self.firmware.slow())
        self._bus.send(self.firmware.replies())
