"""The plots of docs/how-to/motion.md, drawn from the real driver on an injected clock: `reconvla bench driver --plots DIR`.

`soak_rig.Rig` runs `DriverCore` and `PiperArm` on the virtual bus. What is drawn is what `PiperArm.send` was given, before the
bus rounds it to 0.001 degree: a third difference of rounded values at 5 ms is noise of 500 rad/s^3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.soak_rig import Rig
from reconvla_ros.errors import SetupError
from reconvla_ros.task.chunk_player import ChunkPlayer, Event
from reconvla_ros.types import ActionChunk, Float, JointCommand, Pose

_STEP_DT, _STEPS = 0.1, 10  # [s], [1] of a chunk
_LATENCY = 0.2  # [s] between the observation and its chunk: the camera's and the model's time
_SPEED = 0.06  # [m/s] that the chunks ask for, below the limit of 0.10
_COLOURS = ("#0b6e99", "#c8553d", "#588157", "#8f5db7", "#b08900", "#555555")


@dataclass
class Tape:
    """What was sent, tick by tick: `joints` (6,) [rad] each; `moving` whether the driver said so."""

    period: float
    joints: list[Float] = field(default_factory=list)
    moving: list[bool] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)  # what happened when [s]

    @property
    def now(self) -> float:
        """Time of the newest entry [s]."""
        return len(self.joints) * self.period

    def derivative(self, order: int) -> tuple[Float, Float]:
        """Times (T,) [s] and the differences of that order (T, 6) [rad/s^order]."""
        path = np.array(self.joints)
        values: Float = np.diff(path, n=order, axis=0) / self.period**order
        times: Float = (np.arange(len(values), dtype=np.float64) + order / 2.0) * self.period
        return times, values


class Stage:
    """A rig at the ready position that records what is sent. Use as a context manager."""

    def __init__(self, config: DriverConfig) -> None:
        self.rig = Rig(config)
        self.tape = Tape(1.0 / config.rate)
        self._sequence = 0

    def __enter__(self) -> Stage:
        rig = self.rig
        rig.step()
        rig.enable()
        rig.core.ready()
        for _ in range(10_000):
            rig.step()
            if rig.core.standing and rig.core.holder == "none":
                break
        else:
            raise SetupError("the plots: the ready position is not reached with these parameters")
        self._sent = self.rig.measured
        send = rig._arm.send

        def recorded(command: JointCommand) -> None:
            self._sent = command.position
            send(command)

        rig._arm.send = recorded  # type: ignore[method-assign]
        rig.core.set_task("plot")
        for _ in range(50):  # the held target is repeated now and then: the record begins with what is really held
            rig.step()
        return self

    def __exit__(self, *details: object) -> None:
        self.rig.__exit__(*details)

    @property
    def tcp(self) -> Pose:
        """Where the TCP is measured."""
        assert self.rig.last is not None and self.rig.last.tcp is not None
        return self.rig.last.tcp

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass; `each` is called after every tick."""
        for _ in range(round(seconds / self.tape.period)):
            self.rig.step()
            self.tape.joints.append(self._sent)
            self.tape.moving.append(not self.rig.core.standing)
            each()

    def chunk(self, start: Pose, direction: tuple[float, float, float], steps: int = _STEPS) -> ActionChunk:
        """A straight way from `start`, observed now."""
        self._sequence += 1
        way = np.arange(1, steps + 1)[:, None] * (_SPEED * _STEP_DT) * np.array(direction)
        return ActionChunk(
            self.rig.clock.ros_ns, "plot", self._sequence, _STEP_DT, start, start.position + way,
            np.tile(start.quaternion, (steps, 1)), np.full(steps, 0.03),
        )  # fmt: skip

    def give(self, chunk: ActionChunk) -> None:
        """Hand it to the driver."""
        accepted = self.rig.core.accept_chunk(chunk, self.rig.clock.mono_ns, self.rig.clock.ros_ns)
        assert accepted.ok, accepted.detail


def hand_over(config: DriverConfig) -> tuple[Tape, Tape]:
    """A second chunk arrives while the first runs, and wants elsewhere: (steps sent as they come, our motion)."""
    with Stage(config) as stage:
        tape, clock = stage.tape, stage.rig.clock
        naive, player = Tape(tape.period), ChunkPlayer(config.chunk_age)
        player.set_task("plot")
        kinematics, last = Kinematics(tcp_offset=config.tcp_offset), [stage.rig.measured]

        def stream() -> None:
            due = player.due(clock.mono_ns)
            if due.event is Event.STEP and due.chunk is not None:
                last[0] = kinematics.solve(due.chunk.pose(due.step), last[0])
            naive.joints.append(last[0])

        def observe_wait_give(name: str, direction: tuple[float, float, float]) -> None:
            chunk = stage.chunk(stage.tcp, direction)
            stage.run(_LATENCY, stream)
            stage.give(chunk)
            player.accept(chunk, clock.mono_ns, clock.ros_ns)
            naive.marks[name] = tape.marks[name] = tape.now

        stage.run(0.1, stream)
        observe_wait_give("first chunk", (0.8, 0.0, -0.6))
        stage.run(0.45, stream)
        observe_wait_give("second chunk", (-0.3, 0.9, 0.3))
        stage.run(1.4, stream)
        return naive, tape


def starvation(config: DriverConfig) -> Tape:
    """One chunk of half a second, and then nothing comes."""
    with Stage(config) as stage:
        stage.run(0.1)
        stage.give(stage.chunk(stage.tcp, (0.5, 0.7, -0.5), steps=8))
        stage.tape.marks["chunk"] = stage.tape.now
        stage.run(8 * _STEP_DT)
        stage.tape.marks["chunk ends, nothing comes"] = stage.tape.now
        stage.run(0.7)
        return stage.tape


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise SetupError(
            f"the plots need matplotlib, which is not installed ({error}); remedy: pip install -r requirements/test.txt"
        ) from error
    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                            "grid.alpha": 0.25, "svg.hashsalt": "reconvla"})  # fmt: skip
    return pyplot


def draw(folder: Path, config: DriverConfig | None = None) -> list[Path]:
    """Write the plots.

    Returns:
        hand-over.png and starvation.png in `folder`.

    Raises:
        SetupError: matplotlib is not installed, or the folder cannot be written.
    """
    pyplot = _pyplot()
    config = config or DriverConfig(arm="sim", can_interface="virtual", dry_run=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "hand-over.png", folder / "starvation.png"]
        for path, figure in zip(
            paths, (_draw_hand_over(pyplot, config), _draw_starvation(pyplot, config)), strict=True
        ):
            figure.savefig(path, dpi=110, metadata={"Software": None})
            pyplot.close(figure)
    except OSError as error:
        raise SetupError(f"--plots {folder}: cannot be written ({error})") from error
    return paths


def _draw_hand_over(pyplot: Any, config: DriverConfig) -> Any:
    sides = hand_over(config)
    figure, axes = pyplot.subplots(3, 2, figsize=(10, 7), sharex=True, sharey="row", layout="constrained")
    for column, (tape, title) in enumerate(
        zip(sides, ("before: each step sent as it falls due", "our motion"), strict=True)
    ):
        for order in range(3):
            _panel(axes[order, column], tape, (0, 1, 3)[order], config)
        peak = [float(np.abs(tape.derivative(n)[1]).max()) for n in (1, 3)]
        axes[0, column].set_title(f"{title}\nlargest velocity {peak[0]:.2f} rad/s, jerk {peak[1]:,.0f} rad/s³")
        axes[1, column].set_yscale("symlog", linthresh=1.0, linscale=2.5)
        axes[2, column].set_yscale("symlog", linthresh=100.0, linscale=2.0)
        axes[2, column].set_xlabel("time [s]")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False)
    return figure


def _draw_starvation(pyplot: Any, config: DriverConfig) -> Any:
    tape = starvation(config)
    figure, axes = pyplot.subplots(3, 1, figsize=(8, 6.5), sharex=True, layout="constrained")
    for axis, order in zip(axes, (0, 1, 2), strict=True):
        _panel(axis, tape, order, config)
    held = tape.moving.index(False, round(tape.marks["chunk ends, nothing comes"] / tape.period)) * tape.period
    for axis in axes:
        axis.axvspan(held, tape.now, color="#588157", alpha=0.10, lw=0)
    after = (held - tape.marks["chunk ends, nothing comes"]) * 1e3
    axes[0].set_title(f"the chunk ends and nothing comes: it decelerates, and holds {after:.0f} ms later (green)")
    axes[2].set_xlabel("time [s]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False)
    return figure


def _panel(axis: Any, tape: Tape, order: int, config: DriverConfig) -> None:
    """One quantity of every joint; position is shown from where it began. Dashed: the limit."""
    times, values = tape.derivative(order)
    values = values - values[0] if order == 0 else values
    label = ("position\nfrom the start [rad]", "velocity [rad/s]", "acceleration [rad/s²]", "jerk [rad/s³]")[order]
    bound = (None, config.joint_speed, config.stop_acceleration, config.joint_jerk)[order]
    for joint in range(6):
        axis.plot(times, values[:, joint], color=_COLOURS[joint], lw=1.2, label=f"joint{joint + 1}")
    if bound is None:
        axis.margins(y=0.2)  # room for the words
    else:
        for sign in (-1.0, 1.0):
            axis.axhline(sign * bound, color="black", ls="--", lw=0.7)
    for name, at in tape.marks.items():
        axis.axvline(at, color="black", lw=0.8, ls=":")
        if order == 0:
            axis.annotate(name, (at, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -3), va="top", size=8,
                          textcoords="offset points", bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5})  # fmt: skip
    axis.set_ylabel(label)
