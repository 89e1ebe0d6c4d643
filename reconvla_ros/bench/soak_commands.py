"""What the soak asks of the driver: model-like, hostile and senseless, from one seed."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from reconvla_ros.arm.rotations import slerp
from reconvla_ros.errors import ReconVlaError
from reconvla_ros.safety.supervisor import State
from reconvla_ros.sim.faults import Faults
from reconvla_ros.types import ActionChunk, EeCommand, Float, Pose

SPECIAL = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -1e-310, -0.0, 1e6, -1e6)
TASK = "soak"
_PUSH_STEP = 0.005  # [rad] in one tick: 1 rad/s, a hearty push
# How often each, relative to the others of its row.
_SERVICES = {"stop": 6, "clear_stop": 3, "home": 3, "ready": 8, "release": 2, "halt": 2, "disable": 4, "damped_stop": 0.3,
             "enable": 2}  # fmt: skip
_FAULTS = {"push": 4, "silent": 3, "stuck": 1, "zero": 1, "blocked": 3, "power_loss": 1, "status": 1, "collision": 1,
           "e_stop": 0.3, "teach": 1, "powerless": 0.5, "joint_comm": 1, "motor_hot": 1, "over_current": 1, "driver_error": 1,
           "stall": 1}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """One way to ask: the source, mean commands a tick, and how often (weights) each kind."""

    name: str
    source: str
    rate: float
    kinds: dict[str, float]


STYLES = (
    Style("model", "policy", 0.15, {"chunk": 20, "bad_chunk": 1, "service": 0.1, "fault": 0.1}),
    Style("restless model", "policy", 1.0, {"chunk": 20, "bold_chunk": 10, "bad_chunk": 5, "fault": 0.05}),
    Style("teleop", "teleop", 0.5, {"near": 40, "service": 0.1, "fault": 0.2}),
    Style("burst of 1 kHz", "teleop", 5.0, {"near": 10, "bad_ee": 1}),
    Style("extremes", "teleop", 0.3, {"extreme": 1}),
    Style("extremes of 1 kHz", "replay", 5.0, {"extreme": 20, "near": 1, "fault": 0.02}),
    Style("garbage", "teleop", 3.0, {"near": 1, "bad_ee": 5, "bad_chunk": 5, "corrupt": 2}),
    Style(
        "everybody",
        "replay",
        1.0,
        {"near": 5, "chunk": 5, "bold_chunk": 2, "bad_ee": 2, "source": 1, "service": 0.5, "fault": 0.3},
    ),
    Style("home and away", "home", 0.02, {"service": 2, "near": 1, "fault": 1}),
)


class Commander:
    """Asks `rig` (a `Rig` or what looks like one) for things; `sent` counts commands, `outcome` what came ("kind reason")."""

    def __init__(self, rig: Any, seed: int) -> None:
        self._rig, self._core, self._clock = rig, rig.core, rig.clock
        self._random = Random(seed)
        self._sequence = itertools.count()
        self._kinds: dict[str, Callable[[], str]] = {
            "chunk": self._chunk, "bold_chunk": self._bold_chunk, "bad_chunk": self._bad_chunk,
            "near": self._near, "extreme": self._extreme, "bad_ee": self._bad_ee, "corrupt": self._corrupt,
            "source": self._source, "service": self._service, "fault": self._fault,
        }  # fmt: skip
        self._side = 1.0
        self._stamp = 0
        self._damped = False
        self.sent = 0
        self.outcome: Counter[str] = Counter()

    def phase(self, style: Style, ticks: int, most: int) -> None:
        """Ask in one style for `ticks` periods, with the arm powered and the source in hand to begin with."""
        self._prepare(style)
        names, weights = list(style.kinds), list(style.kinds.values())
        for _ in range(ticks):
            count = int(style.rate) + (self._random.random() < style.rate % 1.0)
            for _ in range(count):
                if self.sent >= most:
                    return
                self._ask(self._random.choices(names, weights)[0])
            self._rig.step()
            self._tend()

    def _prepare(self, style: Style) -> None:
        if style.source == "policy":
            self._core.set_source("none")
            self._core.set_task(None)
            self._core.set_task(TASK)
        elif style.source != "home":
            self._core.set_source("none")
            self._core.set_source(style.source)

    def _ask(self, kind: str) -> None:
        self.sent += 1
        try:
            said = self._kinds[kind]()
        except ReconVlaError as error:
            said = type(error).__name__
        self.outcome[f"{kind}: {said}"] += 1

    def _tend(self) -> None:
        """The operator: clears stops and faults after a while, powers the arm, and cycles the power after an e-stop."""
        last = self._rig.last
        if last is None or self._random.random() > 0.03:
            return
        if self._damped:
            self._rig.judge.expect("reset")
            self._core.power_cycle()
            self._damped = False
        elif last.decision.state is State.DISABLED and not self._core.stop_latched:
            self._ask_service("enable", self._rig.enable)
        elif self._core.stop_latched or last.decision.state is State.FAULT:
            self._ask_service("clear_stop", self._core.clear_stop)

    def _ask_service(self, name: str, call: Callable[[], object]) -> None:
        self.sent += 1
        try:
            call()
            self.outcome[f"{name}: called"] += 1
        except ReconVlaError as error:
            self.outcome[f"{name}: {type(error).__name__}"] += 1

    # --- targets -----------------------------------------------------------------------------------------------------
    def _tcp(self) -> Pose:
        return self._core.kinematics.tcp(self._rig.measured)

    def _vector(self, size: float) -> Float:
        return np.array([self._random.gauss(0.0, size) for _ in range(3)])

    def _turned(self, quaternion: Float, share: float) -> Float:
        other = np.array([self._random.gauss(0.0, 1.0) for _ in range(4)])
        return slerp(quaternion, other / np.linalg.norm(other), share)

    def _give_chunk(self, size: float, turn: float, age: float = 0.0, **changes: object) -> str:
        anchor, steps = self._tcp(), self._random.randint(1, 8)
        way = np.cumsum(self._vector(size) + np.array([self._vector(size / 3.0) for _ in range(steps)]), axis=0)
        end = self._turned(anchor.quaternion, turn)
        stamp = self._clock.ros_ns - int(age * 1e9)
        if 0.0 <= age < 1.0:  # a policy's observations follow one another
            self._stamp = stamp = max(stamp, self._stamp + 1)
        values: dict[str, object] = {
            "stamp_ns": stamp, "task_id": TASK, "sequence": next(self._sequence),
            "step_dt": self._random.choice((0.02, 0.1, 0.3)), "anchor": anchor, "positions": anchor.position + way,
            "quaternions": np.array([slerp(anchor.quaternion, end, (k + 1) / steps) for k in range(steps)]),
            "gripper": np.array([self._random.uniform(0.0, 0.07) for _ in range(steps)]),
        }  # fmt: skip
        values.update(changes)
        return self._send_chunk(values)

    def _send_chunk(self, values: dict[str, Any]) -> str:
        accepted = self._core.accept_chunk(ActionChunk(**values), self._clock.mono_ns, self._clock.ros_ns)
        return "ok" if accepted.ok else accepted.reason

    def _chunk(self) -> str:
        return self._give_chunk(0.008, 0.05, self._random.uniform(0.0, 0.3))

    def _bold_chunk(self) -> str:
        return self._give_chunk(self._random.choice((0.03, 0.1, 0.5)), self._random.random(), 0.0)

    def _bad_chunk(self) -> str:
        special = self._random.choice(SPECIAL)
        positions, turns = np.zeros((3, 3)), np.tile([0.0, 0.0, 0.0, 1.0], (3, 1))
        positions[self._random.randrange(3), self._random.randrange(3)] = special
        options: tuple[dict[str, object], ...] = (
            {"age": 30.0}, {"age": -5.0}, {"task_id": "another"}, {"task_id": ""}, {"sequence": 0, "age": 1.5},
            {"stamp_ns": self._stamp - 1},
            {"step_dt": special}, {"gripper": np.array([special])}, {"positions": positions},
            {"positions": positions, "quaternions": turns, "gripper": np.zeros(3)},
            {"quaternions": np.zeros((1, 4))}, {"positions": np.zeros((0, 3))}, {"positions": np.zeros((3, 2))},
            {"anchor": Pose(np.array([0.9, 0.9, 0.9]), np.array([0.0, 0.0, 0.0, 1.0]))}, {"confidence": np.ones(99)},
        )  # fmt: skip
        return self._give_chunk(0.02, 0.1, **self._random.choice(options))  # type: ignore[arg-type]

    def _give_ee(self, position: Float, quaternion: Float, gripper: float | None, age: float = 0.0) -> str:
        source = self._core.holder if self._core.holder not in ("none", "policy", "home") else "teleop"
        if self._random.random() < 0.02:
            source = self._random.choice(("policy", "teleop", "home", "replay", "nobody"))
        return self._send_ee(self._clock.ros_ns - int(age * 1e9), source, position, quaternion, gripper)

    def _send_ee(self, stamp_ns: int, source: str, position: Float, quaternion: Float, gripper: float | None) -> str:
        command = EeCommand(stamp_ns, source, Pose(position, quaternion), gripper)
        accepted = self._core.accept_ee(command, self._clock.mono_ns, self._clock.ros_ns)
        return "ok" if accepted.ok else accepted.reason

    def _near(self) -> str:
        tcp = self._tcp()
        opening = self._random.choice((None, 0.0, 0.07, 0.03, -0.01, 0.09))
        return self._give_ee(
            tcp.position + self._vector(self._random.choice((0.002, 0.02, 0.06))),
            self._turned(tcp.quaternion, self._random.choice((0.0, 0.05, 0.3))), opening, self._random.uniform(0, 0.1),
        )  # fmt: skip

    def _extreme(self) -> str:
        """To and fro at full distance: across, into the table, over the wrist, through every limit."""
        tcp, self._side = self._tcp(), -self._side
        axis = np.eye(3)[self._random.randrange(3)] if self._random.random() < 0.1 else np.array([0.3, 0.8, -0.5])
        turn = self._random.choice((0.0, 0.9))
        return self._give_ee(
            tcp.position + self._side * self._random.uniform(0.05, 0.29) * axis, self._turned(tcp.quaternion, turn),
            0.035 + 0.035 * self._side,
        )  # fmt: skip

    def _bad_ee(self) -> str:
        tcp, special = self._tcp(), self._random.choice(SPECIAL)
        position, quaternion = tcp.position.copy(), tcp.quaternion.copy()
        kind = self._random.randrange(7)
        if kind == 0:
            position[self._random.randrange(3)] = special
        elif kind == 1:
            quaternion[self._random.randrange(4)] = special
        elif kind == 2:
            quaternion = np.zeros(4)
        elif kind == 3:
            position = np.zeros(self._random.randrange(6))
        elif kind == 4:
            return self._give_ee(position, quaternion, special)
        else:
            return self._give_ee(position, quaternion, None, self._random.choice((0.31, 5.0, 1e6, -0.06, -1e5)))
        return self._give_ee(position, quaternion, None)

    def _corrupt(self) -> str:
        """A value that got past its type: the filter is the last to see it."""
        pose = self._tcp()
        broken = self._random.choice(
            (pose.position * math.nan, pose.position * math.inf, np.zeros(2), np.full(3, 1e308))
        )
        object.__setattr__(pose, "position", broken)
        if self._random.random() < 0.5:
            object.__setattr__(pose, "quaternion", self._random.choice((np.zeros(4), pose.quaternion * math.nan)))
        command = EeCommand(self._clock.ros_ns, "teleop", pose)
        object.__setattr__(command, "gripper", self._random.choice((None, math.nan, math.inf, 1e300)))
        accepted = self._core.accept_ee(command, self._clock.mono_ns, self._clock.ros_ns)
        return "ok" if accepted.ok else accepted.reason

    # --- people and the world ----------------------------------------------------------------------------------------
    def _source(self) -> str:
        source = self._random.choice(("none", "policy", "teleop", "home", "replay", "nobody", ""))
        if self._random.random() < 0.3:
            self._core.set_task(self._random.choice((None, TASK, "another")))
        return "ok" if self._core.set_source(source)[0] else "refused"

    def _service(self) -> str:
        rig, core = self._rig, self._core
        name = self._random.choices(list(_SERVICES), list(_SERVICES.values()))[0]
        if name == "stop":
            core.stop()
        elif name in ("home", "ready", "clear_stop"):
            return f"{name} {getattr(core, name)()[0]}"
        elif name == "release":
            core.release_gripper()
        elif name == "halt":
            core.halt()
        elif name == "disable":
            rig.judge.expect("disable", 6)
            try:
                core.enable(False)
            except ReconVlaError:
                rig.judge.expect("disable", -6)
                return "disable refused"
        elif name == "damped_stop":
            rig.judge.expect("estop")
            core.damped_stop()
            self._damped = True
        elif name == "enable":
            rig.enable()
        return name

    def _fault(self) -> str:
        """What befalls the arm: for a moment, or until someone clears it."""
        rig, name = self._rig, self._random.choices(list(_FAULTS), list(_FAULTS.values()))[0]
        ticks, joint = self._random.choice((3, 12, 30, 100, 300)), self._random.randint(1, 6)
        if name == "push":
            push = np.array([self._random.gauss(0.0, 0.1) for _ in range(6)])
            rig.push(push, max(10, int(np.abs(push).max() / _PUSH_STEP)))
        elif name == "power_loss":
            rig.lose_power()
        elif name in ("silent", "stuck", "zero", "blocked"):
            setattr(rig, name, ticks)
        elif name == "status":  # any, for an instant: targets clear it again
            rig.firmware.word.arm_status = self._random.choice((2, 3, 4, 5, 6, 8, 9, 10, 14, 15))
        else:
            values: dict[str, Any] = {name: True if name in ("teach", "e_stop") else joint}
            rig.fall_ill(Faults(**values), ticks)
        return name
