"""What config/teleop.yaml says: the device, how fast, and what a gamepad's axes and buttons mean."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param

DEVICES = ("keyboard", "gamepad", "leader", "drag")
SPEEDS = {"slow": 0.25, "medium": 0.5, "fast": 1.0}  # shares of linear_speed and angular_speed


@dataclass(frozen=True)
class TeleopConfig:
    """Parameters of the teleoperation node; the node's name is `teleop`."""

    device: str = param("keyboard", "what the arm is steered with", options=DEVICES)
    wait: float = param(15.0, "how long the device is waited for at the start", unit="s", low=0.0, high=600.0)
    rate: float = param(50.0, "commands per second", unit="Hz", low=10.0, high=200.0)
    speed: str = param("medium", "share of the speeds below at start", options=tuple(SPEEDS))
    linear_speed: float = param(
        0.10, "of the TCP at 'fast'; the driver has the last word", unit="m/s", low=0.005, high=0.5
    )
    angular_speed: float = param(0.5, "turning of the TCP at 'fast'", unit="rad/s", low=0.02, high=2.0)
    gripper_speed: float = param(0.06, "of the opening, whatever the speed", unit="m/s", low=0.005, high=0.3)
    gripper_range: float = param(0.07, "widest opening that is asked for", unit="m", low=0.01, high=0.10)
    frame: str = param("base_link", "the axes of the keys and sticks", options=("base_link", "tcp"))
    lead: float = param(
        0.03, "most that the target may be ahead of the measured TCP: how far the arm still goes after letting go",
        unit="m", low=0.005, high=0.1,
    )  # fmt: skip
    angular_lead: float = param(0.15, "the same for turning", unit="rad", low=0.02, high=0.5)
    key_hold: float = param(0.15, "a key counts as held this long after its last repeat", unit="s", low=0.05, high=0.5)
    state_stale: float = param(0.3, "older state of the arm means no motion", unit="s", low=0.05, high=1.0)
    gamepad: str = param("/dev/input/js0", "the gamepad, by the joystick interface of Linux")
    dead_zone: float = param(0.12, "a stick nearer to its middle gives nothing", low=0.0, high=0.5)
    axes: tuple[str, ...] = param(
        ("x=-1", "y=-0", "z=-4", "rz=-3", "ry=-7", "rx=6"),
        "motion=axis number; a minus turns it round",
    )
    buttons: tuple[str, ...] = param(
        (
            "dead_man=4",
            "open=0",
            "close=1",
            "stop=6",
            "hand_over=8",
            "record=7",
            "failed=2",
            "discard=3",
            "slow=9",
            "fast=10",
        ),
        "what=button number",
    )
    leader_interface: str = param("socketcan", "bus of the leader arm", options=("socketcan", "udp_multicast"))
    leader_port: str = param("can1", "CAN interface of the leader arm; never that of the arm that follows")
    leader_udp_port: int = param(43114, "UDP port of a simulated leader arm", unit="", low=1024, high=65535)
    follower_port: str = param(
        "", "CAN interface of the arm that follows, where it is on this computer; refused as leader_port"
    )
    leader_mode: str = param(
        "relative", "relative: moves as the leader moves from where both are; absolute: goes where the leader is",
        options=("relative", "absolute"),
    )  # fmt: skip
    leader_scale: float = param(1.0, "share of the leader's way in relative mode", low=0.1, high=1.0)
    leader_stale: float = param(0.1, "a leader silent for longer means no motion", unit="s", low=0.02, high=0.5)
    leader_jump: float = param(
        0.2, "a leader joint that leaps further between two readings lets go", unit="rad", low=0.02, high=1.0
    )
    leader_near: float = param(
        0.05, "absolute mode begins only with both TCPs this near", unit="m", low=0.005, high=0.2
    )
    leader_near_angle: float = param(0.3, "and turned apart by no more than this", unit="rad", low=0.02, high=1.0)
    leader_leash: float = param(0.2, "a follower further behind the leader lets go", unit="m", low=0.02, high=0.5)
    instruction: str = param("", "what is demonstrated; empty = that of the running task")
    operator: str = param("", "who demonstrates")
