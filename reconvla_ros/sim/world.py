"""The physics: a MuJoCo model of a scene, driven by what the firmware tells its motors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.sim import arm_mjcf
from reconvla_ros.sim.arm_io import Drive, Sensed, Servo
from reconvla_ros.sim.director import Director
from reconvla_ros.sim.engine import mujoco
from reconvla_ros.sim.mit import MitTarget
from reconvla_ros.sim.scenes import Scene

Float = NDArray[np.float64]

FORCE_PER_EFFORT = 20.0  # [N] per finger for each N m of gripper effort; a guess
HELD_FRICTION = 0.1  # share of the gears' friction that is left when the servo works against it
_KP, _KV = np.array(arm_mjcf.KP), np.array(arm_mjcf.KV)
_LEAD = _KV / _KP


class World:
    """One scene with the arm at rest and limp; `step` advances it.

    Motors that hold carry the arm's own weight (the firmware compensates gravity); motors that are off fall; motors under
    torque control do as they are told.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.model = mujoco.MjModel.from_xml_string(scene.mjcf, scene.assets)
        self.data = mujoco.MjData(self.model)
        self._servo: list[Servo] | None = None
        self._carries: Float = np.zeros(6)
        self._finger_effort = -1.0
        self.director = None if scene.setup is None else Director(self.model, scene.setup)
        mujoco.mj_forward(self.model, self.data)

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return float(self.data.time)

    def step(self, drive: Drive, steps: int = 2) -> None:
        """Advance `steps` time steps of the model under one `drive`."""
        self._switch(drive)
        ctrl = self.data.ctrl
        # A reference velocity as a shift of the target: kp (q* + kv/kp v* - q) - kv v
        ctrl[:6] = drive.position + _LEAD * drive.velocity
        ctrl[6:8] = drive.opening / 2
        self.data.qfrc_applied[:6] = self._carries * self.data.qfrc_bias[:6]
        for j, target in enumerate(drive.mit):
            if target is not None and drive.servo[j] == Servo.TORQUE:
                self._torque(j, target)
        if self.director is not None:
            self.director.before_step(self.data)
        mujoco.mj_step(self.model, self.data, steps)

    def _torque(self, j: int, target: MitTarget) -> None:
        """kp (p - q) + kd (v - dq) + t, within the torque of the motor; nothing carries the arm's weight."""
        self.model.actuator_gainprm[j, 0] = target.kp
        self.model.actuator_biasprm[j, 1], self.model.actuator_biasprm[j, 2] = -target.kp, -target.kd
        self.data.ctrl[j] = target.position
        most = arm_mjcf.TORQUE[j]
        self.data.qfrc_applied[j] = min(max(target.torque + target.kd * target.velocity, -most), most)

    def _switch(self, drive: Drive) -> None:
        if drive.servo != self._servo:
            self._servo = list(drive.servo)
            hold = np.array([s == Servo.HOLD for s in drive.servo])
            live = np.array([s != Servo.OFF for s in drive.servo])
            self.model.actuator_gainprm[:6, 0] = _KP * hold
            self.model.actuator_biasprm[:6, 1] = -_KP * hold
            self.model.actuator_biasprm[:6, 2] = -_KV * live
            self._carries = hold.astype(float)
            self.model.dof_frictionloss[:6] = np.where(hold, HELD_FRICTION, 1.0) * np.array(arm_mjcf.FRICTION)
        effort = min(drive.gripper_effort, 3.0) if drive.gripper_on else 0.0
        if effort != self._finger_effort:
            self._finger_effort = effort
            force = effort * FORCE_PER_EFFORT
            self.model.actuator_forcerange[6:8] = (-force, force)

    def sensed(self) -> Sensed:
        """What the arm's sensors read now."""
        data = self.data
        effort = data.qfrc_actuator[:6] + data.qfrc_applied[:6]
        opening = max(float(data.qpos[6] + data.qpos[7]), 0.0)
        grip = -float(data.qfrc_actuator[6] + data.qfrc_actuator[7]) / 2 / FORCE_PER_EFFORT
        return Sensed(data.qpos[:6].copy(), data.qvel[:6].copy(), effort, opening, grip)

    def body_position(self, name: str) -> Float:
        """Where a body is [m] (3,), base_link."""
        return np.array(self.data.body(name).xpos)

    def take_arm(self, other: World) -> None:
        """Have the arm as it is in `other`: joints, fingers, and time."""
        self.data.qpos[:8], self.data.qvel[:8] = other.data.qpos[:8], other.data.qvel[:8]
        self.data.time = other.data.time
        mujoco.mj_forward(self.model, self.data)

    def set_joints(self, position: Float) -> None:
        """Put the arm at `position` (6,) [rad] at once, at rest."""
        self.data.qpos[:6], self.data.qvel[:6] = position, 0.0
        mujoco.mj_forward(self.model, self.data)
