"""The device that the parameters name."""

from __future__ import annotations

from reconvla_ros.arm.bus import BusAddress
from reconvla_ros.errors import TeleopError
from reconvla_ros.sim.bus import DEFAULT_GROUP
from reconvla_ros.teleop.drag import Drag
from reconvla_ros.teleop.gamepad import Gamepad, axis_map, button_map
from reconvla_ros.teleop.keyboard import Keyboard
from reconvla_ros.teleop.leader import Leader
from reconvla_ros.teleop.protocol import Device
from reconvla_ros.teleop.settings import TeleopConfig
from reconvla_ros.teleop.terminal import Terminal


def make_device(config: TeleopConfig, terminal: Terminal | None) -> Device:
    """Not opened yet.

    Raises:
        TeleopError: a keyboard without a terminal. ConfigError: axes or buttons that make no sense.
    """
    if config.device == "keyboard":
        if terminal is None:
            raise TeleopError("keyboard: a node has no keys; run `reconvla teleop --device keyboard` in a terminal")
        return Keyboard(terminal.keys, config.key_hold, terminal.open)
    if config.device == "gamepad":
        return Gamepad(config.gamepad, axis_map(config.axes), button_map(config.buttons), config.dead_zone)
    if config.device == "leader":
        return Leader(leader_address(config), config.leader_stale, config.follower_port)
    return Drag()


def leader_address(config: TeleopConfig) -> BusAddress:
    """The leader's bus."""
    if config.leader_interface == "udp_multicast":
        return BusAddress("udp_multicast", DEFAULT_GROUP, config.leader_udp_port)
    return BusAddress("socketcan", config.leader_port)
