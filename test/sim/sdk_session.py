"""One conversation of the unmodified piper_sdk with an arm on udp_multicast: sdk_session.py PORT SCENARIO -> JSON.

Uses nothing of this package. A process of its own, because the SDK's instances and threads live as long as theirs.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import can
from piper_sdk import C_PiperInterface_V2
from piper_sdk.kinematics.piper_fk import C_PiperForwardKinematics

Piper = Any
GROUP = "239.74.163.2"


def connect(port: int) -> Piper:
    can.rc.update({"port": port})
    piper = C_PiperInterface_V2(f"session{port}", judge_flag=False, can_auto_init=False)
    piper.CreateCanBus(GROUP, bustype="udp_multicast", judge_flag=False)
    piper.ConnectPort()
    wait(lambda: piper.GetArmJointMsgs().time_stamp > 0 and piper.GetArmLowSpdInfoMsgs().time_stamp > 0, "feedback")
    return piper


def wait(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds} s for: {what}")
        time.sleep(0.01)


def joints(piper: Piper) -> list[int]:
    state = piper.GetArmJointMsgs().joint_state
    return [state.joint_1, state.joint_2, state.joint_3, state.joint_4, state.joint_5, state.joint_6]


def pose(piper: Piper) -> list[int]:
    end = piper.GetArmEndPoseMsgs().end_pose
    return [end.X_axis, end.Y_axis, end.Z_axis, end.RX_axis, end.RY_axis, end.RZ_axis]


def status(piper: Piper) -> int:
    return int(piper.GetArmStatus().arm_status.arm_status)


def still(piper: Piper) -> None:
    """Wait until the joints have not changed by more than 0.02 degrees for a quarter of a second."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        before = joints(piper)
        time.sleep(0.25)
        if max(abs(a - b) for a, b in zip(before, joints(piper), strict=True)) <= 20:
            return
    raise TimeoutError("the arm does not come to rest")


def enable(piper: Piper) -> int:
    calls = 1
    while not piper.EnablePiper():
        calls += 1
        if calls > 200:
            raise TimeoutError("the motors do not enable")
        time.sleep(0.01)
    return calls


def go(piper: Piper, target: list[int], speed: int = 100) -> None:
    def near() -> bool:
        piper.MotionCtrl_2(1, 1, speed, 0)
        piper.JointCtrl(*target)
        return max(abs(a - b) for a, b in zip(joints(piper), target, strict=True)) < 60

    wait(near, f"joints at {target}")
    still(piper)


def worst_fk(piper: Piper) -> list[float]:
    """Largest difference of the SDK's forward kinematics and END_POSE at rest: [mm], [deg]."""
    angles = [math.radians(a / 1000) for a in joints(piper)]
    computed, told = C_PiperForwardKinematics(1).CalFK(angles)[-1], [v / 1000 for v in pose(piper)]
    turn = max(abs((a - b + 180) % 360 - 180) for a, b in zip(computed[3:], told[3:], strict=True))
    return [max(abs(a - b) for a, b in zip(computed[:3], told[:3], strict=True)), turn]


READY = [0, 60000, -70000, 0, 40000, 0]


def identity(piper: Piper) -> dict[str, Any]:
    result: dict[str, Any] = {"ok": piper.isOk(), "enabled_at_start": piper.GetArmEnableStatus()}
    piper.SearchPiperFirmwareVersion()
    wait(lambda: str(piper.GetPiperFirmwareVersion()).startswith("S-V"), "firmware")
    result["firmware"] = piper.GetPiperFirmwareVersion()
    result["limits"], result["accelerations"] = [], []
    for joint in range(1, 7):
        piper.SearchMotorMaxAngleSpdAccLimit(joint, 1)
        limit = piper.GetCurrentMotorAngleLimitMaxVel
        wait(lambda: limit().current_motor_angle_limit_max_vel.motor_num == joint, "limits")  # noqa: B023
        told = limit().current_motor_angle_limit_max_vel
        result["limits"].append([told.min_angle_limit, told.max_angle_limit, told.max_joint_spd])
        piper.SearchMotorMaxAngleSpdAccLimit(joint, 2)
        rate = piper.GetCurrentMotorMaxAccLimit
        wait(lambda: rate().current_motor_max_acc_limit.joint_motor_num == joint, "acceleration")  # noqa: B023
        result["accelerations"].append(rate().current_motor_max_acc_limit.max_joint_acc)
    piper.ArmParamEnquiryAndConfig(4)
    wait(lambda: piper.GetGripperTeachingPendantParamFeedback().time_stamp > 0, "gripper parameters")
    param = piper.GetGripperTeachingPendantParamFeedback().arm_gripper_teaching_param_feedback
    result["gripper_range"] = param.max_range_config
    time.sleep(1.2)  # the SDK counts frames over a second
    result["rates"] = [
        piper.GetArmStatus().Hz,
        piper.GetArmEndPoseMsgs().Hz,
        piper.GetArmJointMsgs().Hz,
        piper.GetArmGripperMsgs().Hz,
        piper.GetArmHighSpdInfoMsgs().Hz,
        piper.GetArmLowSpdInfoMsgs().Hz,
    ]
    result["fps"] = piper.GetCanFps()
    return result


def motion(piper: Piper) -> dict[str, Any]:
    result: dict[str, Any] = {"enable_calls": enable(piper)}
    wait(lambda: piper.GetRespInstruction().instruction_response.instruction_index == 0x71, "acknowledgement")
    target = [20000, 70000, -80000, 10000, 45000, -30000]
    go(piper, target)
    result["joint_error"] = max(abs(a - b) for a, b in zip(joints(piper), target, strict=True))
    result["fk"] = [worst_fk(piper)]
    result["status"] = status(piper)
    go(piper, READY)
    start = pose(piper)
    for mode in (0, 2):  # MOVE P, then MOVE L
        goal = [start[0] + 30000, start[1] - (40000 if mode else 0), start[2] - 50000, *start[3:]]
        piper.MotionCtrl_2(1, mode, 100, 0)
        piper.EndPoseCtrl(*goal)
        wait(lambda: max(abs(a - b) for a, b in zip(pose(piper)[:3], goal[:3], strict=True)) < 500, "pose")  # noqa: B023
        still(piper)
        result["fk"].append(worst_fk(piper))
        result["status"] += status(piper)
    before = pose(piper)
    piper.MotionCtrl_2(1, 0, 50, 0)
    piper.EndPoseCtrl(900000, 0, 400000, *before[3:])
    wait(lambda: status(piper) == 2, "no solution")
    still(piper)
    result["kept"] = max(abs(a - b) for a, b in zip(pose(piper)[:3], before[:3], strict=True))
    piper.EndPoseCtrl(*before)
    wait(lambda: status(piper) == 0, "normal again")
    piper.MotionCtrl_2(1, 1, 50, 0)
    piper.JointCtrl(0, 60000, -70000, 0, 75000, 0)
    wait(lambda: status(piper) == 4, "beyond limit")
    flags = piper.GetArmStatus().arm_status.err_status
    result["limit_flags"] = [getattr(flags, f"joint_{j}_angle_limit") for j in range(1, 7)]
    return result


def gripper(piper: Piper) -> dict[str, Any]:
    enable(piper)
    openings = []
    for opening in (50000, 0, 100000):
        want = min(opening, 70000)
        piper.GripperCtrl(opening, 1000, 1, 0)
        wait(lambda: abs(piper.GetArmGripperMsgs().gripper_state.grippers_angle - want) < 1000, "gripper")  # noqa: B023
        openings.append(piper.GetArmGripperMsgs().gripper_state.grippers_angle)
    return {"openings": openings, "code": piper.GetArmGripperMsgs().gripper_state.status_code}


def no_gripper_range(piper: Piper) -> dict[str, Any]:
    enable(piper)
    for _ in range(20):
        piper.GripperCtrl(50000, 1000, 1, 0)
        time.sleep(0.02)
    return {"opening": piper.GetArmGripperMsgs().gripper_state.grippers_angle}


def stops(piper: Piper) -> dict[str, Any]:
    enable(piper)
    go(piper, READY)
    result: dict[str, Any] = {}
    piper.EmergencyStop(1)
    wait(lambda: status(piper) == 1, "e-stop")
    begin = joints(piper)
    piper.MotionCtrl_2(1, 1, 100, 0)
    piper.JointCtrl(*READY)  # a stopped arm does not obey
    time.sleep(0.5)
    result["sunk"] = max(abs(a - b) for a, b in zip(joints(piper), begin, strict=True))
    result["status_stopped"] = status(piper)
    piper.ResetPiper()
    wait(lambda: status(piper) == 0 and not any(piper.GetArmEnableStatus()), "power cut")
    result["mode_after_reset"] = int(piper.GetArmStatus().arm_status.ctrl_mode)
    still(piper)
    result["fallen"] = max(abs(a - b) for a, b in zip(joints(piper), begin, strict=True))
    for motor in range(1, 7):
        piper.EnableArm(motor)
    time.sleep(0.3)
    result["first_enable"] = piper.GetArmEnableStatus()
    for motor in range(1, 7):
        piper.EnableArm(motor)
    wait(lambda: all(piper.GetArmEnableStatus()), "second enable")
    held = joints(piper)
    still(piper)
    result["moved_by_enable"] = max(abs(a - b) for a, b in zip(joints(piper), held, strict=True))
    return result


def disable(piper: Piper) -> dict[str, Any]:
    enable(piper)
    go(piper, READY)
    begin = joints(piper)
    time.sleep(0.5)  # nothing is sent: no watchdog, it holds
    held = max(abs(a - b) for a, b in zip(joints(piper), begin, strict=True))
    piper.DisableArm(7)
    wait(lambda: not any(piper.GetArmEnableStatus()), "disabled")
    time.sleep(0.5)
    return {"held": held, "fallen": max(abs(a - b) for a, b in zip(joints(piper), begin, strict=True))}


SCENARIOS: dict[str, Callable[[Piper], dict[str, Any]]] = {
    s.__name__: s for s in (identity, motion, gripper, no_gripper_range, stops, disable)
}

if __name__ == "__main__":
    print("\n" + json.dumps(SCENARIOS[sys.argv[2]](connect(int(sys.argv[1])))), flush=True)
    os._exit(0)  # the SDK's threads do not end by themselves
