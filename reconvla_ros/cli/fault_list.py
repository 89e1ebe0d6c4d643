"""The faults of the fault bench: what is done to the graph, how long is watched, and what each is held to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.bench.faults_judge import Instants, Rules
from reconvla_ros.bench.faults_mover import CHUNK_LENGTH, PERIOD, Say
from reconvla_ros.cli.client import wait_until
from reconvla_ros.cli.fault_rig import FaultRig
from reconvla_ros.errors import SetupError
from reconvla_ros.policy.settings import PolicyConfig
from reconvla_ros.sim.faults import Faults

_SLACK = 0.1  # [s] issue B: what a stale deadline may be exceeded by
_SECONDS_STOPPED = 1.0  # [s] of the driver's SIGSTOP
_RAMP = 0.4  # [s] from full speed to rest inside the limits (0.16 at 0.3 rad/s), and a tick that comes late
_ENDS = f"the chunk in force ends {CHUNK_LENGTH:.1f} s after its observation"
_BUSY = 1.0  # [s] under load before the stop


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        name: as in the table and for --only.
        strike: (rig, run number) -> instants; the arm moves when it is called.
        rules: what it is held to. watch: how long after it returns [s]. costs: a run, for the estimate [s].
        policy: needs the real cameras and the scripted policy. jumping: needs the driver whose clock can jump.
        blinds: the arm's own word on its power is part of the fault; it is asked again after it.
        note: for the reader of the JSON.
    """

    name: str
    strike: Callable[[FaultRig, int], Instants]
    rules: Rules
    watch: float = 0.6
    costs: float = 2.5
    policy: bool = False
    jumping: bool = False
    blinds: bool = False
    note: str = ""


def _at(instant: float) -> Instants:
    return Instants(instant, instant)


def _stop(rig: FaultRig, run: int) -> Instants:
    at = rig.trigger("arm/stop")
    rig.mover.say = Say.FORBIDDEN
    return _at(at)


def _arm(*choices: Faults) -> Callable[[FaultRig, int], Instants]:
    """Strike the simulated arm; run k takes choice k. Chunks go on to come, as from a policy that knows nothing."""

    def strike(rig: FaultRig, run: int) -> Instants:
        at = rig.strike(choices[run % len(choices)])
        rig.mover.say = Say.FORBIDDEN
        return _at(at)

    return strike


def _process(name: str, number: signal.Signals) -> Callable[[FaultRig, int], Instants]:
    def strike(rig: FaultRig, run: int) -> Instants:
        rig.mover.say = Say.NOTHING
        return _at(rig.processes.send(name, number))

    return strike


def _nan(rig: FaultRig, run: int) -> Instants:
    """From its turn on every chunk is spoilt; the fault is the first of them."""
    since, rig.mover.say = time.time(), Say.NAN
    if not wait_until(lambda: rig.mover.spoilt_at >= since, 1.0):
        raise SetupError("fault bench: no chunk with NaN went out")
    return _at(rig.mover.spoilt_at)


def _cancel(rig: FaultRig, run: int) -> Instants:
    at = rig.trigger("task/cancel")
    rig.mover.say = Say.FORBIDDEN  # of the task that has just ended
    rig.mover.publish()
    return _at(at)


def _driver_stopped(rig: FaultRig, run: int) -> Instants:
    at = rig.processes.send("driver", signal.SIGSTOP)
    rig.mover.say = Say.FORBIDDEN
    rig.mover.publish()  # waits in the driver's queue, and is over when it is read
    rig.mover.say = Say.NOTHING
    time.sleep(_SECONDS_STOPPED)
    return Instants(at, at, rig.processes.send("driver", signal.SIGCONT))


def _clock(rig: FaultRig, run: int) -> Instants:
    """One hour on, and in the next run one hour back; what is published later has the stamps of before."""
    at = rig.jump((signal.SIGUSR1, signal.SIGUSR2)[run % 2])
    rig.mover.say = Say.FORBIDDEN
    return _at(at)


def _busy(rig: FaultRig, run: int) -> Instants:
    since = rig.processes.keep_busy()
    time.sleep(_BUSY)
    at = rig.trigger("arm/stop")
    rig.mover.say = Say.FORBIDDEN
    return Instants(since, at)


def faults(driver: DriverConfig, policy: PolicyConfig) -> list[Fault]:
    """All of them, those that need the same processes together."""
    step = driver.joint_speed / driver.rate
    held = Rules(deadline=0.1, step=step, period=1.0 / driver.rate)
    free = replace(held, deadline=None)
    return [*_of_the_arm(held), *_of_requests(free), *_of_the_driver(held, free, driver), *_of_the_policy(free, policy)]


def _of_the_arm(held: Rules) -> list[Fault]:
    joints = range(1, 7)
    return [
        Fault("e_stop", _stop, replace(held, p50=0.02), note="from the call of arm/stop; forbidden chunks go on to come"),
        Fault("bus_dead", _arm(Faults(bus_dead=True)), held, costs=3.0),
        Fault("feedback_frozen", _arm(Faults(frozen=True)), held, costs=3.0,
              note="frames go on at their rates with the values of the instant"),
        Fault("feedback_zero", _arm(Faults(zero="joints"), Faults(zero="all")), held, costs=3.0, blinds=True,
              note="by turns the joint frames and every frame"),
        Fault("joint_comm", _arm(*(Faults(joint_comm=j) for j in joints)), held),
        Fault("motor_hot", _arm(*(Faults(motor_hot=j) for j in joints)), held,
              note="0x261..0x266 come at 40 Hz: up to 25 ms until the bit is on the bus"),
        Fault("collision", _arm(*(Faults(collision=j) for j in joints)), held),
    ]  # fmt: skip


def _of_requests(free: Rules) -> list[Fault]:
    return [
        Fault("nan_chunk", _nan, replace(free, deadline=CHUNK_LENGTH + _SLACK), watch=0.8,
              note=f"{_ENDS}, NaN comes in the turn of the next, {PERIOD:g} s after it; NaN or inf in turn in position, "
              "orientation, gripper, of the first or the last step"),
        Fault("stale_chunk", _cancel, free, note="from task/cancel; whole chunks of its id go on to come"),
    ]  # fmt: skip


def _of_the_driver(held: Rules, free: Rules, driver: DriverConfig) -> list[Fault]:
    return [
        Fault("cores_busy", _busy, free, costs=4.0,
              note="a process of ordinary priority per core; steps while it moves, time from an arm/stop under load"),
        Fault("driver_sigstop", _driver_stopped, replace(free, ramp=_RAMP), costs=4.0,
              note="for 1 s, time from SIGSTOP; what was under way when it was stopped may still decelerate"),
        Fault("driver_sigterm", _process("driver", signal.SIGTERM), replace(free, acceleration=driver.stop_acceleration),
              costs=7.0, note="decelerates inside the limits, then the arm holds"),
        Fault("driver_sigkill", _process("driver", signal.SIGKILL), held, costs=7.0, note="the arm holds by itself"),
        Fault("clock_jump", _clock, free, watch=0.8, jumping=True,
              note="of the driver, one hour on and back by turns; the chunk in force may end"),
    ]  # fmt: skip


def _of_the_policy(free: Rules, policy: PolicyConfig) -> list[Fault]:
    # A chunk in force may ask for next to nothing in one of its steps and for more in the next one.
    image = max(policy.max_image_age, CHUNK_LENGTH)
    free = replace(free, over=image + _SLACK)
    return [
        Fault("policy_killed", _process("policy", signal.SIGKILL), replace(free, deadline=3.0), watch=1.2, costs=10.0,
              policy=True, note=_ENDS),
        Fault("policy_stalled", _process("policy", signal.SIGSTOP), replace(free, deadline=3.0), watch=1.2, costs=3.5,
              policy=True, note=_ENDS),
        Fault("camera_frozen", _process("camera_base", signal.SIGSTOP), replace(free, deadline=image + _SLACK), watch=1.2,
              costs=3.5, policy=True, note=f"SIGSTOP; images older than {policy.max_image_age:g} s are not used, {_ENDS}"),
    ]  # fmt: skip
