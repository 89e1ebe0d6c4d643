"""What the driver says, as messages."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Quaternion, Transform, TransformStamped, Vector3
from geometry_msgs.msg import Pose as PoseMessage
from std_msgs.msg import ColorRGBA
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from reconvla_ros.arm import health
from reconvla_ros.arm.control import DriverCore
from reconvla_ros.arm.loop import LoopStats
from reconvla_ros.arm.tick import TickResult
from reconvla_ros.arm.urdf import Frame
from reconvla_ros.msg import ActionTrace, ArmStatus
from reconvla_ros.nodes import convert
from reconvla_ros.safety.body import boxes_of
from reconvla_ros.safety.filter import Verdict
from reconvla_ros.safety.limits import Limits
from reconvla_ros.types import Pose

_NAN = math.nan
_TABLE = 1.2  # [m] edge of the drawn table plane
_RAY, _RAYS = 0.15, 12  # [m] length and number of the lines of the drawn cone
_BOXES_FROM = 10  # number of the first keep-out box among the markers


def to_tf(frames: Sequence[Frame], stamp_ns: int) -> TFMessage:
    """Frames -> one TFMessage."""
    return TFMessage(transforms=[_transform(frame, stamp_ns) for frame in frames])


def _transform(frame: Frame, stamp_ns: int) -> TransformStamped:
    x, y, z = map(float, frame.pose.position)
    qx, qy, qz, qw = map(float, frame.pose.quaternion)
    moved = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    return TransformStamped(header=convert.header(stamp_ns, frame.parent), child_frame_id=frame.child, transform=moved)


def to_status(result: TickResult, dry_run: bool, core: DriverCore) -> ArmStatus:
    """The newest tick -> ArmStatus."""
    report, state, verdicts = result.report, result.state, core.verdicts
    counts = dict(core.reasons)
    age = min(report.joint_age, 3600.0)
    return ArmStatus(
        header=convert.header(state.stamp_ns if state else result.stamp_ns, "base_link"),
        state=result.decision.state.value,
        reason=result.decision.reason,
        source=result.source,
        task_id=result.task_id,
        dry_run=dry_run,
        stop_latched=core.stop_latched,
        enabled=list(state.enabled) if state else [False] * 6,
        gripper_enabled=report.gripper_enabled,
        ctrl_mode=report.ctrl_mode & 0xFF,
        arm_status=report.arm_status & 0xFF,
        move_mode=report.move_mode & 0xFF,
        limit_bits=report.limit_bits,
        comm_bits=report.comm_bits,
        firmware=report.firmware,
        frames_sent=report.frames_sent,
        commands_passed=verdicts["passed"],
        commands_clamped=verdicts["clamped"],
        commands_refused=verdicts["refused"],
        reasons=list(counts),
        reason_counts=list(counts.values()),
        feedback_age=float(age),
    )


def to_values(result: TickResult, stats: LoopStats, core: DriverCore) -> dict[str, object]:
    """What the diagnostics of the driver say; times in [ms]."""
    report = result.report
    values: dict[str, object] = {
        "state": result.decision.state.value,
        "source": result.source,
        "firmware": report.firmware,
        "frames_sent": report.frames_sent,
        "feedback_age_ms": round(1e3 * min(report.joint_age, 3600.0), 2),
        "ticks": stats.ticks,
        "overruns": stats.overruns,
        "loop_period_error_ms_p50": round(1e3 * stats.period_error_p50, 3),
        "loop_period_error_ms_p99": round(1e3 * stats.period_error_p99, 3),
        "tick_ms_p50": round(1e3 * stats.tick_p50, 3),
        "tick_ms_p99": round(1e3 * stats.tick_p99, 3),
    }
    values |= {f"commands_{verdict}": count for verdict, count in dict(core.verdicts).items()}
    values |= {f"reason:{reason}": count for reason, count in dict(core.reasons).items()}
    if result.state is not None:
        values |= health.values(report, result.state)
    values |= preflight_values(core)
    return values | {f"fault:{name}": count for name, count in dict(core.supervisor.counts).items()}


def preflight_values(core: DriverCore) -> dict[str, object]:
    """The findings of the preflight, `preflight:<name>` -> "ok: ..."; "fail: ...; remedy: ..."."""
    return {f"preflight:{check.name}": str(check) for check in core.preflight.checks}


def to_trace(result: TickResult) -> ActionTrace | None:
    """One tick with a request or something sent -> ActionTrace; None when there was neither."""
    asked, state = result.asked, result.state
    if state is None or (asked is None and result.applied is None):
        return None
    wanted = asked.wanted if asked is not None else None
    filtered = asked.result.command if asked is not None and asked.result.verdict is not Verdict.REFUSED else None
    opening = wanted.gripper if wanted is not None else None
    applied = result.applied
    return ActionTrace(
        header=convert.header(result.stamp_ns, "base_link"),
        source=result.source,
        task_id=result.task_id,
        chunk_sequence=wanted.chunk.sequence if wanted is not None and wanted.chunk is not None else 0,
        chunk_step=wanted.step if wanted is not None else -1,
        verdict=int(result.verdict),
        reason=result.reason,
        detail=result.detail,
        requested_pose=convert.to_pose(wanted.pose) if wanted is not None else _no_pose(),
        requested_gripper=_NAN if opening is None else float(opening),
        filtered_pose=_no_pose() if filtered is None else convert.to_pose(Pose(filtered.position, filtered.quaternion)),
        filtered_gripper=_NAN if filtered is None or filtered.gripper is None else float(filtered.gripper),
        applied_position=[_NAN] * 6 if applied is None else [float(v) for v in applied.position],
        applied_gripper=_NAN if applied is None or applied.gripper is None else float(applied.gripper),
        measured_position=[float(v) for v in state.position],
    )


def _no_pose() -> PoseMessage:
    return PoseMessage(position=Point(x=_NAN, y=_NAN, z=_NAN))


def to_markers(limits: Limits, refused: Pose | None, stamp_ns: int) -> MarkerArray:
    """Workspace box, table plane, keep-out boxes, cone of the tool (at the refused target, else above the table) where one is
    set, and, when there is one, the refused target."""
    low, high = limits.workspace_lower, limits.workspace_upper
    blue, wood, red = (0.2, 0.6, 1.0, 0.12), (0.9, 0.6, 0.2, 0.25), (1.0, 0.1, 0.1, 0.9)
    middle = ((low + high) / 2.0).tolist()
    box = _marker(0, Marker.CUBE, stamp_ns, middle, (high - low).tolist(), blue)
    table = _marker(1, Marker.CUBE, stamp_ns, [0.3, 0.0, float(limits.floor)], [_TABLE, _TABLE, 0.001], wood)
    where = [0.0, 0.0, 0.0] if refused is None else [float(v) for v in refused.position]
    target = _marker(2, Marker.SPHERE, stamp_ns, where, [0.03] * 3, red)
    target.action = Marker.DELETE if refused is None else Marker.ADD
    markers = [box, table, target]
    if limits.tool_cone < math.pi:
        markers.append(_cone(limits, middle if refused is None else where, stamp_ns))
    for number, (corner, other) in enumerate(boxes_of(limits.keep_out)):
        at, size = ((corner + other) / 2.0).tolist(), (other - corner).tolist()
        markers.append(_marker(_BOXES_FROM + number, Marker.CUBE, stamp_ns, at, size, (1.0, 0.3, 0.1, 0.35)))
    return MarkerArray(markers=markers)


def _cone(limits: Limits, tip: list[float], stamp_ns: int) -> Marker:
    """Where the tool's z axis may point from `tip`: lines on the rim of the cone."""
    axis = np.asarray(limits.tool_axis)
    side = np.cross(axis, (1.0, 0.0, 0.0) if abs(axis[0]) < 0.9 else (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    rays = []
    for turn in np.linspace(0.0, 2.0 * math.pi, _RAYS, endpoint=False):
        out = math.cos(turn) * side + math.sin(turn) * other
        rays.append(_RAY * (math.cos(limits.tool_cone) * axis + math.sin(limits.tool_cone) * out))
    marker = _marker(3, Marker.LINE_LIST, stamp_ns, tip, [0.002, 0.0, 0.0], (0.2, 0.9, 0.4, 0.8))
    ends = [point for k, ray in enumerate(rays) for point in (np.zeros(3), ray, ray, rays[(k + 1) % _RAYS])]
    marker.points = [Point(x=float(p[0]), y=float(p[1]), z=float(p[2])) for p in ends]
    return marker


def _marker(
    number: int, kind: int, stamp_ns: int, where: list[float], size: list[float], color: tuple[float, ...]
) -> Marker:
    r, g, b, a = color
    return Marker(
        header=convert.header(stamp_ns, "base_link"),
        ns="limits",
        id=number,
        type=kind,
        action=Marker.ADD,
        pose=PoseMessage(position=Point(x=where[0], y=where[1], z=where[2])),
        scale=Vector3(x=size[0], y=size[1], z=size[2]),
        color=ColorRGBA(r=r, g=g, b=b, a=a),
    )
