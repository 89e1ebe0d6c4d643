"""B10 and B11 of `reconvla bench driver`: the driver's loop and its tick beside the least that could do the same.

Both sides run in one process, at the same scheduling class, beside the SDK's reader and with the arm's frames arriving; they take
turns, block by block, and which goes first changes every round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.arm.piper_feedback import MILLIDEGREES
from reconvla_ros.bench.driver_bench_arm import Session
from reconvla_ros.types import Float

LOOP_BOUND = 4.0  # B10: ours / bare, at the 99th percentile, on a quiet host
TICK_BOUND, TICK_SECONDS = 3.0, 1e-3  # B11: ours / bare at the median, and ours [s]
_MODE_EVERY, _GRIPPER_EVERY = 0.2, 0.1  # [s] as `PiperArm.send` does it


def bare_loop(period: float, seconds: float) -> NDArray[np.int64]:
    """Start times [ns] of a loop on absolute deadlines that does nothing."""
    count, period_ns = max(3, round(seconds / period)), int(period * 1e9)
    starts = np.zeros(count, dtype=np.int64)
    deadline = time.monotonic_ns()
    for index in range(count):
        starts[index] = time.monotonic_ns()
        deadline += period_ns
        time.sleep(max(0, deadline - time.monotonic_ns()) / 1e9)
    return starts


def period_errors(starts: NDArray[np.int64], period: float) -> Float:
    """|period - nominal| [s] of start times [ns]."""
    return np.abs(np.diff(starts) / 1e9 - period)


def loop_period(session: Session, seconds: float, rounds: int) -> dict[str, Any]:
    """B10 in the present condition of the host: the real loop with the arm moving, beside `bare_loop`."""
    period = 1.0 / session.config.rate
    session.run(min(1.0, seconds), session.tick)  # under way before anything counts
    ours, bare, moving = [], [], []

    def ours_block() -> None:
        starts: list[int] = []

        def tick() -> int | None:
            starts.append(time.monotonic_ns())
            age = session.tick()
            moving.append(session.moving)
            return age

        session.run(seconds, tick)
        ours.append(period_errors(np.array(starts, dtype=np.int64), period))

    def bare_block() -> None:
        bare.append(period_errors(bare_loop(period, seconds), period))

    alternate(ours_block, bare_block, rounds)
    ratios = [float(np.percentile(a, 99) / np.percentile(b, 99)) for a, b in zip(ours, bare, strict=True)]
    return {
        **spread(ratios), **_say_errors("ours", ours), **_say_errors("bare", bare),
        "moving_share": round(float(np.mean(moving)), 3), "frames_per_s": round(session.frames_per_second()),
    }  # fmt: skip


def _say_errors(side: str, blocks: list[Float]) -> dict[str, float]:
    every = np.concatenate(blocks) * 1e3
    return {f"{side}_p{p}_ms": round(float(np.percentile(every, p)), 4) for p in (50, 99)}


def tick_time(session: Session, seconds: float, rounds: int) -> dict[str, Any]:
    """B11: `DriverCore.tick` with the arm moving, beside the SDK calls that it ends in, made bare."""
    session.run(min(1.0, seconds), session.tick)
    ours: list[list[float]] = []
    bare: list[list[float]] = []

    def ours_block() -> None:
        times: list[float] = []

        def tick() -> int | None:
            begin = time.perf_counter_ns()
            now = time.time_ns()
            session.newest = session.core.tick(time.monotonic_ns(), now)
            took = time.perf_counter_ns() - begin
            if session.moving:
                times.append(took / 1e9)
            session.feed()
            return now - session.newest.state.stamp_ns if session.newest.state is not None else None

        session.run(seconds, tick)
        ours.append(times)

    def bare_block() -> None:
        times: list[float] = []
        session.run(seconds, _bare_sends(session, times))
        bare.append(times)

    alternate(ours_block, bare_block, rounds)
    ratios = [float(np.median(a) / np.median(b)) for a, b in zip(ours, bare, strict=True) if a and b]
    mine, theirs = np.concatenate(ours) * 1e3, np.concatenate(bare) * 1e3
    if not len(mine):
        return {**spread([]), "kept": False, "why": "the arm did not move"}
    result = {
        **spread(ratios), "bound": f"<= {TICK_BOUND:g}, and tick_p50_ms <= {TICK_SECONDS * 1e3:g}", "ticks": len(mine),
        **{f"tick_p{p}_ms": round(float(np.percentile(mine, p)), 4) for p in (50, 99)},
        **{f"bare_p{p}_ms": round(float(np.percentile(theirs, p)), 4) for p in (50, 99)},
        "share_of_period": round(float(np.median(mine)) / 1e3 * session.config.rate, 3),
        "frames_per_s": round(session.frames_per_second()),
    }  # fmt: skip
    return {**result, "kept": bool(result["ratio"] <= TICK_BOUND and result["tick_p50_ms"] <= TICK_SECONDS * 1e3)}


def _bare_sends(session: Session, times: list[float]) -> Callable[[], int]:
    """The frames of a moving driver by the SDK alone: three of joints, the mode at 5 Hz, the gripper at 10 Hz."""
    sdk, state = session.arm._sdk, session.arm.state()
    held = session.newest.applied.position if session.newest.applied is not None else state.position
    joints = [round(float(v) * MILLIDEGREES) for v in held]
    opening, last = round(max(0.0, state.gripper) * 1e6), {"mode": 0.0, "gripper": 0.0}

    def tick() -> int:
        begin = time.perf_counter_ns()
        now = begin / 1e9
        if now - last["mode"] >= _MODE_EVERY:
            last["mode"] = now
            sdk.MotionCtrl_2(1, 1, session.config.speed_percent, 0, 0, 0)
        sdk.JointCtrl(*joints)
        if now - last["gripper"] >= _GRIPPER_EVERY:
            last["gripper"] = now
            sdk.GripperCtrl(opening, 1000, 1, 0)
        times.append((time.perf_counter_ns() - begin) / 1e9)
        return time.time_ns() - int(sdk.GetArmJointMsgs().time_stamp * 1e9)

    return tick


def alternate(ours: Callable[[], None], bare: Callable[[], None], rounds: int) -> None:
    """ABBA: who goes first changes every round."""
    for index in range(rounds):
        for block in (ours, bare) if index % 2 == 0 else (bare, ours):
            block()


def spread(ratios: list[float]) -> dict[str, Any]:
    """The median of the rounds' ratios, and their extremes."""
    if not ratios:
        return {"ratio": None, "rounds": 0}
    low, middle, high = (round(float(v), 3) for v in np.percentile(ratios, (0, 50, 100)))
    return {"ratio": middle, "ratio_min": low, "ratio_max": high, "rounds": len(ratios)}
