"""Frame timestamps of librealsense -> the capture instant in ROS time, and whose clock that was. Pure; no librealsense.

A D4xx stamps a frame when its readout begins, on a clock of its own (`hardware_clock`); librealsense can map that to the
host's (`global_time`). Where the kernel passes no metadata on, it has nothing but the arrival (`system_time`), which is
later than the capture by exposure, readout and transfer, and by an amount that varies.
"""

from __future__ import annotations

from collections import deque

GLOBAL, HARDWARE, SYSTEM = "global_time", "hardware_clock", "system_time"
NS = 1_000_000_000
# Frames over which the delay between device clock and arrival is minimised: 10 s at 30 Hz, in which two clocks that
# differ by 50 ppm drift 0.5 ms apart.
_OFFSET_WINDOW = 300
# [us] longest exposure (165 ms, D400 datasheet) and readout; a larger distance of the two device stamps is a mistake.
_LARGEST_LAG = 200_000
_AHEAD = 5_000_000  # [ns] a capture that lies further in the future is a wrong clock


class CaptureClock:
    """One stream's stamps.

    Args:
        offset: taken from every stamp [s] (`stamp_offset`).
        replay: the frames are played back: their clock is that of another time, whatever they say.
    """

    def __init__(self, offset: float = 0.0, replay: bool = False) -> None:
        self._offset_ns, self._replay = round(offset * NS), replay
        self._delays: deque[int] = deque(maxlen=_OFFSET_WINDOW)
        self._last_ms = -1.0
        self.domain = ""
        self.restarts = 0
        self.lag_us = 0
        self.ahead_ns = 0

    def stamp(self, timestamp_ms: float, domain: str, arrival_ns: int, lag_us: int = 0) -> int:
        """The capture instant [ns].

        Args:
            timestamp_ms: of the frame in its domain. domain: GLOBAL, HARDWARE or SYSTEM.
            arrival_ns: host clock now [ns].
            lag_us: how long before the timestamp the middle of the exposure was, by the device's own account (metadata
                frame_timestamp - sensor_timestamp) [us]; 0 = it does not say. Nonsense is not used.
        """
        self.domain = domain
        # An arrival stamp has nothing to do with the device's two.
        self.lag_us = lag_us if domain != SYSTEM and 0 < lag_us <= _LARGEST_LAG else 0
        capture = round(timestamp_ms * 1e6) - self.lag_us * 1000
        if self._replay or domain == HARDWARE:
            capture += self._to_host(timestamp_ms, arrival_ns - capture)
        self.ahead_ns = capture - arrival_ns
        return capture - self._offset_ns

    def _to_host(self, timestamp_ms: float, delay: int) -> int:
        """What is added to the device's clock [ns]: the smallest delay seen, for no frame arrives before it was taken."""
        if timestamp_ms < self._last_ms:
            self._delays.clear()  # the device began to count anew
            self.restarts += 1
        self._last_ms = timestamp_ms
        self._delays.append(delay)
        return min(self._delays)

    def warning(self) -> str:
        """What is wrong with the clock; empty = nothing."""
        if self.ahead_ns > _AHEAD:
            return f"stamps lie {self.ahead_ns / 1e6:.0f} ms in the future: the mapping of the camera's clock is off"
        if self.domain == SYSTEM and not self._replay:
            return (
                "stamps are arrival times (system_time), later than the capture by exposure and transfer: no metadata "
                "comes from the kernel (docs/how-to/realsense.md)"
            )
        return ""
