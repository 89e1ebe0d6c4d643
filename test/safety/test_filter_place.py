"""The rules about where: each at its bound, from its wrong side, and ahead."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from filter_cases import ARM, DT, LIMITS, OPEN, at, to  # type: ignore[import-not-found]
from scipy.spatial.transform import Rotation

from reconvla_ros.arm.settings import DriverConfig
from reconvla_ros.safety.filter import Command, Filtered, Verdict, check
from reconvla_ros.safety.limits import Limits
from reconvla_ros.safety.rules_place import SLOWEST, singular, slowdown
from reconvla_ros.tables import dh_table
from reconvla_ros.types import Float, Pose

TURN = np.array([0.001, 0.0, 0.0, 0.0, 0.0, 0.0])  # joint 1 to the left, 0.2 rad/s


def verdict(result: Filtered) -> tuple[Verdict, str]:
    return result.verdict, result.reason


REFUSED, PASSED = Verdict.REFUSED, Verdict.PASSED


def beside(gap: float, joints: Float = OPEN, opening: float = 0.03) -> Limits:
    """Limits with a box left of gripper and fingers, `gap` [m] beyond the margin, no part of the arm nearer."""
    x, y, z = (float(v) for v in at(joints).position)
    edge = y + 0.5
    for _ in range(60):  # the covering spheres are what is measured, so the edge is found by measuring
        limits = replace(LIMITS, keep_out=(x - 0.1, edge, z - 0.05, x + 0.1, edge + 0.1, z + 0.1))
        least = nearest(limits, joints, opening)
        edge -= least - (limits.keep_out_margin + gap)
    return limits


def nearest(limits: Limits, joints: Float, opening: float = 0.03) -> float:
    looked = limits.body.look(joints[None], opening).clearance[0]
    return min(float(v) for v, (reason, _) in zip(looked, limits.body.items, strict=True) if reason == "keep_out")


def test_a_part_that_would_enter_a_box_is_refused() -> None:
    limits = beside(1e-4)
    assert verdict(check(to(OPEN), at(OPEN), limits, DT)) == (PASSED, "")
    result = check(to(OPEN + TURN), at(OPEN), limits, DT)
    assert verdict(result) == (REFUSED, "keep_out") and "to box 1" in result.detail
    assert verdict(check(to(OPEN - TURN), at(OPEN), limits, DT)) == (PASSED, "")
    assert verdict(check(to(OPEN + TURN), at(OPEN), LIMITS, DT)) == (PASSED, "")


def test_the_margin_of_a_box_is_kept() -> None:
    limits = beside(1e-4)
    assert nearest(limits, OPEN + TURN) == pytest.approx(limits.keep_out_margin, abs=1e-3)
    assert check(to(OPEN + TURN), at(OPEN), replace(limits, keep_out_margin=0.0), DT).verdict is PASSED


def test_out_of_a_box_and_standing_in_it_pass_further_in_does_not() -> None:
    limits = beside(-0.03)
    assert nearest(limits, OPEN) < 0.0
    assert verdict(check(to(OPEN), at(OPEN), limits, DT)) == (PASSED, "")
    assert verdict(check(to(OPEN - TURN), at(OPEN), limits, DT)) == (PASSED, "")
    assert verdict(check(to(OPEN + TURN), at(OPEN), limits, DT)) == (REFUSED, "keep_out")


def test_every_box_counts() -> None:
    limits = beside(1e-4)
    two = replace(limits, keep_out=(1.0, 1.0, 1.0, 1.1, 1.1, 1.1, *limits.keep_out))
    result = check(to(OPEN + TURN), at(OPEN), two, DT)
    assert verdict(result) == (REFUSED, "keep_out") and "to box 2" in result.detail


def test_a_box_where_a_stop_would_end_is_refused_now() -> None:
    limits = beside(0.004)
    command = to(OPEN + TURN)
    assert check(command, at(OPEN), limits, DT).verdict is PASSED
    result = check(replace(command, ahead=np.array([OPEN + 5 * TURN, OPEN + 20 * TURN])), at(OPEN), limits, DT)
    assert verdict(result) == (REFUSED, "keep_out") and "where a stop would end" in result.detail
    half_way = np.array([OPEN + 20 * TURN, OPEN + TURN])
    assert check(replace(command, ahead=half_way), at(OPEN), limits, DT).verdict is REFUSED


def test_fingers_that_open_into_a_box_count_with_the_motion() -> None:
    joints = OPEN
    tcp = at(joints).position
    frame = ARM.tcp_matrix(joints)
    side = frame[:3, 1]  # the fingers open along it
    middle = tcp + np.sign(side[1]) * side * 0.05
    limits = replace(
        LIMITS,
        keep_out=(*np.subtract(middle, (0.01, 0.001, 0.01)), *np.add(middle, (0.01, 0.05, 0.01))),
        keep_out_margin=0.001,
    )
    tiny = -1e-5 * TURN / TURN.max()
    closed, wide = to(joints + tiny, gripper=0.0), to(joints + tiny, gripper=0.07)
    assert check(closed, at(joints, 0.0), limits, DT).verdict is PASSED
    assert verdict(check(wide, at(joints, 0.0), limits, DT)) == (REFUSED, "keep_out")
    # An arm that stands may open its fingers: that frees a hand.
    assert check(to(joints, gripper=0.07), at(joints, 0.0), limits, DT).verdict is PASSED


def test_a_target_is_judged_by_where_the_arm_would_stand() -> None:
    limits = beside(0.02)
    assert verdict(check(to(OPEN + 100 * TURN), at(OPEN), limits)) == (REFUSED, "keep_out")
    assert check(to(OPEN - 100 * TURN), at(OPEN), limits).verdict is PASSED


def test_the_way_of_a_joint_target_is_judged_too() -> None:
    limits = beside(0.05)
    beyond = OPEN + np.array([1.2, 0, 0, 0, 0, 0])
    assert nearest(limits, beyond) > limits.keep_out_margin
    assert check(to(beyond), at(OPEN), limits).verdict is PASSED  # a Cartesian target goes another way
    result = check(to(beyond, straight=True), at(OPEN), limits)
    assert verdict(result) == (REFUSED, "keep_out") and "on the way" in result.detail


def low(height: float, lean: float) -> Float:
    """Joints with the TCP `height` above the table, tool leaning sideways by `lean` [rad]."""
    turn = Rotation.from_euler("x", lean) * Rotation.from_euler("y", np.pi)
    return ARM.solve(Pose(np.array([0.3, 0.0, height]), turn.as_quat()), OPEN)


def test_a_finger_in_the_table_is_refused_though_the_tcp_is_above_it() -> None:
    start, end = low(0.030, 0.35), low(0.0295, 0.35)
    limits = replace(LIMITS, table_z=0.0)
    lift = 0.03 - limits.body.look(start[None], 0.07).clearance[0].min()
    start, end = low(lift + 1e-5, 0.35), low(lift - 4e-4, 0.35)
    assert at(end).position[2] > limits.floor + 0.002
    reference = at(start, 0.07)
    assert check(to(start), reference, limits, DT).verdict is PASSED
    result = check(to(end), reference, limits, DT)
    assert verdict(result) == (REFUSED, "table") and "finger" in result.detail
    assert check(to(start), at(end, 0.07), limits, DT).verdict is PASSED  # up again
    assert check(to(end), at(start, 0.0), limits, DT).verdict is PASSED  # closed fingers are higher
    assert check(to(low(lift + 0.004, 0.35)), reference, limits).verdict is PASSED
    margin = replace(limits, table_margin=0.01)
    assert verdict(check(to(end), reference, margin, DT)) == (REFUSED, "table")


def test_a_table_ahead_is_refused_now() -> None:
    start = low(0.05, 0.0)
    ahead = np.array([low(0.045, 0.0), low(-0.002, 0.0)])
    result = check(
        to(low(0.0498, 0.0), ahead=ahead), at(start), replace(LIMITS, workspace_lower=np.array([0.08, -0.45, -0.2])), DT
    )
    assert verdict(result) == (REFUSED, "table")


def colliding() -> tuple[Float, Float]:
    """Joints just before the gripper touches the shoulder, tool down beside the base, and the step that would do it."""

    def joints_at(x: float) -> Float:
        turn = Rotation.from_euler("z", 0.8) * Rotation.from_euler("y", np.radians(165.0))
        return ARM.solve(Pose(np.array([x, 0.0, 0.08]), turn.as_quat()), OPEN)

    def clear(x: float) -> float:
        looked = LIMITS.body.look(joints_at(x)[None], 0.03).clearance[0]
        return min(v for v, (reason, _) in zip(looked, LIMITS.body.items, strict=True) if reason == "self_collision")

    near, far = 0.115, 0.14
    assert clear(near) < 0.0 < clear(far)
    while far - near > 1e-6:
        middle = (near + far) / 2
        near, far = (middle, far) if clear(middle) < 0.0 else (near, middle)
    return joints_at(far + 1e-5), joints_at(far - 1e-4) - joints_at(far + 1e-5)


def test_the_arm_does_not_touch_itself() -> None:
    joints, step = colliding()
    result = check(to(joints + step), at(joints), LIMITS, DT)
    assert verdict(result) == (REFUSED, "self_collision"), result.detail
    assert check(to(joints - step), at(joints), LIMITS, DT).verdict is PASSED
    assert check(to(joints), at(joints + step), LIMITS, DT).verdict is PASSED
    wide = replace(LIMITS, self_margin=0.01)
    assert verdict(check(to(joints - 9 * step), at(joints - 10 * step), wide, DT)) == (REFUSED, "self_collision")


def test_rest_home_and_ready_may_be_left_and_reached() -> None:
    config = DriverConfig()
    for variant in (0, 1):
        limits = config.limits(variant)
        stops = [np.zeros(6), np.array(config.home_position), np.array(config.ready_position)]
        for start in stops:
            for end in stops[1:]:
                result = check(to(end, straight=True), at(start), limits)
                assert result.verdict is PASSED, (variant, start, end, result.detail)


CONE = replace(LIMITS, tool_axis=tuple(at(OPEN).position * 0 + ARM.tcp_matrix(OPEN)[:3, 2]), tool_cone=0.1)
PITCH = np.array([0.0, 0.0, 0.0, 0.0, 0.002, 0.0])  # joint 5 leans the tool


def test_the_tool_stays_in_its_cone() -> None:
    inside, edge = OPEN + 49.7 * PITCH, OPEN + 50.3 * PITCH
    assert check(to(inside), at(inside - 0.5 * PITCH), CONE, DT).verdict is PASSED
    assert verdict(check(to(edge), at(inside), CONE, DT)) == (REFUSED, "orientation")
    assert check(to(edge), at(inside), LIMITS, DT).verdict is PASSED
    assert verdict(check(to(edge), at(inside), CONE)) == (REFUSED, "orientation")


def test_from_outside_the_cone_only_inward() -> None:
    outside = OPEN + 70 * PITCH
    assert check(to(outside - PITCH), at(outside), CONE, DT).verdict is PASSED
    assert check(to(outside), at(outside), CONE, DT).verdict is PASSED
    assert verdict(check(to(outside + PITCH), at(outside), CONE, DT)) == (REFUSED, "orientation")


def test_the_cone_looks_ahead_and_leaves_joint_ways_alone() -> None:
    command = to(OPEN + PITCH, ahead=np.array([OPEN + 30 * PITCH, OPEN + 60 * PITCH]))
    assert verdict(check(command, at(OPEN), CONE, DT)) == (REFUSED, "orientation")
    assert check(replace(command, straight=True), at(OPEN), CONE, DT).verdict is PASSED
    assert check(to(OPEN + 60 * PITCH, straight=True), at(OPEN), CONE).verdict is PASSED


def test_the_workspace_looks_ahead() -> None:
    tcp = at(OPEN).position
    limits = replace(LIMITS, workspace_upper=np.array([0.6, float(tcp[1]) + 0.003, 0.7]))
    assert check(to(OPEN + TURN), at(OPEN), limits, DT).verdict is PASSED
    command = to(OPEN + TURN, ahead=np.array([OPEN + 4 * TURN, OPEN + 30 * TURN]))
    result = check(command, at(OPEN), limits, DT)
    assert verdict(result) == (REFUSED, "workspace") and "a stop would end" in result.detail
    back = replace(LIMITS, workspace_lower=np.array([0.08, float(tcp[1]) - 0.003, -0.2]))
    command = to(OPEN - TURN, ahead=np.array([OPEN - 4 * TURN, OPEN - 30 * TURN]))
    assert verdict(check(command, at(OPEN), back, DT)) == (REFUSED, "workspace")


def test_the_product_of_the_distances_is_the_manipulability() -> None:
    a2, far = dh_table()[2].a, math.hypot(dh_table()[3].a, dh_table()[3].d)
    for joints in np.random.default_rng(0).uniform(LIMITS.joint_lower, LIMITS.joint_upper, (100, 6)):
        expected = abs(float(np.linalg.det(ARM.jacobian(joints))))
        assert np.prod(singular(joints)) * a2 * far * (a2 + far) == pytest.approx(expected, abs=1e-12)


def test_singular_follows_the_variant() -> None:
    assert singular(OPEN, 0) != singular(OPEN, 1)


WRIST = np.array([0.0, 1.2, -1.2, 0.0, 0.04, 0.0])
SHIFT = np.array([0.0, 0.0, 0.0, 0.0, 0.0005, 0.0])


def test_nearer_to_a_singularity_than_allowed_only_away() -> None:
    result = check(to(WRIST - SHIFT), at(WRIST), LIMITS, DT)
    assert verdict(result) == (REFUSED, "singularity") and "wrist" in result.detail
    assert check(to(WRIST + SHIFT), at(WRIST), LIMITS, DT).verdict is PASSED
    assert check(to(WRIST), at(WRIST), LIMITS, DT).verdict is PASSED
    assert check(to(WRIST - SHIFT, straight=True), at(WRIST), LIMITS, DT).verdict is PASSED
    far = OPEN.copy()
    far[4] = 0.06
    assert check(to(far - SHIFT), at(far), LIMITS, DT).verdict is PASSED


def test_a_singularity_ahead_and_of_a_target_is_refused() -> None:
    far = OPEN.copy()
    far[4] = 0.06
    command = to(far - SHIFT, ahead=np.array([far - 2 * SHIFT, far - 40 * SHIFT]))
    assert verdict(check(command, at(far), LIMITS, DT)) == (REFUSED, "singularity")
    assert verdict(check(to(far - 40 * SHIFT), at(far), LIMITS)) == (REFUSED, "singularity")


@pytest.mark.parametrize(("kind", "joint"), [("elbow", 2), ("shoulder", 1)])
def test_elbow_and_shoulder_count_as_well(kind: str, joint: int) -> None:
    index = ("wrist", "elbow", "shoulder").index(kind)
    loose = replace(LIMITS, workspace_lower=np.full(3, -0.8), workspace_upper=np.full(3, 0.8))
    joints = np.array([0.0, 1.9, -1.2, 0.0, 0.9, 0.0])
    grid = np.linspace(LIMITS.soft_lower[joint], LIMITS.soft_upper[joint], 4000)
    for value in grid[20:]:  # the first place on the range that is just below the bound
        joints[joint] = value
        here = singular(joints)
        if 0.03 < here[index] < 0.049 and LIMITS.body.look(joints[None], 0.03).clearance.min() > 0.01:
            break
    else:
        pytest.fail(f"no {kind} singularity found")
    step = np.zeros(6)
    step[joint] = 1e-4
    if singular(joints + step)[index] > here[index]:
        step = -step
    result = check(to(joints + step), at(joints), loose, DT)
    assert verdict(result) == (REFUSED, "singularity") and kind in result.detail
    assert check(to(joints - step), at(joints), loose, DT).verdict is PASSED


def test_slowdown_is_a_ramp() -> None:
    slow, stop = LIMITS.singularity_slow, LIMITS.singularity_stop

    def share(sine: float) -> float:
        joints = OPEN.copy()
        joints[4] = math.asin(sine)
        return slowdown(LIMITS, joints)

    assert share(slow + 0.01) == 1.0
    assert share((slow + stop) / 2) == pytest.approx(0.5)
    assert share(stop) == share(0.0) == SLOWEST


def test_a_look_that_is_kept_says_the_same() -> None:
    limits = beside(1e-4)
    first = check(to(OPEN - TURN, gripper=0.03), at(OPEN), limits, DT)
    assert first.look is not None
    kept, fresh = at(OPEN - TURN, look=first.look), at(OPEN - TURN)
    for turn in (-1.0, 0.5, 1.0, 1.5, 3.0):
        command = to(OPEN - TURN + turn * TURN)
        assert verdict(check(command, kept, limits, DT)) == verdict(check(command, fresh, limits, DT))


def test_what_was_seen_ticks_ago_changes_no_verdict() -> None:
    """On the way to a box: with what the ticks before have seen, and looking anew in every tick."""
    limits = beside(0.03)
    before, spared = at(OPEN), 0
    for tick in range(200):
        asked = to(OPEN + (tick + 1) * TURN)
        kept, anew = check(asked, before, limits, DT), check(asked, replace(before, look=None, room=None), limits, DT)
        assert verdict(kept) == verdict(anew), tick
        if kept.verdict is REFUSED:
            break
        spared += kept.look is None
        before = replace(at(OPEN + (tick + 1) * TURN), look=kept.look, room=kept.room)
    assert verdict(kept) == (REFUSED, "keep_out") and spared > 10  # most ticks need no look, and none too few had one


def test_room_ends_where_a_side_of_the_box_comes_nearer_than_a_body() -> None:
    there = at(OPEN - TURN)
    limits = replace(LIMITS, workspace_upper=np.array([0.6, float(there.position[1]) + 0.02, 0.6]))
    room = check(to(OPEN - TURN), at(OPEN), limits, DT).room
    assert room is not None and room.spare == pytest.approx(0.02, abs=1e-6)


def test_a_target_beyond_every_side_of_the_box_is_refused() -> None:
    beyond = Pose(LIMITS.workspace_upper + 0.05, at(OPEN).quaternion)
    near = replace(at(OPEN), position=LIMITS.workspace_upper - 0.01)
    result = check(Command(beyond.position, beyond.quaternion), near, LIMITS)
    assert verdict(result) == (REFUSED, "workspace")
