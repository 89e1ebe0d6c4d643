from __future__ import annotations

from reconvla_ros.camera.clock import GLOBAL, HARDWARE, SYSTEM, CaptureClock


def test_device_clock_is_shifted_by_the_smallest_delay_seen() -> None:
    clock = CaptureClock()
    delays_ms = (9.0, 4.0, 30.0)
    got = [
        clock.stamp(100.0 + 33 * i, HARDWARE, round((5000.0 + 100 + 33 * i + d) * 1e6)) for i, d in enumerate(delays_ms)
    ]
    assert got == [round(v * 1e6) for v in (5109.0, 5137.0, 5170.0)]


def test_global_time_is_the_host_clock_already() -> None:
    clock = CaptureClock()
    assert clock.stamp(1234.5, GLOBAL, 1_300_000_000) == 1_234_500_000
    assert clock.warning() == ""


def test_the_exposure_lag_is_taken_off_and_nonsense_is_not() -> None:
    clock = CaptureClock(offset=0.002)
    assert clock.stamp(1000.0, GLOBAL, 2_000_000_000, 16_000) == 982_000_000
    for lag in (-5, 300_000):
        assert clock.stamp(1000.0, GLOBAL, 2_000_000_000, lag) == 998_000_000


def test_arrival_times_are_said_and_get_no_lag() -> None:
    clock = CaptureClock()
    assert clock.stamp(1000.0, SYSTEM, 1_000_000_000, 16_000) == 1_000_000_000
    assert "system_time" in clock.warning()


def test_a_stamp_of_the_future_is_said() -> None:
    clock = CaptureClock()
    clock.stamp(1100.0, GLOBAL, 1_000_000_000)
    assert "100 ms in the future" in clock.warning()


def test_a_device_that_counts_anew_forgets_the_old_delay() -> None:
    clock = CaptureClock()
    clock.stamp(90_000.0, HARDWARE, 1_000_000_000_000)
    assert clock.stamp(10.0, HARDWARE, 1_000_033_000_000) == 1_000_033_000_000
    assert clock.restarts == 1


def test_a_replay_is_of_now() -> None:
    clock = CaptureClock(replay=True)
    assert clock.stamp(1000.0, SYSTEM, 5_000_000_000_000) == 5_000_000_000_000
    assert clock.warning() == ""
