from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconvla_ros.sim.chain import Chain
from reconvla_ros.sim.motion import JointSmoother, Line, line_fault, nearest
from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER

DT = 0.005
LOWER, UPPER = np.array(JOINT_LOWER), np.array(JOINT_UPPER)
READY = np.array([0.0, 1.0, -1.2, 0.0, 0.6, 0.0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-2.5, 2.5), min_size=2, max_size=3), st.floats(0.5, 3.0))
def test_smoother_reaches_every_target_inside_its_bounds(targets: list[float], speed: float) -> None:
    smoother = JointSmoother(np.zeros(1))
    bound, acceleration = [speed], [5.0]
    for target in targets:
        for _ in range(4000):
            before = smoother.velocity.copy()
            smoother.step(np.array([target]), bound, acceleration, DT)
            assert abs(smoother.velocity[0]) <= speed + 1e-9
            assert abs(smoother.velocity[0] - before[0]) <= 2 * 5.0 * DT + 1e-9
        assert smoother.position[0] == pytest.approx(target, abs=1e-9)
        assert smoother.velocity[0] == 0.0


def test_smoother_does_not_overshoot() -> None:
    smoother = JointSmoother(np.zeros(1))
    highest = 0.0
    for _ in range(600):
        smoother.step(np.array([1.0]), [3.0], [5.0], DT)
        highest = max(highest, float(smoother.position[0]))
    assert highest <= 1.0 + 1e-3


def test_no_speed_is_no_motion() -> None:
    smoother = JointSmoother(np.zeros(2))
    smoother.step(np.ones(2), [0.0, 0.0], [5.0, 5.0], DT)
    assert not smoother.position.any()


def line(shift: tuple[float, float, float]) -> Line:
    start = Chain().forward(READY)
    end = start.copy()
    end[:3, 3] += shift
    return Line(start, end, (0.5, 0.8), (0.13, 0.2))


def test_line_is_straight_and_bounded() -> None:
    way = line((0.05, -0.1, -0.05))
    start, last = way.at(0.0)[:3, 3], way.at(0.0)[:3, 3]
    direction = (way.at(1.0)[:3, 3] - start) / np.linalg.norm(way.at(1.0)[:3, 3] - start)
    for _ in range(1000):
        here = way.advance(DT)[:3, 3]
        assert np.linalg.norm(np.cross(here - start, direction)) < 1e-9
        assert np.linalg.norm(here - last) <= 0.5 * DT + 1e-9
        last = here
    assert way.done
    np.testing.assert_allclose(last, way.at(1.0)[:3, 3])


def test_line_of_no_length_is_done_at_once() -> None:
    way = line((0.0, 0.0, 0.0))
    way.advance(DT)
    assert way.done


def test_line_faults() -> None:
    chain = Chain()
    assert line_fault(chain, line((0.03, 0.0, -0.03)), READY, LOWER, UPPER) == 0
    assert line_fault(chain, line((0.9, 0.0, 0.0)), READY, LOWER, UPPER) == 2
    assert line_fault(chain, line((0.0, 0.0, -0.35)), READY, LOWER, UPPER) in (3, 4)


def test_nearest_respects_limits() -> None:
    solutions = Chain().inverse(Chain().forward(READY), READY)
    found = nearest(solutions, READY, LOWER, UPPER)
    assert found is not None
    np.testing.assert_allclose(found, READY, atol=1e-9)
    assert nearest(solutions, READY, UPPER, UPPER) is None
