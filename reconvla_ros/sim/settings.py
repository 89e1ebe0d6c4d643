"""Settings of the simulator (config/simulator.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param


@dataclass(frozen=True)
class SimulatorConfig:
    """What is simulated, and how its arm differs from the next."""

    scene: str = param("fruit_in_bowl", "empty, calibration, or a task with variants: fruit_in_bowl+unseen")
    seed: int = param(0, "seed of the places of the objects", low=0, high=2**31 - 1)
    sim_port: int = param(43113, "UDP port of the simulated CAN bus", low=1024, high=65535)
    firmware: str = param("S-V1.8-5", "firmware version the arm reports")
    gripper_range: int = param(70, "stroke of the gripper: 70 or 100, 0 = not set", unit="mm", low=0, high=100)
    role: str = param("follower", "a leader is moved by hand and sends its joints", options=("follower", "leader"))
    hand: str = param("still", "what moves a leader", options=("still", "wave"))
