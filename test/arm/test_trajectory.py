from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.arm.trajectory import JointTrajectory

DT, SPEED, ACCELERATION, JERK, BRAKE = 0.005, 0.5, 2.0, 50.0, 5.0


@pytest.fixture
def motion() -> JointTrajectory:
    return JointTrajectory(DT, SPEED, ACCELERATION, JERK, BRAKE)


def run(motion: JointTrajectory, ticks: int) -> np.ndarray:
    return np.array([motion.step()[0] for _ in range(ticks)])


def test_reaches_the_target_within_its_bounds(motion: JointTrajectory) -> None:
    goal = np.array([0.4, 0.3, -0.2, 0.1, 0.0, -0.4])
    motion.set_target(goal)
    path = np.vstack([np.zeros(6), run(motion, 400)])
    velocity = np.diff(path, axis=0) / DT
    acceleration = np.diff(velocity, axis=0) / DT
    assert np.allclose(path[-1], goal) and not motion.moving
    assert np.abs(velocity).max() <= SPEED + 1e-9
    assert np.abs(acceleration).max() <= ACCELERATION + 1e-6
    assert np.abs(np.diff(acceleration, axis=0) / DT).max() <= JERK + 1e-6


def test_a_new_target_joins_without_a_step(motion: JointTrajectory) -> None:
    motion.set_target(np.full(6, 0.5))
    before = run(motion, 80)
    motion.set_target(np.full(6, -0.5))
    path = np.vstack([before, run(motion, 700)])
    acceleration = np.diff(path, n=2, axis=0) / DT**2
    assert np.abs(acceleration).max() <= ACCELERATION + 1e-6
    assert np.allclose(path[-1], -0.5)


def test_stop_decelerates_and_stays(motion: JointTrajectory) -> None:
    motion.set_target(np.full(6, 1.0))
    before = run(motion, 100)
    motion.stop()
    after = run(motion, 100)
    path = np.vstack([before, after])
    assert not motion.moving
    assert np.allclose(after[-1], after[-20]) and after[-1][0] > before[-1][0]
    assert np.abs(np.diff(path, n=2, axis=0) / DT**2).max() <= BRAKE + 1e-6


def test_a_share_of_a_tick_is_a_share_of_the_way(motion: JointTrajectory) -> None:
    motion.set_target(np.full(6, 1.0))
    run(motion, 150)
    start = motion.position
    whole = motion.propose() - start
    position, velocity = motion.commit(0.5)
    assert np.allclose(position - start, whole / 2, rtol=1e-3)
    assert np.allclose(velocity, SPEED / 2, rtol=1e-3)


def test_reset_stands_still(motion: JointTrajectory) -> None:
    motion.set_target(np.full(6, 1.0))
    run(motion, 50)
    motion.reset(np.full(6, 0.2))
    assert not motion.moving
    assert np.allclose(run(motion, 5), 0.2)


def test_a_moving_target_is_followed_smoothly(motion: JointTrajectory) -> None:
    path = []
    for i in range(400):
        motion.set_target(np.full(6, min(i * DT * 0.2, 0.25)))
        path.append(motion.step()[0])
    speed = np.diff(np.array(path)[:, 0]) / DT
    assert np.allclose(path[-1], 0.25, atol=1e-6)
    assert np.allclose(speed[100:220], 0.2, atol=0.01)


def test_a_way_between_two_kinds_of_profile_is_found() -> None:
    """2 a^3 / j^2 = 0.0064 rad: ruckig raised, and the driver's loop ended (found by the soak)."""
    motion = JointTrajectory(DT, 0.5, 2.0, 50.0, 5.0)
    start = np.array([0.0003500169611451252, 0.0136, -0.0135, -0.006400000000000005, 0.0136, 0.006400000000000005])
    motion.reset(start)
    motion.set_target(np.array([0.0, 1.0, -0.87, 0.0, 0.92, 0.0]))
    assert np.abs(motion.propose() - start).max() < 1e-3
    path = run(motion, 1000)
    assert np.allclose(path[-1], [0.0, 1.0, -0.87, 0.0, 0.92, 0.0], atol=1e-6)
    assert np.abs(np.diff(path, n=2, axis=0)).max() <= 2.0 * DT**2 * 1.01


def test_a_target_in_the_middle_of_braking_waits_until_it_has_eased_off() -> None:
    """Taken at once, the hard braking ran on through the standstill, and the joint went back faster than it may."""
    trajectory = JointTrajectory(0.005, 0.5, 2.0, 50.0, 5.0, 200.0)
    trajectory.set_target(np.full(6, 1.0))
    for _ in range(100):
        trajectory.step()
    trajectory.stop()
    speeds = [trajectory.velocity[0]]
    for tick in range(200):
        if tick >= 8:
            trajectory.set_target(np.zeros(6))
        speeds.append(trajectory.step()[1][0])
    change = np.diff(speeds) / 0.005
    speeding = np.abs(speeds[1:]) > np.abs(speeds[:-1])
    assert change.min() < -4.0  # it did brake hard
    assert np.abs(change[speeding]).max() <= 2.0 + 1e-6
    assert min(speeds) < -0.1  # and then went to the new target
