"""The offset between two clocks from exchanges of four stamps."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.errors import ObservationError
from reconvla_ros.observation.clock_offset import KEEP, NS, ClockOffset, Exchange


def exchange(offset: float, there: float, back: float, work: float = 0.0, at: float = 1000.0) -> Exchange:
    """One with our clock ahead by `offset` [s] and these times on the way [s]."""
    stamps = (at + offset, at + there, at + there + work, at + there + work + back + offset)
    return Exchange(*(round(s * NS) for s in stamps))


def test_equal_ways_give_the_offset_exactly() -> None:
    e = exchange(-0.25, 0.004, 0.004, work=0.5)
    assert e.offset == pytest.approx(-0.25, abs=1e-9)
    assert e.delay == pytest.approx(0.008, abs=1e-9)


def test_whatever_the_ways_the_truth_is_within_the_bound() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        offset, there, back = rng.normal(0.0, 1.0), *rng.exponential(0.02, 2)
        clock = ClockOffset("robot", 0.005, 0.05)
        assert clock.add(exchange(offset, there, back), now=0.0)
        found = clock.read(0.0)
        assert found is not None
        assert abs(found.value - offset) <= found.bound + 1e-9


def test_the_shortest_way_is_believed_until_it_is_old() -> None:
    clock = ClockOffset("robot", 0.005, 0.05)
    clock.add(exchange(0.01, 0.001, 0.001), now=0.0)
    clock.add(exchange(0.01, 0.030, 0.001), now=KEEP - 1.0)
    found = clock.read(KEEP - 1.0)
    assert found is not None and found.value == pytest.approx(0.01, abs=1e-6) and found.age == KEEP - 1.0
    later = clock.read(KEEP + 1.0)
    assert later is not None and later.bound == pytest.approx(0.0155, abs=1e-6)
    assert clock.read(3 * KEEP) is None


def test_a_clock_that_is_set_is_noticed_at_once() -> None:
    clock = ClockOffset("robot", 0.005, 0.05)
    clock.add(exchange(0.0, 0.001, 0.001), now=0.0)
    assert clock.why(0.0) == ""
    clock.add(exchange(3600.0, 0.010, 0.010), now=1.0)  # a longer way than the one before, and yet the new truth
    assert "+3600000.0 ms" in clock.why(1.0)


@pytest.mark.parametrize(("offset", "warns", "refuses"), [(0.0, False, False), (0.004, False, False), (-0.02, True, False),
                                                          (0.2, True, True), (-0.2, True, True)])  # fmt: skip
def test_bounds(offset: float, warns: bool, refuses: bool) -> None:
    clock = ClockOffset("the robot's computer", 0.005, 0.05)
    clock.add(exchange(offset, 0.0005, 0.0005), now=5.0)
    warned, words, values = clock.report(5.0)
    assert warned is warns and bool(words) is warns
    assert bool(clock.why(5.0)) is refuses
    assert float(str(values["clock_offset_ms"])) == pytest.approx(offset * 1e3, abs=0.01)
    if refuses:
        assert "the robot's computer, allowed 50 ms" in clock.why(5.0)


def test_what_is_not_certain_refuses_nothing() -> None:
    """Half a second on the way says little: the offset may be nought."""
    clock = ClockOffset("robot", 0.005, 0.05)
    clock.add(exchange(0.0, 0.5, 0.0), now=0.0)
    assert clock.why(0.0) == ""
    assert ClockOffset("robot", 0.005, 0.05).report(0.0) == (False, "", {"clock_offset_ms": "not measured"})


def test_impossible_exchanges_are_refused_and_counted() -> None:
    clock = ClockOffset("robot", 0.005, 0.05)
    assert not clock.add(Exchange(10 * NS, 0, 0, 9 * NS), now=0.0)  # heard before it was asked
    assert not clock.add(Exchange(0, 2 * NS, 1 * NS, 10 * NS), now=0.0)  # answered before it was received
    assert not clock.add(exchange(0.0, KEEP, KEEP), now=0.0)
    assert clock.refused == 3 and clock.read(0.0) is None
    with pytest.raises(ObservationError, match="warn and limit"):
        ClockOffset("robot", 0.1, 0.05)
