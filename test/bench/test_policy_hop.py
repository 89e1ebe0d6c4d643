"""The figure of B9 from made-up times; the sides themselves, where ROS and zenoh are; what is missing is said."""

from __future__ import annotations

import importlib.util

import pytest

from reconvla_ros.bench import policy_hop
from reconvla_ros.bench.policy_bench import Settings
from reconvla_ros.errors import SetupError

SETTINGS = Settings(rounds=1, size="tiny", device="cpu", dtype="float32")


def silent(line: str) -> None:
    """No progress."""


def test_a_round_counts_by_its_median() -> None:
    found = {
        "ours": [[0.001, 0.001, 9.0], [0.002] * 3],
        "zenoh": [[0.003] * 3, [0.004] * 3],
        "ring": [[0.0002] * 3] * 2,
    }
    result = policy_hop.judge(found)
    assert result["main"] == "zenoh" and result["kept"]
    assert result["parts"]["zenoh"]["ratio"] == pytest.approx(2.5)
    assert result["parts"]["ring"]["ratio"] == pytest.approx(0.15)
    assert result["parts"]["ring"]["ours_p99_ms"] > 1000
    found["zenoh"] = [[0.0005] * 3] * 2
    assert not policy_hop.judge(found)["kept"]


@pytest.mark.parametrize(("missing", "remedy"), [("rclpy", "./reconvla"), ("zenoh", "pip install eclipse-zenoh")])
def test_what_is_missing_is_said_with_its_remedy(missing: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(SetupError, match=f"{missing} is not here; remedy: .*{remedy}"):
        policy_hop.measure(SETTINGS, silent)


def test_a_sender_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(policy_hop, "_SELF", ("sh", "-c", "echo no room >&2; exit 3"))
    with pytest.raises(SetupError, match="ended with status 3: no room"):
        policy_hop.measure(SETTINGS, silent)


def test_the_ring_carries_the_frame_that_was_sent() -> None:
    with policy_hop._to_ring() as (receiver, send):
        image = policy_hop.scene(0)
        for mark in (7, 8):
            image[0, 0, 0] = mark
            send(image)
            assert 0 < receiver.latency(mark) < 10.0
        send(image)
        with pytest.raises(SetupError, match="was sent the frame 9 and answered"):
            receiver.latency(9)


@pytest.mark.graph
def test_ours_carries_the_frame_that_was_sent(domain: int) -> None:
    pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")
    import subprocess
    import sys

    words = """
from reconvla_ros.bench import policy_hop
with policy_hop._to_ours() as (receiver, send):
    image = policy_hop.scene(0)
    for mark in range(20):
        image[0, 0, 0] = mark
        send(image)
        assert receiver.latency(mark) > 0
print("all of them")
"""
    # In a process of its own: it changes the allocator and opens the default context.
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, cwd="/")
    assert "all of them" in done.stdout, done.stderr
