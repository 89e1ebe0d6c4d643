from __future__ import annotations

import mujoco
import numpy as np

from reconvla_ros import tables
from reconvla_ros.safety.body import Body
from reconvla_ros.safety.effort import SAMPLES, ExternalEffort, gravity_torque
from reconvla_ros.sim import scenes

BODY = Body()
OPEN = np.array([0.0, 1.2, -1.2, 0.0, 0.9, 0.0])


def test_the_arm_s_own_weight_equals_an_independent_engine_s() -> None:
    model = mujoco.MjModel.from_xml_string(scenes.make("empty").mjcf)
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for _ in range(100):
        data.qpos[:6] = rng.uniform(tables.JOINT_LOWER, tables.JOINT_UPPER)
        mujoco.mj_forward(model, data)
        assert np.abs(gravity_torque(BODY, data.qpos[:6].copy()) - data.qfrc_bias[:6]).max() < 1e-6


def test_one_sample_alone_is_no_push() -> None:
    external, weight = ExternalEffort(BODY, every=1), gravity_torque(BODY, OPEN)
    push = np.array([20.0, 0.0, -20.0, 0.0, 0.0, 0.0])
    for _ in range(SAMPLES):
        felt = external.feel(OPEN, weight)
    assert felt is not None and np.abs(felt).max() < 1e-9
    for _ in range(SAMPLES - 1):
        felt = external.feel(OPEN, weight + push)
        assert felt is not None and np.abs(felt).max() < 1e-9
    felt = external.feel(OPEN, weight + push)
    assert felt is not None and np.allclose(felt, push)
    felt = external.feel(OPEN, weight + 0.5 * push)
    assert felt is not None and np.allclose(felt, 0.5 * push)
    felt = external.feel(OPEN, weight - push)
    assert felt is not None and np.abs(felt).max() < 1e-9


def test_an_arm_that_reports_no_effort_is_not_pushed() -> None:
    external = ExternalEffort(BODY, every=1)
    for _ in range(10):
        assert external.feel(OPEN, np.zeros(6)) is None
    for _ in range(SAMPLES):
        external.feel(OPEN, np.ones(6))
    assert external.value is not None
    assert external.feel(OPEN, np.zeros(6)) is None and external.value is None


def test_only_some_measurements_are_taken() -> None:
    external = ExternalEffort(BODY, every=4)
    for _ in range(4 * SAMPLES - 1):
        assert external.feel(OPEN, np.ones(6)) is None
    assert external.feel(OPEN, np.ones(6)) is not None
