"""What a recorded episode asks of an arm that repeats it, and how well it did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reconvla_ros.errors import RecordingError
from reconvla_ros.recording.reading import Contents, Float

_SOURCES = ("policy", "teleop", "replay")  # errands of the driver itself (home, ready) have no request to repeat


@dataclass(frozen=True, eq=False)
class Plan:
    """Targets and what the arm did with them, on one clock.

    Attributes:
        times: when each target was in force [s] since the first (n,). poses: TCP in base_link (n, 7) [m], quaternion x y z w.
        grippers: opening (n,) [m], NaN = keep.
        start, opening: measured TCP (7,) and opening [m] at the first target.
        path_times, path: measured TCP (m,) [s] and (m, 7).
        refused: targets that the filter refused then; they are not repeated.
    """

    times: Float
    poses: Float
    grippers: Float
    start: Float
    opening: float
    path_times: Float
    path: Float
    refused: int = 0

    @property
    def duration(self) -> float:
        """[s]."""
        return float(self.times[-1])


@dataclass(frozen=True)
class Deviation:
    """Measured path of the repetition beside the recorded one at the same times [m], [rad]."""

    samples: int
    rms: float
    largest: float
    largest_angle: float


def plan(contents: Contents) -> Plan:
    """The targets as the filter let them through.

    Raises:
        RecordingError: the bag holds no targets, or no measured TCP to begin from.
    """
    used = [t for t in contents.traces if t.source in _SOURCES and np.isfinite(t.requested).all()]
    taken = [t for t in used if t.verdict != "refused" and np.isfinite(t.filtered).all()]
    if not taken:
        held = ", ".join(sorted(contents.counts)) or "nothing"
        raise RecordingError(f"no applied targets of {', '.join(_SOURCES)} in arm/action_trace: nothing to replay; "
                             f"the bag holds {held}")  # fmt: skip
    if not contents.poses or not contents.joints:
        raise RecordingError("no arm/ee_pose or joint_states in the bag: where the replay begins is not known")
    begin = taken[0].at
    stamps = np.array([at for at, _ in contents.poses])
    openings = np.array([at for at, _, _ in contents.joints])
    nearest = int(np.argmin(np.abs(stamps - begin)))
    during = (stamps >= begin) & (stamps <= taken[-1].at)
    return Plan(
        times=(np.array([t.at for t in taken]) - begin) / 1e9,
        poses=np.array([t.filtered for t in taken]),
        grippers=np.array([t.filtered_gripper for t in taken]),
        start=contents.poses[nearest][1],
        opening=contents.joints[int(np.argmin(np.abs(openings - begin)))][2],
        path_times=(stamps[during] - begin) / 1e9,
        path=np.array([pose for _, pose in contents.poses])[during],
        refused=len(used) - len(taken),
    )


def angle_between(one: Float, other: Float) -> Float:
    """Angle between rotations (..., 4) [rad]."""
    return 2.0 * np.arccos(np.clip(np.abs(np.sum(one * other, axis=-1)), 0.0, 1.0))


def compare(wanted: Plan, times: Float, path: Float) -> Deviation:
    """The repetition, measured at `times` [s] since its first target (k,) as `path` (k, 7), beside the recording.

    Raises:
        RecordingError: the two do not overlap.
    """
    if len(times) and len(wanted.path_times):
        inside = (times >= wanted.path_times[0]) & (times <= wanted.path_times[-1])
        times, path = times[inside], path[inside]
    if not len(times) or not len(wanted.path_times):
        raise RecordingError("the measured TCP of the replay does not overlap the recorded one: nothing to compare")
    recorded = np.stack([np.interp(times, wanted.path_times, wanted.path[:, k]) for k in range(3)], axis=1)
    off = np.linalg.norm(path[:, :3] - recorded, axis=1)
    nearest = np.clip(np.searchsorted(wanted.path_times, times), 0, len(wanted.path_times) - 1)
    turn = angle_between(path[:, 3:], wanted.path[nearest, 3:])
    return Deviation(len(times), float(np.sqrt(np.mean(off**2))), float(np.max(off)), float(np.max(turn)))
