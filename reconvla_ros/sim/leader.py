"""Leader mode of the simulated arm: moved by a hand, it sends its joints as commands and takes none. Pure.

After the AgileX documents: 0x470 FA makes a leader of an arm that is in standby (of any other after its next reset), and it
stays one through a power cut; FC makes a follower of it with the next power cut. A leader sends mode (MOVE J, following),
joint targets and a gripper target, no feedback, and ignores what it is sent. Shifted ids are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.sim import frames
from reconvla_ros.sim.arm_io import Drive, Sensed, Servo

Float = NDArray[np.float64]
Hand = Callable[[float], tuple[Float, float]]  # time [s] -> joints (6,) [rad], gripper opening [m]

LEADER, FOLLOWER = 0xFA, 0xFC
_FOLLOW = 0xAD
_HAND_SPEED = 2.0  # [rad/s] no hand moves a joint faster
_EFFORT = 1.0  # [N m] a leader sends with its gripper; a guess
# Of `wave`: about a pose above the table, one joint at a time slow enough for a follower at first-motion speeds.
_CENTRE = np.array([0.0, 1.0, -0.87, 0.0, 0.92, 0.0])
_SWING = np.array([0.25, 0.08, 0.0, 0.0, 0.1, 0.2])
_RISE, _PERIOD = 4.0, 12.0  # [s]


def wave(time: float) -> tuple[Float, float]:
    """A hand that lifts the leader from its rest pose and waves it slowly."""
    rise = min(max(time / _RISE, 0.0), 1.0)
    phase = 2.0 * np.pi * max(time - _RISE, 0.0) / _PERIOD
    swing = np.sin(phase * np.array([1.0, 2.0, 1.0, 1.0, 1.0, 1.0]))
    return rise * rise * (3.0 - 2.0 * rise) * _CENTRE + _SWING * swing, 0.035 - 0.03 * float(np.cos(phase)) * rise


class LeaderMode:
    """Whether the arm is a leader, and what it does then.

    Args:
        leader: what is in its flash at the start.

    Attributes:
        active: it is one now.
        hand: moves it; None leaves it where it is.
    """

    def __init__(self, leader: bool = False) -> None:
        self._flash = self.active = leader
        self.hand: Hand | None = None
        self._at: Float | None = None
        self._opening = 0.0
        self._now: float | None = None

    def takes(self, can_id: int, data: bytes, standby: bool) -> bool:
        """Whether the frame is none of the firmware's business: a change of role, or anything sent to a leader."""
        if can_id == frames.LINKAGE and len(data) == 8:
            role = frames.counts(frames.LINKAGE, data)["role"]
            if role in (LEADER, FOLLOWER):
                self._flash = role == LEADER
                self.active = self.active or (self._flash and standby)
            return True
        reset = can_id == frames.STOP and len(data) == 8 and frames.counts(frames.STOP, data)["stop"] == 2
        if not self.active and self._flash and reset:
            self.active = True
        return self.active

    def restart(self) -> None:
        """A power cut: what the flash says holds."""
        self.active, self._at, self._now = self._flash, None, None

    def drive(self, now: float, sensed: Sensed) -> Drive:
        """What the motors do at `now` [s]: float under the hand, which no joint follows faster than a hand moves."""
        dt = 0.0 if self._now is None else min(max(now - self._now, 0.0), 0.02)
        self._now = now
        if self._at is None:
            self._at, self._opening = sensed.position.copy(), sensed.opening
        velocity: Float = np.zeros(6)
        if self.hand is not None and dt > 0.0:
            joints, self._opening = self.hand(now)
            velocity = np.clip((joints - self._at) / dt, -_HAND_SPEED, _HAND_SPEED)
            self._at = self._at + velocity * dt
        return Drive([Servo.HOLD] * 6, self._at, velocity, True, self._opening, _EFFORT)

    @staticmethod
    def sent(sensed: Sensed) -> list[tuple[int, bytes]]:
        """The five frames of a cycle."""
        joints = sensed.position.tolist()
        mode = {"ctrl_mode": 1, "move_mode": 1, "speed": 100, "follow": _FOLLOW}
        grip = {"opening": max(0.0, sensed.opening), "effort": _EFFORT, "code": 1}
        out = [(frames.MODE, frames.encode(frames.MODE, mode))]
        for k, can_id in enumerate((frames.TARGET_12, frames.TARGET_34, frames.TARGET_56)):
            pair = {f"joint{2 * k + 1}": joints[2 * k], f"joint{2 * k + 2}": joints[2 * k + 1]}
            out.append((can_id, frames.encode(can_id, pair)))
        return [*out, (frames.TARGET_GRIPPER, frames.encode(frames.TARGET_GRIPPER, grip))]
