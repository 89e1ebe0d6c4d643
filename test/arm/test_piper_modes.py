"""The three ways to drive the arm, through the real SDK; MIT is refused where firmware and SDK disagree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import mujoco
import numpy as np
import pytest
from arm_contract import wait_for  # type: ignore[import-not-found]
from scipy.spatial.transform import Rotation
from simulated import free_address, simulated  # type: ignore[import-not-found]

from reconvla_ros.arm.piper import PiperArm
from reconvla_ros.arm.piper_modes import EndPoseMode, MitMode, mode_of, rpy
from reconvla_ros.errors import ArmError
from reconvla_ros.safety.body import Body
from reconvla_ros.safety.effort import gravity_torque
from reconvla_ros.sim.scenes import make
from reconvla_ros.sim.world import World
from reconvla_ros.types import JointCommand

GOAL = np.array([0.3, 0.5, -0.5, 0.2, 0.3, -0.2])


class Bench:
    """An arm of some firmware and a driver in some mode."""

    def __init__(self, stack: ExitStack, mode: str, version: str = "S-V1.8-5", **options: Any) -> None:
        address = free_address()
        self.sim = stack.enter_context(simulated(address, version))
        self.arm = PiperArm(address, mode=mode_of(mode, 60.0, 2.0, True), **options)
        self.arm.open()
        stack.callback(self.arm.close)
        assert wait_for(lambda: self.arm.report().firmware == version)

    def go(self, goal: np.ndarray, within: float) -> bool:
        """Lead the arm there at 1 rad/s and wait until it is."""
        start = self.arm.state().position
        ticks = max(1, round(float(np.abs(goal - start).max()) / 0.01))
        step = iter([*np.linspace(start, goal, ticks + 1)[1:], *[goal] * 300])

        def there() -> bool:
            self.arm.send(JointCommand(next(step, goal)))
            return float(np.abs(self.arm.state().position - goal).max()) < within

        return wait_for(there, 8.0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("version", ["S-V1.8-5", "S-V1.7-3", "S-V1.8-2"])
def test_mit_tracks_and_holds(stack: ExitStack, version: str) -> None:
    bench = Bench(stack, "mit", version)
    rest = bench.arm.state().position
    bench.arm.enable()
    assert bench.arm.report().move_mode == 4
    assert np.abs(bench.arm.state().position - rest).max() < 0.05
    assert bench.go(GOAL, 0.04), bench.arm.state().position - GOAL
    before = bench.sim.firmware.ignored.copy()
    assert wait_for(lambda: float(np.abs(bench.arm.state().velocity).max()) < 0.01)
    assert bench.sim.firmware.ignored == before
    assert np.abs(bench.arm.state().position - GOAL).max() < 0.05  # nothing more was sent, it goes on holding


@pytest.mark.parametrize(
    ("version", "words"), [("S-V1.8-8", "12-bit torque"), ("S-V1.7-2", "the other way"), ("", "is not known")]
)
def test_mit_is_refused_where_firmware_and_sdk_disagree(version: str, words: str) -> None:
    with pytest.raises(ArmError, match=f"command_mode mit: .*{words}"):
        MitMode(60.0, 2.0, True).require(version)


def test_a_refused_mit_moves_and_powers_nothing(stack: ExitStack) -> None:
    bench = Bench(stack, "mit", "S-V1.8-8")
    sent = bench.arm.report().frames_sent
    with pytest.raises(ArmError, match=r"firmware S-V1\.8-8 has another frame"):
        bench.arm.enable()
    with pytest.raises(ArmError, match=r"S-V1\.8-8"):
        bench.arm.send(JointCommand(GOAL))
    assert bench.arm.report().frames_sent == sent and not any(bench.arm.state().enabled)


def test_end_pose_reaches_the_same_joints(stack: ExitStack) -> None:
    bench = Bench(stack, "end_pose")
    bench.arm.enable()
    assert bench.arm.report().move_mode == 0
    assert bench.go(GOAL, 0.01), bench.arm.state().position - GOAL


def test_without_a_gripper_none_is_waited_for_and_none_is_told(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(stack, "joint", gripper=False)
    heard: set[int] = set()
    receive = bench.sim.firmware.receive

    def listen(can_id: int, data: bytes) -> None:
        heard.add(can_id)
        receive(can_id, data)

    monkeypatch.setattr(bench.sim.firmware, "receive", listen)
    bench.arm.enable()
    bench.arm.send(JointCommand(bench.arm.state().position, 0.05))
    assert wait_for(lambda: 0x155 in heard) and 0x159 not in heard


def test_gravity_is_that_of_the_simulated_arm() -> None:
    world, body = World(make("empty")), Body()
    for joints in ([0.0, 1.0, -0.9, 0.0, 0.5, 0.0], [0.4, 1.6, -1.0, 0.7, -0.6, 0.5], [0.0] * 6):
        world.set_joints(np.array(joints))
        mujoco.mj_forward(world.model, world.data)
        assert np.abs(world.data.qfrc_bias[:6] - gravity_torque(body, np.array(joints))).max() < 0.1  # the fingers
    bare = gravity_torque(body, np.array([0.0, 1.0, -0.9, 0.0, 0.5, 0.0]), gripper=False)
    assert abs(bare[1]) < abs(gravity_torque(body, np.array([0.0, 1.0, -0.9, 0.0, 0.5, 0.0]))[1])


def test_the_angles_of_a_pose_are_those_of_the_arm() -> None:
    rng = np.random.default_rng(3)
    for turn in Rotation.random(200, rng):
        frame = np.eye(4)
        frame[:3, :3] = turn.as_matrix()
        assert np.allclose(Rotation.from_euler("xyz", rpy(frame)).as_matrix(), frame[:3, :3], atol=1e-9)
    frame[:3, :3] = Rotation.from_euler("xyz", [0.3, math.pi / 2, 0.0]).as_matrix()
    assert rpy(frame)[2] == 0.0


def test_the_end_pose_follows_the_zeros_of_the_firmware() -> None:
    sent: list[tuple[int, ...]] = []

    class Sdk:
        def EndPoseCtrl(self, *values: int) -> None:
            sent.append(values)

    mode = EndPoseMode()
    for version in ("S-V1.8-5", "S-V1.5-8"):
        mode.require(version)
        mode.target(Sdk(), np.zeros(6))
    assert sent[0][:3] == (56128, 0, 213266) and sent[1][:3] == (54953, 0, 203387)  # the SDK's own [0.001 mm]
    assert all(type(v) is int for v in sent[0])
