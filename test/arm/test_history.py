from __future__ import annotations

import numpy as np

from reconvla_ros.arm.history import Standstill, TcpHistory

MS = 1_000_000
STANDS = np.zeros(6)


def test_nearest_by_stamp_and_the_newest_when_nothing_is_near() -> None:
    history = TcpHistory()
    assert history.at(0) is None
    for k in range(600):
        history.add(k * 20 * MS, np.full(3, float(k)))
    assert history.at(500 * 20 * MS + 9 * MS)[0] == 500.0  # type: ignore[index]
    assert history.at(500 * 20 * MS + 11 * MS)[0] == 501.0  # type: ignore[index]
    assert history.at(10**15)[0] == 599.0  # type: ignore[index]
    assert history.at(0)[0] == 599.0  # type: ignore[index]  # forgotten: 500 are kept


def test_close_measurements_are_left_out() -> None:
    history = TcpHistory()
    for k in range(5):
        history.add(k * 5 * MS, np.full(3, float(k)))
    assert [history.at(t * MS)[0] for t in (0, 15, 20)] == [0.0, 4.0, 4.0]  # type: ignore[index]


def test_an_arm_stands_when_no_joint_leaves_its_band_for_the_time() -> None:
    standstill = Standstill(band=0.01, time=0.1)
    assert not standstill.still
    for tick in range(40):  # creeps by 1 mrad each 5 ms: every 50 ms out of the band
        standstill.update(tick * 5_000_000, np.full(6, 0.001 * tick), STANDS)
        assert not standstill.still
    for tick in range(40, 70):
        standstill.update(tick * 5_000_000, np.full(6, 0.039), STANDS)
    assert standstill.still
    standstill.update(70 * 5_000_000, np.array([0.039, 0.039, 0.2, 0.039, 0.039, 0.039]), STANDS)
    assert not standstill.still


def test_an_arm_that_says_it_moves_does_not_stand_wherever_it_says_it_is() -> None:
    """Feedback froze while the arm was pushed, and the place it had frozen at was taken for where the arm stood."""
    standstill = Standstill()
    for tick in range(60):
        standstill.update(tick * 5_000_000, np.full(6, 0.1), np.array([0.0, 0.0, 0.3, 0.0, 0.0, 0.0]))
    assert not standstill.still
