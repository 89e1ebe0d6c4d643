"""Whether an answer is sure enough, by every measure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reconvla_ros.errors import ConfigError, ShapeError
from reconvla_ros.policy.certainty import ACTIONS, Certainty, ConfidenceRule

SURE = Certainty(np.array([0.9, 0.4, 0.8]), np.array([3.0, 0.5, 2.0]), np.array([0.2, 2.5, 0.4]))


def test_a_step_is_as_sure_as_its_least_sure_token() -> None:
    probability = np.linspace(1.0, 0.5, 14)
    made = Certainty.of_tokens(probability, 10 * probability, 1 - probability, 2)
    np.testing.assert_allclose(made.probability, [probability[6], probability[13]])
    np.testing.assert_allclose(made.margin, 10 * made.probability)
    np.testing.assert_allclose(made.entropy, 1 - made.probability)


@pytest.mark.parametrize(("count", "steps"), [(13, 2), (14, 0)])
def test_lengths_that_do_not_fit(count: int, steps: int) -> None:
    with pytest.raises(ShapeError, match="certainty"):
        Certainty.of_tokens(np.zeros(count), np.zeros(count), np.zeros(count), steps)


@pytest.mark.parametrize(
    ("measure", "passes", "fails", "said"),
    [
        ("probability", 0.4, 0.41, "probability 0.4 of step 2, wanted at least 0.41"),
        ("margin", 0.5, 0.6, "margin 0.5 logits of step 2, wanted at least 0.6"),
        ("entropy", 2.5, 2.4, "entropy 2.5 nat of step 2, wanted at most 2.4"),
    ],
)
def test_the_worst_step_decides(measure: str, passes: float, fails: float, said: str) -> None:
    assert ConfidenceRule("hold", measure, passes).doubt(SURE) == ""
    assert ConfidenceRule("hold", measure, fails).doubt(SURE) == f"low confidence: {said}"
    assert ConfidenceRule("ignore", measure, fails).doubt(SURE) == ""
    # The doubtful step is the second one; forced, it is not judged.
    assert ConfidenceRule("hold", measure, fails).doubt(SURE, forced=2) == ""


@pytest.mark.parametrize("measure", ["probability", "margin", "entropy"])
def test_what_is_not_known_is_not_sure(measure: str) -> None:
    rule = ConfidenceRule("hold", measure, 1.0)
    assert "does not say" in rule.doubt(None)
    assert "nan" in rule.doubt(Certainty(*np.full((3, 2), math.nan)))
    assert rule.doubt(Certainty.complete(3)) == ""
    assert rule.doubt(Certainty.complete(3), forced=3) == ""


def test_rules_that_make_no_sense() -> None:
    for bad in (
        {"action": "hodl"},
        {"measure": "luck"},
        {"threshold": math.nan},
        {"threshold": -1.0},
        {"slow_factor": 0.5},
    ):
        with pytest.raises(ConfigError, match="confidence"):
            ConfidenceRule(**{"action": ACTIONS[1], **bad})  # type: ignore[arg-type]
