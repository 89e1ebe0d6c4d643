"""B5 of `reconvla bench policy`: the tokens, with every mechanism on and off, beside plain greedy decoding in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_draft import oracle
from reconvla_ros.bench.policy_timing import Bound
from reconvla_ros.bench.policy_workload import (
    TOKENS,
    Inputs,
    Workload,
    random_inputs,
    workload,
)
from reconvla_ros.errors import ConfigError, SetupError, TokenGateError
from reconvla_ros.model.decode import HEADS, greedy
from reconvla_ros.model.engine import DRAFTS, GRAPHS, Engine, Mechanisms
from reconvla_ros.model.engine_weights import WEIGHTS
from reconvla_ros.model.model import ReconVla
from reconvla_ros.model.random_init import random_model

NEAR_TIE = 0.1  # [logits] a miss in another dtype is excused where the reference's two best are nearer than this
ACCURACY = 0.7  # of the drafts that are given
GPU_BOUND = 0.99
# Requests for weights that are not lossless, whose agreement is not judged: every miss asks again, on a CPU for minutes.
SHOWN = 2


@dataclass(frozen=True)
class Reference:
    """What plain decoding in float32 says to one request: the tokens and the lead of each over the second best [logits]."""

    ids: tuple[int, ...]
    margin: tuple[float, ...]


@dataclass
class Count:
    """Agreement of one way of decoding with the reference.

    Attributes:
        equal, places: tokens equal, and compared, each after the reference's own tokens.
        free: tokens equal in the answers as they are decoded, where an early miss changes what follows.
        misses: the reference's margin at each miss [logits].
        refused: answers that the token gate refused.
    """

    equal: int = 0
    places: int = 0
    free: int = 0
    refused: int = 0
    misses: list[float] = field(default_factory=list)

    def result(self, bound: Bound) -> dict[str, Any]:
        """The figure."""
        ratio = self.equal / self.places
        excused = all(margin < NEAR_TIE for margin in self.misses)
        return {
            "ratio": round(ratio, 6), "bound": str(bound), "kept": bool(bound.kept(ratio) and excused and not self.refused),
            "free_running": round(self.free / self.places, 6), "tokens": self.places, "refused": self.refused,
            "missed_margins": [round(margin, 4) for margin in self.misses],
        }  # fmt: skip


@torch.inference_mode()
def reference(model: ReconVla, inputs: Inputs, load: Workload) -> Reference:
    """Plain greedy decoding over the whole vocabulary, one token a step (`model.decode.greedy`, which the golden tests check)."""
    image = model.encode_image(load.pixels(inputs))
    ids, logits = greedy(model, model.embed(inputs.ids, image), TOKENS)
    top = logits.topk(2, dim=-1).values
    return Reference(tuple(ids), tuple((top[:, 0] - top[:, 1]).tolist()))


def combinations(gpu: bool) -> Iterator[tuple[str, Mechanisms, bool]]:
    """Every mechanism on and off: (name, mechanisms, whether a draft is given). CUDA graphs only where there is a GPU."""
    for head in HEADS:
        for draft in DRAFTS:
            for graphs in GRAPHS if gpu else GRAPHS[:1]:
                name = f"{head} head, draft {draft}" + (f", graphs {graphs}" if gpu else "")
                yield name, Mechanisms(head=head, draft=draft, graphs=graphs), draft != "none"


def follow(
    engine: Engine, inputs: Inputs, load: Workload, truth: Reference, draft: Sequence[int], count: Count
) -> None:
    """Compare one answer place by place.

    After a miss the answer is asked for again with the reference's tokens up to there as prefix, so that every place is compared
    after the same tokens, by the very path that serves.
    """
    image, start = load.image(inputs), 0
    while start < TOKENS:
        try:
            ids = engine.answer(inputs.ids, image, prefix=truth.ids[:start], draft=draft[start:]).ids
        except TokenGateError:
            count.refused += 1
            count.places += TOKENS - start
            return
        same = [a == b for a, b in zip(ids, truth.ids, strict=True)]
        if start == 0:
            count.free += sum(same)
        miss = next((k for k in range(start, TOKENS) if not same[k]), TOKENS)
        count.equal += miss - start
        count.places += min(miss + 1, TOKENS) - start
        if miss < TOKENS:
            count.misses.append(truth.margin[miss])
        start = miss + 1


def fidelity(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B5: tokens equal / 35 x N requests, for every mechanism on and off, against plain decoding in float32.

    The reference has our weights as float32. Where we run in another dtype, near-ties of the reference may flip, and one flip
    changes all that follows: there every place is compared after the reference's own tokens, `free_running` counts the answers
    as they come, and a miss is excused only where the reference's lead was below 0.1. In float32 both are the same, and 1.
    Weight-only int8 and fp8 change the weights: their agreement is shown and not judged.
    """
    load = workload(settings)
    requests = [i for k in range(-(-settings.rounds // 3)) for i in random_inputs(load.shape, settings.seed + 1 + k)]
    requests = requests[: settings.rounds]
    wide = load.model
    if load.model.dtype != torch.float32:
        wide = _widened(settings, load)
    truths = [reference(wide, inputs, load) for inputs in requests]
    random, low, high = np.random.default_rng(settings.seed), load.codec.low, load.codec.high
    drafts = [oracle(truth.ids, ACCURACY, low, high, random) for truth in truths]
    bound = Bound("==", 1.0) if settings.dtype == "float32" else Bound(">=", GPU_BOUND)
    parts: dict[str, dict[str, Any]] = {}
    for name, mechanisms, given in combinations(settings.gpu):
        parts[name] = _judge(load, mechanisms, requests, truths, drafts if given else None, bound, 0)
    every = Mechanisms()
    for forced in (7, 21):
        parts[f"prefix of {forced}"] = _judge(load, every, requests, truths, drafts, bound, forced)
    worst = min(parts, key=lambda name: (parts[name]["kept"], parts[name]["ratio"]))
    result = {**parts[worst], "worst": worst, "parts": parts, "kept": all(part["kept"] for part in parts.values())}
    result["inexact"] = _inexact(settings, load, requests[:SHOWN], truths[:SHOWN])
    result["notes"] = [
        f"{len(requests)} requests of {TOKENS} tokens, {len(parts)} ways; weights that are not lossless: "
        + ("; ".join(f"{name} {words}" for name, words in result["inexact"].items()) or "none here")
    ]
    return result


def _widened(settings: Settings, load: Workload) -> ReconVla:
    """Our model with the same weights, to the last bit, as float32."""
    return random_model(load.shape.config, load.model.device, load.model.dtype, settings.seed).float()


def _judge(
    load: Workload,
    mechanisms: Mechanisms,
    requests: Sequence[Inputs],
    truths: Sequence[Reference],
    drafts: Sequence[Sequence[int]] | None,
    bound: Bound,
    forced: int,
) -> dict[str, Any]:
    engine, count = load.new_engine(mechanisms), Count()
    for place, (inputs, truth) in enumerate(zip(requests, truths, strict=True)):
        draft = drafts[place] if drafts is not None else ()
        if forced:
            _forced(engine, inputs, load, truth, draft, forced, count)
        else:
            follow(engine, inputs, load, truth, draft, count)
    return count.result(bound)


def _forced(
    engine: Engine, inputs: Inputs, load: Workload, truth: Reference, draft: Sequence[int], forced: int, count: Count
) -> None:
    """Compare the places behind a prefix; up to the first miss, as `follow` does between its misses."""
    answer = engine.answer(inputs.ids, load.image(inputs), prefix=truth.ids[:forced], draft=draft[forced:])
    same = [a == b for a, b in zip(answer.ids, truth.ids, strict=True)]
    miss = next((k for k in range(forced, TOKENS) if not same[k]), TOKENS)
    count.equal += miss - forced
    count.places += min(miss + 1, TOKENS) - forced
    count.free += sum(same[forced : min(miss + 1, TOKENS)])
    if miss < TOKENS:
        count.misses.append(truth.margin[miss])


def _inexact(
    settings: Settings, load: Workload, requests: Sequence[Inputs], truths: Sequence[Reference]
) -> dict[str, str]:
    """Agreement of the weights that are not lossless, in words; why, where they are not to be had."""
    found = {}
    for weights in WEIGHTS[1:]:
        count = Count()
        model = random_model(load.shape.config, load.model.device, load.model.dtype, settings.seed)
        try:
            engine = load.new_engine(Mechanisms(draft="none", weights=weights), model=model)
            for inputs, truth in zip(requests, truths, strict=True):
                follow(engine, inputs, load, truth, (), count)
        except (ConfigError, SetupError, RuntimeError) as error:
            found[weights] = f"not to be had here ({str(error).splitlines()[0]})"
            continue
        found[weights] = (
            f"{count.equal / count.places:.4f} of {count.places} tokens equal, {count.free / count.places:.4f} free running"
        )
    return found
