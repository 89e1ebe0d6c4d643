"""What is verified when."""

from __future__ import annotations

import numpy as np
import pytest

from reconvla_ros.model.draft import CPU_COST, GPU_COST, Cost, Draft


def passes(right: list[bool], cost: Cost) -> tuple[int, float]:
    """Passes behind the prefill, and their cost [single steps], for guesses of which these are right."""
    count = len(right)
    truth = list(range(count))
    draft = Draft([t if good else -1 for t, good in zip(truth, right, strict=True)], cost)
    fed = draft.first(count - 1, 800)
    done, number, spent = 0, 0, 0.0
    while True:
        matched = 0
        while matched < len(fed) and fed[matched] == truth[done + matched]:
            matched += 1
        taken = truth[done : done + matched + 1]
        draft.saw(taken, [0] * (len(fed) - matched))
        done += len(taken)
        if done >= count:
            return number, spent
        fed = draft.block(count - done - 1)
        number, spent = number + 1, spent + cost(len(fed) + 1)


@pytest.mark.parametrize("cost", [CPU_COST, GPU_COST])
def test_a_true_draft_needs_no_pass_and_a_wrong_one_hardly_costs(cost: Cost) -> None:
    assert passes([True] * 35, cost) == (0, 0.0)
    number, spent = passes([False] * 35, cost)
    assert number == 34
    assert spent <= 1.05 * 34


@pytest.mark.parametrize(
    ("cost", "share", "most"),
    [
        (CPU_COST, 0.9, 0.65),
        (CPU_COST, 0.5, 1.1),  # nothing to be had: two tokens a pass at most, and a pass over a few costs more than two
        (CPU_COST, 0.2, 1.1),
        (GPU_COST, 0.9, 0.4),
        (GPU_COST, 0.5, 0.7),
        (GPU_COST, 0.2, 1.1),
    ],
)
def test_guesses_right_by_chance_save_what_they_can(share: float, most: float, cost: Cost) -> None:
    rng = np.random.default_rng(1)
    spent = [passes((rng.random(35) < share).tolist(), cost)[1] for _ in range(200)]
    assert np.mean(spent) <= most * 34


def test_a_draft_that_turns_out_right_late_is_taken_up_again() -> None:
    number, _ = passes([False] * 8 + [True] * 27, CPU_COST)
    assert number < 30  # without it: 34


def test_jacobi_guesses_what_the_pass_answered() -> None:
    draft = Draft([5, 5, 5, 5], CPU_COST, renew=True)
    assert draft.first(3, 800) == [5, 5, 5]
    draft.saw([1], [2, 3, 4])
    assert draft.block(9) == [2, 3, 4, 4]
    draft.saw([2, 3], [7])
    assert draft.block(1) == [7]
    draft.saw([7, 8], [])
    assert draft.over


def test_a_short_prompt_takes_a_part_of_the_draft_along() -> None:
    draft = Draft(list(range(34)), CPU_COST)
    assert draft.first(34, 800) == list(range(34))
    assert draft.first(34, 200) == list(range(16))
    assert draft.first(34, 3) == [0]
    assert draft.first(0, 800) == []
