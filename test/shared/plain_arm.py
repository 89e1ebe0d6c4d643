"""Another fake PiPER, written from the notes on its frames alone: no code of reconvla_ros, no physics, no niceties.

It says 0x2A1..0x2A8 at about 100 Hz with jitter, 0x261..0x266 at about 25 Hz, and nothing else: no motor speeds, no
firmware, no limits, no gripper range, no acknowledgement. It obeys 0x471, 0x150, 0x151, 0x155..0x157 and 0x159; joints
follow their targets with a first-order lag; without power they fall to zero. `bits`, `status`, `comm` are said as set.
"""

from __future__ import annotations

import math
import random
import struct
import threading
import time

import can

MILLI = 1000.0 * 180.0 / math.pi  # counts per rad
LAG = 0.06  # [s]
LATENCY = 0.04  # [s] from 0x471 to power: slower than ours
FALL = 1.5  # [rad/s]
ALPHA = (0.0, -90.0, 0.0, 90.0, -90.0, 90.0)
OFFSET = (0.0, -172.22, -102.78, 0.0, 0.0, 0.0)
A = (0.0, 0.0, 285.03, -21.98, 0.0, 0.0)
D = (123.0, 0.0, 0.0, 250.75, 0.0, 91.0)


def flange(joints: list[float]) -> list[float]:
    """x y z [mm], rx ry rz [deg] of the Craig chain, by plain 4x4 products."""
    total: list[list[float]] = [[float(i == j) for j in range(4)] for i in range(4)]
    for alpha, a, d, offset, q in zip(ALPHA, A, D, OFFSET, joints, strict=True):
        ca, sa = math.cos(math.radians(alpha)), math.sin(math.radians(alpha))
        c, s = math.cos(q + math.radians(offset)), math.sin(q + math.radians(offset))
        link: list[list[float]] = [
            [c, -s, 0, a],
            [s * ca, c * ca, -sa, -sa * d],
            [s * sa, c * sa, ca, ca * d],
            [0, 0, 0, 1],
        ]
        before = total
        total = [[sum(before[i][k] * link[k][j] for k in range(4)) for j in range(4)] for i in range(4)]
    rx = math.atan2(total[2][1], total[2][2])
    ry = math.atan2(-total[2][0], math.hypot(total[0][0], total[1][0]))
    rz = math.atan2(total[1][0], total[0][0])
    return [total[0][3], total[1][3], total[2][3], *(math.degrees(v) for v in (rx, ry, rz))]


class PlainArm:
    """Runs in a thread from `start` to `close`."""

    def __init__(self, group: str, port: int, joints: list[float] | None = None, gripper: bool = True) -> None:
        self._bus = can.Bus(interface="udp_multicast", channel=group, port=port)
        self._random = random.Random(1)
        self.joints = list(joints or [0.0] * 6)
        self.targets = list(self.joints)
        self.gripper, self.opening, self.opening_target = gripper, 0.02, 0.02
        self.power = [False] * 6
        self.mode = self.move = self.status = self.comm = 0
        self.bits = [0] * 6
        self.heard: list[int] = []
        self._due = [math.inf] * 6
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> PlainArm:
        self._thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)
        self._bus.shutdown()

    def _run(self) -> None:
        last, cycle = time.monotonic(), 0
        while not self._stop.is_set():
            while (message := self._bus.recv(0.0)) is not None:
                if message.arbitration_id in (*range(0x150, 0x160), *range(0x470, 0x480), 0x4AF):
                    self._take(message.arbitration_id, bytes(message.data))
            now = time.monotonic()
            self._move(now - last, now)
            last = now
            self._say(cycle)
            cycle += 1
            time.sleep(max(0.0, 0.01 + self._random.uniform(-0.002, 0.002) - (time.monotonic() - now)))

    def _take(self, can_id: int, data: bytes) -> None:
        self.heard.append(can_id)
        if can_id == 0x471 and data[1] in (1, 2):
            for j in range(6) if data[0] in (7, 0xFF) else [data[0] - 1]:
                if data[1] == 1:
                    self.power[j], self._due[j] = False, math.inf
                elif not self.power[j] and self._due[j] == math.inf:
                    self._due[j] = time.monotonic() + LATENCY
        elif can_id == 0x150 and data[0] == 1:
            self.status = 1
        elif can_id == 0x150 and data[0] == 2:
            self.power, self.status, self.mode, self.move = [False] * 6, 0, 0, 0
        elif can_id == 0x151:
            self.mode, self.move = data[0], data[1]
        elif can_id in (0x155, 0x156, 0x157) and (self.mode, self.move, self.status) == (1, 1, 0):
            first = 2 * (can_id - 0x155)
            self.targets[first : first + 2] = [v / MILLI for v in struct.unpack(">ii", data)]
        elif can_id == 0x159 and self.gripper:
            self.opening_target = struct.unpack(">i", data[:4])[0] * 1e-6

    def _move(self, dt: float, now: float) -> None:
        share = 1.0 - math.exp(-dt / LAG)
        for j in range(6):
            if now >= self._due[j]:
                self.power[j], self._due[j], self.targets[j] = True, math.inf, self.joints[j]
            if not self.power[j]:
                self.joints[j] -= math.copysign(min(abs(self.joints[j]), FALL * dt), self.joints[j])
                self.targets[j] = self.joints[j]
            elif self.status == 0:
                self.joints[j] += share * (self.targets[j] - self.joints[j])
        self.opening += share * (self.opening_target - self.opening)

    def _send(self, can_id: int, data: bytes) -> None:
        self._bus.send(can.Message(arbitration_id=can_id, data=data.ljust(8, b"\0"), is_extended_id=False))

    def _say(self, cycle: int) -> None:
        moving = any(abs(a - b) > 0.002 for a, b in zip(self.joints, self.targets, strict=True))
        self._send(0x2A1, bytes([self.mode, self.status, self.move, 0, moving, 0, 0, self.comm]))
        place = [round(1000 * v) for v in flange(self.joints)]
        counts = [round(q * MILLI) for q in self.joints]
        for k in range(3):
            self._send(0x2A2 + k, struct.pack(">ii", *place[2 * k : 2 * k + 2]))
        for k in range(3):
            self._send(0x2A5 + k, struct.pack(">ii", *counts[2 * k : 2 * k + 2]))
        if self.gripper:
            self._send(0x2A8, struct.pack(">ihB", round(self.opening * 1e6), 0, 0xC0))
        if cycle % 4 == 0:
            for j in range(6):
                word = self.bits[j] | (0x40 if self.power[j] else 0)
                self._send(0x261 + j, struct.pack(">HhbBH", 238, 31, 29, word, 0))
