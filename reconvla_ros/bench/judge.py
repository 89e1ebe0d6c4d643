"""What a host put on the bus, judged without any code of the driver: own decoding, own kinematics, own bounds.

Frames (piper_sdk 0.6.2): 0x155..0x157 two joints each [0.001 degree], 0x159 gripper [0.001 mm, 0.001 N m, code, zero],
0x151 mode, 0x150 stop, 0x471 motor power; eight bytes, big-endian. Targets are judged on the nominal tick: where the
target stands at the end of each tick, changed or not.

A target may leap in two cases only, and only to where the arm is: the first one that is sent with power, and one for an
arm that stands elsewhere than at its target. What is sent while no motor has power moves nothing and is not judged.
"""

from __future__ import annotations

import math
import struct
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from reconvla_ros.bench.judge_bounds import Bounds, tcp_of
from reconvla_ros.types import Float

QUANTUM = math.radians(1e-3)  # [rad] one count of a joint target
_OPENING = 1e-6  # [m] one count of a gripper target
_JOINT_IDS = (0x155, 0x156, 0x157)
_QUERIES = frozenset({0x472, 0x477, 0x4AF})  # they ask, and change nothing
_REACH = 1.0  # [m] no joint of the arm has a longer lever on the TCP
_BATCH = 8192  # ticks judged at once
_EXAMPLES = 5  # of each kind
_SEED_NEAR = 0.01  # [rad] a target that starts anew lies this near to the measured arm
_AWAY = 0.04  # [rad] an arm further than this from its target is not where it was sent
_STANDS = (20, 0.011)  # ticks, [rad]: an arm that moved less in this time stands


class Judge:
    """Takes every frame in order (`frame`) and the end of each tick (`end_tick`); `finish` judges the rest.

    Attributes:
        violations: how often each kind. examples: the first few of each kind, in words.
        extremes: the largest joint speed [rad/s] and acceleration [rad/s^2], TCP speed [m/s], and way of all joints [rad].
        freezes: ticks in which a stop or a fault brought the target to a stand, beyond the acceleration bound.
        seeds: targets that started anew.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.frames = self.ticks = self.freezes = self.seeds = 0
        self.frozen_ticks, self.violations = list[int](), Counter[str]()
        self.examples: dict[str, list[str]] = {}
        self.extremes = {"joint_speed": 0.0, "joint_acceleration": 0.0, "tcp_speed": 0.0, "way": 0.0}
        self._asked: Counter[str] = Counter()
        self._joints: list[int] | None = None
        self._coming: list[int] = []
        self._opening: int | None = None
        self._fresh = False  # a joint target came in this tick
        self._carried = 0  # rows in front that were judged before
        self._power = (False, False)  # of any motor, of all
        self._begins = True  # the next target that is sent starts anew
        self._still = self._may_freeze = False
        self._places: deque[Float] = deque(maxlen=_STANDS[0])  # measured (6,) [rad], one a tick
        self._rows: list[
            tuple[list[int], int, bool, bool, bool]
        ] = []  # joints, opening, starts anew, still, may freeze
        self._outside: Float | None = None

    def expect(self, what: str, count: int = 1) -> None:
        """The next `count` frames of "estop", "reset", "disable" were asked for; "enable" from now on (0: no longer)."""
        self._asked[what] = count if what == "enable" else self._asked[what] + count

    def power(self, enabled: Sequence[bool]) -> None:
        """Which motors have power, told before the frames of a tick."""
        self._power = any(enabled), all(enabled)
        self._begins = self._begins or not all(enabled)  # also where no target comes while there is none

    def stopped(self, still: bool, may_freeze: bool = False) -> None:
        """Told every tick: a stop or a fault forbids every change of the target; it may come to a stand at once."""
        self._still, self._may_freeze = still, still or may_freeze

    def at(self, measured: Float) -> None:
        """The arm is at `measured` (6,) [rad], told 200 times a second."""
        self._places.append(measured)

    def note(self, kind: str, words: str) -> None:
        """Count one violation."""
        self.violations[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(f"tick {self.ticks}: {words}")

    # --- frames ------------------------------------------------------------------------------------------------------
    def frame(self, can_id: int, data: bytes) -> None:
        """One frame of the host."""
        self.frames += 1
        said = f"{can_id:#05x} {data.hex()}"
        if len(data) != 8:
            self.note("frame_length", said)
        elif can_id in _JOINT_IDS:
            self._joint_frame(can_id, data)
        elif can_id == 0x159:
            self._gripper_frame(data, said)
        elif can_id == 0x151:
            control, move, speed, mit = data[:4]
            if (control, move, mit) != (1, 1, 0) or speed > self._bounds.speed_percent:
                self.note("mode", said)
        elif can_id == 0x150:
            self._power_frame({1: "estop", 2: "reset"}.get(data[0], "teach"), said)
        elif can_id == 0x471:
            self._power_frame({1: "disable", 2: "enable"}.get(data[1], "power"), said)
        elif can_id not in _QUERIES:
            self.note("unknown_frame", said)

    def _power_frame(self, what: str, said: str) -> None:
        if self._asked[what] <= 0:
            self.note(f"unasked_{what}", said)
        elif what != "enable":  # repeated until every motor has power
            self._asked[what] -= 1

    def _joint_frame(self, can_id: int, data: bytes) -> None:
        if _JOINT_IDS.index(can_id) * 2 != len(self._coming):
            self.note("torn_set", f"{can_id:#05x} after {len(self._coming)} joints")
            self._coming = []
            return
        self._coming += struct.unpack(">ii", data)
        if len(self._coming) == 6:
            joints, self._coming = self._coming, []
            if self._fresh and joints != self._joints and self._power[0] and not self._begins:
                self.note("two_targets", f"{self._joints} and {joints} in one tick")
            self._joints, self._fresh = joints, True
            for j, count in enumerate(joints):
                low, high = self._bounds.joint_lower[j], self._bounds.joint_upper[j]
                if not low - QUANTUM <= count * QUANTUM <= high + QUANTUM:
                    self.note("joint_range", f"joint{j + 1} = {count * QUANTUM:.5f} rad, allowed {low:g}..{high:g}")

    def _gripper_frame(self, data: bytes, said: str) -> None:
        opening, effort, code, zero = struct.unpack(">iHBB", data)
        self._opening = opening
        if not 0 <= opening <= round(self._bounds.gripper_range / _OPENING):
            self.note("gripper_range", f"{opening * _OPENING:.6f} m ({said})")
        if effort > self._bounds.gripper_effort * 1000.0 + 0.5:
            self.note("gripper_effort", f"{effort / 1000.0:g} N m ({said})")
        if code != 1 or zero:
            self.note("gripper_code", said)

    # --- ticks -------------------------------------------------------------------------------------------------------
    def end_tick(self, measured: Float, watch: bool = True) -> None:
        """The tick is over; the arm is at `measured` (6,) [rad]; `watch`: as `at`, once a tick."""
        if self._coming:
            self.note("torn_set", f"the tick ends after {len(self._coming)} joints")
            self._coming = []
        fresh, self._fresh = self._fresh, False
        self.ticks += 1
        if watch:
            self.at(measured)
        any_power, all_power = self._power
        anew, self._begins = not any_power, self._begins or not all_power
        if not anew and fresh and self._begins and (not self._rows or self._leaps()):
            anew = True
            self.seeds += 1
            if (off := self._off(self._joints, measured)) > _SEED_NEAR:
                self.note("far_seed", f"the first target with power is {off:.4f} rad from the arm")
        elif not anew and fresh and self._rows and self._joints != self._rows[-1][0]:
            leaps = self._leaps()
            anew = leaps and self._may_start_anew(measured)
            self.seeds += anew
            if leaps and not anew:
                self._say_leap(measured)
        if fresh and all_power:
            self._begins = False
        if self._joints is None:
            return
        self._rows.append((self._joints, self._opening or 0, anew, self._still, self._may_freeze))
        if len(self._rows) >= _BATCH:
            self._judge_rows()

    def _say_leap(self, measured: Float) -> None:
        """Keep what a leap looked like, as an example; the rules count it."""
        said = self.examples.setdefault("leap", [])
        if len(said) < _EXAMPLES:
            place = [round(v / QUANTUM) for v in measured.tolist()]
            said.append(
                f"tick {self.ticks}: {self._rows[-1][0]} -> {self._joints}, arm at {place}, power {self._power}"
            )

    @staticmethod
    def _off(joints: list[int] | None, measured: Float) -> float:
        """How far a target is from the arm [rad]."""
        return 0.0 if joints is None else float(np.abs(np.array(joints) * QUANTUM - measured).max())

    def _may_start_anew(self, measured: Float) -> bool:
        """Whether the arm stands, and this target is where it stands: it was moved away, or sags below its target.

        The sag is taken over by a driver that lost sight of the arm: a step to exactly the measured place, never a far one.
        """
        if len(self._places) < _STANDS[0] or float(np.ptp(np.array(self._places), axis=0).max()) > _STANDS[1]:
            return False
        place = np.clip(measured, self._bounds.joint_lower, self._bounds.joint_upper)
        before, now = self._off(self._rows[-1][0], place), self._off(self._joints, place)
        return now <= _SEED_NEAR if before > _AWAY else before <= _SEED_NEAR and now <= 2.0 * QUANTUM

    def _leaps(self) -> bool:
        """Whether this tick's target is further from the last than a motion could bring it."""
        assert self._joints is not None
        last = self._rows[-1][0]
        before = self._rows[-2][0] if len(self._rows) > 1 else last
        step = [a - b for a, b in zip(self._joints, last, strict=True)]
        second = max(abs(s - (a - b)) for s, a, b in zip(step, last, before, strict=True))
        period, bounds = self._bounds.period, self._bounds
        return (
            (max(map(abs, step)) - 1) * QUANTUM > bounds.joint_speed * period
            or second * QUANTUM > bounds.joint_acceleration * period** 2 + 2.0 * QUANTUM
        )

    def _gripper_step(self) -> float:
        return self._bounds.gripper_speed * self._bounds.period + 2.0 * _OPENING

    def finish(self) -> None:
        """Judge what is left."""
        if len(self._rows) > max(2, self._carried):
            self._judge_rows()

    def _judge_rows(self) -> None:
        """Judge all rows but those that were carried over; carry the last two."""
        counts, openings, seeds, stills, freezes = (np.array(column) for column in zip(*self._rows, strict=True))
        joints = counts * QUANTUM
        first = self.ticks - len(joints)
        change = np.diff(joints, axis=0)
        change[seeds[1:]] = 0.0  # a seed starts anew, from rest
        self._judge_motion(change, seeds, freezes, first)
        self._judge_tcp(joints, seeds, first)
        slip = np.abs(np.diff(openings)) * _OPENING
        self._note_rows(
            # The opening that belongs to a seed comes behind it: live, that is the next row.
            "gripper_speed",
            (slip > self._gripper_step()) & ~seeds[1:] & ~seeds[:-1],
            slip / self._bounds.period,
            first + 1,
        )
        moved = np.abs(change).max(axis=1)
        self._note_rows("moved_while_stopped", (moved > 0.0) & stills[1:] & stills[:-1], moved, first + 1)
        self.extremes["way"] += float(np.abs(change[max(0, self._carried - 1) :]).sum())
        self._rows, self._carried = self._rows[-2:], 2

    def _judge_motion(self, change: Float, seeds: Float, may_freeze: Float, first: int) -> None:
        period, bounds = self._bounds.period, self._bounds
        speed = np.abs(change).max(axis=1) / period
        self._worst("joint_speed", speed[1:])
        self._note_rows("joint_speed", speed > bounds.joint_speed + QUANTUM / period, speed, first + 1)
        second = np.abs(np.diff(change, axis=0)).max(axis=1) / period**2
        second[seeds[2:]] = 0.0
        most = bounds.joint_acceleration + 2.0 * QUANTUM / period**2
        frozen = (second > most) & may_freeze[2:] & (np.abs(change[1:]).max(axis=1) == 0.0)
        self.freezes += int(frozen.sum())
        self.frozen_ticks += (first + 3 + np.flatnonzero(frozen)).tolist()
        second[frozen] = 0.0
        self._worst("joint_acceleration", second)
        self._note_rows("joint_acceleration", second > most, second, first + 2)

    def _judge_tcp(self, joints: Float, seeds: Float, first: int) -> None:
        bounds = self._bounds
        place, rotation = tcp_of(joints, bounds.tcp_offset)
        rounding = 4.0 * QUANTUM * _REACH  # [m] six levers, most far below _REACH
        speed = np.linalg.norm(np.diff(place, axis=0), axis=1) / bounds.period
        speed[seeds[1:]] = 0.0
        self._worst("tcp_speed", speed[1:])
        self._note_rows("tcp_speed", speed > bounds.tcp_speed + rounding / bounds.period, speed, first + 1)
        between = np.linalg.norm(np.diff(rotation, axis=0), axis=(1, 2)) / (np.sqrt(8.0))
        turn = 2.0 * np.arcsin(np.minimum(between, 1.0)) / bounds.period
        turn[seeds[1:]] = 0.0
        most = bounds.tcp_angular_speed + 6.0 * QUANTUM / bounds.period
        self._note_rows("tcp_angular_speed", turn > most, turn, first + 1)
        self._judge_workspace(place, seeds, first, rounding)

    def _judge_workspace(self, place: Float, seeds: Float, first: int, rounding: float) -> None:
        """Outside the box the target may only come nearer to it, in every direction: the arm may begin outside."""
        low, high = np.array(self._bounds.workspace_lower), np.array(self._bounds.workspace_upper)
        outside = np.maximum(np.hstack([low - place, place - high]), 0.0)  # (N, 6)
        for i in range(self._carried, len(outside)):
            if self._outside is None or seeds[i]:
                self._outside = outside[i]
                continue
            further = outside[i] - self._outside
            if further.max() > rounding:
                side = int(np.argmax(further))
                self._note_rows("workspace", np.array([True]), further[side : side + 1], first + i)
            self._outside = np.minimum(self._outside, outside[i])

    def _worst(self, name: str, values: Float) -> None:
        if len(values):
            self.extremes[name] = max(self.extremes[name], float(values.max()))

    def _note_rows(self, kind: str, bad: Float, values: Float, first: int) -> None:
        """Count the rows `bad` (N,) bool; row 0 ended tick `first` + 1."""
        rows_before = max(0, self._carried - 1) if len(bad) == len(self._rows) - 1 else 0
        for i in np.flatnonzero(bad):
            if i < rows_before:
                continue
            self.violations[kind] += 1
            if len(examples := self.examples.setdefault(kind, [])) < _EXAMPLES:
                examples.append(f"tick {first + int(i) + 1}: {float(values[i]):.5g}")
