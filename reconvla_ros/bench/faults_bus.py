"""What host and arm say on the bus while the fault bench runs, heard by a socket and a decoder of its own.

Receipt times are the kernel's (python-can asks for them), so a busy listener does not make the driver look late.
Frames (piper_sdk 0.6.2): 0x155..0x157 two joint targets each [0.001 degree], 0x159 gripper target [0.001 mm], 0x261..0x266
byte 5 bit 6 = that motor has power, 0x150 stop and reset, 0x471 motor power; eight bytes, big-endian.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

import can
import numpy as np
from can.interfaces.udp_multicast.utils import pack_message

from reconvla_ros.errors import BusError
from reconvla_ros.types import Float

QUANTUM = float(np.radians(1e-3))  # [rad] one count of a joint target
HOST = "host:"  # so begin the words on a drop that the host asked for
_GROUP = "239.74.163.2"  # python-can's own IPv4 group
_OPENING = 1e-6  # [m] one count of a gripper target
_FIRST_JOINTS, _JOINT_IDS, _GRIPPER = 0x155, (0x155, 0x156, 0x157), 0x159
_STOP, _POWER, _MOTORS, _ENABLED = 0x150, 0x471, range(0x261, 0x267), 1 << 6
_BUFFER = 1 << 22  # [bytes] some seconds of frames: a listener that is held up loses none
_SO_ATTACH_FILTER = 26


@dataclass
class Recording:
    """A stretch of the bus; times [s] since the epoch.

    Attributes:
        times, joints: (N,), (N, 6) [rad]: every complete set of joint targets, changed or not; the time is the last frame's.
        openings: (time, gripper target [m]).
        until: the end of the stretch.
        drops: (time, words): a motor that lost its power, a frame that stops, resets or cuts power.
    """

    times: Float
    joints: Float
    until: float
    openings: list[tuple[float, float]] = field(default_factory=list)
    drops: list[tuple[float, str]] = field(default_factory=list)


class BusLog:
    """Logs from now on, in a thread, until `close`.

    Raises:
        BusError: the bus cannot be opened.
    """

    def __init__(self, port: int) -> None:
        try:
            self._bus = can.Bus(interface="udp_multicast", channel=_GROUP, port=port, fd=False)
        except (can.CanError, OSError) as error:
            raise BusError(f"fault bench: CAN bus udp_multicast:{port} cannot be opened: {error}") from error
        self._socket = socket.socket(fileno=os.dup(self._bus.fileno()))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        _skip_fast_feedback(self._socket)
        self._sets: list[tuple[float, tuple[int, ...]]] = []
        self._coming: list[int] = []
        self._openings: list[tuple[float, float]] = []
        self._drops: list[tuple[float, str]] = []
        self._power: dict[int, bool] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(timeout=1.0)
        self._socket.close()
        self._bus.shutdown()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                message = self._bus.recv(0.2)
            except can.CanError:
                continue  # not a CAN frame; whoever sends to this port by mistake is not ours to judge
            if message is not None and len(message.data) == 8:
                self.take(message.arbitration_id, bytes(message.data), message.timestamp)

    def take(self, can_id: int, data: bytes, at: float) -> None:
        """One frame received `at` [s]."""
        if can_id in _JOINT_IDS:
            if can_id == _FIRST_JOINTS:
                self._coming = []
            self._coming += struct.unpack(">ii", data)
            if can_id == _JOINT_IDS[-1] and len(self._coming) == 6:
                self._sets.append((at, tuple(self._coming)))
        elif can_id == _GRIPPER:
            self._openings.append((at, struct.unpack(">i", data[:4])[0] * _OPENING))
        elif can_id in _MOTORS:
            on, was = bool(data[5] & _ENABLED), self._power.get(can_id, False)
            self._power[can_id] = on
            if was and not on:
                self._drops.append((at, f"motor {can_id - _MOTORS[0] + 1} lost its power"))
        elif can_id == _STOP and data[0]:
            self._drops.append((at, f"{HOST} 0x150 byte 0 = {data[0]}: the arm sinks or falls"))
        elif can_id == _POWER and data[1] == 1:
            self._drops.append((at, f"{HOST} 0x471 cuts the power of motor {data[0]}"))

    def powered(self) -> bool:
        """Whether all six motors say that they have power."""
        return len(self._power) == len(_MOTORS) and all(self._power.values())

    def opening(self) -> float | None:
        """The newest gripper target [m]."""
        return self._openings[-1][1] if self._openings else None

    def changed(self, window: float) -> bool:
        """Whether a joint target differs from the one before it in the newest `window` [s]."""
        recent = self._sets[-400:]
        begin = time.time() - window
        return any(now[0] > begin and now[1] != before[1] for before, now in pairwise(recent))

    def speed(self, window: float = 0.06) -> float:
        """The largest mean speed of a joint target [rad/s] over the newest `window` [s]; 0 when none is that new."""
        now, newest = time.time(), self._sets[-200:]
        recent = [s for s in newest if now - s[0] <= window]
        if len(recent) < 2 or recent[-1][0] - recent[0][0] < window / 2.0:
            return 0.0
        way = np.abs(np.array(recent[-1][1]) - np.array(recent[0][1])).max() * QUANTUM
        return float(way / (recent[-1][0] - recent[0][0]))

    def recording(self, since: float, until: float) -> Recording:
        """What was heard in this stretch [s since the epoch], and the last joint targets before it."""
        sets = [s for s in self._sets if s[0] <= until]
        first = next((i for i, s in enumerate(sets) if s[0] > since), len(sets))
        chosen = sets[max(0, first - 1) :]
        return Recording(
            np.array([s[0] for s in chosen]),
            np.array([s[1] for s in chosen], dtype=np.float64).reshape(-1, 6) * QUANTUM,
            until,
            [o for o in self._openings if since < o[0] <= until],
            [d for d in self._drops if since < d[0] <= until],
        )

    def forget(self) -> None:
        """Let go of what was heard; the newest joint targets stay."""
        del self._sets[:-1], self._openings[:-1], self._drops[:]


def _skip_fast_feedback(sock: socket.socket) -> None:
    """Let the kernel drop 0x251..0x256 and 0x2A1..0x2A8, 2800 frames a second nobody reads here (classic BPF).

    Only a saving: where the system refuses it, `BusLog.take` passes over the same ids.
    """
    example = pack_message(can.Message(arbitration_id=0x2A1, data=bytes(8), is_extended_id=False))
    at = 8 + example.index(b"arbitration_id\xcd") + len(b"arbitration_id")  # behind the UDP header; 0xCD: 16 bit number
    program = [
        (0x30, 0, 0, at),  # load the byte at `at`
        (0x15, 0, 6, 0xCD),  # not a 16 bit number: keep
        (0x28, 0, 0, at + 1),  # load the id
        (0x35, 0, 4, 0x251),  # below 0x251: keep
        (0x25, 0, 2, 0x256),  # at most 0x256: drop
        (0x35, 0, 2, 0x2A1),  # below 0x2A1: keep
        (0x25, 1, 0, 0x2A8),  # above 0x2A8: keep
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # keep
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))
    except OSError:
        return
