"""The few values that cross a border: frozen, shape-checked, with unit and frame on every field.

Arrays are copied once, checked to be finite and made read-only, so a value can be passed between threads as it is.
Stamps are integer nanoseconds since the epoch (ROS time); ages are judged elsewhere on a monotonic clock.
Frames: ``base_link`` x forward, z up (REP-103); ``tool0`` the flange as the firmware reports it; ``tcp`` between the
fingertips. Quaternions are x y z w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconvla_ros.errors import ShapeError, choices

Float = NDArray[np.float64]

N_JOINTS = 6
JOINT_NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6")
GRIPPER_NAME = "gripper"
MIN_STEP_DT = 1e-3  # [s] no policy steps faster than 1 kHz
MAX_STEPS = 1000  # of one chunk; a longer one is a mistake, and would keep the driver busy
STEP_VALUES = 7  # action tokens of one step: position 3, rotation 3, gripper 1
SOURCES = ("none", "policy", "teleop", "home", "replay")


def frozen_array(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> Float:
    """Copy `value` into a read-only float64 array of `shape` (None = any length); refuse what is not finite.

    Raises:
        ShapeError: names the field, the shape expected and got, or the first entry that is not finite.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name}: not a numeric array ({error})") from error
    if array.shape != shape and (
        array.ndim != len(shape)
        or any(want is not None and want != got for want, got in zip(shape, array.shape, strict=True))
    ):
        wanted = tuple("any" if n is None else n for n in shape)
        raise ShapeError(f"{name}: expected shape {wanted}, got {array.shape}")
    # Plain floats where there are few: a tick of the driver makes dozens of these, and numpy costs more to ask.
    finite = all(map(math.isfinite, array.tolist())) if array.shape in _SHORT else bool(np.isfinite(array).all())
    if not finite:
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ShapeError(f"{name}{list(where)}: must be finite, got {array[where]}")
    array.setflags(write=False)
    return array


_SHORT = ((3,), (4,), (6,))
_UNIT = 1e-15  # a length this near to one is not improved by a division


def _set(instance: object, name: str, value: Any) -> None:
    object.__setattr__(instance, name, value)


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid pose. `position` [m] (3,), `quaternion` x y z w (4,), unit length (normalised here when within 1e-3)."""

    position: Float
    quaternion: Float

    def __post_init__(self) -> None:
        _set(self, "position", frozen_array("pose.position", self.position, (3,)))
        quaternion = frozen_array("pose.quaternion", self.quaternion, (4,))
        norm = math.hypot(*quaternion.tolist())
        if not abs(norm - 1.0) <= 1e-3:
            raise ShapeError(f"pose.quaternion: must have unit length within 1e-3, got length {norm:.6g}")
        if abs(norm - 1.0) > _UNIT:
            quaternion = frozen_array("pose.quaternion", quaternion / norm, (4,))
        _set(self, "quaternion", quaternion)


@dataclass(frozen=True, eq=False)
class CameraIntrinsics:
    """Pinhole of one stream: size [px], focal lengths and centre [px], plumb_bob coefficients (5,)."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Float = field(default_factory=lambda: np.zeros(5))

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0 or self.fx <= 0 or self.fy <= 0:
            raise ShapeError(f"intrinsics: width, height, fx, fy must be positive, got {self}")
        _set(self, "distortion", frozen_array("intrinsics.distortion", self.distortion, (5,)))


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One RGB-D frame at one capture instant.

    Attributes:
        stamp_ns: capture instant [ns], ROS time; colour and depth share it.
        frame_id: optical frame of the colour sensor (REP-103: z forward, x right).
        color: (H, W, 3) uint8, RGB.
        depth: (H, W) uint16 [mm], aligned to colour, 0 = no measurement; None for a camera without depth.
        intrinsics: of the colour stream, and of depth since it is aligned.

    Images are not copied; the producer gives them away.
    """

    stamp_ns: int
    frame_id: str
    color: NDArray[np.uint8]
    depth: NDArray[np.uint16] | None
    intrinsics: CameraIntrinsics

    def __post_init__(self) -> None:
        size = (self.intrinsics.height, self.intrinsics.width)
        if self.color.shape != (*size, 3) or self.color.dtype != np.uint8:
            raise ShapeError(f"color: expected uint8 {(*size, 3)}, got {self.color.dtype} {self.color.shape}")
        if self.depth is not None and (self.depth.shape != size or self.depth.dtype != np.uint16):
            raise ShapeError(f"depth: expected uint16 {size}, got {self.depth.dtype} {self.depth.shape}")


@dataclass(frozen=True, eq=False)
class ArmState:
    """What the arm said last.

    Attributes:
        stamp_ns: receipt of the newest joint frame [ns], ROS time.
        position: joint1..joint6 [rad] (6,).
        velocity: [rad/s] (6,).
        effort: [N m] (6,).
        gripper: total opening [m].
        gripper_effort: [N].
        enabled: per motor (6,) bool.
    """

    stamp_ns: int
    position: Float
    velocity: Float
    effort: Float
    gripper: float
    gripper_effort: float = 0.0
    enabled: tuple[bool, ...] = (False,) * N_JOINTS

    def __post_init__(self) -> None:
        for name in ("position", "velocity", "effort"):
            _set(self, name, frozen_array(f"arm_state.{name}", getattr(self, name), (N_JOINTS,)))
        if not (math.isfinite(self.gripper) and math.isfinite(self.gripper_effort)):
            raise ShapeError(f"arm_state.gripper: must be finite, got {self.gripper} m, {self.gripper_effort} N")
        if len(self.enabled) != N_JOINTS:
            raise ShapeError(f"arm_state.enabled: expected {N_JOINTS} flags, got {len(self.enabled)}")


@dataclass(frozen=True, eq=False)
class JointCommand:
    """Joint targets [rad] (6,) and gripper opening [m] (None = keep) for the bus."""

    position: Float
    gripper: float | None = None

    def __post_init__(self) -> None:
        _set(self, "position", frozen_array("joint_command.position", self.position, (N_JOINTS,)))
        if self.gripper is not None:
            frozen_array("joint_command.gripper", [self.gripper], (1,))


@dataclass(frozen=True, eq=False)
class EeCommand:
    """An absolute TCP target in base_link. `gripper` is the total opening [m], None = keep; `source` as in SOURCES."""

    stamp_ns: int
    source: str
    pose: Pose
    gripper: float | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES[1:]:
            raise ShapeError(f"ee_command.source: {choices(self.source, SOURCES[1:])}")
        if self.gripper is not None:
            frozen_array("ee_command.gripper", [self.gripper], (1,))


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """T steps of absolute TCP targets that one observation led to.

    Attributes:
        stamp_ns: capture stamp of the observation [ns], not the time of publishing.
        task_id: the task that asked for it; the driver drops chunks of any other.
        sequence: counts chunks of one policy process, from 0.
        step_dt: time of one step [s], 0.001..10; step k is due at stamp + (k + 1) * step_dt at the earliest.
        anchor: measured TCP pose in base_link the relative actions were integrated from.
        positions: (T, 3) [m], base_link. quaternions: (T, 4) x y z w.
        gripper: (T,) total opening [m].
        confidence: (T,) in [0, 1], or empty when unknown.
        token_ids: (7 T,) int, as the model gave them, or empty.
        prefix_steps: leading steps that were forced, not predicted.
    """

    stamp_ns: int
    task_id: str
    sequence: int
    step_dt: float
    anchor: Pose
    positions: Float
    quaternions: Float
    gripper: Float
    confidence: Float = field(default_factory=lambda: np.zeros(0))
    token_ids: tuple[int, ...] = ()
    prefix_steps: int = 0

    def __post_init__(self) -> None:
        positions = frozen_array("chunk.positions", self.positions, (None, 3))
        steps = len(positions)
        if not 1 <= steps <= MAX_STEPS:
            raise ShapeError(f"chunk.positions: must have 1..{MAX_STEPS} steps, got {steps}")
        _set(self, "positions", positions)
        _set(self, "quaternions", frozen_array("chunk.quaternions", self.quaternions, (steps, 4)))
        _set(self, "gripper", frozen_array("chunk.gripper", self.gripper, (steps,)))
        wanted = steps if np.size(self.confidence) else 0
        _set(self, "confidence", frozen_array("chunk.confidence", self.confidence, (wanted,)))
        self._check_confidence()
        norms = np.linalg.norm(self.quaternions, axis=1)
        if np.any(np.abs(norms - 1.0) > 1e-3):
            raise ShapeError(f"chunk.quaternions: must have unit length within 1e-3, got lengths {norms}")
        # Below a nanosecond a step has no length in the clock, and the driver divides by it.
        if not (np.isfinite(self.step_dt) and MIN_STEP_DT <= self.step_dt <= 10.0):
            raise ShapeError(f"chunk.step_dt: must be in {MIN_STEP_DT:g}..10 s, got {self.step_dt}")
        if not 0 <= self.prefix_steps <= steps:
            raise ShapeError(f"chunk.prefix_steps: must be in 0..{steps}, got {self.prefix_steps}")

    def _check_confidence(self) -> None:
        outside = np.abs(self.confidence - 0.5) > 0.5
        if np.any(outside):
            where = int(np.argmax(outside))
            raise ShapeError(f"chunk.confidence[{where}]: must be in 0..1, got {self.confidence[where]:g}")
        if len(self.token_ids) not in (0, STEP_VALUES * self.steps):
            raise ShapeError(
                f"chunk.token_ids: must have 0 or {STEP_VALUES * self.steps} ids, got {len(self.token_ids)}"
            )

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.positions)

    def pose(self, step: int) -> Pose:
        """The TCP target of one step."""
        return Pose(self.positions[step], self.quaternions[step])


@dataclass(frozen=True, eq=False)
class Observation:
    """What the policy sees at one instant; live and recorded data are assembled by the same code.

    Attributes:
        stamp_ns: capture stamp of the older of the two images [ns].
        base, wrist: (H, W, 3) uint8 RGB.
        state: the arm at the stamp (nearest sample).
        tcp: measured TCP in base_link at the stamp.
        instruction: what the task asks for.
        task_id: of that task.
    """

    stamp_ns: int
    base: NDArray[np.uint8]
    wrist: NDArray[np.uint8]
    state: ArmState
    tcp: Pose
    instruction: str
    task_id: str

    def __post_init__(self) -> None:
        for name in ("base", "wrist"):
            image = getattr(self, name)
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ShapeError(f"observation.{name}: expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
        if not self.instruction.strip():
            raise ShapeError("observation.instruction: must not be empty")
