"""What the policy's thread reports -> PolicyStatus and diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time

from reconvla_ros.msg import PolicyStatus
from reconvla_ros.nodes.base import ERROR, OK, WARN
from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.policy.report import Report


def to_status(report: Report, about: Mapping[str, str], stamp: Time) -> PolicyStatus:
    """`about` is `policy.factory.describe`, or what is known before a policy is loaded."""
    r = report
    sure = r.certainty or Certainty.complete(0)
    message = PolicyStatus(
        state=r.state, reason=r.reason, task_id=r.task.task_id, instruction=r.task.instruction,
        checkpoint=about.get("checkpoint", ""), checkpoint_kind=about.get("kind", "unknown"),
        contract_digest=about.get("digest", ""), device=about.get("device", ""), dtype=about.get("dtype", ""),
        chunks=r.chunks, refused=r.refused, dropped=r.dropped, doubted=r.doubted,
        observation_age=r.observation_age, inference_time=r.inference_time,
        confidence_min=r.confidence_min, confidence_mean=r.confidence_mean,
        step_probability=list(sure.probability), step_margin=list(sure.margin), step_entropy=list(sure.entropy),
        prefix_steps=r.prefix_steps, passes=r.passes,
        stages=list(r.stages), stage_times=list(r.stages.values()),
    )  # fmt: skip
    message.header.stamp = stamp
    return message


def to_diagnosis(report: Report, about: Mapping[str, str], duty: float) -> tuple[bytes, str, dict[str, object]]:
    """Level, one line for a person, counts and the stage times of the last answer [s]."""
    r = report
    troubled = r.state == "WAITING" or (r.state == "RUNNING" and r.reason)
    level = ERROR if r.state == "FAULT" else WARN if troubled else OK
    values: dict[str, object] = {"chunks": r.chunks, "refused": r.refused, "dropped": r.dropped, "duty": duty}
    values |= {"doubted": r.doubted, "prefix_steps": r.prefix_steps, "passes": r.passes}
    values |= {"checkpoint_kind": about.get("kind", "unknown"), "inference_time": r.inference_time}
    values |= {f"stage:{name}": f"{seconds:.6f}" for name, seconds in r.stages.items()}
    return level, f"{r.state} {r.reason}".strip(), values
