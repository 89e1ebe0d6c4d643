"""What every `Arm` must do; a test class inherits it and gives an opened arm as the fixture `arm`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from reconvla_ros.arm.protocol import Arm
from reconvla_ros.types import JointCommand


def wait_for(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


class ArmContract:
    """`moves` is False for an arm that must not send."""

    moves = True

    def test_is_an_arm(self, arm: Arm) -> None:
        assert isinstance(arm, Arm)

    def test_state_comes_from_frames(self, arm: Arm) -> None:
        state, report = arm.state(), arm.report()
        assert state.stamp_ns > 0 and report.joint_stamp_ns == state.stamp_ns
        assert report.joint_age < 0.5 and report.status_age < 0.5
        assert np.all(np.abs(state.position) < 3.2)

    def test_feedback_goes_on(self, arm: Arm) -> None:
        before = arm.state().stamp_ns
        assert wait_for(lambda: arm.state().stamp_ns > before)

    def test_firmware_is_read(self, arm: Arm) -> None:
        assert wait_for(lambda: arm.report().firmware.startswith("S-V"))

    def test_opening_moves_nothing(self, arm: Arm) -> None:
        assert not any(arm.state().enabled)

    def test_enable_powers_every_motor_and_keeps_the_pose(self, arm: Arm) -> None:
        before = arm.state().position
        arm.enable()
        assert all(arm.state().enabled) is self.moves
        assert np.abs(arm.state().position - before).max() < 0.05
        if self.moves:
            assert (arm.report().ctrl_mode, arm.report().move_mode) == (1, 1)

    def test_send_moves_and_hold_keeps(self, arm: Arm) -> None:
        arm.enable()
        start = arm.state()
        goal = start.position + np.array([0.0, 0.1, -0.1, 0.0, 0.0, 0.05])
        sent = arm.report().frames_sent

        def there() -> bool:
            arm.send(JointCommand(goal, 0.02))
            return float(np.abs(arm.state().position - goal).max()) < 0.02 and abs(arm.state().gripper - 0.02) < 0.003

        assert wait_for(there, 4.0 if self.moves else 0.1) is self.moves
        arm.hold()
        assert (arm.report().frames_sent > sent) is self.moves

    def test_close_twice(self, arm: Arm) -> None:
        arm.close()
        arm.close()
