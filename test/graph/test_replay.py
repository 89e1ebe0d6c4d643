"""`reconvla episodes replay`: simulated arm, driver and filter as processes repeat an episode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
import made_episode as made

from reconvla_ros.cli.main import main

pytestmark = pytest.mark.graph


def test_the_arm_follows_the_recorded_path(domain: int, tmp_path: Path) -> None:
    """25 mm in x within 2.5 s, tool down, from 0.28 m on; the recorded TCP is where the targets are."""
    rows = []
    for k in range(125):
        at = made.T0 + k * 20_000_000
        rows += [
            (at + 1, "joint_states", made.joints(at, 0.05)),
            (at + 1, "arm/ee_pose", made.tcp(at, 0.28 + 2e-4 * k)),
        ]
    for k in range(25):
        at = made.T0 + k * 100_000_000
        rows.append((at + 2, "arm/action_trace", made.trace(at, 0.28 + 1e-3 * k)))
    made.write(tmp_path, sorted(rows))
    report = tmp_path / "replay.json"
    assert main(["episodes", "replay", "--folder", str(tmp_path), "last", "--within", "15", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["targets"] == 25
    assert found["samples"] > 100
    assert found["reasons"] == {}
