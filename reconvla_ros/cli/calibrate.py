"""`reconvla calibrate`: where the cameras sit, from a ChArUco board; and whether they still sit there."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.calibration import folder, store
from reconvla_ros.calibration.board import PAPERS, BoardSpec, write_page
from reconvla_ros.calibration.check import Bounds, CheckResult, check
from reconvla_ros.calibration.run import Result, Rules, calibrate
from reconvla_ros.calibration.views import PARENTS, Views
from reconvla_ros.camera.extrinsics import default_path
from reconvla_ros.config import build
from reconvla_ros.errors import CalibrationError, ConfigError

_EPILOG = """without a source the running graph is asked: move the arm (by hand or by teleoperation) and press Enter at each
view. The how-to (docs/how-to/calibration.md) shows what good views are.
exit status: 0 = stored, or nothing moved; 1 = a camera moved (--check), or --sim missed its bounds; 2 = it cannot be said,
and why"""


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "reconvla calibrate", description="Find where the cameras sit, or check that they still sit there.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--print-board", type=Path, metavar="FILE", help="write the board as .pdf or .png at true size")
    made.add_argument("--paper", default="A4", choices=PAPERS)
    made.add_argument("--squares", default="", metavar="CxR", help="of the board, e.g. 6x4 (default)")
    made.add_argument("--square-mm", type=float, help="side of a square, measured on the print")
    made.add_argument("--marker-mm", type=float, help="side of a marker, measured on the print")
    made.add_argument("--dictionary", help="ArUco dictionary of the board")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--folder", type=Path, help="views from a folder with views.yaml instead of the running graph")
    where.add_argument(
        "--bag", type=Path, action="append", help="views from recorded bags; one place of the board each"
    )
    where.add_argument("--sim", action="store_true", help="simulated calibrations against the known truth")
    where.add_argument("--auto", type=int, metavar="N", help="the arm visits N views by itself, through the driver")
    made.add_argument(
        "--place", default="table", choices=("table", "held"), help="board on the table or in the gripper"
    )
    made.add_argument("--board-at", type=float, nargs=3, metavar=("X", "Y", "YAW"), default=(0.27, -0.03, 0.4),
                      help="with --auto: about where the board lies in base_link [m, m, rad]")  # fmt: skip
    made.add_argument("--yes", action="store_true", help="with --auto: do not ask before the arm moves")
    made.add_argument("--camera", action="append", choices=PARENTS, help="only this camera; may be given twice")
    made.add_argument("--check", action="store_true", help="compare with what is stored; change nothing")
    made.add_argument("--max-mm", type=float, default=Bounds.mm, help="--check: a camera that is off by more has moved")
    made.add_argument("--max-px", type=float, default=Bounds.px, help="--check: and by more than this in the picture")
    made.add_argument("--max-residual", type=float, default=Rules.residual, help="[px] what may be left")
    made.add_argument("--seeds", type=int, default=10, help="--sim: how many")
    made.add_argument("--views", type=int, default=24, help="--sim: pictures per camera")
    made.add_argument("--output", type=Path, help=f"calibration file (default {default_path()})")
    made.add_argument("--no-write", action="store_true", help="report only")
    made.add_argument("--save", type=Path, help="keep the views in this folder")
    made.add_argument("--json", type=Path, help="write the report here too")
    made.add_argument("--namespace", default="", help="of the graph")
    return made


def board_of(options: argparse.Namespace) -> BoardSpec:
    """The board that is meant.

    Raises:
        ConfigError: a size that is none.
    """
    values: dict[str, Any] = {}
    if options.squares:
        columns, _, rows = options.squares.partition("x")
        if not (columns.isdigit() and rows.isdigit()):
            raise ConfigError(f"--squares: written COLUMNSxROWS, e.g. 6x4, got {options.squares!r}")
        values |= {"columns": int(columns), "rows": int(rows)}
    for key, given in (("square", options.square_mm), ("marker", options.marker_mm)):
        if given is not None:
            values[key] = given / 1e3
    if options.dictionary is not None:
        values["dictionary"] = options.dictionary
    return build(BoardSpec, values, where="board")


def main(words: list[str]) -> int:
    """0 = stored, or nothing moved; 1 = moved, or a simulated bound missed; errors are raised (status 2)."""
    options = _parser().parse_args(words)
    spec = board_of(options)
    if options.print_board is not None:
        write_page(options.print_board, spec, options.paper)
        print(
            f"{options.print_board}: {spec} on {options.paper}; print at 100 %, glue it to something flat, measure a square"
        )
        return 0
    if options.sim:
        return _simulate(options)
    views = _only(_views(options, spec), options.camera)
    if options.save is not None:
        folder.save(options.save, views)
        print(f"views kept in {options.save}")
    path = options.output or default_path()
    return _check(options, path, views) if options.check else _calibrate(options, path, views, spec)


def _views(options: argparse.Namespace, spec: BoardSpec) -> Views:
    if options.folder is not None:
        return folder.load(options.folder)
    if options.bag:
        from reconvla_ros.calibration import from_bag

        parts = [from_bag.read(bag, options.place if options.place == "held" else f"table-{n}")
                 for n, bag in enumerate(options.bag, 1)]  # fmt: skip
        return _joined(parts)
    from reconvla_ros.cli import calibrate_live

    return calibrate_live.collect(options, spec)


def _joined(parts: list[Views]) -> Views:
    """Several bags of the same cameras as one."""
    for part in parts[1:]:
        if part.variant != parts[0].variant or set(part.cameras) != set(parts[0].cameras):
            raise CalibrationError("the bags are of different cameras or arms; calibrate each on its own")
    moments = [replace(m, name=f"{n}.{m.name}") for n, part in enumerate(parts, 1) for m in part.moments]
    return Views(parts[0].cameras, moments if len(parts) > 1 else parts[0].moments, parts[0].variant)


def _only(views: Views, cameras: list[str] | None) -> Views:
    if not cameras:
        return views
    missing = [c for c in cameras if c not in views.cameras]
    if missing:
        raise CalibrationError(f"{missing[0]}: no views of it (there are {', '.join(views.cameras) or 'none'})")
    moments = [replace(m, pictures={c: p for c, p in m.pictures.items() if c in cameras}) for m in views.moments]
    return Views({c: views.cameras[c] for c in cameras}, [m for m in moments if m.pictures], views.variant)


def _calibrate(options: argparse.Namespace, path: Path, views: Views, spec: BoardSpec) -> int:
    result = calibrate(views, spec, Rules(residual=options.max_residual))
    _show(result)
    _write_json(options.json, lambda: report(result))
    if options.no_write:
        return 0
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    kept = store.write(path, store.cameras_of(result, views, date), result.landmarks, spec)
    print(f"stored in {path}" + (f" (the one before: {kept})" if kept else ""))
    simulated = any(c.serial == "simulated" for c in result.cameras)
    print(
        "the camera nodes read it at their next start"
        + (f" with calibration:={path}" if simulated or options.output else "")
    )
    return 0


def _check(options: argparse.Namespace, path: Path, views: Views) -> int:
    found = check(store.read(path), views, Bounds(options.max_px, options.max_mm))
    for f in found.findings:
        print(f"  {f.camera:<32} {f.thing:<12} {f.px:6.2f} px {f.mm:6.2f} mm  {'OFF' if f.off else 'ok'}")
    for words in found.words:
        print(words)
    _write_json(options.json, lambda: _check_report(found))
    return int(found.verdict.value)


def _check_report(found: CheckResult) -> dict[str, Any]:
    return {"moved": bool(found.verdict.value), "words": found.words, "findings": [asdict(f) for f in found.findings]}


def report(result: Result) -> dict[str, Any]:
    """For JSON."""
    cameras = [{**asdict(c), "transform": np.round(c.transform, 9).tolist()} for c in result.cameras]
    return {
        "cameras": cameras, "views": [asdict(row) for row in result.rows], "board_scale": result.scale,
        "board_scale_spread": result.scale_spread, "turn_spread_deg": float(np.degrees(result.turn)),
        "markers": [m.number for m in result.landmarks], "notes": result.notes,
    }  # fmt: skip


def _show(result: Result) -> None:
    print(f"{'camera':<14}{'view':<8}{'place':<10}{'corners':>7}{'px':>8}{'mm':>8}{'deg':>8}")
    for row in result.rows:
        mark = "  left out" if row.left_out else ""
        print(
            f"{row.camera:<14}{row.view:<8}{row.place:<10}{row.corners:>7}{row.px:>8.2f}{row.mm:>8.2f}{row.deg:>8.3f}{mark}"
        )
    for c in result.cameras:
        x, y, z = c.transform[:3, 3]
        print(f"{c.camera}: in {c.parent} at {x:.4f} {y:.4f} {z:.4f} m; {c.views} views, {c.corners} corners")
        print(f"  left: {c.px:.2f} px, board {c.mm:.2f} mm {c.deg:.3f} deg a view; "
              f"standard deviation of the camera's pose: {c.spread_mm:.2f} mm, {c.spread_deg:.3f} deg")  # fmt: skip
    print(f"board: {result.scale:.4f} +- {result.scale_spread:.4f} of the size told, by the arm's motion")
    for note in result.notes:
        print(f"note: {note}")


def _simulate(options: argparse.Namespace) -> int:
    from reconvla_ros.calibration import trial

    if not (1 <= options.seeds <= 1000 and 6 <= options.views <= 200):
        raise ConfigError(f"--seeds must be in 1..1000 and --views in 6..200, got {options.seeds} and {options.views}")
    found = trial.run(options.seeds, options.views, options.place)
    for camera, s in found["cameras"].items():
        print(f"{camera}: off by {s['bumped_mm_median']:.1f} mm {s['bumped_deg_median']:.2f} deg before (median); after "
              f"{s['error_mm_median']:.2f} mm {s['error_deg_median']:.3f} deg, at worst {s['error_mm_max']:.2f} mm "
              f"{s['error_deg_max']:.3f} deg; residual {s['residual_px_median']:.2f} px; it says of itself "
              f"{s['spread_mm_median']:.2f} mm {s['spread_deg_median']:.3f} deg")  # fmt: skip
    for row in found["check"]:
        print(f"check after a bump of {row['camera']} by {row['mm']:g} mm {row['deg']:g} deg: "
              f"said moved {row['said_moved']} of {row['of']}")  # fmt: skip
    bound = found["allowed"]
    print(f"{'PASS' if found['passed'] else 'FAIL'}: every camera within {bound['mm']:g} mm and {bound['deg']:g} deg "
          f"({options.seeds} seeds, {found['seconds']:.0f} s)")  # fmt: skip
    _write_json(options.json, lambda: found)
    return 0 if found["passed"] else 1


def _write_json(path: Path | None, made: Callable[[], dict[str, Any]]) -> None:
    if path is None:
        return
    try:
        path.write_text(json.dumps(made(), indent=1), encoding="utf-8")
    except OSError as error:
        print(f"reconvla calibrate: {path} cannot be written: {error}", file=sys.stderr)
