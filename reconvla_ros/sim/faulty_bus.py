"""The bus of the simulated arm with faults on it: dead, frozen, zeroed, lossy, late. Sound, it adds nothing."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from reconvla_ros.sim.bus import ArmBus
from reconvla_ros.sim.faults import HEALTHY
from reconvla_ros.sim.frames import FAST_IDS, JOINT_12, JOINT_34, JOINT_56

_SEED = 7
_JOINTS = (JOINT_12, JOINT_34, JOINT_56)
Frame = tuple[int, bytes]


class FaultyBus:
    """Wraps an `ArmBus` with the same calls; `faults` may be exchanged at any time.

    Args:
        bus: the real one.
        clock: monotonic [s], for `latency`.
    """

    def __init__(self, bus: ArmBus, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._clock = bus, clock
        self.faults = HEALTHY
        self._random = random.Random(_SEED)
        self._frozen: dict[tuple[int, ...], bytes] = {}
        self._late_in: deque[tuple[float, Frame]] = deque()
        self._late_out: deque[tuple[float, list[Frame]]] = deque()

    def send_cycle(self, can_ids: tuple[int, ...], block: bytes) -> None:
        """See `ArmBus.send_cycle`."""
        faults = self.faults
        if faults.frozen:
            block = self._frozen.setdefault(can_ids, block)
        else:
            self._frozen[can_ids] = block  # "the values of the instant" are those of the last cycle before
        if faults.zero:
            block = _zeroed(faults.zero, can_ids, block)
        if faults.bus_dead:
            return
        if faults.loss or faults.latency or self._late_out:
            self.send((can_id, block[8 * i : 8 * i + 8]) for i, can_id in enumerate(can_ids))
        else:
            self._bus.send_cycle(can_ids, block)

    def send(self, frames: Iterable[Frame]) -> None:
        """See `ArmBus.send`."""
        faults = self.faults
        going = [frame for frame in frames if not faults.bus_dead and not self._lost()]
        if faults.latency or self._late_out:
            now = self._clock()
            self._late_out.append((now + faults.latency, going))
            while self._late_out and self._late_out[0][0] <= now:
                self._bus.send(self._late_out.popleft()[1])
        elif going:
            self._bus.send(going)

    def received(self) -> Iterator[Frame]:
        """See `ArmBus.received`."""
        faults, now = self.faults, self._clock()
        for frame in self._bus.received():
            if faults.bus_dead or self._lost():
                continue
            if not (faults.latency or self._late_in):
                yield frame
            else:
                self._late_in.append((now + faults.latency, frame))
        while self._late_in and self._late_in[0][0] <= now:
            yield self._late_in.popleft()[1]

    def _lost(self) -> bool:
        return self.faults.loss > 0.0 and self._random.random() < self.faults.loss

    def close(self) -> None:
        """See `ArmBus.close`."""
        self._bus.close()


def _zeroed(which: str, can_ids: tuple[int, ...], block: bytes) -> bytes:
    if which == "all":
        return bytes(len(block))
    if can_ids != FAST_IDS:
        return block
    start = 8 * can_ids.index(JOINT_12)
    return block[:start] + bytes(8 * len(_JOINTS)) + block[start + 8 * len(_JOINTS) :]
