"""Views from the running graph: the operator moves the arm and presses Enter, or the arm visits them by itself."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.firmware import dh_variant
from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.calibration import planner
from reconvla_ros.calibration.board import BoardSpec
from reconvla_ros.calibration.detect import Detector
from reconvla_ros.calibration.views import HELD, PARENTS, Moment, Views, facts, turn_spread
from reconvla_ros.cli.calibrate_eye import Eye
from reconvla_ros.cli.calibrate_mover import Mover
from reconvla_ros.cli.client import Client, connected
from reconvla_ros.errors import CalibrationError, ConfigError
from reconvla_ros.types import Float


def collect(options: argparse.Namespace, spec: BoardSpec) -> Views:
    """Views of the running graph as the options say.

    Raises:
        CalibrationError: streams that do not come, an arm that is not to be had, too few views.
    """
    cameras = list(dict.fromkeys(options.camera)) if options.camera else list(PARENTS)
    with connected("reconvla_calibrate", options.namespace) as client:
        eye = Eye(client, cameras)
        eye.wait()
        variant = dh_variant(eye.status.firmware)
        known = {c: facts(c, eye.intrinsics(c), eye.serial(c)) for c in cameras}
        if options.check:
            return Views(known, [eye.take("now", "now")], variant)
        detector = Detector(spec)
        session = _Session(eye, detector, Kinematics(variant), options.place)
        if options.auto is None:
            _guided(session)
        else:
            _auto(session, client, options, spec, known)
        return Views(known, session.moments, variant)


class _Session:
    """Moments as they are taken, and what can be said of them at once."""

    def __init__(self, eye: Eye, detector: Detector, kinematics: Kinematics, place: str) -> None:
        self.eye, self.detector, self.kinematics, self.place = eye, detector, kinematics, place
        self.moments: list[Moment] = []
        self.useful = 0
        self._places = 1

    def take(self) -> None:
        """One view, kept when some camera sees the board."""
        try:
            moment = self.eye.take(str(len(self.moments) + 1), self.place)
        except CalibrationError as error:
            print(f"not taken: {error}", flush=True)
            return
        seen = {c: self.detector.board(p.grey) for c, p in moment.pictures.items()}
        words = [
            f"{c} {len(found.ids)} corners"
            if found
            else f"{c} no board ({self.detector.why_not(moment.pictures[c].grey)})"
            for c, found in seen.items()
        ]
        if not any(seen.values()):
            print(f"not taken: {'; '.join(words)}", flush=True)
            return
        self.moments.append(moment)
        turn = turn_spread([self.kinematics.flange(m.joints) for m in self.moments])
        print(f"view {moment.name} ({self.place}): {'; '.join(words)}; turned {np.degrees(turn):.1f} deg", flush=True)

    def next_place(self) -> None:
        """The board was moved."""
        self._places += 1
        self.place = f"table-{self._places}"
        print(f"the board is in a new place now ({self.place}); at least three views of it, please", flush=True)


def _guided(session: _Session) -> None:
    print(
        "Move the arm so that the cameras see the board, let it stand, press Enter. Tilt and turn the wrist to all sides.\n"
        "  Enter = take a view   n = the board was put elsewhere   u = undo   q = that was all",
        flush=True,
    )
    for line in sys.stdin:
        word = line.strip().lower()
        if word == "q":
            return
        if word == "n":
            session.next_place()
        elif word == "u":
            print(
                f"view {session.moments.pop().name} thrown away" if session.moments else "there is no view", flush=True
            )
        elif word:
            print("Enter, n, u or q", flush=True)
        else:
            session.take()


def _auto(
    session: _Session, client: Client, options: argparse.Namespace, spec: BoardSpec, known: dict[str, Any]
) -> None:
    if not 3 <= options.auto <= 100:
        raise ConfigError(f"--auto: must be in 3..100 views, got {options.auto}")
    camera = "camera_base" if options.place == HELD else "camera_wrist"
    if camera not in known:
        raise CalibrationError(f"--auto with the board {options.place} is planned for {camera}; do not leave it out")
    mount, pinhole_ = session.eye.mount(camera), known[camera].intrinsics
    if options.place == HELD:
        found = planner.held_candidates(session.kinematics, mount, pinhole_, _in_hand(spec), spec)
    else:
        found = planner.candidates(session.kinematics, mount, pinhole_, _on_table(options.board_at, spec), spec)
    stops = planner.tour(found, options.auto, session.eye.joints())
    # Spares for poses that the driver's filter does not go to: the way there is straight, and planned by nobody.
    spares = planner.tour(found, min(3 * options.auto, len(found)), stops[-1].joints)
    stops += [s for s in spares if all(s is not t for t in stops)]
    if not options.yes:
        print(f"The arm will move by itself to {options.auto} poses, slowly, through the driver's limits. Clear the table, keep "
              "a hand at the stop. Type yes: ", end="", flush=True)  # fmt: skip
        if sys.stdin.readline().strip() != "yes":
            raise CalibrationError("not confirmed; nothing moved (--yes answers beforehand)")
    mover = Mover(client, session.eye, session.kinematics)
    try:
        for stop in stops:
            if len(session.moments) == options.auto:
                break
            if mover.go(stop.tcp):
                session.take()
            else:
                print(f"a pose left out: the driver does not go there ({mover.refusals()}); the next one", flush=True)
    finally:
        mover.close()


def _on_table(at: tuple[float, float, float], spec: BoardSpec) -> Float:
    """Board frame in base_link (4, 4) of a board that lies with its middle at x, y [m], turned by yaw [rad]; z down."""
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("z", at[2]).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    made[:3, 3] = np.array([at[0], at[1], 0.0]) - made[:3, :3] @ spec.centre
    return made


def _in_hand(spec: BoardSpec) -> Float:
    """About where a board held by its long side is in link6 (4, 4): in front of the fingertips, facing away."""
    made = np.eye(4)
    made[:3, :3] = np.diag([1.0, -1.0, -1.0])
    made[:3, 3] = np.array([0.0, 0.0, 0.15]) - made[:3, :3] @ spec.centre
    return made
