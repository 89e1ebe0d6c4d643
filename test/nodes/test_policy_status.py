"""What the policy's thread reports, as message and diagnosis."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")

from builtin_interfaces.msg import Time

from reconvla_ros.nodes.base import ERROR, OK, WARN
from reconvla_ros.nodes.policy_status import to_diagnosis, to_status
from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.policy.report import Report, Task

SURE = Certainty(np.array([1.0, 0.25]), np.array([np.inf, 0.5]), np.array([0.0, 3.0]))
REPORT = Report(
    "RUNNING", "", Task("t-1", "go"), 7, 1, 2, 3, 0.04, 0.2, 0.25, 0.625, SURE, 1, 34, {"wait": 0.04, "decode": 0.16}
)  # fmt: skip


def test_every_field_of_the_report_is_said() -> None:
    said = to_status(REPORT, {"checkpoint": "/c", "kind": "trained", "device": "cuda:0"}, Time(sec=5))
    assert (said.state, said.task_id, said.instruction, said.header.stamp.sec) == ("RUNNING", "t-1", "go", 5)
    assert (said.chunks, said.refused, said.dropped, said.doubted) == (7, 1, 2, 3)
    assert list(said.step_probability) == [1.0, 0.25] and list(said.step_entropy) == [0.0, 3.0]
    assert math.isinf(said.step_margin[0]) and said.step_margin[1] == 0.5
    assert (said.prefix_steps, said.passes) == (1, 34)
    assert list(said.stages) == ["wait", "decode"] and said.stage_times[1] == pytest.approx(0.16)
    assert (said.checkpoint, said.checkpoint_kind, said.device, said.dtype) == ("/c", "trained", "cuda:0", "")


def test_before_the_first_answer_nothing_is_known() -> None:
    said = to_status(Report("LOADING", "25%, 2 of 8 tensors"), {}, Time())
    assert len(said.step_probability) == len(said.step_margin) == len(said.step_entropy) == 0
    assert math.isnan(said.confidence_min) and said.reason == "25%, 2 of 8 tensors"


@pytest.mark.parametrize(
    ("report", "level", "text"),
    [
        (Report(), OK, "IDLE"),
        (Report("LOADING", "25%"), OK, "LOADING 25%"),
        (REPORT, OK, "RUNNING"),
        (Report("RUNNING", "low confidence: 2 times as slow"), WARN, "RUNNING low confidence: 2 times as slow"),
        (Report("WAITING", "low confidence: the arm holds"), WARN, "WAITING low confidence: the arm holds"),
        (Report("FAULT", "inference stalled"), ERROR, "FAULT inference stalled"),
    ],
)
def test_levels(report: Report, level: bytes, text: str) -> None:
    found, words, values = to_diagnosis(report, {"kind": "random"}, 0.5)
    assert (found, words) == (level, text)
    assert values["doubted"] == report.doubted and values["checkpoint_kind"] == "random"
