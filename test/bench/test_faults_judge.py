"""The fault bench's ear and judge on made-up buses: each kind of violation is found, and a clean run is clean."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reconvla_ros.bench.faults_bus import QUANTUM, BusLog, Recording
from reconvla_ros.bench.faults_judge import (
    FORBIDDEN_OPENING,
    IN_FORCE_OPENING,
    Instants,
    Outcome,
    Row,
    Rules,
    aftermath,
    by_host,
    judge,
    table,
)
from reconvla_ros.cli.network import free_udp_port

T0 = 1_700_000_000.0  # [s] the fault
TICK, STEP = 0.005, 0.0025
RULES = Rules(deadline=0.1, step=STEP)
WHEN = Instants(T0, T0)


def bus(moves: list[float], speed: float = 0.2, first: float = -0.05, **values: Any) -> Recording:
    """A target of joint1 each tick from `first` [s] before the fault; it moves at `speed` where `moves` says 1."""
    times = T0 + first + TICK * np.arange(1.0, len(moves) + 1.0, dtype=np.float64)
    joints = np.zeros((len(moves), 6))
    joints[:, 0] = np.cumsum(np.array(moves) * speed * TICK)
    return Recording(times, joints, T0 + first + TICK * len(moves), **values)


def stopping(ticks: int, after: int = 100) -> list[float]:
    """Steady until the fault and `ticks` longer, then still."""
    return [1.0] * (10 + ticks) + [0.0] * after


def test_the_last_changing_target_is_timed_from_the_fault() -> None:
    outcome = judge(bus(stopping(4)), WHEN, RULES)
    assert outcome.last == pytest.approx(4 * TICK, abs=1e-6)
    assert (outcome.old, outcome.drops) == (0, ())
    assert outcome.step == pytest.approx(0.2 * TICK)
    assert judge(bus(stopping(0)), WHEN, RULES).last == 0.0
    assert outcome.settled and not judge(bus(stopping(4, after=15)), WHEN, RULES).settled


def test_an_empty_bus_is_no_proof_of_motion() -> None:
    assert judge(Recording(np.zeros(0), np.zeros((0, 6)), T0 + 1.0), WHEN, RULES) == Outcome(0.0, 0.0, 0.0, 0)


def test_a_target_that_moves_again_after_standing_is_an_old_command() -> None:
    moves = stopping(4, after=25) + [1.0] * 7 + [0.0] * 10
    outcome = judge(bus(moves), WHEN, RULES)
    assert outcome.old == 7
    assert outcome.last == pytest.approx((4 + 25 + 7) * TICK, abs=1e-6)
    # A pause shorter than STILL, as at a turn of direction, is none.
    assert judge(bus(stopping(4, after=10) + [1.0] * 7), WHEN, RULES).old == 0


def test_what_is_still_in_force_may_pause() -> None:
    """A chunk whose first step asks for next to nothing and whose second one moves is not an old one."""
    moves = stopping(4, after=40) + [1.0] * 7
    assert judge(bus(moves), WHEN, RULES).old == 7
    assert judge(bus(moves), WHEN, replace(RULES, over=1.0)).old == 0
    assert judge(bus(moves), WHEN, replace(RULES, over=0.01)).old == 7


def test_motion_that_begins_late_after_an_immediate_stop_is_old_too() -> None:
    assert judge(bus(stopping(0, after=60) + [1.0] * 3), WHEN, RULES).old == 3


def test_a_host_that_goes_on_may_end_its_motion_but_no_more() -> None:
    moves = stopping(0, after=200) + [1.0] * 60
    when, rules = Instants(T0, T0, T0 + 1.0), Rules(None, STEP, ramp=0.2)
    assert judge(bus(moves[:-25]), when, rules).old == 0
    assert judge(bus(moves), when, rules).old == 20


def test_a_gripper_target_that_nobody_may_ask_for_is_counted() -> None:
    said = [IN_FORCE_OPENING, IN_FORCE_OPENING, 0.041, 0.05, FORBIDDEN_OPENING, FORBIDDEN_OPENING]
    openings = [(T0 + 0.01 * (i + 1), opening) for i, opening in enumerate(said)]
    assert judge(bus(stopping(1), openings=openings), WHEN, RULES).old == 3
    assert judge(bus(stopping(1), openings=openings[:2]), WHEN, RULES).old == 0
    assert aftermath(bus([], openings=openings)).old == 3


def test_steps_and_acceleration_count_from_the_instant_they_are_judged_from() -> None:
    recording = bus(stopping(4))
    recording.joints[12:, 1] += 0.5  # a leap of joint2, 10 ms and a tick after the fault
    outcome = judge(recording, WHEN, RULES)
    assert outcome.step == pytest.approx(0.5)
    assert judge(recording, Instants(T0 + 0.05, T0), RULES).step == 0.0
    gentle = bus([1.0] * 10 + [1 - 0.01 * k for k in range(100)])
    assert judge(gentle, WHEN, RULES).acceleration == pytest.approx(0.01 * 0.2 / TICK, rel=1e-3)
    assert judge(bus(stopping(4)), WHEN, RULES).acceleration == pytest.approx(0.2 / TICK, rel=1e-3)


def row(rules: Rules, *outcomes: Outcome) -> Row:
    return Row("made up", rules, outcomes=list(outcomes))


GOOD = Outcome(0.01, STEP, 1.0, 0)


@pytest.mark.parametrize(
    ("rules", "outcome", "words"),
    [
        (RULES, Outcome(0.101, STEP, 0.0, 0), "max 101 ms, allowed 100"),
        (Rules(0.1, STEP, p50=0.005), GOOD, "p50 10 ms, allowed 5"),
        (RULES, Outcome(0.01, STEP + 2 * QUANTUM, 0.0, 0), "step 0.00253 rad, allowed 0.00252"),
        (RULES, Outcome(0.01, STEP, 0.0, 2), "2 old commands executed"),
        (RULES, Outcome(0.01, STEP, 0.0, 0, settled=False), "1 runs ended with the target still moving"),
        (RULES, Outcome(0.01, STEP, 0.0, 0, drops=("motor 3 lost its power",)), "dropped: motor 3 lost its power"),
        (Rules(None, STEP, acceleration=5.0), Outcome(0.01, STEP, 6.5, 0), "acceleration 6.50 rad/s^2, allowed 6.40"),
        (RULES, Outcome(math.inf, STEP, 0.0, 0), "max inf ms"),
    ],
)
def test_every_bound_that_is_broken_is_named(rules: Rules, outcome: Outcome, words: str) -> None:
    judged = row(rules, outcome)
    assert len(judged.broken()) == 1 and words in judged.broken()[0]
    assert judged.as_json()["verdict"] == judged.broken()[0] and judged.broken()[0] in table([judged])


def test_a_row_says_what_was_measured() -> None:
    judged = row(Rules(0.1, STEP, p50=0.02), GOOD, Outcome(0.03, 0.001, 2.0, 0), Outcome(0.012, 0.001, 0.0, 0))
    said = judged.as_json()
    assert judged.broken() == [] and said["verdict"] == "ok"
    assert list(said)[:8] == [
        "fault", "runs", "p50_ms", "max_ms", "deadline_ms", "largest_step_rad", "old_chunks_executed", "dropped",
    ]  # fmt: skip
    assert (said["runs"], said["p50_ms"], said["max_ms"], said["deadline_ms"]) == (3, 12.0, 30.0, 100.0)
    assert (said["largest_step_rad"], said["old_chunks_executed"], said["dropped"]) == (STEP, 0, False)
    assert "20/100" in table([judged])


def test_no_run_is_no_success() -> None:
    assert row(RULES).broken() == ["no run was made"]
    assert row(RULES).as_json()["p50_ms"] is None
    assert "made up" in table([row(RULES)])


def test_the_arms_own_word_on_its_power_can_be_left_out() -> None:
    drops = [(T0 + 0.1, "motor 1 lost its power"), (T0 + 0.2, "host: 0x471 cuts the power of motor 7")]
    assert by_host(bus([], drops=drops)).drops == drops[1:]
    assert len(aftermath(bus([], drops=drops)).drops) == 2
    assert judge(bus([], drops=drops), Instants(T0 + 0.15, T0), RULES).drops == (drops[1][1],)


def test_the_ear_decodes_targets_gripper_and_power() -> None:
    log = BusLog(free_udp_port())
    try:
        log.take(0x156, bytes(8), T0)  # begins in the middle of a set
        log.take(0x157, bytes(8), T0)
        for i, can_id in enumerate((0x155, 0x156, 0x157)):
            log.take(can_id, struct.pack(">ii", 1000 * i, -1000 * i), T0 + 0.001 * i)
        log.take(0x159, struct.pack(">iHBB", 20_000, 1000, 1, 0), T0 + 0.1)
        for can_id in range(0x261, 0x267):
            assert not log.powered()
            log.take(can_id, bytes([0, 240, 0, 32, 34, 0x40, 0, 0]), T0 + 0.1)
        assert log.powered() and log.opening() == pytest.approx(IN_FORCE_OPENING)
        log.take(0x263, bytes(8), T0 + 0.2)
        log.take(0x150, bytes(8), T0 + 0.3)  # asks for nothing
        log.take(0x150, b"\x01" + bytes(7), T0 + 0.3)
        log.take(0x471, b"\x07\x02" + bytes(6), T0 + 0.4)  # gives power
        log.take(0x471, b"\x07\x01" + bytes(6), T0 + 0.5)
        heard = log.recording(T0 - 1.0, T0 + 1.0)
        assert heard.times.tolist() == [T0 + 0.002]
        assert heard.joints[0] == pytest.approx(np.radians([0.0, 0.0, 1.0, -1.0, 2.0, -2.0]))
        assert [words.split(":")[0] for _, words in heard.drops] == ["motor 3 lost its power", "host", "host"]
        assert not log.powered()
        assert len(log.recording(T0 + 0.35, T0 + 0.45).times) == 1  # the last targets before the stretch come along
        assert log.recording(T0 + 0.35, T0 + 0.45).drops == []
        log.forget()
        assert log.recording(T0 - 1.0, T0 + 1.0).drops == [] and log.opening() is not None
    finally:
        log.close()
