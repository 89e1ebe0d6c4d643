"""What counts as a good run of the demo."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from reconvla_ros.cli.demo_bag import BagFacts
from reconvla_ros.cli.demo_report import passed

GOOD: dict[str, Any] = {
    "chunks": 3, "frames_sent": 100, "arm_travel_rad": 0.5,
    "streams": {"joint_states": {"published": 10, "recorded": 10},
                "camera_base/color/image_raw/compressed": {"published": 10, "recorded": 0}},
}  # fmt: skip


def test_a_good_run() -> None:
    assert passed(GOOD)


@pytest.mark.parametrize("key", ["chunks", "frames_sent", "arm_travel_rad"])
def test_nothing_happened(key: str) -> None:
    assert not passed({**GOOD, key: 0})


def test_a_bag_that_lacks_a_message() -> None:
    report = copy.deepcopy(GOOD)
    report["streams"]["joint_states"]["recorded"] = 9
    assert not passed(report)


def test_travel_is_the_way_of_all_joints_without_the_noise() -> None:
    facts = BagFacts()
    rng = np.random.default_rng(0)
    still = [np.zeros(6) + rng.normal(0, 1e-5, 6) for _ in range(400)]
    facts.joints = still
    assert facts.travel == 0.0
    # Joint 2 goes up by 1 rad and back, joint 5 down by 0.5.
    up = np.concatenate([np.linspace(0, 1, 401), np.linspace(1, 0, 400)])
    facts.joints = [np.array([0, a, 0, 0, -0.5 * i / 800, 0]) for i, a in enumerate(up)]
    assert facts.travel == pytest.approx(2.5, abs=0.05)
