from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.arm.retrace import BackOff, Retrace, Trail
from reconvla_ros.types import Float

MS = 1_000_000
BOUNDS = BackOff(speed=0.1, distance=0.05, time=2.0, pace=0.25)
FAR = np.zeros(3)


def at(angle: float) -> Float:
    return np.array([angle, 0.0, 0.0, 0.0, 0.0, 0.0])


def trail(*angles: float) -> Trail:
    made = Trail()
    for index, angle in enumerate(angles):
        made.add(index * 20 * MS, at(angle))
    return made


def test_the_way_back_leads_from_the_newest_to_the_oldest() -> None:
    assert [q[0] for q in trail(0.0, 0.1, 0.2, 0.3).back_from(at(0.3), 0.05)] == pytest.approx([0.2, 0.1, 0.0])


def test_what_lies_beyond_the_arm_is_left_out() -> None:
    # Sent to 0.3, but held back at 0.08 or 0.12 by what is pinched there.
    assert [q[0] for q in trail(0.0, 0.1, 0.2, 0.3).back_from(at(0.08), 0.05)] == pytest.approx([0.0])
    assert [q[0] for q in trail(0.0, 0.1, 0.2, 0.3).back_from(at(0.12), 0.05)] == pytest.approx([0.0])


def test_an_arm_that_is_not_on_its_path_has_no_way_back() -> None:
    assert trail(0.0, 0.1).back_from(at(0.4), 0.05) == []
    assert Trail().back_from(at(0.0), 0.05) == []


def test_of_a_path_that_crosses_itself_the_newest_part_counts() -> None:
    round_trip = [*np.arange(0.0, 2.0, 0.1), *np.arange(2.0, 0.0, -0.1)]
    way = trail(*round_trip).back_from(at(0.1), 0.05)
    assert way[0][0] == pytest.approx(0.2)  # back the way it came last, not the way it went first


def test_time_that_the_arm_stands_is_not_remembered() -> None:
    made = trail(0.0, 0.1)
    for tick in range(10_000):
        made.add((1000 + 5 * tick) * MS, at(0.1))
    assert len(made) == 2


def test_ten_seconds_of_motion_are_kept() -> None:
    made = Trail()
    for tick in range(6000):
        made.add(5 * tick * MS, at(1e-3 * tick))
    assert len(made) == 500
    made.clear()
    assert len(made) == 0


def test_the_target_walks_the_path_at_its_speed_and_ends_with_it() -> None:
    retrace = Retrace([at(0.02), at(0.01), at(0.0)], BOUNDS, at(0.02), 0.005)
    place, now, steps = at(0.02), 0, []
    while (target := retrace.target(now, place, FAR)) is not None:
        steps.append(float(np.abs(target - place).max()))
        place, now = target, now + 5 * MS
        assert now < 1000 * MS
    assert max(steps) == pytest.approx(0.1 * 0.005) and place[0] == pytest.approx(0.0) and retrace.left == 0
    assert now / 1e9 == pytest.approx(0.02 / 0.1, abs=0.011)


def test_the_target_waits_for_a_motion_that_lags() -> None:
    retrace = Retrace([at(0.5), at(0.0)], BOUNDS, at(0.5), 0.005)
    targets = [retrace.target(5 * MS * tick, at(0.5), FAR) for tick in range(300)]
    assert targets[-1] is not None and targets[-1][0] == pytest.approx(0.45, abs=0.001)


def test_distance_and_time_end_it() -> None:
    retrace = Retrace([at(1.0), at(0.0)], BOUNDS, at(1.0), 0.005)
    assert retrace.target(0, at(1.0), FAR) is not None
    assert retrace.target(5 * MS, at(1.0), np.array([0.049, 0.0, 0.0])) is not None
    assert retrace.target(10 * MS, at(1.0), np.array([0.049, 0.002, 0.0])) is None
    late = Retrace([at(1.0), at(0.0)], BOUNDS, at(1.0), 0.005)
    assert late.target(0, at(1.0), FAR) is not None
    assert late.target(2000 * MS, at(1.0), FAR) is None
