from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from reconvla_ros.sim import frames
from reconvla_ros.sim.chain import Chain, matrix_from_rpy
from reconvla_ros.sim.firmware import Firmware
from reconvla_ros.sim.scenes import Scene
from reconvla_ros.sim.world import World
from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER, TCP_OFFSET
from reconvla_ros.types import Float

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def udp_port() -> int:
    """A UDP port that nothing on this machine uses; ports, not groups, keep two simulated arms apart."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a script of this folder with arguments; whatever still runs afterwards is ended."""
    running: list[subprocess.Popen[str]] = []

    def launch(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(HERE / script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        running.append(process)
        return process

    yield launch
    for process in running:
        process.terminate()  # an arm removes its shared state
    for process in running:
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@pytest.fixture
def arm(start: Start, udp_port: int) -> subprocess.Popen[str]:
    """A simulated arm in a process of its own on `udp_port`, sending."""
    process = start("arm_process.py", udp_port)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", process.communicate()[1]
    return process


LOWER, UPPER = np.array(JOINT_LOWER) + 0.01, np.array(JOINT_UPPER) - 0.01


class Rig:
    """An arm in its world without a bus: frames go straight to the firmware, time runs as fast as it can."""

    def __init__(self, scene: Scene):
        self.world, self.firmware = World(scene), Firmware()

    def send(self, can_id: int, **values: float) -> None:
        self.firmware.receive(can_id, frames.encode(can_id, values))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.005)):
            self.world.step(self.firmware.tick(self.world.time, self.world.sensed()))

    def enable(self, speed: int = 60) -> None:
        self.send(frames.ENABLE, motor=7, code=2)
        self.run(0.05)
        self.send(frames.MODE, ctrl_mode=1, move_mode=1, speed=speed)

    @property
    def joints(self) -> Float:
        return self.world.sensed().position

    def go(self, q: Float) -> None:
        """Move the joints to `q` and wait until they are there."""
        for i in range(3):
            self.send(frames.TARGET_12 + i, **{f"joint{2 * i + 1}": q[2 * i], f"joint{2 * i + 2}": q[2 * i + 1]})
        self.run(0.05)
        for _ in range(200):
            self.run(0.02)
            if not self.firmware.word.moving:
                return
        raise AssertionError(f"the arm does not arrive: {self.joints} instead of {q}")

    def grip(self, opening: float) -> None:
        self.send(frames.TARGET_GRIPPER, opening=opening, effort=1.0, code=1)
        self.run(0.7)

    def above(self, point: Float, across: Float | None, tilt: float = 0.26) -> Float:
        """Joints with the fingertips at `point`, tool down but leaning outwards by `tilt` [rad], the fingers closing
        along `across` (None: any direction); the solution with the smallest turn of J6."""
        out = matrix_from_rpy(np.array([0.0, 0.0, np.arctan2(point[1], point[0])]))
        lean = matrix_from_rpy(np.array([0.0, np.pi - tilt, 0.0]))
        found: list[Float] = []
        for yaw in np.linspace(-np.pi, np.pi, 73):
            turn = out @ lean @ matrix_from_rpy(np.array([0.0, 0.0, yaw]))
            if across is not None and abs(turn[:2, 1] @ across[:2]) < 0.94:
                continue
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = turn, point - TCP_OFFSET[2] * turn[:, 2]
            found += [q for q in Chain().inverse(pose, self.joints) if np.all(q > LOWER) and np.all(q < UPPER)]
        assert found, f"{point} is out of reach"
        return min(found, key=lambda q: abs(float(q[5])))


@pytest.fixture
def make_rig() -> type[Rig]:
    """The class `Rig`, since test files cannot import each other."""
    return Rig
