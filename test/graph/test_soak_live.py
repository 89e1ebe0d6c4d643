"""The live soak, short: it commands the real graph, hears it, and would see a driver that keeps wider bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reconvla_ros.cli import soak_live

pytestmark = [pytest.mark.graph, pytest.mark.timeout(240)]


def test_the_graph_keeps_its_bounds_under_the_soak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    # What the soak asks for is drawn by chance, and when it is asked depends on the host: longer, until the arm has moved.
    for minutes in (0.15, 0.6):
        result = soak_live.run(minutes, 3, lambda line: None)
        assert result["violations"] == {}, result["examples"]
        assert result["commands"] > 100 and result["sets"] > 200 and result["lost"] == 0
        if result["extremes"]["way"] > 0.05:
            break
    assert result["extremes"]["way"] > 0.05
    assert result["answers"]["ready True"] > 0


def test_whatever_a_message_can_hold_is_put_into_one() -> None:
    from reconvla_ros.bench import soak_live as live

    for special in (math.nan, math.inf, -math.inf, 1e308, 5e-324):
        duration = live._duration(special)
        assert -(2**31) <= duration.sec < 2**31 and 0 <= duration.nanosec < 10**9
        assert len(live._float32([special, 0.0])) == 2
    pose = live._pose(np.zeros(1), np.array([math.nan]))
    assert pose.position.z == 0.0 and math.isnan(pose.orientation.x)
