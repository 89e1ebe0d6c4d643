"""Both cameras, the joints and the TCP, matched by capture stamp, as one Observation; or a refusal that says why.

Nothing is ever filled in: what is missing, stale, skewed or from the future raises ObservationError and the arm holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.errors import ObservationError, choices
from reconvla_ros.observation.latest import Lazy, StampedRing
from reconvla_ros.types import ArmState, Observation, Pose

CAMERAS = ("base", "wrist")
NS = 1_000_000_000
# Frames kept per camera: 6 at 30 Hz span 0.2 s, enough to pair two cameras whose transport delays differ.
IMAGE_RING = 6
# Samples kept of joints and TCP: 256 at 200 Hz span 1.3 s, more than the oldest usable image.
STATE_RING = 256

Image = NDArray[np.uint8]
_S = TypeVar("_S", ArmState, Pose)


@dataclass(frozen=True)
class AssemblyLimits:
    """What may still be used together; the defaults are those of the design.

    Attributes:
        image_stale: oldest image that may be used, by capture stamp [s].
        skew: largest difference between the two capture stamps [s].
        state_gap: largest distance of the state or TCP sample from the image stamp [s].
        future: how far ahead of now a stamp may lie, for clocks that are read in two processes [s].
    """

    image_stale: float = 0.5
    skew: float = 0.05
    state_gap: float = 0.1
    future: float = 0.005


class ObservationAssembler:
    """Collects samples from any thread and assembles one Observation on request.

    `add_*` cost an append under a lock. Images may be given as a callable that decodes; only the frames that are used
    are decoded, outside the lock.
    """

    def __init__(self, limits: AssemblyLimits | None = None) -> None:
        self._limits = limits or AssemblyLimits()
        self._lock = threading.Lock()
        self._images: dict[str, StampedRing[Lazy[Image]]] = {name: StampedRing(IMAGE_RING) for name in CAMERAS}
        self._states: StampedRing[ArmState] = StampedRing(STATE_RING)
        self._tcp: StampedRing[Pose] = StampedRing(STATE_RING)

    def add_image(self, name: str, stamp_ns: int, image: Image | Callable[[], Image]) -> None:
        """One colour image of camera `name` (base, wrist): (H, W, 3) uint8 RGB, or a callable that returns it."""
        if name not in self._images:
            raise ObservationError(f"camera {choices(name, CAMERAS)}")
        with self._lock:
            self._images[name].add(stamp_ns, Lazy(image))

    def add_state(self, state: ArmState) -> None:
        """One sample of the joints."""
        with self._lock:
            self._states.add(state.stamp_ns, state)

    def add_tcp(self, stamp_ns: int, pose: Pose) -> None:
        """One measured TCP pose in base_link."""
        with self._lock:
            self._tcp.add(stamp_ns, pose)

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        with self._lock:
            for ring in self._images.values():
                ring.clear()
            self._states.clear()
            self._tcp.clear()

    def assemble(self, now_ns: int, instruction: str, task_id: str) -> Observation:
        """The newest usable pair of images with the state nearest to it.

        Args:
            now_ns: ROS time [ns]; the caller lets it run on a monotonic clock.
            instruction: of the task. task_id: its id.

        Raises:
            ObservationError: names the stream and says missing, stale, future or skewed, with bound and value.
            ShapeError: an image or the instruction is not what an Observation may hold.
        """
        with self._lock:
            (base_ns, base), (wrist_ns, wrist) = self._pair(now_ns)
            stamp_ns = min(base_ns, wrist_ns)
            state = self._near(self._states, "joint state", stamp_ns, now_ns)
            tcp = self._near(self._tcp, "TCP pose", stamp_ns, now_ns)
        return Observation(stamp_ns, base.get(), wrist.get(), state, tcp, instruction, task_id)

    def _pair(self, now_ns: int) -> tuple[tuple[int, Lazy[Image]], tuple[int, Lazy[Image]]]:
        low, high = now_ns - round(self._limits.image_stale * NS), now_ns + round(self._limits.future * NS)
        usable = {name: ring.between(low, high) for name, ring in self._images.items()}
        for name in CAMERAS:
            if not usable[name]:
                self._refuse_camera(name, now_ns)
        skew_ns = round(self._limits.skew * NS)
        pairs = [(b, w) for b in usable["base"] for w in usable["wrist"] if abs(b[0] - w[0]) <= skew_ns]
        if not pairs:
            gap = min(abs(b[0] - w[0]) for b in usable["base"] for w in usable["wrist"])
            raise ObservationError(
                f"cameras skewed: base and wrist are at best {gap / NS:.3f} s apart, allowed {self._limits.skew:g} s"
            )
        # The freshest pair first: age of its older image, then its skew.
        return max(pairs, key=lambda pair: (min(pair[0][0], pair[1][0]), -abs(pair[0][0] - pair[1][0])))

    def _refuse_camera(self, name: str, now_ns: int) -> None:
        newest = self._images[name].newest_stamp()
        if newest is None:
            raise ObservationError(f"camera {name} missing: no image has come yet")
        age = (now_ns - newest) / NS
        if age < 0:
            raise ObservationError(
                f"camera {name} refused: its stamp lies {-age:.3f} s in the future, allowed {self._limits.future:g} s"
                " (compare the clocks of the two computers)"
            )
        raise ObservationError(
            f"camera {name} stale: newest image is {age:.3f} s old, allowed {self._limits.image_stale:g} s"
        )

    def _near(self, ring: StampedRing[_S], what: str, stamp_ns: int, now_ns: int) -> _S:
        found = ring.nearest(stamp_ns, now_ns + round(self._limits.future * NS))
        if found is None:
            newest = ring.newest_stamp()
            if newest is None:
                raise ObservationError(f"{what} missing: no sample has come yet")
            raise ObservationError(
                f"{what} refused: its stamp lies {(newest - now_ns) / NS:.3f} s in the future,"
                f" allowed {self._limits.future:g} s"
            )
        gap = abs(found[0] - stamp_ns) / NS
        if gap > self._limits.state_gap:
            raise ObservationError(
                f"{what} stale: nearest sample is {gap:.3f} s from the image, allowed {self._limits.state_gap:g} s"
            )
        return found[1]
