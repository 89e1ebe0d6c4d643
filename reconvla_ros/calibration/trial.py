"""How near to the truth a calibration comes: simulated ones with cameras bumped by seed, and what the check says after."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.calibration.check import check
from reconvla_ros.calibration.detect import Detector
from reconvla_ros.calibration.geometry import apart, matrix
from reconvla_ros.calibration.run import Result, calibrate
from reconvla_ros.calibration.simulated import JOINT_NOISE, Noise, Studio, spec_of_scene
from reconvla_ros.calibration.store import Record, cameras_of
from reconvla_ros.calibration.views import Moment, Views, sight
from reconvla_ros.camera.sim import mounting
from reconvla_ros.errors import CalibrationError

# Four places of a board on the table: x, y [m], yaw [rad].
PLACES = ((0.27, -0.03, 0.4), (0.25, 0.10, -0.5), (0.30, -0.12, 1.2), (0.38, 0.02, 0.0))
ALLOWED_MM, ALLOWED_DEG = 2.0, 0.3  # what the simulated calibration promises
BUMPS = ((0.0, 0.0), (0.003, 0.0), (0.006, 0.0), (0.0, np.radians(0.5)), (0.0, np.radians(1.0)))  # [m], [rad]


@dataclass(frozen=True)
class CameraTrial:
    """One camera of one seed: how far off it was, and how far it is after calibrating; what the report said of itself."""

    seed: int
    camera: str
    bumped_mm: float
    bumped_deg: float
    error_mm: float
    error_deg: float
    residual_px: float
    spread_mm: float
    spread_deg: float
    pictures: int


@dataclass(frozen=True)
class BumpTrial:
    """A camera moved after calibrating, by [mm] and [deg] about a random axis; whether the check saw it."""

    seed: int
    camera: str
    mm: float
    deg: float
    said_moved: bool


def run_seed(seed: int, views: int, board: str, noise: Noise, bumps: bool) -> tuple[list[CameraTrial], list[BumpTrial]]:
    """One calibration of the scene `calibration` with its cameras bumped by `seed`.

    Args:
        views: pictures per camera. board: table (three places, both cameras) or held (base camera alone).
        bumps: also move the cameras afterwards and ask the check (table only).
    """
    studio, spec = Studio(seed, noise), spec_of_scene()
    try:
        taken = studio.held_views(views) if board == "held" else studio.table_views(-(-views // len(PLACES)), PLACES)
        result = calibrate(taken, spec, None, studio.blur(sight(taken, Detector(spec))))
        rows = []
        for r in result.cameras:
            truth, nominal = studio.truth(r.camera), matrix(mounting(r.camera).pose)
            (before, turned), (mm, turn) = apart(nominal, truth), apart(r.transform, truth)
            rows.append(CameraTrial(
                seed, r.camera, before * 1e3, float(np.degrees(turned)), mm * 1e3, float(np.degrees(turn)), r.px,
                r.spread_mm, r.spread_deg, r.views,
            ))  # fmt: skip
        return rows, _bump(studio, seed, taken, result) if bumps and board == "table" else []
    finally:
        studio.close()


def _bump(studio: Studio, seed: int, taken: Views, result: Result) -> list[BumpTrial]:
    record = Record(cameras_of(result, taken, "simulated"), result.landmarks, spec_of_scene())
    rng = np.random.default_rng((seed, 5))
    found = []
    for camera in taken.cameras:
        for metres, turn in BUMPS:
            axis = rng.normal(size=3)
            axis /= np.linalg.norm(axis)
            studio.bump(camera, metres * axis, turn * axis)
            moments: list[Moment] = [studio.moment(str(k), taken.moments[k].joints, "later") for k in (1, 4)]
            try:
                said = any(w.startswith(f"{camera}: MOVED") or "one of them MOVED" in w
                           for w in check(record, Views(taken.cameras, moments)).words)  # fmt: skip
            except CalibrationError:
                said = False
            found.append(BumpTrial(seed, camera, metres * 1e3, float(np.degrees(turn)), said))
            back = Rotation.from_rotvec(turn * axis).inv().as_rotvec()
            studio.bump(camera, -metres * axis, back)
    return found


def run(seeds: int, views: int, board: str, noise: Noise | None = None, bumps: bool = True) -> dict[str, Any]:
    """`seeds` calibrations; a summary and every one of them, for JSON.

    `passed`: every camera of every seed is within ALLOWED_MM and ALLOWED_DEG of the truth.
    """
    noise = noise if noise is not None else Noise()
    begin = time.monotonic()
    rows, bumped = list[CameraTrial](), list[BumpTrial]()
    for seed in range(1, seeds + 1):
        some, others = run_seed(seed, views, board, noise, bumps)
        rows, bumped = rows + some, bumped + others
    cameras = {}
    for camera in sorted({r.camera for r in rows}):
        mine = [r for r in rows if r.camera == camera]
        summary: dict[str, float] = {"seeds": len(mine)}
        for key in ("bumped_mm", "bumped_deg", "error_mm", "error_deg", "residual_px", "spread_mm", "spread_deg"):
            values = np.array([getattr(r, key) for r in mine])
            summary[f"{key}_median"], summary[f"{key}_max"] = float(np.median(values)), float(values.max())
        cameras[camera] = {key: round(value, 4) for key, value in summary.items()}
    passed = bool(rows) and all(r.error_mm <= ALLOWED_MM and r.error_deg <= ALLOWED_DEG for r in rows)
    return {
        "board": board, "views": views, "noise": asdict(noise), "joint_noise_default": JOINT_NOISE,
        "allowed": {"mm": ALLOWED_MM, "deg": ALLOWED_DEG}, "passed": passed, "cameras": cameras, "check": _said(bumped),
        "seeds": [asdict(r) for r in rows], "seconds": round(time.monotonic() - begin, 1),
    }  # fmt: skip


def _said(bumped: list[BumpTrial]) -> list[dict[str, Any]]:
    """Per camera and bump: how often the check said that it moved."""
    groups = sorted({(b.camera, b.mm, b.deg) for b in bumped})
    made = []
    for camera, mm, deg in groups:
        mine = [b for b in bumped if (b.camera, b.mm, b.deg) == (camera, mm, deg)]
        made.append({"camera": camera, "mm": mm, "deg": round(deg, 3), "said_moved": sum(b.said_moved for b in mine),
                     "of": len(mine)})  # fmt: skip
    return made
