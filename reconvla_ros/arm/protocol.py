"""What an arm is to the rest of the package; every implementation passes test/shared/arm_contract.py.

[rad], [m], [s], [N m] only; device units stay behind the implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol, runtime_checkable

from reconvla_ros.types import N_JOINTS, ArmState, JointCommand, Pose


@dataclass(frozen=True, eq=False)
class ArmReport:
    """What the arm says of itself, judged by its own frames.

    Attributes:
        ctrl_mode, arm_status, move_mode, motion_status: bytes 0, 1, 2, 4 of 0x2A1 (words in tables.py).
        limit_bits, comm_bits: bytes 6, 7 of 0x2A1, bit j-1 = joint j.
        flange: `tool0` in `base_link` as the firmware computes it (0x2A2..0x2A4); None before the first frame.
        gripper_enabled: bit 6 of 0x2A8 byte 6.
        gripper_bits: that byte. motor_bits: byte 5 of 0x261..0x266, one per joint (over-temperature, collision, ...).
        firmware: e.g. "S-V1.8-2"; empty until the arm answered.
        status_stamp_ns, joint_stamp_ns: receipt of the newest 0x2A1 and 0x2A5..7 [ns], ROS time; 0 = never.
        status_age, joint_age: since the driver last saw a newer one of them [s], on a monotonic clock; inf = never.
        bus_ok: False after a frame could not be sent.
        frames_sent: CAN frames sent since open.
        losses: how often the bus was lost since open; after each the arm holds what it got last, not what it was sent.
        link: what is known of a lost bus, for a person; empty while all is well.
        currents: of the motors, 0x251..0x256 [A]. voltages: at the motors [V]. driver_temperatures,
            motor_temperatures: 0x261..0x266 [C]. Zeros where the arm does not say.
    """

    ctrl_mode: int = 0
    arm_status: int = 0
    move_mode: int = 0
    motion_status: int = 0
    limit_bits: int = 0
    comm_bits: int = 0
    flange: Pose | None = None
    gripper_enabled: bool = False
    gripper_bits: int = 0
    motor_bits: tuple[int, ...] = (0,) * N_JOINTS
    firmware: str = ""
    status_stamp_ns: int = 0
    joint_stamp_ns: int = 0
    status_age: float = inf
    joint_age: float = inf
    bus_ok: bool = True
    frames_sent: int = 0
    losses: int = 0
    link: str = ""
    currents: tuple[float, ...] = (0.0,) * N_JOINTS
    voltages: tuple[float, ...] = (0.0,) * N_JOINTS
    driver_temperatures: tuple[float, ...] = (0.0,) * N_JOINTS
    motor_temperatures: tuple[float, ...] = (0.0,) * N_JOINTS


@dataclass(frozen=True)
class ArmSetup:
    """What an arm tells when it is asked, and what changes slowly. None = it did not answer.

    Attributes:
        firmware: e.g. "S-V1.8-5"; empty = unknown.
        joint_limits: the arm's own, kept in its flash: (lower, upper) [rad] per joint.
        gripper_range: total opening of the fitted gripper [m]; 0 = not set in the arm.
        collision_levels: per joint, 0 = off.
        voltages: at the motors [V]. driver_temperatures, motor_temperatures: [C].
        commanders: ids of commands that somebody else sends on the arm's bus; None = not to be told from our own.
    """

    firmware: str = ""
    joint_limits: tuple[tuple[float, float] | None, ...] = (None,) * N_JOINTS
    gripper_range: float | None = None
    collision_levels: tuple[int, ...] | None = None
    voltages: tuple[float, ...] = (0.0,) * N_JOINTS
    driver_temperatures: tuple[float, ...] = (0.0,) * N_JOINTS
    motor_temperatures: tuple[float, ...] = (0.0,) * N_JOINTS
    commanders: tuple[int, ...] | None = None


@runtime_checkable
class Arm(Protocol):
    """A six-joint arm with a gripper on a bus. Nothing here cuts power except the two calls that say so."""

    def open(self) -> None:
        """Connect and wait for the first complete feedback; sends queries only, never a motion.

        Raises:
            BusError: no such bus, someone else drives it, or nothing is heard on it.
            ArmError: the arm is there but may not be driven (leader).
        """
        ...

    def state(self) -> ArmState:
        """The newest joints and gripper.

        Raises:
            BusError: not open.
        """
        ...

    def report(self) -> ArmReport:
        """Status, ages and counters beside `state`.

        Raises:
            BusError: not open.
        """
        ...

    def read(self) -> tuple[ArmReport, ArmState]:
        """Both at once, for every tick; the report may lack the flange.

        Raises:
            BusError: not open.
        """
        ...

    def inspect(self) -> ArmSetup:
        """Ask for what the arm keeps; queries only. Blocks, up to 1.5 s where nothing is answered.

        Raises:
            BusError: not open.
        """
        ...

    def enable(self, timeout: float = 5.0) -> JointCommand | None:
        """Power motor by motor, then the gripper at its present opening; take joint-target mode where the arm is.

        Returns:
            The target that the arm was given, where it is; None when it had power and keeps the target it had.

        Raises:
            ArmError: names the motors or the mode that did not follow within `timeout` [s].
        """
        ...

    def send(self, command: JointCommand) -> None:
        """Stream one joint target; the caller has checked it."""
        ...

    def hold(self) -> None:
        """Send the last target again; nothing when there was none."""
        ...

    def damped_stop(self) -> None:
        """The firmware's e-stop: motors damp and the arm SINKS; only `power_cycle` leaves it."""
        ...

    def power_cycle(self) -> None:
        """The firmware's reset: power is cut and the arm FALLS; all flags are cleared."""
        ...

    def disable(self) -> None:
        """Cut motor power: the arm FALLS unless it rests on its stops."""
        ...

    def close(self) -> None:
        """Leave the bus; the arm stays as it is, enabled. Safe to call twice."""
        ...
