"""`reconvla bench driver`: is the driver's loop, its tick and its inverse kinematics as good as the bare thing beside it?

Every figure is a ratio of two sides that run in the same process, in turns, in one run: B10 `driver_bench_loop.loop_period`, B11
`driver_bench_loop.tick_time`, B12 `driver_bench_ik.measure`. Nothing of ROS is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psutil

from reconvla_ros.arm.loop import take_turn
from reconvla_ros.bench import driver_bench_ik, driver_bench_loop
from reconvla_ros.bench.driver_bench_arm import CONDITIONS, Session, give_turn_back, load

NAMES = ("B10", "B11", "B12")
_QUIET = 15.0  # [%] of all processors: above it, somebody else is at work and the host is not quiet


def measure(
    names: tuple[str, ...] = NAMES,
    seconds: float = 2.5,
    rounds: int = 7,
    realtime: str = "auto",
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the benches `names`.

    Args:
        names: of NAMES.
        seconds: length of one block; `rounds`: how many of each side and condition.
        realtime: "auto" = a real-time turn where the system allows it, for both sides and for the simulated arm; "off".
        progress: takes a line now and then.

    Returns:
        per bench {ratio, bound, kept, ...}, and "host": how it was measured.

    Raises:
        SetupError: pinocchio or a helper process is missing.
        BusError: no simulated bus on this machine.
    """
    if "B12" in names:
        driver_bench_ik.clik()  # a missing library is known before the work, not after
    busy = psutil.cpu_percent(interval=1.0)
    host = {"processors": os.cpu_count(), "busy_before_percent": busy, "quiet": busy < _QUIET, "realtime": "off"}
    result: dict[str, Any] = {}
    if "B12" in names:
        progress("B12: inverse kinematics")
        result["B12"] = driver_bench_ik.measure()
    if {"B10", "B11"} & set(names):
        host["realtime"] = take_turn() if realtime == "auto" else "off"
        try:
            result |= _with_arm(names, seconds, rounds, progress)
        finally:
            give_turn_back()
    return {name: result[name] for name in NAMES if name in result} | {"host": host}


def _with_arm(names: tuple[str, ...], seconds: float, rounds: int, progress: Callable[[str], None]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with Session() as session:
        if "B11" in names:
            progress("B11: tick")
            result["B11"] = driver_bench_loop.tick_time(session, seconds, rounds)
        if "B10" in names:
            found = {}
            for condition in CONDITIONS:
                progress(f"B10: loop, {condition}")
                with load(condition):
                    found[condition] = driver_bench_loop.loop_period(session, seconds, rounds)
            ratio, bound = found["idle"]["ratio"], driver_bench_loop.LOOP_BOUND
            kept = ratio is not None and ratio <= bound
            result["B10"] = {"ratio": ratio, "bound": f"<= {bound:g} on a quiet host", "kept": kept, **found}
    return result


def table(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    host = result["host"]
    quiet = "quiet" if host["quiet"] else f"NOT quiet: {host['busy_before_percent']:g} % busy before the run"
    lines = [f"{host['processors']} processors, {quiet}; real-time turn: {host['realtime']} (both sides)"]
    if "B10" in result:
        for name in CONDITIONS:
            row = result["B10"][name]
            lines.append(
                f"B10 loop {name:<12} p99 period error {row['ours_p99_ms']:8.3f} ms, bare {row['bare_p99_ms']:8.3f} ms, "
                f"ratio {row['ratio']:6.2f} ({row['ratio_min']:.2f}..{row['ratio_max']:.2f})"
            )
    if result.get("B11", {}).get("ratio") is not None:
        row = result["B11"]
        lines.append(
            f"B11 tick p50 {row['tick_p50_ms']:.3f} ms (p99 {row['tick_p99_ms']:.3f}), bare sends {row['bare_p50_ms']:.3f} ms, "
            f"ratio {row['ratio']:.2f} ({row['ratio_min']:.2f}..{row['ratio_max']:.2f})"
        )
    if "B12" in result:
        row = result["B12"]
        lines.append(
            f"B12 IK p50 {row['ours_p50_us']:.1f} us (p99 {row['ours_p99_us']:.1f}), CLIK {row['clik_p50_us']:.1f} us "
            f"(p99 {row['clik_p99_us']:.1f}), ratio {row['ratio']:.2f}, p99 {row['ratio_p99']:.2f}; on their branch "
            f"{row['ours']['same_branch']} of {row['targets']}, CLIK {row['clik']['same_branch']}"
        )
    lines += [f"{name}: {'kept' if result[name]['kept'] else 'NOT KEPT'} ({result[name]['bound']})"
              for name in NAMES if name in result]  # fmt: skip
    return "\n".join(lines)
