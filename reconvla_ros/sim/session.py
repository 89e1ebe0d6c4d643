"""Episodes without the graph: the real driver core, the simulated arm and rendered cameras, on a clock of their own.

One process, one thread; nothing waits, so an episode passes as fast as it can be computed. Observations come from the same
assembly as in the graph, chunks go through the same driver core, and late chunks are late: `latency` says by how much.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.errors import ArmError, ConfigError
from reconvla_ros.observation.assemble import ObservationAssembler
from reconvla_ros.sim.direct_arm import PERIOD_NS, DirectArm
from reconvla_ros.sim.render import Renderer
from reconvla_ros.sim.scenes import CAMERAS, Scene
from reconvla_ros.types import ActionChunk, CameraFrame, Observation

NS = 1_000_000_000
TASK_ID = "in-process"
VIEWS = dict(zip(CAMERAS, ("base", "wrist"), strict=True))
_READY = 20.0  # [s] to get to the ready position
_REST = 0.2  # [s] the arm stands before the task begins


@dataclass(frozen=True)
class SessionConfig:
    """How an episode is run.

    Attributes:
        width, height: of the images [px]. camera_rate: [Hz]. policy_rate: chunks per second at most [Hz].
        latency: from the capture of an observation to the arrival of its chunk [s].
        images: False renders nothing; then no policy that looks can be run.
        tail: how long the episode goes on after the task is done, or given up [s].
    """

    width: int = 320
    height: int = 240
    camera_rate: float = 10.0
    policy_rate: float = 5.0
    latency: float = 0.0
    images: bool = True
    tail: float = 0.5

    def __post_init__(self) -> None:
        for name in ("camera_rate", "policy_rate"):
            rate = getattr(self, name)
            cycles = NS / PERIOD_NS / rate if rate > 0 else 0.5
            if abs(cycles - round(cycles)) > 1e-6 or cycles < 1:
                raise ConfigError(f"{name}: must divide the 200 Hz of the arm, got {rate:g}")


class Watcher(Protocol):
    """Sees everything an episode does, in the order of its clock."""

    def tick(self, result: TickResult, session: Session) -> None:
        """One tick of the driver."""

    def frame(self, camera: str, frame: CameraFrame) -> None:
        """One picture."""

    def chunk(self, chunk: ActionChunk) -> None:
        """One chunk, as it arrives at the driver."""


@dataclass(frozen=True)
class Result:
    """How an episode went.

    Attributes:
        success: the goals held for half a second before time was up. seconds: until then, or until it was given up [s].
        chunks: given. refused: chunks the driver refused. reasons: of the driver's judgements, counted.
        missing: the goals that did not hold at the end.
    """

    success: bool
    seconds: float
    chunks: int
    refused: int
    reasons: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Session:
    """One scene from its start; use once. As a context manager it gives OpenGL back.

    Args:
        scene: of a task, for `run`; any other can be driven by hand.
        config: of the episode. driver: parameters, those of a first motion by default.
        watcher: sees everything; None = nobody.

    Attributes:
        arm: the simulated one. core: the driver. driver: its parameters. last: newest tick.
    """

    def __init__(
        self,
        scene: Scene,
        config: SessionConfig | None = None,
        driver: DriverConfig | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.scene, self.config = scene, config or SessionConfig()
        self.driver = driver or DriverConfig(dry_run=False)
        self.arm = DirectArm(scene, self.driver.speed_percent, self.driver.gripper_effort)
        self.core = DriverCore(self.arm, self.driver)
        self.watcher = watcher
        self._assembler = ObservationAssembler()
        self._renderer = (
            Renderer(self.arm.world.model, CAMERAS[0], self.config.width, self.config.height)
            if self.config.images
            else None
        )
        self._pending: deque[tuple[int, ActionChunk]] = deque()
        self._refused: Counter[str] = Counter()
        self._cycles, self._chunks = 0, 0
        self._camera_every = round(NS / PERIOD_NS / self.config.camera_rate)
        self._policy_every = round(NS / PERIOD_NS / self.config.policy_rate)
        self.last: TickResult | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give OpenGL back; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    @property
    def now_ns(self) -> int:
        """ROS time [ns]."""
        return self.arm.ros_ns

    @property
    def refused(self) -> dict[str, int]:
        """Chunks that the driver refused, by reason."""
        return dict(self._refused)

    def step(self) -> TickResult:
        """One cycle of arm and driver, 5 ms; pictures when they are due."""
        self.arm.cycle()
        self._cycles += 1
        while self._pending and self._pending[0][0] <= self.now_ns:
            self._deliver(self._pending.popleft()[1])
        result = self.core.tick(self.arm.now_ns, self.now_ns)
        self.last = result
        if result.state is not None and result.tcp is not None:
            self._assembler.add_state(result.state)
            self._assembler.add_tcp(result.state.stamp_ns, result.tcp)
        if self.watcher is not None:
            self.watcher.tick(result, self)
        if self._renderer is not None and self._cycles % self._camera_every == 0:
            self._look(self._renderer)
        return result

    def _look(self, renderer: Renderer) -> None:
        for camera, view in VIEWS.items():
            color, depth = renderer.render(self.arm.world.data, camera)
            self._assembler.add_image(view, self.now_ns, color)
            if self.watcher is not None:
                frame = CameraFrame(
                    self.now_ns, f"{camera}_color_optical_frame", color, depth, renderer.intrinsics_of(camera)
                )
                self.watcher.frame(camera, frame)

    def _deliver(self, chunk: ActionChunk) -> None:
        if self.watcher is not None:
            self.watcher.chunk(chunk)
        accepted = self.core.accept_chunk(chunk, self.arm.now_ns, self.now_ns)
        if not accepted.ok:
            self._refused[accepted.reason] += 1

    def get_ready(self) -> None:
        """Power the motors and go to where tasks begin.

        Raises:
            ArmError: it does not get there.
        """
        for _ in range(5):
            self.step()
        self.core.enable(True)
        for _ in range(10):
            self.step()
        granted, why = self.core.ready()
        end = self.now_ns + round(_READY * NS)
        while granted and (self.core.holder != "none" or not self.core.standing):
            self.step()
            if self.now_ns > end:
                granted, why = False, f"it is not there after {_READY:g} s"
        if not granted:
            raise ArmError(f"the simulated arm does not get ready: {why}")
        self.rest(_REST)

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * NS / PERIOD_NS)):
            self.step()

    def observe(self, instruction: str) -> Observation:
        """What a policy sees now.

        Raises:
            ObservationError: what is missing.
        """
        return self._assembler.assemble(self.now_ns, instruction, TASK_ID)

    def run(self, policy: Callable[[Observation], ActionChunk], instruction: str = "", timeout: float = 0.0) -> Result:
        """The task from here on, by `policy`, until it is done or time is up.

        Args:
            instruction: default the one that the seed chose. timeout: [s]; 0 = that of the task.

        Raises:
            ConfigError: a scene without a task.
        """
        setup, director = self.scene.setup, self.arm.world.director
        if setup is None or director is None:
            raise ConfigError(f"scene {self.scene.name!r}: has no task")
        words, begin = instruction or setup.instruction, self.now_ns
        end = begin + round((timeout or setup.timeout) * NS)
        self.core.set_task(TASK_ID)
        done = False
        while not done and self.now_ns < end:
            # At the beat of the cameras, so that a chunk is made of a picture of this instant.
            if self._cycles % self._policy_every == 0:
                chunk = policy(self.observe(words) if self.config.images else self._blind(words))
                self._chunks += 1
                self._pending.append((self.now_ns + round(self.config.latency * NS), chunk))
            self.step()
            if self._cycles % self._camera_every == 0:
                done = director.done(self.arm.world.data)
        seconds = (self.now_ns - begin) / NS
        missing = director.holding(self.arm.world.data)
        self._pending.clear()
        self.core.set_task(None)
        self.rest(self.config.tail)
        return Result(done, seconds, self._chunks, sum(self._refused.values()), dict(self.core.reasons), missing)

    def _blind(self, instruction: str) -> Observation:
        """For a policy that does not look: one pixel a view."""
        assert self.last is not None and self.last.state is not None and self.last.tcp is not None
        dark = np.zeros((1, 1, 3), np.uint8)
        return Observation(self.now_ns, dark, dark, self.last.state, self.last.tcp, instruction, TASK_ID)
