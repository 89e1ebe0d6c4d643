"""What pushes on the arm: measured joint efforts less what its own weight takes, debounced.

The estimate is static: masses of `tables.BODIES`, no friction, no acceleration, no payload. So the bound it is compared with must
leave room for those; its default is above the arm's own weight at full stretch, so that an arm that reports zeros is not
taken for one that is pushed.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from reconvla_ros.safety.body import Body
from reconvla_ros.tables import BODIES
from reconvla_ros.types import N_JOINTS, Float

GRAVITY = 9.81  # [m/s^2], along -z of base_link: the base stands upright
SAMPLES = 3  # so many measurements in a row must agree that something pushes
_FINGERS = (0.0, 0.0, 0.118)  # [m] both fingers together, in tool0; one more is the same left and right


def _centres(gripper: bool) -> tuple[Float, Float]:
    """Mass that each joint carries (6,) [kg]; mass times centre of mass (6, 4) [kg m, kg] of each link, a gripper with link6."""
    mass, first = np.zeros(N_JOINTS), np.zeros((N_JOINTS, 4))
    parts = [(link, BODIES[f"link{link + 1}"].mass, BODIES[f"link{link + 1}"].com) for link in range(N_JOINTS)]
    if gripper:
        parts.append((N_JOINTS - 1, BODIES["gripper_base"].mass, BODIES["gripper_base"].com))
        parts.append((N_JOINTS - 1, 2.0 * BODIES["finger"].mass, _FINGERS))
    for link, kilograms, com in parts:
        mass[link] += kilograms
        first[link] += kilograms * np.array([*com, 1.0])
    return np.cumsum(mass[::-1])[::-1], first


_CENTRES = {gripper: _centres(gripper) for gripper in (False, True)}


def gravity_torque(body: Body, joints: Float, gripper: bool = True) -> Float:
    """What the joints (6,) [rad] must give to carry the arm (6,) [N m], positive along the joint; `gripper` is fitted or not."""
    outward, first = _CENTRES[gripper]
    frames = body.frames(joints[None])[0]
    moment = np.cumsum((frames @ first[:, :, None])[::-1, :3, 0], axis=0)[::-1]
    lever = moment - outward[:, None] * frames[:, :3, 3]
    axis = frames[:, :3, 2]
    return GRAVITY * (axis[:, 0] * lever[:, 1] - axis[:, 1] * lever[:, 0])


class ExternalEffort:
    """Debounced external effort.

    Args:
        body: of the arm.
        every: only each `every`-th measurement is taken, to save time.

    Attributes:
        value: what `feel` said last.
    """

    def __init__(self, body: Body, every: int = 4) -> None:
        self._body, self._every, self._count = body, every, 0
        self._last: deque[Float] = deque(maxlen=SAMPLES)
        self.value: Float | None = None

    def feel(self, joints: Float, effort: Float) -> Float | None:
        """Take a measurement (6,) [rad], (6,) [N m]; the external effort that the last ones agree on (6,) [N m].

        None while there are too few, or when the arm reports none (all zeros).
        """
        self._count += 1
        if self._count % self._every:
            return self.value
        if not effort.any():
            self._last.clear()
            self.value = None
            return None
        self._last.append(effort - gravity_torque(self._body, joints))
        if len(self._last) < SAMPLES:
            return None
        # The least of them where all have the same sign, else nothing.
        low, high = np.min(self._last, axis=0), np.max(self._last, axis=0)
        self.value = np.where(low > 0.0, low, np.where(high < 0.0, high, 0.0))
        return self.value
