"""Streaming jerk-limited joint motion on ruckig.

A new target joins the running motion without a step in position, velocity or acceleration. Time advances by at most
one tick per call, however late the call is, so a stalled process never makes the arm leap.
"""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections.abc import Callable

import numpy as np
from ruckig import (
    ControlInterface,
    InputParameter,
    OutputParameter,
    Result,
    Ruckig,
    RuckigError,
    Synchronization,
    Trajectory,
)

from reconvla_ros.errors import ArmError
from reconvla_ros.types import N_JOINTS, Float

# ruckig's binding prints pages about every object that outlives the interpreter, and rclpy keeps nodes, and with them their
# trajectories, to the end. So they let go of it at exit.
_LIVING: weakref.WeakSet[JointTrajectory] = weakref.WeakSet()


@atexit.register
def _let_go() -> None:
    for trajectory in list(_LIVING):
        for name in ("_ruckig", "_input", "_output", "_stopper", "_stop_input", "_stop_way"):
            trajectory.__dict__.pop(name, None)


Snapshot = tuple[list[float], list[float], list[float], bool]  # position, velocity, acceleration, done

_NUDGES = (1.0, 0.999, 0.99, 0.9)  # of the acceleration bound
_EASED = 1e-6  # [rad/s^2]
REST_VELOCITY = 1e-6  # [rad/s] below it in every joint the motion is over


def _nudged(state: InputParameter, calculate: Callable[[], Result]) -> Result:
    """Calculate, with a little less acceleration where ruckig finds no profile.

    A joint whose way is 2 a^3 / j^2 to the last bit lies between two kinds of profile, and rounding rules out both.

    Raises:
        ArmError: it finds none at all.
    """
    bound = list(state.max_acceleration)
    for share in _NUDGES:
        state.max_acceleration = [share * a for a in bound]
        with contextlib.suppress(RuckigError):
            return calculate()
    raise ArmError(f"trajectory: ruckig finds no way to {state.target_position}")


class JointTrajectory:
    """The motion of six joints.

    Args:
        period: one tick [s].
        velocity, acceleration, jerk: bounds per joint [rad/s], [rad/s^2], [rad/s^3].
        stop_acceleration, stop_jerk: bounds while stopping [rad/s^2], [rad/s^3], at least those of moving.
    """

    def __init__(
        self,
        period: float,
        velocity: float,
        acceleration: float,
        jerk: float,
        stop_acceleration: float,
        stop_jerk: float = 0.0,
    ) -> None:
        self._jerk, self._stop_jerk = jerk, max(jerk, stop_jerk)
        self._period, self._velocity = period, velocity
        self._normal, self._braking = acceleration, max(acceleration, stop_acceleration)
        self._ruckig = Ruckig(N_JOINTS, period)
        self._input = InputParameter(N_JOINTS)
        self._output = OutputParameter(N_JOINTS)
        # Joints arrive together so that a straight way stays nearly straight.
        self._input.synchronization = Synchronization.Time
        self._input.max_velocity = [velocity] * N_JOINTS
        self._input.max_acceleration = [acceleration] * N_JOINTS
        self._input.max_jerk = [jerk] * N_JOINTS
        self._stopper, self._stop_input, self._stop_way = (
            Ruckig(N_JOINTS),
            InputParameter(N_JOINTS),
            Trajectory(N_JOINTS),
        )
        self._stop_input.control_interface = ControlInterface.Velocity
        self._stop_input.synchronization = Synchronization.Time
        self._stop_input.max_acceleration = [self._braking] * N_JOINTS
        self._stop_input.max_jerk = [self._stop_jerk] * N_JOINTS
        self._stopping = True
        self.reset(np.zeros(N_JOINTS))
        _LIVING.add(self)

    @property
    def position(self) -> Float:
        """Where the motion is now [rad] (6,)."""
        return np.array(self._input.current_position)

    @property
    def velocity(self) -> Float:
        """[rad/s] (6,)."""
        return np.array(self._input.current_velocity)

    @property
    def moving(self) -> bool:
        """Whether any joint still moves or has a target ahead."""
        return not self._done

    @property
    def stopping(self) -> bool:
        """Whether `stop` was asked for and nothing since."""
        return self._stopping

    def snapshot(self) -> Snapshot:
        """The present motion, to `restore` it should what comes next be refused."""
        state = self._input
        return list(state.current_position), list(state.current_velocity), list(state.current_acceleration), self._done

    def restore(self, snapshot: Snapshot) -> None:
        """Undo every `commit` since `snapshot`; target and way of control stay."""
        state = self._input
        state.current_position, state.current_velocity, state.current_acceleration, self._done = snapshot

    def stopping_way(self) -> Float:
        """Where `stop` would lead from here: half way in time and the end (2, 6) [rad].

        Raises:
            ArmError: ruckig refuses the state (a mistake of ours; the caller holds).
        """
        state, way = self._stop_input, self._stop_way
        state.max_acceleration = [self._braking] * N_JOINTS
        state.current_position = self._input.current_position
        state.current_velocity = self._input.current_velocity
        state.current_acceleration = self._input.current_acceleration
        result = _nudged(state, lambda: self._stopper.calculate(state, way))
        if result not in (Result.Working, Result.Finished):
            raise ArmError(f"trajectory: ruckig says {result} for a stop")
        return np.array([way.at_time(way.duration / 2.0)[0], way.at_time(way.duration)[0]])

    def reset(self, joints: Float) -> None:
        """Stand still at `joints` (6,), whatever ran before."""
        self._input.current_position = [float(v) for v in joints]
        self._input.current_velocity = [0.0] * N_JOINTS
        self._input.current_acceleration = [0.0] * N_JOINTS
        self._ruckig.reset()
        self.set_target(joints)
        self._done = True

    def pace(self, share: float) -> None:
        """Keep to `share` in (0, 1] of the velocity from now on."""
        self._input.max_velocity = [self._velocity * share] * N_JOINTS

    def set_target(self, joints: Float) -> None:
        """Go to `joints` (6,) and stand still there.

        Braking is harder than moving may be: until it has eased off the target is not taken; the caller asks again next tick.
        """
        if self._stopping and max(map(abs, self._input.current_acceleration)) > self._normal + _EASED:
            return
        target = [float(v) for v in joints]
        if self._stopping or target != list(self._input.target_position):  # or what `_nudged` took off stays off
            self._input.max_acceleration = [self._normal] * N_JOINTS
            self._input.max_jerk = [self._jerk] * N_JOINTS
        self._stopping = False
        self._input.control_interface = ControlInterface.Position
        self._input.target_position = target
        self._input.target_velocity = [0.0] * N_JOINTS
        self._input.target_acceleration = [0.0] * N_JOINTS
        self._done = False

    def stop(self) -> None:
        """Decelerate to a stand from the present motion; calling it again changes nothing."""
        if self._stopping or self._done:
            return
        self._stopping = True
        self._input.control_interface = ControlInterface.Velocity
        self._input.max_acceleration = [self._braking] * N_JOINTS
        self._input.max_jerk = [self._stop_jerk] * N_JOINTS
        self._input.target_velocity = [0.0] * N_JOINTS
        self._input.target_acceleration = [0.0] * N_JOINTS

    def propose(self) -> Float:
        """Where one whole tick would lead (6,) [rad]; the motion itself stays until `commit`.

        Raises:
            ArmError: ruckig refuses the state (a mistake of ours; the caller holds).
        """
        self._result = _nudged(self._input, lambda: self._ruckig.update(self._input, self._output))
        if self._result not in (Result.Working, Result.Finished):
            raise ArmError(f"trajectory: ruckig says {self._result} for target {self._input.target_position}")
        return np.array(self._output.new_position)

    def commit(self, scale: float = 1.0) -> tuple[Float, Float]:
        """Advance by `scale` in [0, 1] of the tick proposed last; position [rad] and velocity [rad/s], each (6,)."""
        if scale < 1.0:
            time = max(0.0, self._output.time - (1.0 - scale) * self._period)
            position, velocity, acceleration = self._output.trajectory.at_time(time)
            self._input.current_position = position
            # Less time passed on the way than on the clock: what the joints really do is slower by that share.
            self._input.current_velocity = [v * scale for v in velocity]
            self._input.current_acceleration = [a * scale * scale for a in acceleration]
        else:
            self._output.pass_to_input(self._input)
        arrived = self._result == Result.Finished and scale >= 1.0
        self._done = arrived and bool(np.all(np.abs(self.velocity) < REST_VELOCITY))
        return self.position, self.velocity

    def braking_point(self, lower: Float, upper: Float) -> Float:
        """About where a stop from here would end (6,) [rad], inside `lower`..`upper`."""
        speed = self.velocity
        ahead = speed * (np.abs(speed) / (2.0 * self._normal) + self._normal / (2.0 * self._jerk))
        return np.clip(self.position + ahead, lower, upper)

    def step(self) -> tuple[Float, Float]:
        """One tick: position [rad] and velocity [rad/s], each (6,)."""
        self.propose()
        return self.commit()
