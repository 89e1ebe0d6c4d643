"""`reconvla skew`: how far the stamps of the two cameras are apart for one instant, from a board moved in view of both."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.detect import Grey
from reconvla_ros.calibration.skew import LARGEST, Skew, Tracker, estimate
from reconvla_ros.cli.calibrate import board_of
from reconvla_ros.errors import CalibrationError, SetupError
from reconvla_ros.types import CameraIntrinsics

CAMERAS = ("camera_base", "camera_wrist")
DELAYS_MS = (0.0, 7.0, 20.0, 50.0, -20.0)  # of --sim
BOUND_MS = 5.0  # that --sim keeps
PATIENCE = 10.0  # [s] for both streams to come
_EPILOG = """Wave the board of `reconvla calibrate` (--print-board) in view of both cameras: to and fro, irregularly, tilting
it, for ten seconds; the arm stands still. What is found goes into config/cameras.yaml as stamp_offset of camera_wrist.
exit status: 0 = within --max-ms; 1 = beyond it, or --sim missed its bound; 2 = it cannot be said, and why"""


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "reconvla skew", description="Measure how far the stamps of the two cameras are apart for the same instant.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--seconds", type=float, default=10.0, help="how long pictures are taken [10]; --sim: 8")
    made.add_argument("--max-ms", type=float, default=10.0, help="a larger skew is exit status 1 [10]")
    made.add_argument("--squares", default="", metavar="CxR", help="of the board, e.g. 6x4 (default)")
    made.add_argument("--square-mm", type=float, help="side of a square, measured on the print")
    made.add_argument("--marker-mm", type=float, help="side of a marker, measured on the print")
    made.add_argument("--dictionary", help="ArUco dictionary of the board")
    made.add_argument("--sim", action="store_true", help="rendered cameras and known delays instead: a table of errors")
    made.add_argument("--seeds", type=int, default=3, help="--sim: how many motions of the board [3]")
    made.add_argument("--delays-ms", type=float, nargs="+", default=list(DELAYS_MS), help="--sim: what is injected")
    made.add_argument("--json", type=Path, help="write the result here too")
    made.add_argument("--namespace", default="", help="of the graph")
    return made


def main(words: list[str]) -> int:
    """0 = within the bound, 1 = beyond it; errors are raised (status 2)."""
    options = _parser().parse_args(words)
    if not 1.0 <= options.seconds <= 120.0:
        raise CalibrationError(f"--seconds: must be in 1..120, got {options.seconds:g}")
    if options.sim:
        return _simulate(options)
    found = _measure(options, board_of(options))
    _write(options.json, asdict(found))
    print(f"camera_wrist stamps one instant {found.skew * 1e3:+.1f} ms from camera_base (standard deviation "
          f"{found.spread * 1e3:.1f} ms, {found.pictures} pictures, {found.left_px:.2f} px left)")  # fmt: skip
    if abs(found.skew) * 1e3 > options.max_ms:
        print(f"beyond {options.max_ms:g} ms. Remedy: add {found.skew:.4f} to stamp_offset of camera_wrist in "
              "config/cameras.yaml, start the cameras anew and measure again")  # fmt: skip
        return 1
    return 0


class Gathered:
    """Grey pictures and pinholes of both cameras of the running graph."""

    def __init__(self, node: Any) -> None:
        from sensor_msgs.msg import CameraInfo, Image

        from reconvla_ros.nodes import qos

        self._lock = threading.Lock()
        self._pictures: dict[str, list[tuple[int, Grey]]] = {c: [] for c in CAMERAS}
        self._pinholes: dict[str, CameraIntrinsics] = {}
        self.problem = ""
        for c in CAMERAS:
            node.create_subscription(Image, f"{c}/color/image_raw", lambda m, c=c: self._image(c, m), qos.IMAGE)
            node.create_subscription(CameraInfo, f"{c}/color/camera_info", lambda m, c=c: self._info(c, m), qos.IMAGE)

    def _image(self, camera: str, message: Any) -> None:
        from reconvla_ros.calibration.from_bag import grey

        try:
            picture = grey(message)
        except CalibrationError as error:
            self.problem = f"{camera}: {error}"
            return
        stamp = int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)
        with self._lock:
            self._pictures[camera].append((stamp, picture))

    def _info(self, camera: str, message: Any) -> None:
        from reconvla_ros.calibration.from_bag import pinhole

        try:
            self._pinholes[camera] = pinhole(message)
        except CalibrationError as error:
            self.problem = str(error)

    def lacking(self) -> str:
        """Which topics have not come yet; empty = none."""
        with self._lock:
            missing = [f"{c}/color/image_raw" for c in CAMERAS if not self._pictures[c]]
        missing += [f"{c}/color/camera_info" for c in CAMERAS if c not in self._pinholes]
        return ", ".join(missing)

    def taken(self) -> tuple[dict[str, list[tuple[int, Grey]]], dict[str, CameraIntrinsics]]:
        """All of it so far."""
        with self._lock:
            return {c: list(p) for c, p in self._pictures.items()}, dict(self._pinholes)


def _measure(options: argparse.Namespace, spec: BoardSpec) -> Skew:
    from reconvla_ros.cli.client import Client, wait_until

    client = Client("skew", options.namespace)
    try:
        eye = Gathered(client.node)
        if not wait_until(lambda: not eye.lacking(), PATIENCE):
            raise CalibrationError(
                f"nothing came within {PATIENCE:g} s on {eye.lacking()}: is the graph up (reconvla up), with the same "
                f"ROS_DOMAIN_ID and namespace? {eye.problem}".rstrip()
            )
        print(f"move {spec} in view of both cameras, {options.seconds:g} s from now", file=sys.stderr, flush=True)
        threading.Event().wait(options.seconds)
        taken, pinholes = eye.taken()
    finally:
        client.close()
    seen = [Tracker(spec, pinholes[c]).track(taken[c]) for c in CAMERAS]
    for camera, glimpses in zip(CAMERAS, seen, strict=True):
        print(f"{camera}: {len(taken[camera])} pictures, {len(glimpses)} show the board", file=sys.stderr)
    return estimate(seen[0], seen[1], pinholes[CAMERAS[0]].fx)


def _simulate(options: argparse.Namespace) -> int:
    from reconvla_ros.calibration.skew_simulated import SECONDS, Trial, as_rows, trials

    if max(abs(d) for d in options.delays_ms) >= LARGEST * 1e3 - 20:
        raise CalibrationError(f"--delays-ms: must stay within {LARGEST * 1e3 - 20:g} ms, got {options.delays_ms}")
    rows = list[Trial]()
    for seed in range(options.seeds):
        rows += trials(seed, [d / 1e3 for d in options.delays_ms], SECONDS)
        print(f"seed {seed} done", file=sys.stderr, flush=True)
    errors = np.array([row.error_ms for row in rows])
    worst = float(np.max(np.abs(errors)))
    _write(options.json, {"bound_ms": BOUND_MS, "worst_ms": worst, "trials": as_rows(rows)})
    print("| injected [ms] | found, median [ms] | error, median | error, worst | it says of itself | left [px] |")
    print("|---|---|---|---|---|---|")
    for delay in options.delays_ms:
        mine = [row for row in rows if row.injected_ms == delay]
        error = [abs(row.error_ms) for row in mine]
        print(f"| {delay:g} | {np.median([row.found_ms for row in mine]):.2f} | {np.median(error):.2f} | {max(error):.2f} | "
              f"{np.median([row.spread_ms for row in mine]):.2f} | {np.median([row.left_px for row in mine]):.2f} |")  # fmt: skip
    verdict = "kept" if worst <= BOUND_MS else "missed"
    print(f"\nworst error {worst:.2f} ms, bound {BOUND_MS:g} ms: {verdict}; {options.seeds} motions of the board")
    return 0 if worst <= BOUND_MS else 1


def _write(path: Path | None, result: object) -> None:
    if path is None:
        return
    try:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SetupError(f"--json {path}: cannot be written ({error})") from error
