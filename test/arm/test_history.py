from __future__ import annotations

import numpy as np

from reconvla_ros.arm.history import TcpHistory

MS = 1_000_000


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
