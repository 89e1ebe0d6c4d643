"""B1 of `reconvla bench policy`: a whole chunk, from two pictures and a prompt to 35 tokens, beside the original's loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_timing import Bound, compare, gather, take_turns
from reconvla_ros.bench.policy_workload import TOKENS, Inputs, Workload, workload
from reconvla_ros.bench.upstream import Upstream
from reconvla_ros.model.model import DTYPES

CPU_BOUND = Bound(">=", 1.5)
GPU_BOUNDS = {"a": Bound(">=", 6.0), "b": Bound(">=", 4.0)}
Answer = Callable[[Inputs], list[int]]


def peers(settings: Settings, load: Workload) -> dict[str, Upstream]:
    """The original's loop (a) in float32 as served, and (b) at our dtype where that is another one."""
    made = {"a": Upstream(load.model, torch.float32, half_image=True)}
    if settings.dtype != "float32":
        made["b"] = Upstream(load.model, DTYPES[settings.dtype], half_image=False)
    return made


def chunk(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B1: t(the original's loop) / t(ours, one token a step), both from pictures and prompt ids to 35 tokens.

    Ours keeps the attention for the overlay; the original computes its maps as well. The prompt's ids are given to both: the
    original's slow tokenizer is not raced. In float32 (a) and (b) are the same race and only (a) is run.
    """
    load = workload(settings)
    engine = load.engine(watch=True)
    answers: dict[str, dict[int, list[int]]] = {}

    def ours(inputs: Inputs) -> list[int]:
        return list(engine.answer(inputs.ids, load.image(inputs)).ids)

    def loop(peer: Upstream) -> Answer:
        return lambda inputs: peer.answer(inputs.base, inputs.wrist, inputs.ids, TOKENS + 1)

    sides: dict[str, Answer] = {"ours": ours, **{name: loop(peer) for name, peer in peers(settings, load).items()}}

    def measured(name: str) -> Callable[[int], None]:
        answers[name] = {}

        def side(index: int) -> None:
            answers[name][index % len(load.inputs)] = sides[name](load.of(index))

        return side

    times = take_turns({name: measured(name) for name in sides}, settings.rounds, 3 if settings.gpu else 1, load.sync)
    figures = {}
    for name in sides:
        if name == "ours":
            continue
        bound = GPU_BOUNDS[name] if settings.gpu else CPU_BOUND
        figures[name] = {
            **compare(times["ours"], times[name], bound),
            "other": "the original's loop, " + ("float32 as served" if name == "a" else f"{settings.dtype}"),
            "tokens_equal": agreement(answers["ours"], answers[name]),
        }
    whole = gather("a", figures)
    shares = ", ".join(f"({name}) {figure['tokens_equal']:.3f}" for name, figure in figures.items())
    whole["notes"] = [
        f"prompt of {load.shape.prompt} positions; tokens equal to the loop's: {shares}; left out, in its favour: Flask, "
        "its tokenizer, the PNG it writes"
    ]
    return whole


def agreement(first: dict[int, list[int]], second: dict[int, list[int]]) -> float:
    """Share of equal tokens over all inputs that both sides answered."""
    pairs = [(a, b) for key in first.keys() & second.keys() for a, b in zip(first[key], second[key], strict=True)]
    return round(sum(a == b for a, b in pairs) / max(len(pairs), 1), 4)
