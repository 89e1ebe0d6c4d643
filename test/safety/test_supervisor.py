from __future__ import annotations

from dataclasses import replace

import pytest

from reconvla_ros.safety.supervisor import CLEAR_AFTER, FAULTS, Facts, State, Supervisor

GOOD = Facts()
SECOND = 1_000_000_000
BAD = {
    "bus_lost": {"bus_ok": False},
    "feedback_stale": {"joint_age": 0.06},
    "feedback_zero": {"feedback": "feedback_zero"},
    "feedback_jump": {"feedback": "feedback_jump"},
    "feedback_frozen": {"feedback": "feedback_frozen"},
    "feedback_pending": {"feedback": "feedback_pending"},
    "arm_status": {"arm_status": 7},
    "joint_comm": {"comm_bits": 0b100},
    "motor": {"motor_bits": (64, 64, 66, 64, 64, 64)},
    "too_hot": {"hottest": 75.0, "hot": 75.0},
    "ctrl_mode": {"ctrl_mode": 2},
}


def test_the_states() -> None:
    supervisor = Supervisor()
    assert supervisor.update(0, GOOD).state is State.HOLDING
    assert supervisor.update(0, replace(GOOD, moving=True)).state is State.MOVING
    assert supervisor.update(0, replace(GOOD, connected=False)).state is State.DISCONNECTED
    disabled = supervisor.update(0, replace(GOOD, enabled=(True, False, True, True, True, True)))
    assert disabled.state is State.DISABLED and "joint2" in disabled.reason
    assert supervisor.update(0, GOOD).may_move


def test_every_fault_is_tried_here() -> None:
    assert [fault.name for fault in FAULTS] == list(BAD)


@pytest.mark.parametrize("name", BAD)
def test_a_fault_stops_motion_and_is_named(name: str) -> None:
    supervisor = Supervisor()
    decision = supervisor.update(0, replace(GOOD, **BAD[name]))  # type: ignore[arg-type]
    assert decision.state is State.FAULT and not decision.may_move
    assert decision.reason.startswith(name + ": ")
    assert supervisor.counts == {name: 1}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_fault_clears_as_its_row_says(fault) -> None:  # type: ignore[no-untyped-def]
    supervisor = Supervisor()
    supervisor.update(0, replace(GOOD, **BAD[fault.name]))  # type: ignore[arg-type]
    soon, late = int(CLEAR_AFTER * 0.9 * SECOND), int(CLEAR_AFTER * 1.1 * SECOND)
    assert supervisor.update(soon, GOOD).state is State.FAULT
    after = supervisor.update(late, GOOD).state
    assert after is (State.FAULT if fault.latched else State.HOLDING)
    if fault.latched:
        assert supervisor.clear_stop()[0]
        assert supervisor.update(late, GOOD).state is State.HOLDING


def test_clear_stop_does_not_clear_a_fault_that_lasts() -> None:
    supervisor = Supervisor()
    bad = replace(GOOD, arm_status=7, words=("", "collision"))
    supervisor.update(0, bad)
    cleared, message = supervisor.clear_stop()
    assert not cleared and "collision" in message
    assert supervisor.update(1, bad).state is State.FAULT


def test_a_stop_latches_until_cleared() -> None:
    supervisor = Supervisor()
    supervisor.stop("button")
    for now in (0, 10 * SECOND, 1000 * SECOND):
        decision = supervisor.update(now, GOOD)
        assert decision.state is State.STOPPED and decision.reason == "button"
    assert supervisor.clear_stop()[0]
    assert supervisor.update(0, GOOD).state is State.HOLDING


def test_a_fault_comes_before_a_stop_and_the_stop_stays_latched() -> None:
    supervisor = Supervisor()
    supervisor.stop("button")
    assert supervisor.update(0, replace(GOOD, bus_ok=False)).state is State.FAULT
    assert supervisor.update(SECOND, GOOD).state is State.STOPPED


def test_an_age_that_is_not_a_number_is_stale() -> None:
    assert Supervisor().update(0, replace(GOOD, joint_age=float("nan"))).state is State.FAULT
    assert Supervisor().update(0, replace(GOOD, status_age=float("inf"))).state is State.FAULT


def test_under_voltage_of_a_motor_without_power_is_no_fault() -> None:
    assert Supervisor().update(0, replace(GOOD, motor_bits=(1,) * 6)).state is State.HOLDING


def test_wrong_feedback_is_not_believed_until_a_person_says_so() -> None:
    supervisor = Supervisor()
    supervisor.update(0, replace(GOOD, feedback="feedback_frozen", feedback_words="joints read the same"))
    decision = supervisor.update(10 * SECOND, GOOD)
    assert decision.blind and decision.reason == "feedback_frozen: joints read the same"
    assert supervisor.clear_stop()[0]
    assert not supervisor.update(10 * SECOND, GOOD).blind


def test_a_lost_bus_says_what_is_done_about_it() -> None:
    decision = Supervisor().update(0, replace(GOOD, joint_age=2.0, link="opened anew 3 times"))
    assert decision.reason.endswith("; opened anew 3 times")
    assert "opened anew" in Supervisor().update(0, replace(GOOD, bus_ok=False, link="opened anew 3 times")).reason
