"""The truth about a running scene: where every thing is, whether the task is done, and what is moved on the way.

For evaluation and for the scripted expert; a policy never sees any of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconvla_ros.sim.engine import mujoco
from reconvla_ros.sim.goals import Thing
from reconvla_ros.sim.tasks import MOVE_NEAR, MOVE_TIME, Setup
from reconvla_ros.tables import TCP_OFFSET

Float = NDArray[np.float64]

HOLDS = 0.5  # [s] the goals must hold so long before the task counts as done


class Director:
    """Watches one model; `before_step` also moves what the setup says is moved.

    Attributes:
        moved_at: simulated time [s] at which the move began; None = not yet.
    """

    def __init__(self, model: Any, setup: Setup) -> None:
        self._model, self.setup = model, setup
        self._joints = {name: model.joint(name) for name in setup.names}
        self._bodies = {name: int(model.body(name).id) for name in setup.names}
        self._owner = np.array(model.geom_bodyid)
        root = int(model.body("base_link").id)
        self._arm = np.array([self._rooted(int(b), root) for b in range(model.nbody)])
        self._link6 = int(model.body("link6").id)
        self._since: float | None = None  # the goals hold since
        self.moved_at: float | None = None
        self._from: Float = np.zeros(2)

    def _rooted(self, body: int, root: int) -> bool:
        while body not in (0, root):
            body = int(self._model.body_parentid[body])
        return body == root

    def tcp(self, data: Any) -> Float:
        """Where the TCP is [m] (3,)."""
        rotation = data.xmat[self._link6].reshape(3, 3)
        return np.array(data.xpos[self._link6]) + rotation @ np.array(TCP_OFFSET)

    def things(self, data: Any) -> dict[str, Thing]:
        """Every free body now; `data` is of this model, with current kinematics."""
        touched = self._touched(data)
        found = {}
        for name, body in self._bodies.items():
            address = int(self._joints[name].dofadr[0])
            velocity = data.qvel[address : address + 6]
            found[name] = Thing(
                np.array(data.xpos[body]),
                np.array(data.xmat[body]).reshape(3, 3),
                float(np.linalg.norm(velocity[:3])),
                float(np.linalg.norm(velocity[3:])),
                body in touched,
            )
        return found

    def _touched(self, data: Any) -> set[int]:
        """Bodies that arm or gripper touch."""
        pairs = self._owner[np.array(data.contact.geom).reshape(-1, 2)]
        one, other = self._arm[pairs[:, 0]], self._arm[pairs[:, 1]]
        return {int(b) for b in np.concatenate((pairs[one & ~other, 1], pairs[other & ~one, 0]))}

    def holding(self, data: Any) -> tuple[str, ...]:
        """The goals that do not hold now, in words; none = all hold."""
        things = self.things(data)
        return tuple(str(goal) for goal in self.setup.goals if not goal.holds(things))

    def done(self, data: Any) -> bool:
        """Whether all goals hold, and have held for `HOLDS`; to be asked regularly."""
        if self.holding(data):
            self._since = None
            return False
        if self._since is None:
            self._since = float(data.time)
        return float(data.time) - self._since >= HOLDS

    def before_step(self, data: Any) -> None:
        """Begin or continue the move; cheap where nothing is to be moved."""
        move = self.setup.move
        if move is None or (self.moved_at is not None and data.time > self.moved_at + MOVE_TIME):
            return
        address = int(self._joints[move.thing].qposadr[0])
        if self.moved_at is None:
            if float(np.hypot(*(self.tcp(data)[:2] - data.qpos[address : address + 2]))) > MOVE_NEAR:
                return
            self.moved_at, self._from = float(data.time), np.array(data.qpos[address : address + 2])
        share = min(max((float(data.time) - self.moved_at) / MOVE_TIME, 0.0), 1.0)
        smooth = share * share * (3.0 - 2.0 * share)
        speed = 6.0 * share * (1.0 - share) / MOVE_TIME
        way = np.array([move.x, move.y]) - self._from
        velocity = int(self._joints[move.thing].dofadr[0])
        data.qpos[address : address + 2] = self._from + smooth * way
        data.qvel[velocity : velocity + 2] = speed * way
        data.qvel[velocity + 2 : velocity + 6] = 0.0


def follow(model: Any, data: Any, position: Float, velocity: Float) -> None:
    """Put a model where a simulator's sample says it is, contacts included."""
    data.qpos[:], data.qvel[:] = position, velocity
    mujoco.mj_forward(model, data)
