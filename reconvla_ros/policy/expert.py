"""The scripted expert as a policy: for demonstrations in simulation, recorded through the same graph as any other.

It sees what no model may see: where every thing is. In the graph it reads the simulator's shared state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from reconvla_ros.errors import ConfigError
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.weightless import Weightless
from reconvla_ros.sim.expert import Expert
from reconvla_ros.sim.goals import Things
from reconvla_ros.sim.tasks import Setup
from reconvla_ros.types import ActionChunk, Observation

if TYPE_CHECKING:
    from reconvla_ros.sim.shared_state import StateReader

NS = 1_000_000_000


class ExpertPolicy(Weightless):
    """Chunks of an `Expert`.

    Args:
        setup: of the scene now; asked at the beginning of each task.
        truth: where every thing is now.
        steps, step_dt: of a chunk [1], [s]; those of the PiPER contract.
        seed: of the hand's small errors; the setup's own by default.
    """

    def __init__(
        self,
        setup: Callable[[], Setup],
        truth: Callable[[], Things],
        steps: int = 5,
        step_dt: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__(steps, step_dt)
        self._setup, self._truth, self._seed = setup, truth, seed
        self._expert: Expert | None = None

    @property
    def doing(self) -> str:
        """What it is after now."""
        return self._expert.doing if self._expert is not None else "nothing"

    @property
    def attempts(self) -> int:
        """How often it has begun to take something."""
        return self._expert.attempts if self._expert is not None else 0

    def reset(self) -> None:
        """The next observation begins the task."""
        self._expert = None

    def infer(self, observation: Observation, plan: Plan | None = None) -> ActionChunk:
        """The next steps towards the goals.

        Raises:
            ConfigError: the scene has no task.
        """
        began = time.monotonic()
        if self._expert is None:
            self._expert = Expert(self._setup(), seed=self._seed)
        targets = self._expert.targets(
            observation.stamp_ns,
            self._truth(),
            observation.tcp,
            observation.state,
            round(self.step_dt * NS),
            self.steps,
        )
        return self.chunk(
            observation,
            began,
            np.array([pose.position for pose, _ in targets]),
            np.array([pose.quaternion for pose, _ in targets]),
            np.array([opening for _, opening in targets]),
        )


class SharedTruth:
    """The truth about the scene of a running simulator, from its shared state.

    Args:
        bus: name of its CAN bus, as `sim.bus.BusConfig.name` gives it.
    """

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self._reader: StateReader | None = None

    def setup(self) -> Setup:
        """What is asked for in the scene that runs; attaches to it.

        Raises:
            ArmError: no simulator runs there. ConfigError: its scene has no task.
        """
        from reconvla_ros.sim.director import Director
        from reconvla_ros.sim.engine import mujoco
        from reconvla_ros.sim.scenes import make
        from reconvla_ros.sim.shared_state import StateReader, path_for

        if self._reader is not None:
            self._reader.close()
        self._reader = StateReader(path_for(self._bus))
        identity = self._reader.identity
        scene = make(identity.scene, identity.seed)
        if scene.setup is None:
            raise ConfigError(f"policy expert: scene {identity.scene!r} has no task")
        self._model = mujoco.MjModel.from_xml_string(scene.mjcf, scene.assets)
        self._data = mujoco.MjData(self._model)
        self._director = Director(self._model, scene.setup)
        return scene.setup

    def things(self) -> Things:
        """Where every thing is now."""
        from reconvla_ros.sim.director import follow

        assert self._reader is not None, "setup comes first"
        sample = self._reader.latest()
        if sample is not None:
            follow(self._model, self._data, sample.position, sample.velocity)
        return self._director.things(self._data)
