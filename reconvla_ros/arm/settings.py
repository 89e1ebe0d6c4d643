"""Parameters of the driver: type, unit, bounds and meaning, stated once. Defaults are those of a first motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconvla_ros import tables
from reconvla_ros.arm.retrace import BackOff
from reconvla_ros.config import param
from reconvla_ros.errors import LimitError
from reconvla_ros.safety.limits import HardTable, Limits

HARD = HardTable(
    tables.JOINT_LOWER,
    tables.JOINT_UPPER,
    tables.JOINT_MAX_VELOCITY,
    tables.JOINT_MAX_ACCELERATION,
    max(tables.GRIPPER_RANGES),
    tables.GRIPPER_MAX_EFFORT,
)
COMMAND_MODES = ("joint", "end_pose", "mit")
BUS_TYPES = ("udp_multicast", "socketcan", "virtual")


@dataclass(frozen=True)
class DriverConfig:
    """config/piper.yaml, section `driver`."""

    arm: str = param(
        "sim", "what is behind the bus, for messages; the driver treats both alike", options=("sim", "piper")
    )
    can_interface: str = param("udp_multicast", "python-can interface", options=BUS_TYPES)
    can_port: str = param("can0", "SocketCAN interface, or channel of a virtual bus")
    udp_group: str = param("239.74.163.2", "multicast group of the simulated bus")
    sim_port: int = param(43113, "UDP port of the simulated bus; one per arm", low=1024, high=65535)
    dry_run: bool = param(True, "nothing is sent to the arm, motions are only computed and shown")
    auto_enable: bool = param(False, "power the motors at start; leave it off on steel")
    rate: float = param(200.0, "control loop", unit="Hz", low=20.0, high=500.0)
    wait_for_arm: float = param(15.0, "how long to wait for the first frame of the arm", unit="s", low=0.0, high=600.0)
    hold_rate: float = param(
        20.0, "how often the target is repeated while the arm holds", unit="Hz", low=1.0, high=200.0
    )
    command_mode: str = param(
        "joint", "what the arm gets: joint targets (MOVE J), end_pose (MOVE P: bypasses the arm's joint limits, may take "
        "another branch) or mit (torques by stiffness; firmware S-V1.7-3 to S-V1.8-7)", options=COMMAND_MODES,
    )  # fmt: skip
    mit_kp: float = param(60.0, "stiffness in command_mode mit", unit="N m/rad", low=0.0, high=500.0)
    mit_kd: float = param(2.0, "damping in command_mode mit", unit="N m s/rad", low=0.0, high=5.0)
    speed_percent: int = param(50, "MOVE J speed of the firmware's own smoothing", unit="%", low=1, high=100)
    mounting: str = param(
        "keep", "how the base is mounted (0x151 byte 5)", options=("keep", "upright", "left", "right")
    )
    feedback_stale: float = param(0.05, "feedback older than this is a fault: hold", unit="s", low=0.02, high=1.0)
    feedback_frozen: float = param(
        0.05, "joints that read the same for this long while the target moves are a fault", unit="s", low=0.02, high=1.0
    )
    temperature_warm: float = param(
        60.0, "a motor or driver this hot is a warning (our choice)", unit="C", low=30.0, high=120.0
    )
    temperature_hot: float = param(
        75.0, "a motor or driver this hot is a fault: hold, do not move (our choice)", unit="C", low=30.0, high=120.0
    )
    voltage_low: float = param(20.0, "a supply below is a warning; 24 V are nominal", unit="V", low=0.0, high=60.0)
    voltage_high: float = param(28.0, "a supply above is a warning; 24 V are nominal", unit="V", low=0.0, high=60.0)
    effort_share: float = param(
        0.8, "a joint torque above this share of the largest (32 N m, 8 from joint4 on) is a warning", low=0.1, high=1.0
    )
    chunk_age: float = param(5.0, "a chunk whose observation is older is refused", unit="s", low=0.05, high=60.0)
    command_age: float = param(
        0.3, "a single end-effector command older than this is refused", unit="s", low=0.01, high=1.0
    )
    joint_lower: tuple[float, ...] = param(tables.JOINT_LOWER, "may only tighten the hard table", unit="rad", length=6)
    joint_upper: tuple[float, ...] = param(tables.JOINT_UPPER, "may only tighten the hard table", unit="rad", length=6)
    joint_margin: float = param(
        0.1, "within it of a joint limit only inward motion passes", unit="rad", low=0.0, high=0.5
    )
    joint_speed: float = param(0.5, "largest speed of any joint", unit="rad/s", low=0.01, high=3.0)
    joint_acceleration: float = param(2.0, "largest acceleration of any joint", unit="rad/s^2", low=0.1, high=5.0)
    stop_acceleration: float = param(5.0, "deceleration of a stop", unit="rad/s^2", low=0.1, high=5.0)
    joint_jerk: float = param(
        50.0, "smoothness of the motion; lower is softer and later", unit="rad/s^3", low=1.0, high=1000.0
    )
    stop_jerk: float = param(
        200.0, "smoothness of the end of a motion (starvation, cancel, SIGTERM)", unit="rad/s^3", low=1.0, high=2000.0
    )
    tcp_speed: float = param(0.10, "largest speed of the TCP", unit="m/s", low=0.001, high=1.0)
    tcp_angular_speed: float = param(0.5, "largest turning speed of the TCP", unit="rad/s", low=0.001, high=3.0)
    workspace_lower: tuple[float, ...] = param((0.08, -0.45, -0.20), "box for the TCP in base_link", unit="m", length=3)
    workspace_upper: tuple[float, ...] = param((0.60, 0.45, 0.70), "box for the TCP in base_link", unit="m", length=3)
    workspace_slack: float = param(
        0.002,
        "targets stay this far inside the box, for the rounding of corners by the motion",
        unit="m",
        low=0.0,
        high=0.05,
    )
    table_z: float = param(0.0, "height of the table in base_link", unit="m", low=-0.8, high=0.8)
    table_clearance: float = param(0.005, "least TCP height above the table", unit="m", low=0.0, high=0.5)
    table_margin: float = param(0.0, "least distance of arm and gripper from the table", unit="m", low=0.0, high=0.2)
    keep_out: tuple[float, ...] = param(
        (), "boxes no part of the arm may enter, six numbers each: x y z low, x y z high in base_link", unit="m"
    )
    keep_out_margin: float = param(0.01, "least distance from them", unit="m", low=0.0, high=0.2)
    self_margin: float = param(0.0, "least distance between parts of the arm", unit="m", low=0.0, high=0.2)
    tool_axis: tuple[float, ...] = param((0.0, 0.0, -1.0), "axis of the cone for the tool in base_link", length=3)
    tool_cone: float = param(
        180.0, "largest angle between the tool and tool_axis for Cartesian motion; 180 = off", unit="deg",
        low=1.0, high=180.0,
    )  # fmt: skip
    target_joint_step: float = param(
        1.5, "a Cartesian target that turns a joint further is refused", unit="rad", low=0.01, high=3.14
    )
    joint_step: float = param(0.03, "largest step of a joint in one tick", unit="rad", low=1e-4, high=0.15)
    tcp_step: float = param(0.006, "largest step of the TCP in one tick", unit="m", low=1e-5, high=0.05)
    singularity_slow: float = param(
        0.15, "nearer to a singularity than this Cartesian motion gets slower", low=0.0, high=1.0
    )
    singularity_stop: float = param(0.05, "nearer than this it may only lead away", low=0.0, high=0.5)
    external_effort: tuple[float, ...] = param(
        (15.0, 15.0, 10.0, 6.0, 6.0, 6.0), "pushing on against more than this beyond the arm's own weight is refused",
        unit="N m", length=6,
    )  # fmt: skip
    target_distance: float = param(0.3, "a target further from the TCP is refused", unit="m", low=0.01, high=1.0)
    gripper: str = param("fitted", "whether the arm has a gripper", options=("fitted", "none"))
    gripper_range: float = param(0.07, "opening of the fitted gripper (0.07 or 0.10)", unit="m", low=0.01, high=0.10)
    gripper_speed: float = param(0.10, "how fast the opening changes", unit="m/s", low=0.005, high=0.5)
    gripper_effort: float = param(1.0, "gripping torque", unit="N m", low=0.1, high=3.0)
    joint_leash: float = param(
        0.25, "target and measured joints further apart: wait, do not push on", unit="rad", low=0.02, high=1.0
    )
    anchor_leash: float = param(
        0.05, "a chunk anchored further from where the TCP was is refused", unit="m", low=0.005, high=0.5
    )
    branch_jump: float = param(
        0.2, "a joint jump of one tick beyond this is another branch: hold", unit="rad", low=0.01, high=1.0
    )
    home_position: tuple[float, ...] = param(
        (0.0, 0.15, -0.15, 0.0, 0.3, 0.0), "where arm/home goes; the default is folded, where losing power is harmless",
        unit="rad", length=6,
    )  # fmt: skip
    ready_position: tuple[float, ...] = param(
        (0.0, 1.0, -0.87, 0.0, 0.92, 0.0), "where arm/ready goes: above the table, gripper down, away from every stop",
        unit="rad", length=6,
    )  # fmt: skip
    auto_ready: bool = param(False, "go there once the motors are powered at start (in sim)")
    parked_within: float = param(
        0.3, "power may be cut when J2 and J3 are this near their stops", unit="rad", low=0.0, high=0.5
    )
    back_off_pace: float = param(
        0.25, "arm/release back_off moves at this share of the speed limits", low=0.05, high=1.0
    )
    back_off_distance: float = param(0.10, "and at most this far at the TCP", unit="m", low=0.01, high=0.5)
    back_off_time: float = param(6.0, "and at most for this long", unit="s", low=0.5, high=30.0)
    tcp_offset: tuple[float, ...] = param(
        tables.TCP_OFFSET, "from the flange to between the fingertips", unit="m", length=3
    )
    trace_rate: float = param(50.0, "largest rate of arm/action_trace", unit="Hz", low=1.0, high=500.0)

    @property
    def bus(self) -> tuple[str, str, int]:
        """Interface, channel, port (0 where there is none)."""
        if self.can_interface == "udp_multicast":
            return self.can_interface, self.udp_group, self.sim_port
        return self.can_interface, self.can_port, 0

    @property
    def back_off(self) -> BackOff:
        """How far and how fast `arm/release` goes back."""
        pace = self.back_off_pace
        return BackOff(pace * self.joint_speed, self.back_off_distance, self.back_off_time, pace)

    def limits(self, variant: int = 1) -> Limits:
        """The limits these parameters make, for the geometry `variant` (`dh_is_offset`).

        Raises:
            LimitError: one is looser than the hard table or contradicts another.
        """
        for name, step, speed in (
            ("joint_step", self.joint_step, self.joint_speed),
            ("tcp_step", self.tcp_step, self.tcp_speed),
        ):
            if step < speed / self.rate:
                raise LimitError(
                    f"limits.{name}: at {self.rate:g} Hz the speed allowed needs {speed / self.rate:g}, got {step:g}"
                )
        return Limits(
            hard=HARD,
            joint_lower=self.joint_lower,  # type: ignore[arg-type]
            joint_upper=self.joint_upper,  # type: ignore[arg-type]
            joint_speed=[self.joint_speed] * 6,  # type: ignore[arg-type]
            joint_acceleration=[self.joint_acceleration] * 6,  # type: ignore[arg-type]
            stop_acceleration=[max(self.joint_acceleration, self.stop_acceleration)] * 6,  # type: ignore[arg-type]
            workspace_lower=self.workspace_lower,  # type: ignore[arg-type]
            workspace_upper=self.workspace_upper,  # type: ignore[arg-type]
            joint_margin=self.joint_margin,
            tcp_speed=self.tcp_speed,
            tcp_angular_speed=self.tcp_angular_speed,
            table_z=self.table_z,
            table_clearance=self.table_clearance,
            gripper_range=self.gripper_range,
            gripper_effort=self.gripper_effort,
            command_age=self.command_age,
            target_distance=self.target_distance,
            table_margin=self.table_margin,
            keep_out=self.keep_out,
            keep_out_margin=self.keep_out_margin,
            self_margin=self.self_margin,
            tool_axis=self.tool_axis,
            tool_cone=math.radians(self.tool_cone),
            target_joint_step=self.target_joint_step,
            joint_step=self.joint_step,
            tcp_step=self.tcp_step,
            singularity_slow=self.singularity_slow,
            singularity_stop=self.singularity_stop,
            external_effort=self.external_effort,
            variant=variant,
            tcp_offset=self.tcp_offset,
        )
