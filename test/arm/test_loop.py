from __future__ import annotations

import itertools
import threading
import time

from reconvla_ros.arm.loop import PHASE_NS, DeadlineLoop


def test_ticks_on_absolute_deadlines_and_says_how_well() -> None:
    count = 0
    reached = threading.Event()

    def tick() -> None:
        nonlocal count
        count += 1
        if count == 40:
            reached.set()

    loop = DeadlineLoop(0.005, tick)
    thread = threading.Thread(target=loop.run, daemon=True)
    begin = time.monotonic()
    thread.start()
    assert reached.wait(10.0)
    loop.stop()
    thread.join()
    stats = loop.stats()
    assert time.monotonic() - begin >= 39 * 0.005 - 1e-3
    assert stats.ticks == count and 0.0 <= stats.period_error_p50 <= stats.period_error_p99


def test_a_late_tick_is_skipped_not_made_up_for() -> None:
    starts: list[float] = []

    def tick() -> None:
        starts.append(time.monotonic())
        if len(starts) == 2:
            time.sleep(0.1)
        if len(starts) == 6:
            loop.stop()

    loop = DeadlineLoop(0.01, tick)
    loop.run()
    assert loop.stats().overruns >= 9
    assert min(b - a for a, b in itertools.pairwise(starts)) > 0.001


def test_an_exception_ends_the_loop() -> None:
    def tick() -> int | None:
        raise RuntimeError("boom")

    try:
        DeadlineLoop(0.01, tick).run()
    except RuntimeError as error:
        assert str(error) == "boom"
    else:
        raise AssertionError("the loop went on")


def test_a_source_of_the_same_rate_is_followed_in_phase() -> None:
    """Sampled by a free clock, a 200 Hz source was seen only 147 times a second: some frames twice, others never."""
    period = 5_000_000
    loop = DeadlineLoop(0.005, lambda: None)
    for start in (0, 1_000_000, 3_000_000, 4_900_000):
        phase = start  # of the tick after the frame [ns]; simulated, no clock
        for _ in range(400):
            phase = (phase + loop._nudge(phase)) % period
        assert abs(phase - PHASE_NS) < 10_000
    assert loop._nudge(PHASE_NS) == 0
    # Age far beyond a period (the source is gone) nudges no further than anything else.
    assert abs(loop._nudge(10**12)) <= 50_000
