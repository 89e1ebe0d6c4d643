"""The ear of the live soak: a process of its own that hears the CAN bus with python-can and feeds the judge.

In real time ticks come late, so the nominal tick is the target set: the driver advances its motion by at most one tick
from one set to the next, however late it is. The judge is the one of the injected clock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.bench.judge import QUANTUM, Judge
from reconvla_ros.bench.judge_bounds import Bounds
from reconvla_ros.sim.bus import DEFAULT_GROUP, BusConfig
from reconvla_ros.types import Float

_HOST = frozenset(
    {0x150, 0x151, *range(0x152, 0x160), 0x191, 0x422, 0x470, 0x471, 0x474, 0x475, 0x479, 0x47A, 0x47D, 0x121}
)
_JOINTS, _MOTORS = (0x2A5, 0x2A6, 0x2A7), range(0x261, 0x267)
_BUFFER = 1 << 23  # [bytes] a second of frames, where the system grants it


class Ear:
    """Tells the judge what it hears; `moments` are the times of its ticks [s, monotonic]."""

    def __init__(self, port: int, bounds: Bounds) -> None:
        self.judge = Judge(bounds)
        self.moments: list[float] = []
        self._bus = BusConfig("udp_multicast", DEFAULT_GROUP, port).open()
        with socket.socket(fileno=os.dup(self._bus.fileno())) as line:
            line.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33) if os.geteuid() == 0 else
                            socket.SO_RCVBUF, _BUFFER)  # fmt: skip
        self._counts = [0] * 6
        self._heard: set[int] = set()
        self._power = [False] * 6

    @property
    def ready(self) -> bool:
        """Whether joints and motors were heard."""
        return {*_JOINTS, *_MOTORS} <= self._heard

    def hear(self, told: Connection) -> bool:
        """One frame, if one comes; False when `told` to end. What the bench announces comes before its frames."""
        message = self._bus.recv(0.05)
        if message is None:
            return self._listen(told)
        can_id, data = message.arbitration_id, bytes(message.data)
        if can_id in _JOINTS:
            first = 2 * _JOINTS.index(can_id)
            self._counts[first : first + 2] = struct.unpack(">ii", data)
            if can_id == _JOINTS[-1]:
                self.judge.at(self.measured)
        elif can_id in _MOTORS:
            self._power[can_id - _MOTORS[0]] = bool(data[5] >> 6 & 1)
            self.judge.power(self._power)
        elif can_id in _HOST:
            alive = self._listen(told)
            self.judge.frame(can_id, data)
            if can_id == 0x157:
                self.moments.append(time.monotonic())
                self.judge.end_tick(self.measured, watch=False)
            return alive
        self._heard.add(can_id)
        return True

    @property
    def measured(self) -> Float:
        """(6,) [rad]."""
        return np.array(self._counts) * QUANTUM

    def _listen(self, told: Connection) -> bool:
        while told.poll():
            name, *values = told.recv()
            if name == "end":
                return False
            getattr(self.judge, name)(*values)
        return True

    def lost(self) -> int:
        """Datagrams that the system dropped for us, which would look like faults of the driver (-1: not known)."""
        inode = str(os.fstat(self._bus.fileno()).st_ino)
        try:
            rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        except OSError:
            return -1
        return next((int(row[-1]) for row in rows if row[9] == inode), -1)

    def result(self) -> dict[str, Any]:
        """What was found."""
        self.judge.finish()
        judge, lost = self.judge, self.lost()
        self._bus.shutdown()
        return {
            "frames": judge.frames, "sets": judge.ticks, "violations": dict(judge.violations), "examples": judge.examples,
            "freezes": [self.moments[k - 1] for k in judge.frozen_ticks if 0 < k <= len(self.moments)],
            "seeds": judge.seeds, "extremes": judge.extremes, "lost": lost,
        }  # fmt: skip


def listen(port: int, bounds: Bounds, told: Connection) -> None:
    """The process: hear until told to end, then send the result."""
    with contextlib.suppress(PermissionError):  # the turn that driver and simulator have, or it would miss frames
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    ear = Ear(port, bounds)
    ear.judge.stopped(False, may_freeze=True)
    said = False
    while ear.hear(told):
        if ear.ready and not said:
            said = True
            told.send("ready")
    told.send(ear.result())
