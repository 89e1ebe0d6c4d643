"""The driver without ROS: arm, supervisor, requests and motion, one tick at a time. Time is an argument.

Callbacks hand data over (`accept_*`, `set_*`, `stop`); only `tick` streams targets to the arm. Everything is safe to
call from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter

from reconvla_ros.arm.gate import PreflightGate
from reconvla_ros.arm.history import Standstill, TcpHistory
from reconvla_ros.arm.motion import motion_of
from reconvla_ros.arm.protocol import Arm, ArmReport
from reconvla_ros.arm.pursuit import Pursuit
from reconvla_ros.arm.requests import Requests
from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.arm.step import Step
from reconvla_ros.arm.tick import Senses, TickResult, cannot_go_back, require_parked
from reconvla_ros.errors import BusError
from reconvla_ros.safety.filter import Verdict
from reconvla_ros.safety.supervisor import Decision, State, Supervisor
from reconvla_ros.task.chunk_player import Accepted
from reconvla_ros.types import ActionChunk, ArmState, EeCommand, JointCommand


class DriverCore:
    """One arm under one set of rules.

    Args:
        arm: opened by the caller; its preflight is read here.
        config: validated parameters.

    Attributes:
        supervisor: states and faults.
        preflight: the checks that gate `enable` and every motion; `kinematics` is by its firmware.
        verdicts: how many requests were passed, clamped, refused. reasons: how often each reason code.
    """

    def __init__(self, arm: Arm, config: DriverConfig) -> None:
        self._arm, self._config = arm, config
        self._lock = threading.RLock()
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.preflight = PreflightGate(arm, config)
        self.kinematics = self.preflight.kinematics
        self.limits = config.limits(self.kinematics.variant)
        self.supervisor = Supervisor(config.feedback_stale)
        self._requests = Requests(config.chunk_age, config.command_age, self.reasons)
        self._motion, self._standstill = motion_of(config, self.kinematics, self.limits), Standstill()
        self._pursuit = Pursuit(self._requests, self._motion, self._standstill, self.count)
        self._senses = Senses(config)
        self._result: TickResult | None = None
        self._sent_at, self._tick_reason = 0, ""
        self._powering = False  # the arm is being given a target by `enable`: nobody else gives one
        self._history, self._hold_ns = TcpHistory(), int(1e9 / config.hold_rate)

    @property
    def stop_latched(self) -> bool:
        """Whether a stop waits for `clear_stop`."""
        return self.supervisor.stop_latched

    @property
    def holder(self) -> str:
        """Who holds the lease."""
        return self._requests.lease.holder

    @property
    def standing(self) -> bool:
        """Whether the commanded motion is over."""
        return self._motion.arrived

    @property
    def broken_off(self) -> bool:
        """Whether the last way home or to the ready position was ended by a stop or a fault."""
        return self._pursuit.broken_off

    def accept_chunk(self, chunk: ActionChunk, now_mono_ns: int, now_ros_ns: int) -> Accepted:
        """Take a chunk of the running task, or count why not."""
        with self._lock:
            accept = self._requests.accept_chunk
            accepted = self._not_ready() or self._anchored(chunk) or accept(chunk, now_mono_ns, now_ros_ns)
            if not accepted.ok:
                self.count(Verdict.REFUSED, accepted.reason)
            return accepted

    def end_chunk(self, task_id: str) -> Accepted:
        """The policy takes back the chunk it gave for this task: decelerate and hold."""
        with self._lock:
            return self._requests.end_chunk(task_id)

    def accept_ee(self, command: EeCommand, now_mono_ns: int, now_ros_ns: int) -> Accepted:
        """Take one absolute TCP target, or count why not."""
        with self._lock:
            accepted = self._not_ready() or self._requests.accept_ee(command, now_mono_ns, now_ros_ns)
            if not accepted.ok:
                self.count(Verdict.REFUSED, accepted.reason)
            return accepted

    def _not_ready(self) -> Accepted | None:
        if self._result is None:
            return Accepted(False, "not_ready", "the driver has not heard the arm yet")
        decision, refusal, latched = self._result.decision, self.preflight.refusal, self.stop_latched
        if latched or self._powering:
            return Accepted(False, "not_ready", "a stop is latched" if latched else "the motors get power")
        if not decision.may_move:
            return Accepted(False, "not_ready", f"the driver is {decision.state.value}: {decision.reason}")
        return Accepted(False, "preflight", refusal) if refusal else None

    def _anchored(self, chunk: ActionChunk) -> Accepted | None:
        """The leash of relative actions: they were integrated from where the TCP was at the stamp."""
        off, allowed = self._history.off(chunk.stamp_ns, chunk.anchor.position), self._config.anchor_leash
        words = f"chunk {chunk.sequence}: anchored {off:.3f} m off, allowed {allowed:g}"
        return None if off <= allowed else Accepted(False, "anchor", words)

    def set_task(self, task_id: str | None) -> None:
        """Take chunks of this task only; None holds. A task asks for the lease on behalf of the policy."""
        with self._lock:
            self._requests.set_task(task_id)

    def set_source(self, source: str) -> tuple[bool, str]:
        """Ask for the lease or give it back; (granted, message)."""
        with self._lock:
            before, (granted, message) = self.holder, self._requests.lease.request(source)
            if granted and before != self.holder:
                self._pursuit.forget()
                self._requests.handed_over(self._result.stamp_ns if self._result is not None else 0)
            return granted, message

    def stop(self, why: str = "arm/stop was called") -> None:
        """Latch a stop: freeze the target, take the lease away, so that nobody goes on by himself after `clear_stop`."""
        with self._lock:
            self.supervisor.stop(why)
            self._requests.lease.request("none")
            self._pursuit.freeze()

    def halt(self) -> None:
        """Forget every request; decelerate and hold. Nothing is latched: the process ends."""
        with self._lock:
            self._requests.lease.request("none")
            self._requests.set_task(None)
            self._pursuit.drop()

    def clear_stop(self) -> tuple[bool, str]:
        """Clear the stop; the arm holds where it is, old chunks and commands are gone. (cleared, message)."""
        with self._lock:
            self._pursuit.drop()
            if (result := self._result) is not None and result.state is not None and not result.decision.blind:
                self._pursuit.rest(result.state)
            return self.supervisor.clear_stop()

    def home(self) -> tuple[bool, str]:
        """Go to the home position, folded, at the ordinary limits; (accepted, message)."""
        return self._go(self._config.home_position, "on the way home")

    def ready(self) -> tuple[bool, str]:
        """Go to where tasks begin, at the ordinary limits; (accepted, message)."""
        return self._go(self._config.ready_position, "on the way to the ready position")

    def _go(self, position: tuple[float, ...], message: str) -> tuple[bool, str]:
        with self._lock:
            result, not_ready = self._result, self._not_ready()
            if not_ready is not None or result is None or result.state is None:
                return False, f"not now: {not_ready.detail if not_ready is not None else 'no feedback yet'}"
            granted, why_not = self.set_source("home")
            if not granted:
                return False, why_not
            filtered = self._pursuit.run_errand(result.state, position)
            if filtered.verdict is Verdict.REFUSED:
                self._requests.lease.release("home")
                return False, f"refused: {filtered.detail}"
            return True, message

    def release_gripper(self) -> tuple[bool, str]:
        """Free a hand: latch a stop and open the gripper; works while stopped. (done, message)."""
        with self._lock:
            result = self._result
            if result is None or result.state is None or not result.report.gripper_enabled:
                return False, "the gripper has no power; pull it open by hand"
            self.stop("arm/release was called")
            unset = self._motion.reference is None
            if unset and (why := self._motion.anchor(result.state.position, result.state.gripper)):
                return False, f"stopped; {why[1]}"
            self._motion.set_gripper(self.limits.gripper_range)
            return True, "stopped; the gripper opens. arm/clear_stop when everyone is clear"

    def back_off(self) -> tuple[bool, str]:
        """Free a person: latch a stop, go back along the last path, slowly; again: end it. (done, message)."""
        with self._lock:
            result, config, ending = self._result, self._config, self._pursuit.backing_off
            self.stop("arm/release was called")
            if ending:
                return True, "stopped; the way back is ended"
            why = cannot_go_back(result)
            if not why and result is not None and result.state is not None:
                why = self._pursuit.back_off(result.state, config.back_off, config.joint_leash, 1.0 / config.rate)
            if why:
                return False, f"stopped; the arm does not go back: {why}"
            words = f"the arm goes back along its last path, {config.back_off}; arm/stop or a second call ends it"
            return True, f"stopped; {words}"

    def enable(self, on: bool) -> None:
        """Power the motors, or cut the power of a parked arm. Blocks up to 5 s; `tick` goes on meanwhile.

        Raises:
            ArmError: they do not follow; a check of the preflight fails; or the arm would fall.
        """
        if on:
            self.preflight.require()
            self._powering = True
            try:
                held = self._arm.enable()
                with self._lock:
                    if held is not None:  # the next motion starts from it
                        self._motion.forget()
                        self._motion.anchor(held.position, held.gripper or 0.0)
            finally:
                self._powering = False
        else:
            require_parked(self._arm.state(), self._config.parked_within, self.standing)
            self._arm.disable()

    def damped_stop(self) -> None:
        """The firmware's e-stop: the arm sinks, and only `power_cycle` leaves it."""
        self.stop("arm/damped_stop was called")
        self._arm.damped_stop()

    def power_cycle(self) -> None:
        """The firmware's reset: the arm falls."""
        self.stop("arm/power_cycle was called")
        self._arm.power_cycle()

    def tick(self, now_mono_ns: int, now_ros_ns: int) -> TickResult:
        """One period: read, decide, follow the request in force, send."""
        with self._lock:
            try:
                report, state = self._arm.read()
            except BusError as error:
                decision = Decision(State.DISCONNECTED, str(error), False)
                self._result = TickResult(now_ros_ns, decision, self.holder, self._requests.task_id, ArmReport())
                return self._result
            found = self._senses.facts(report, state, self._motion, now_mono_ns)
            decision = self.supervisor.update(now_mono_ns, found)
            powered = found.connected and all(found.enabled)  # a fault or a stop may hide that the power is gone
            if self._history.due(state.stamp_ns):
                self._history.add(state.stamp_ns, self.kinematics.tcp(state.position).position)
            self._standstill.update(now_mono_ns, state.position, state.velocity)
            self._motion.feel(state.position, state.effort)
            if decision.may_move:
                self._pursuit.follow(state, now_mono_ns)
            else:
                self._fall_back(decision, state, powered, now_mono_ns)
            step = self._motion.advance(self._motion.behind(state.position, self._config.joint_leash))
            applied = self._send(step, now_mono_ns) if powered else None
            verdict, reason, detail = self._judgement(step)
            self._result = TickResult(
                now_ros_ns, decision, self.holder, self._requests.task_id, report, state, self.kinematics,
                self._pursuit.asked, applied, verdict, reason, detail,
            )  # fmt: skip
            return self._result

    def _fall_back(self, decision: Decision, state: ArmState, powered: bool, now_mono_ns: int) -> None:
        """No motion now: freeze; forget the target when the arm is not (or no longer) where it was sent."""
        if decision.state is State.STOPPED and powered:
            self._pursuit.follow_back(now_mono_ns)
        was_free = self._result is None or self._result.decision.may_move or self._pursuit.backing_off
        if was_free and decision.state is not State.STOPPED:  # `stop` has frozen everything by itself
            self._pursuit.freeze()
        if not powered:
            self._pursuit.lose_path()
        elif decision.state is State.FAULT and not decision.blind and self._motion.reference is not None:
            self._pursuit.rest(state)

    def _send(self, step: Step, now_mono_ns: int) -> JointCommand | None:
        if step.command is not None:
            self._arm.send(step.command)
            self._pursuit.remember(now_mono_ns, step.command.position)
            self._sent_at = now_mono_ns
        elif now_mono_ns - self._sent_at >= self._hold_ns:
            self._sent_at = now_mono_ns
            self._arm.hold()
        return step.command

    def _judgement(self, step: Step) -> tuple[Verdict, str, str]:
        """The worse of what the goal and this tick were told; a new reason of a tick is counted once."""
        if step.reason and step.reason != self._tick_reason:
            self.count(step.verdict, step.reason)
        self._tick_reason = step.reason
        goal = self._pursuit.asked.result if self._pursuit.asked is not None else None
        if goal is None or goal.verdict < step.verdict:
            return step.verdict, step.reason, step.detail
        return goal.verdict, goal.reason, goal.detail

    def count(self, verdict: Verdict, reason: str) -> None:
        """Count a judgement; a command that could not even be read is the caller's to count."""
        self.verdicts[verdict.name.lower()] += 1
        if reason:
            self.reasons[reason] += 1
