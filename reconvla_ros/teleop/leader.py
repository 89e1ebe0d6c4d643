"""A PiPER in leader mode on a CAN bus of its own, moved by hand: its joints and its gripper. Only listens.

A leader sends nothing but mode (0x151), joint targets (0x155..0x157: its own joints) and a gripper target (0x159). On the
bus of another arm that one would obey these frames past every limit of the driver, so a bus on which an arm gives feedback
is refused, at the start and at any time later.
"""

from __future__ import annotations

from typing import Any

import can

from reconvla_ros.arm import bus as can_bus
from reconvla_ros.errors import BusError, TeleopError
from reconvla_ros.sim import frames
from reconvla_ros.teleop.protocol import Reading

_LISTEN = 0.3  # [s] about 60 sets of a leader's frames
_JOINTS = (frames.TARGET_12, frames.TARGET_34, frames.TARGET_56)
_SENT = (*_JOINTS, frames.TARGET_GRIPPER)
_FOLLOWS = frozenset(frames.CYCLIC_IDS)
_REMEDY = "set it with 0x470 FA (AgileX's tool), hold it, switch it off and on"
_SHARED = (
    "an arm that gives feedback is on the leader's bus: it would obey the leader past every limit; give each arm a CAN "
    "interface of its own"
)


class Leader:
    """A `Device` over the leader's bus.

    Args:
        address: of the leader's own bus.
        stale: joints that are older are no reading [s].
        follower: interface of the arm that follows, when it is known; the same one is refused.
    """

    name, toggles = "leader", True

    def __init__(self, address: can_bus.BusAddress, stale: float = 0.1, follower: str = "") -> None:
        self._address, self._stale_ns, self._follower = address, int(stale * 1e9), follower
        self._bus: Any = None
        self._values: dict[int, dict[str, float]] = {}
        self._at: dict[int, int] = {}

    def open(self) -> None:
        """See `Device.open`."""
        self.close()
        if self._follower and self._follower == self._address.channel and not self._address.port:
            raise TeleopError(f"leader: {self._address} is the bus of the arm that follows: {_SHARED}")
        try:
            heard = can_bus.listen(self._address, _LISTEN)
        except BusError as error:
            raise TeleopError(f"leader: {error}") from error
        self._judge(heard)
        try:
            self._bus = can_bus.open_bus(self._address)
        except BusError as error:
            raise TeleopError(f"leader: {error}") from error
        self._values, self._at = {}, {}

    def _judge(self, heard: dict[int, int]) -> None:
        feedback, commands = _FOLLOWS & set(heard), set(_SENT) & set(heard)
        if feedback and commands:
            raise TeleopError(f"leader: {self._address}: {_SHARED}")
        if feedback:
            raise TeleopError(f"leader: the arm on {self._address} is not in leader mode, it gives feedback; {_REMEDY}")
        if not heard:
            raise TeleopError(f"leader: nothing is heard on {self._address}; power, cable, bit rate 1 Mbit/s")
        if missing := [f"{i:#05x}" for i in _JOINTS if i not in heard]:
            seen = ", ".join(f"{i:#05x}" for i in sorted(heard))
            raise TeleopError(f"leader: {self._address}: {', '.join(missing)} missing (heard: {seen}); {_REMEDY}")

    def read(self, now_ns: int) -> Reading:
        """See `Device.read`. `held` says that the joints are fresh."""
        if self._bus is None:
            raise TeleopError(f"leader: {self._address} is not open")
        try:
            while (message := self._bus.recv(0)) is not None:
                self._take(message, now_ns)
        except (can.CanError, OSError, ValueError) as error:
            raise TeleopError(f"leader: {self._address}: reading failed: {error}") from error
        ages = [now_ns - self._at[i] if i in self._at else None for i in _JOINTS]
        if any(age is None for age in ages):
            return Reading(note=f"no frame of the leader on {self._address} yet")
        oldest = max(age for age in ages if age is not None)
        if oldest > self._stale_ns:
            return Reading(note=f"the leader is silent for {oldest / 1e9:.1f} s")
        joints = tuple(value for i in _JOINTS for value in self._values[i].values())
        grip = self._values.get(frames.TARGET_GRIPPER)
        return Reading(True, joints=joints, opening=None if grip is None else max(0.0, grip["opening"]))

    def _take(self, message: Any, now_ns: int) -> None:
        can_id = message.arbitration_id
        if message.is_error_frame or message.is_remote_frame or message.is_extended_id:
            return
        if can_id in _FOLLOWS:
            raise TeleopError(f"leader: {self._address}: {_SHARED}")
        if can_id in _SENT and len(message.data) == 8:
            self._values[can_id], self._at[can_id] = frames.decode(can_id, message.data), now_ns

    def close(self) -> None:
        """See `Device.close`."""
        if self._bus is not None:
            self._bus.shutdown()
            self._bus = None
