"""One run of the fault bench, judged from what was on the bus, and the table of all of them. Pure; moves nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from reconvla_ros.bench.faults_bus import HOST, QUANTUM, Recording
from reconvla_ros.types import Float

STILL = 0.1  # [s] without a changed target after which the arm counts as standing: twenty ticks
# The bench marks what must not be executed by its gripper opening: nothing else in a run asks for it.
IN_FORCE_OPENING, FORBIDDEN_OPENING = 0.02, 0.06  # [m]


@dataclass(frozen=True)
class Rules:
    """What a fault is held to.

    Attributes:
        deadline, p50: the last changing target comes within this after the fault, at most and in the median [s]; None =
            not bounded.
        step: the largest step of one joint from one set of targets to the next [rad].
        acceleration: largest change of speed from tick to tick [rad/s^2] at `period` [s]; None = not judged.
        ramp: after a host that was held up goes on, how long the motion under way may take to end [s].
        over: how long after the fault what was in force may go on, with pauses of its own [s].
    """

    deadline: float | None
    step: float
    p50: float | None = None
    acceleration: float | None = None
    period: float = 0.005
    ramp: float = 0.0
    over: float = 0.0


@dataclass(frozen=True)
class Instants:
    """Of one run [s since the epoch]: from when steps count, the fault, when a held-up host went on (None = never)."""

    since: float
    fault: float
    resumed: float | None = None


@dataclass(frozen=True)
class Outcome:
    """One run: time from the fault to the last changing target [s], largest step [rad], acceleration [rad/s^2].

    `old` counts commands that came of requests that were over; `settled`: the targets stood at the end of the watch;
    `drops` says how the arm lost its power.
    """

    last: float
    step: float
    acceleration: float
    old: int
    settled: bool = True
    drops: tuple[str, ...] = ()


def judge(recording: Recording, when: Instants, rules: Rules) -> Outcome:
    """What one run came to."""
    times, joints = recording.times, recording.joints
    change = np.abs(np.diff(joints, axis=0)).max(axis=1) if len(joints) > 1 else np.zeros(0)
    moved = times[1:][change > 0.0]
    after = moved[moved > when.fault]
    steps = change[times[1:] > when.since]
    return Outcome(
        last=float(after[-1] - when.fault) if len(after) else 0.0,
        step=float(steps.max()) if len(steps) else 0.0,
        acceleration=_acceleration(times, joints, when.since, rules.period),
        old=_forbidden(recording, when.since) + _resumed(after, when, rules),
        settled=not len(after) or recording.until - float(after[-1]) >= STILL,
        drops=tuple(words for at, words in recording.drops if at > when.since),
    )


def by_host(recording: Recording) -> Recording:
    """Without what the arm says of its power, where its word is part of the fault."""
    return replace(recording, drops=[drop for drop in recording.drops if drop[1].startswith(HOST)])


def aftermath(recording: Recording) -> Outcome:
    """The recovery: the arm may be held anew, but no old command may pass, and it may not be dropped."""
    return Outcome(0.0, 0.0, 0.0, _forbidden(recording, -np.inf), drops=tuple(words for _, words in recording.drops))


def _forbidden(recording: Recording, since: float) -> int:
    """How many gripper targets moved towards the opening that nobody may ask for any more."""
    middle = 0.5 * (IN_FORCE_OPENING + FORBIDDEN_OPENING)
    seen = [opening for at, opening in recording.openings if at > since]
    return sum(now != before and now > middle for before, now in zip([0.0, *seen], seen, strict=False))


def _resumed(after: Float, when: Instants, rules: Rules) -> int:
    """Changing targets that came when the arm had stood still already, or later than a held-up host may take."""
    if when.resumed is not None:
        return int(np.count_nonzero(after > when.resumed + rules.ramp))
    gaps = np.flatnonzero(np.diff(np.concatenate([[when.fault], after])) > STILL)
    return int(np.count_nonzero(after[gaps[0] :] > when.fault + rules.over)) if len(gaps) else 0


def _acceleration(times: Float, joints: Float, since: float, period: float) -> float:
    """The largest second difference on the nominal tick from `since` on [rad/s^2]; a tick is a set of targets."""
    late = times[2:] > since if len(times) > 2 else np.zeros(0, dtype=bool)
    if not late.any():
        return 0.0
    second = np.abs(np.diff(joints, n=2, axis=0)).max(axis=1) / period**2
    return float(second[late].max())


@dataclass
class Row:
    """All runs of one fault; the first eight keys of `as_json` are the table's."""

    fault: str
    rules: Rules
    note: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    restarts: int = 0  # how often the graph could not be recovered by its services

    @property
    def step_limit(self) -> float:
        """The largest step that passes [rad]: that of one tick, and one count of the bus, to which targets are rounded."""
        return self.rules.step + QUANTUM

    def broken(self) -> list[str]:
        """Which bounds do not hold, in words with bound and value."""
        if not self.outcomes:
            return ["no run was made"]
        lasts = np.array([o.last for o in self.outcomes])
        p50, most = float(np.median(lasts)), float(lasts.max())
        step = max(o.step for o in self.outcomes)
        found = []
        if self.rules.p50 is not None and p50 > self.rules.p50:
            found.append(f"p50 {1e3 * p50:.0f} ms, allowed {1e3 * self.rules.p50:.0f}")
        if self.rules.deadline is not None and most > self.rules.deadline:
            found.append(f"max {1e3 * most:.0f} ms, allowed {1e3 * self.rules.deadline:.0f}")
        if step > self.step_limit:
            found.append(f"step {step:.5f} rad, allowed {self.step_limit:.5f}")
        if self.rules.acceleration is not None:
            most_acceleration = max(o.acceleration for o in self.outcomes)
            allowed = self.rules.acceleration + 2.0 * QUANTUM / self.rules.period**2
            if most_acceleration > allowed:
                found.append(f"acceleration {most_acceleration:.2f} rad/s^2, allowed {allowed:.2f}")
        if moving := sum(not o.settled for o in self.outcomes):
            found.append(f"{moving} runs ended with the target still moving")
        if old := sum(o.old for o in self.outcomes):
            found.append(f"{old} old commands executed")
        if drops := [words for o in self.outcomes for words in o.drops]:
            found.append(f"the arm was dropped: {drops[0]}")
        return found

    def as_json(self) -> dict[str, object]:
        """The row of faults.json; times in [ms], None where nothing is bounded."""
        lasts = [o.last for o in self.outcomes]
        rules, broken = self.rules, self.broken()
        return {
            "fault": self.fault,
            "runs": len(self.outcomes),
            "p50_ms": round(1e3 * float(np.median(lasts)), 1) if lasts else None,
            "max_ms": round(1e3 * max(lasts), 1) if lasts else None,
            "deadline_ms": None if rules.deadline is None else round(1e3 * rules.deadline, 1),
            "largest_step_rad": round(max((o.step for o in self.outcomes), default=0.0), 6),
            "old_chunks_executed": sum(o.old for o in self.outcomes),
            "dropped": any(o.drops for o in self.outcomes),
            "deadline_p50_ms": None if rules.p50 is None else round(1e3 * rules.p50, 1),
            "step_limit_rad": round(self.step_limit, 6),
            "largest_acceleration": round(max((o.acceleration for o in self.outcomes), default=0.0), 2),
            "restarts": self.restarts,
            "verdict": "; ".join(broken) or "ok",
            "note": self.note,
            "each": [asdict(o) for o in self.outcomes],
        }


def table(rows: list[Row]) -> str:
    """For a terminal."""
    lines = [f"{'fault':<15} {'runs':>4} {'p50 ms':>8} {'max ms':>8} {'allowed':>9} {'step rad':>9}  old drop  verdict"]
    for row in rows:
        r = row.as_json()
        allowed = "-" if r["deadline_ms"] is None else f"{r['deadline_ms']:g}"
        if r["deadline_p50_ms"] is not None:
            allowed = f"{r['deadline_p50_ms']:g}/{allowed}"
        times = [f"{r[k]:>8.1f}" if r[k] is not None else f"{'-':>8}" for k in ("p50_ms", "max_ms")]
        lines.append(
            f"{row.fault:<15} {r['runs']:>4} {times[0]} {times[1]} {allowed:>9} {r['largest_step_rad']:>9.5f} "
            f"{r['old_chunks_executed']:>4} {'YES' if r['dropped'] else 'no':>4}  {r['verdict']}"
        )
    return "\n".join(lines)
