"""The supervisor: facts in, a state out. A table of faults ordered by severity; time is an argument; it moves nothing.

States: DISCONNECTED (no bus, no frames yet), FAULT (the arm or its feedback is not to be trusted), STOPPED (a person
said stop; latched), DISABLED (motors without power), MOVING, HOLDING. The first that applies wins. In every state but
MOVING and HOLDING no new target is taken; STOPPED and FAULT freeze a motion that runs. Nothing here ever cuts power.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """As in ArmStatus.msg."""

    DISCONNECTED = "DISCONNECTED"
    FAULT = "FAULT"
    STOPPED = "STOPPED"
    DISABLED = "DISABLED"
    MOVING = "MOVING"
    HOLDING = "HOLDING"


@dataclass(frozen=True)
class Facts:
    """What is known at one tick; ages [s] on a monotonic clock; `words` say `ctrl_mode`, `arm_status` to a person."""

    connected: bool = True
    bus_ok: bool = True
    joint_age: float = 0.0
    status_age: float = 0.0
    ctrl_mode: int = 1
    arm_status: int = 0
    comm_bits: int = 0
    motor_bits: tuple[int, ...] = (0,) * 6
    enabled: tuple[bool, ...] = (True,) * 6
    moving: bool = False
    words: tuple[str, str] = ("", "")
    feedback: str = ""  # "feedback_zero", "_jump", "_frozen" or "_pending" where it is not to be trusted
    feedback_words: str = ""
    link: str = ""  # what is known of a lost bus
    hottest: float = 0.0  # of motors and their drivers [C]
    hot: float = float("inf")  # what is too hot [C]


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        name: reason code.
        present: whether the facts show it, given the stale deadline [s].
        latched: True: stays until `clear_stop` after the cause is gone; False: clears itself after `CLEAR_AFTER`.
        say: words for a person.
        blind: whether the feedback does not say where the arm is.
    """

    name: str
    present: Callable[[Facts, float], bool]
    latched: bool
    say: Callable[[Facts], str]
    blind: bool = False


# foc bits of 0x26x byte 5: 1 motor over-temperature, 2 over-current, 3 driver over-temperature, 4 collision,
# 5 driver error, 7 stall. Bit 0 (under-voltage) shows on a healthy arm while it is disabled, bit 6 is "enabled".
MOTOR_FAULT_BITS = 0b1011_1110
CLEAR_AFTER = 0.5  # [s] a fault that clears itself must have been gone for this long


def _wrong(name: str, latched: bool = True) -> Fault:
    """Feedback that arrives and is wrong; only a person can say that it is right again."""
    return Fault(name, lambda f, s: f.feedback == name, latched, lambda f: f.feedback_words, blind=True)


FAULTS: tuple[Fault, ...] = (
    Fault("bus_lost", lambda f, s: not f.bus_ok, False, lambda f: f.link or "a frame could not be sent"),
    Fault(
        "feedback_stale",
        lambda f, s: not max(f.joint_age, f.status_age) <= s,
        False,
        lambda f: (
            f"newest joint frame {f.joint_age:.3f} s, status frame {f.status_age:.3f} s old"
            + f"; {f.link}" * bool(f.link)
        ),
        blind=True,
    ),
    *(_wrong(name) for name in ("feedback_zero", "feedback_jump", "feedback_frozen")),
    _wrong("feedback_pending", latched=False),
    Fault(
        "arm_status",
        lambda f, s: f.arm_status != 0,
        True,
        lambda f: f"arm reports status {f.arm_status} {f.words[1]}".rstrip(),
    ),
    Fault("joint_comm", lambda f, s: f.comm_bits != 0, True, lambda f: f"lost joints, bits {f.comm_bits:#04x}"),
    Fault(
        "motor",
        lambda f, s: any(bits & MOTOR_FAULT_BITS for bits in f.motor_bits),
        True,
        lambda f: f"motor fault bits {[f'{bits & MOTOR_FAULT_BITS:#04x}' for bits in f.motor_bits]}",
    ),
    Fault(
        "too_hot",
        lambda f, s: f.hottest >= f.hot,
        False,
        lambda f: f"a motor or its driver has {f.hottest:.0f} C, allowed below {f.hot:g}",
    ),
    Fault(
        "ctrl_mode",
        lambda f, s: f.ctrl_mode not in (0, 1),
        False,
        lambda f: f"arm is in mode {f.ctrl_mode} {f.words[0]}, not under CAN control",
    ),
)


@dataclass(frozen=True)
class Decision:
    """What holds now. `may_move` False: no motion; `blind`: the feedback does not say where the arm is."""

    state: State
    reason: str
    may_move: bool
    blind: bool = False


class Supervisor:
    """Latches and clears.

    Args:
        stale: feedback older than this is a fault [s].
    """

    def __init__(self, stale: float = 0.05) -> None:
        self._stale = stale
        self._stop = ""
        self._present: set[str] = set()
        self._held: dict[str, tuple[int, str]] = {}  # fault -> (last seen [ns], words)
        self.counts: dict[str, int] = {}

    @property
    def stop_latched(self) -> bool:
        """True until `clear_stop`."""
        return bool(self._stop)

    def stop(self, why: str) -> None:
        """Latch a stop."""
        self._stop = self._stop or why or "stop"

    def clear_stop(self) -> tuple[bool, str]:
        """Clear the stop and every latched fault whose cause is gone; never moves anything."""
        still = [name for name in self._held if name in self._present]
        self._held = {name: self._held[name] for name in still}
        self._stop = ""
        if still:
            return False, "the stop is cleared, but these faults last: " + "; ".join(self._held[n][1] for n in still)
        return True, "cleared; the arm holds until a new command comes"

    def update(self, now_ns: int, facts: Facts) -> Decision:
        """One tick at monotonic `now_ns`."""
        if not facts.connected:
            return Decision(State.DISCONNECTED, "no complete feedback from the arm yet", False)
        self._present = {fault.name for fault in FAULTS if fault.present(facts, self._stale)}
        for fault in FAULTS:
            self._age_fault(now_ns, fault, facts)
        held = [fault for fault in FAULTS if fault.name in self._held]
        if held:
            reason = f"{held[0].name}: {self._held[held[0].name][1]}"
            return Decision(State.FAULT, reason, False, any(fault.blind for fault in held))
        if self._stop:
            return Decision(State.STOPPED, self._stop, False)
        if not all(facts.enabled):
            off = ", ".join(f"joint{i + 1}" for i, on in enumerate(facts.enabled) if not on)
            return Decision(State.DISABLED, f"no power on {off}; call arm/enable", False)
        return Decision(State.MOVING if facts.moving else State.HOLDING, "", True)

    def _age_fault(self, now_ns: int, fault: Fault, facts: Facts) -> None:
        if fault.name in self._present:
            if fault.name not in self._held:
                self.counts[fault.name] = self.counts.get(fault.name, 0) + 1
            self._held[fault.name] = (now_ns, fault.say(facts))
        elif not fault.latched and now_ns - self._held.get(fault.name, (now_ns, ""))[0] >= CLEAR_AFTER * 1e9:
            del self._held[fault.name]
