"""The unmodified piper_sdk, in its own process, against a simulated arm in another, over udp_multicast."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from reconvla_ros.tables import JOINT_LOWER, JOINT_UPPER

pytestmark = pytest.mark.graph
DEG = 57.29577951308232


def talk(start: Any, port: int, scenario: str) -> dict[str, Any]:
    session = start("sdk_session.py", port, scenario)
    out, err = session.communicate(timeout=100)
    assert session.returncode == 0, f"{out}\n{err}"
    return dict(json.loads(out.strip().splitlines()[-1]))


def test_identity_limits_and_rates(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    told = talk(start, udp_port, "identity")
    assert told["ok"] and told["firmware"] == "S-V1.8-5"
    assert told["enabled_at_start"] == [False] * 6
    for j, (low, high, speed) in enumerate(told["limits"]):
        assert low == pytest.approx(JOINT_LOWER[j] * DEG * 10, abs=1)
        assert high == pytest.approx(JOINT_UPPER[j] * DEG * 10, abs=1)
        assert speed == 3000
    assert told["accelerations"] == [500] * 6
    assert told["gripper_range"] == 70
    # Five streams of 200 Hz and one of 40: ratios, since a loaded machine may lose frames but not change the pattern.
    assert told["rates"][:5] == pytest.approx([told["rates"][0]] * 5, rel=0.1)
    assert told["rates"][5] == pytest.approx(told["rates"][0] / 5, rel=0.15)
    assert told["fps"] == pytest.approx(15.2 * told["rates"][0], rel=0.1)


def test_motion(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    told = talk(start, udp_port, "motion")
    assert told["enable_calls"] >= 2
    assert told["joint_error"] <= 60  # 0.001 degrees
    assert told["status"] == 0
    for millimetres, degrees in told["fk"]:
        assert millimetres <= 0.01 and degrees <= 0.01
    assert told["kept"] <= 500  # 0.001 mm: an unreachable target moves nothing
    assert told["limit_flags"] == [False, False, False, False, True, False]


def test_gripper(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    told = talk(start, udp_port, "gripper")
    assert told["openings"] == pytest.approx([50000, 0, 70000], abs=1000)
    assert told["code"] & 0xC0 == 0xC0  # enabled, homed


def test_gripper_without_a_range_ignores_commands(start: Any, udp_port: int) -> None:
    process = start("arm_process.py", udp_port, "empty", 0)
    assert process.stdout.readline() == "ready\n"
    assert talk(start, udp_port, "no_gripper_range") == {"opening": 0}


def test_emergency_stop_sinks_and_reset_drops(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    told = talk(start, udp_port, "stops")
    assert told["status_stopped"] == 1
    assert 300 < told["sunk"] < 20000  # 0.001 degrees: it sinks, slowly
    assert told["mode_after_reset"] == 0
    assert told["fallen"] > 10000
    assert told["first_enable"] == [False] * 6  # swallowed after a power cut
    assert told["moved_by_enable"] < 500


def test_silence_holds_and_disable_drops(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    told = talk(start, udp_port, "disable")
    assert told["held"] < 50
    assert told["fallen"] > 20000
    assert arm.poll() is None


def test_a_second_arm_on_the_port_is_refused(start: Any, udp_port: int, arm: subprocess.Popen[str]) -> None:
    _, err = start("arm_process.py", udp_port).communicate(timeout=30)
    assert "BusError" in err and str(udp_port) in err
    assert arm.poll() is None
