"""Whatever is asked for: nothing raises, and what passes keeps every bound, judged anew and by other code where there is any."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from filter_cases import ARM, DT, LIMITS, OPEN, at, to  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reconvla_ros.arm.kinematics import Kinematics
from reconvla_ros.arm.rotations import angle_between, matrix_from_quaternion
from reconvla_ros.safety.filter import REASONS, Command, Reference, Verdict, check
from reconvla_ros.safety.limits import Limits
from reconvla_ros.safety.rules_place import singular
from reconvla_ros.types import Float

EXAMPLES = int(os.environ.get("FILTER_EXAMPLES", "600"))
x, y, z = (float(v) for v in at(OPEN).position)
TIGHT = replace(
    LIMITS, keep_out=(x - 0.1, y + 0.09, z - 0.1, x + 0.1, y + 0.2, z + 0.1, 0.1, -0.5, 0.0, 0.6, -0.2, 0.3),
    tool_cone=0.4, tool_axis=ARM.tcp_matrix(OPEN)[:3, 2], table_margin=0.01, self_margin=0.01, joint_step=0.002,
    tcp_step=4e-4, singularity_stop=0.3, singularity_slow=0.4, external_effort=np.full(6, 2.0), gripper_effort=0.5,
)  # fmt: skip

junk = st.one_of(
    st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.just(10**400),
    arrays(np.float64, st.sampled_from([0, 3, 4, 6, (2, 6), (6, 1)]), elements=st.floats()),
    arrays(np.int64, 6), arrays(np.float32, 3, elements=st.floats(width=32)), st.lists(st.floats(), max_size=6),
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["position", "quaternion", "joints", "gripper", "age", "effort", "ahead"]), junk),
    st.booleans(),
    st.one_of(st.none(), st.just(DT), st.floats()),
    st.sampled_from([LIMITS, TIGHT]),
)
def test_nonsense_never_raises_and_never_leaves(
    fields: dict[str, Any], straight: bool, dt: Any, limits: Limits
) -> None:
    command = Command(**(vars(to(OPEN)) | {"straight": straight} | fields))
    result = check(command, at(OPEN), limits, dt)
    if result.verdict is Verdict.REFUSED:
        assert result.reason in REASONS and result.detail.startswith(result.reason)
        return
    out = result.command
    values = [out.position, out.quaternion, [out.age], [] if out.joints is None else out.joints]
    values += [[v] for v in (out.gripper, out.effort) if v is not None]
    assert np.isfinite(np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in values])).all()


def spread(scale: float) -> st.SearchStrategy[Float]:
    return arrays(np.float64, 6, elements=st.floats(-1.0, 1.0)).map(lambda u: scale * u)


places = st.one_of(
    spread(0.4).map(lambda d: np.clip(OPEN + d, LIMITS.joint_lower, LIMITS.joint_upper)),
    arrays(np.float64, 6, elements=st.floats(0, 1)).map(
        lambda u: (1.0 - u) * LIMITS.joint_lower + u * LIMITS.joint_upper
    ),
)
references = st.builds(
    lambda q, gripper, velocity, external: at(q, gripper, velocity=velocity, external=external),
    places, st.floats(0.0, 0.07), st.one_of(st.none(), spread(0.1)), st.one_of(st.none(), spread(20.0)),
)  # fmt: skip


@st.composite
def ticks(draw: st.DrawFn) -> tuple[Reference, Command]:
    reference = draw(references)
    step = draw(st.one_of(spread(1e-4), spread(2e-3), spread(0.05)))
    if reference.velocity is not None and draw(st.booleans()):
        step = reference.velocity * DT + draw(spread(3e-5))
    target = np.clip(reference.joints + step, LIMITS.joint_lower - 0.05, LIMITS.joint_upper + 0.05)
    gripper, effort = (
        draw(st.one_of(st.none(), st.floats(-0.02, 0.12))),
        draw(st.one_of(st.none(), st.floats(0.0, 4.0))),
    )
    return reference, to(target, gripper=gripper, effort=effort)


def assert_kept(out: Command, ref: Reference, limits: Limits) -> None:
    assert out.joints is not None
    step = out.joints - ref.joints
    assert np.all(np.abs(step) <= limits.joint_speed * DT * (1 + 1e-5))
    assert np.abs(step).max() <= limits.joint_step * (1 + 1e-5)
    moved = float(np.linalg.norm(out.position - ref.position))
    assert moved <= min(limits.tcp_speed * DT, limits.tcp_step) * (1 + 1e-5)
    assert angle_between(ref.quaternion, out.quaternion) <= limits.tcp_angular_speed * DT * (1 + 1e-4)
    low, high = np.minimum(limits.soft_lower, ref.joints), np.maximum(limits.soft_upper, ref.joints)
    assert np.all(out.joints >= np.maximum(limits.joint_lower, low) - 1e-8)
    assert np.all(out.joints <= np.minimum(limits.joint_upper, high) + 1e-8)
    box = np.array([*limits.workspace_lower[:2], limits.floor])
    assert np.all(out.position >= np.minimum(box, ref.position) - 1e-8)
    assert np.all(out.position <= np.maximum(limits.workspace_upper, ref.position) + 1e-8)
    if ref.velocity is not None:
        assert np.abs(step / DT - ref.velocity).max() / DT <= limits.stop_acceleration.max() + 1e-2
    if ref.external is not None:
        pushing = (np.abs(ref.external) > limits.external_effort) & (ref.external * step > 0.0)
        assert not pushing.any()
    assert out.gripper is None or 0.0 <= out.gripper <= limits.gripper_range
    assert out.effort is None or 0.0 <= out.effort <= limits.gripper_effort
    opening = ref.gripper if out.gripper is None else out.gripper
    if np.abs(step).max() > 0.0:
        here, there = (
            limits.body.look(q[None], g).clearance[0] for q, g in ((ref.joints, ref.gripper), (out.joints, opening))
        )
        assert np.all(there >= np.minimum(limits.body_bounds, here) - 1e-8)
    axis = np.asarray(limits.tool_axis)
    lean, before = (
        np.arccos(np.clip(matrix_from_quaternion(q)[:, 2] @ axis, -1, 1)) for q in (out.quaternion, ref.quaternion)
    )
    assert lean <= max(limits.tool_cone, before) + 1e-6
    near, was = np.array(singular(out.joints)), np.array(singular(ref.joints))
    assert np.all(near >= np.minimum(limits.singularity_stop, was) - 1e-6)


passed = 0


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(ticks(), st.sampled_from([LIMITS, TIGHT]))
def test_a_tick_that_passes_keeps_every_bound(pair: tuple[Reference, Command], limits: Limits) -> None:
    global passed
    reference, command = pair
    result = check(command, reference, limits, DT)
    if result.verdict is not Verdict.REFUSED:
        passed += bool(np.abs(result.command.joints - reference.joints).max() > 0.0)  # type: ignore[operator]
        assert_kept(result.command, reference, limits)


def test_enough_of_them_passed() -> None:
    """A filter that refuses everything keeps every bound too."""
    assert passed > EXAMPLES // 100


@settings(max_examples=EXAMPLES // 4, deadline=None)
@given(references, places, st.booleans(), st.sampled_from([LIMITS, TIGHT]))
def test_a_target_that_passes_is_a_place_to_be(
    reference: Reference, place: Float, straight: bool, limits: Limits
) -> None:
    result = check(to(place, straight=straight), reference, limits)
    if result.verdict is Verdict.REFUSED:
        return
    out = result.command
    assert out.joints is not None
    here = limits.body.look(reference.joints[None], reference.gripper).clearance[0]
    steps = np.linspace(0.0, 1.0, 50)[:, None] if straight else np.array([[1.0]])
    way = limits.body.look(reference.joints + steps * (out.joints - reference.joints), reference.gripper)
    # Between the samples of the filter a point moves up to a few centimetres on the longest ways.
    slack = 0.03 if straight else 1e-8
    assert np.all(way.clearance >= np.minimum(limits.body_bounds, here) - slack)


def test_the_helper_s_arm_is_the_driver_s() -> None:
    assert np.allclose(Kinematics().tcp(OPEN).position, at(OPEN).position)
