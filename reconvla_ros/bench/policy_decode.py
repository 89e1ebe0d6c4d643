"""B2, B3, B4a and B6 of `reconvla bench policy`: decode and prefill beside what the machine's memory and products allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_timing import Bound, compare, take_turns
from reconvla_ros.bench.policy_workload import PLAIN, TOKENS, Laps, Workload, weight_bytes, workload
from reconvla_ros.model.engine import Mechanisms

STEPS = TOKENS - 1
"""Forward passes after the prefill, which gives the first token itself."""
READ_BYTES = 512_000_000  # on a CPU, beyond every cache
COPY_BYTES = 4_000_000_000  # on a GPU, read once and written once
WARM = {True: 3, False: 1}  # warm-up rounds on a GPU, on a CPU


def images(load: Workload) -> list[Tensor]:
    """Image embeddings of every input set, made once: what is measured comes after them."""
    return [load.image(inputs) for inputs in load.inputs]


def stage_of(load: Workload, stage: str, mechanisms: Mechanisms = PLAIN) -> Callable[[int], float]:
    """A side that answers the inputs of its round and counts one stage, "prefill" or "decode"."""
    engine, pictures = load.engine(mechanisms), images(load)

    def side(index: int) -> float:
        laps = Laps(load.sync)
        engine.answer(load.of(index).ids, pictures[index % len(pictures)], lap=laps)
        return laps.stages[stage]

    return side


def step_bytes(load: Workload) -> float:
    """What one decode step must read at least [bytes].

    All layers, the last norm, the rows of the action ids, keys and values of the positions so far (of the middle step), and its
    share of the one product of all states with the whole table that certifies the answer.
    """
    decoder, c = load.model.decoder, load.shape.language
    item = load.model.lm_head.weight.element_size()
    layers = weight_bytes(decoder.layers) + weight_bytes(decoder.norm)
    rows = load.codec.bins * c.hidden * item
    positions = load.shape.prompt + STEPS / 2
    past = 2 * c.layers * c.kv_heads * c.head_dim * positions * item
    return float(layers + rows + past + weight_bytes(load.model.lm_head) / STEPS)


class Bus:
    """How fast this machine's memory is [bytes/s]: a copy on a GPU, a read on a CPU; the fastest plain way there is."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        count = COPY_BYTES // 4 if self._gpu else READ_BYTES // 4
        self._from = torch.ones(count, device=device)
        self._to = torch.empty_like(self._from) if self._gpu else self._from
        self.moved = 2 * COPY_BYTES if self._gpu else READ_BYTES

    def seconds(self) -> float:
        """Time of moving `moved` bytes [s]."""
        if self._gpu:
            return self._timed(lambda: self._to.copy_(self._from))
        return min(self._timed(self._from.sum), self._timed(lambda: torch.dot(self._from, self._from)))

    def _timed(self, work: Callable[[], object]) -> float:
        sync = torch.cuda.synchronize if self._gpu else (lambda: None)
        sync()
        begin = time.perf_counter()
        work()
        sync()
        return time.perf_counter() - begin


def decode_efficiency(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B2: (bytes a decode step must read / memory bandwidth of this run) / t(decode step, one token at a time)."""
    load, bus, needed = workload(settings), None, 0.0
    bus, needed = Bus(load.model.device), step_bytes(load)
    decode = stage_of(load, "decode")
    times = take_turns(
        {"ours": lambda index: decode(index) / STEPS, "memory": lambda index: bus.seconds()},
        settings.rounds, WARM[settings.gpu], load.sync,
    )  # fmt: skip
    floor = [needed / (bus.moved / seconds) for seconds in times["memory"]]
    figure = compare(times["ours"], floor, Bound(">=", 0.75 if settings.gpu else 0.5))
    speeds = sorted(bus.moved / seconds / 1e9 for seconds in times["memory"])
    what = "device copy, read and write" if settings.gpu else "one-thread read"
    return {
        **figure, "other": f"{what} of {bus.moved / 1e9:.1f} GB", "step_bytes": round(needed),
        "memory_gb_s": round(speeds[len(speeds) // 2], 2), "reached_gb_s": round(needed / figure["ours_ms"] / 1e6, 2),
        "notes": [
            f"a step reads {needed / 1e6:.1f} MB; {what}: {speeds[len(speeds) // 2]:.1f} GB/s, decode "
            f"{needed / figure['ours_ms'] / 1e6:.1f} GB/s; weights {weight_bytes(load.model) / 1e6:.0f} MB"
        ],
    }  # fmt: skip


def products(load: Workload) -> list[nn.Linear]:
    """Every linear layer of the decoder, in order."""
    return [part for part in load.model.decoder.layers.modules() if isinstance(part, nn.Linear)]


def prefill_efficiency(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B3: t(the matrix products of all layers alone, same positions, same weights) / t(prefill)."""
    load = workload(settings)
    linears, c = products(load), load.shape.language
    widths = {linear.in_features for linear in linears}
    given = {
        n: torch.randn(load.shape.prompt, n, device=load.model.device, dtype=load.model.dtype) for n in sorted(widths)
    }

    @torch.inference_mode()
    def bare(index: int) -> None:
        for linear in linears:
            F.linear(given[linear.in_features], linear.weight)

    times = take_turns(
        {"ours": stage_of(load, "prefill"), "bare": bare}, settings.rounds, WARM[settings.gpu], load.sync
    )
    figure = compare(times["ours"], times["bare"], Bound(">=", 0.75 if settings.gpu else 0.8))
    work = 2.0 * load.shape.prompt * sum(linear.weight.numel() for linear in linears)
    return {
        **figure, "other": f"{len(linears)} bare matrix products", "gflop": round(work / 1e9, 1),
        "notes": [f"{c.layers} layers, {load.shape.prompt} positions, {work / 1e9:.0f} GFLOP: bare "
                  f"{work / figure['other_ms'] / 1e6:.0f} GFLOP/s, prefill {work / figure['ours_ms'] / 1e6:.0f} GFLOP/s"],
    }  # fmt: skip


def verify_cost(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B4a: t(step of one token) / t(pass over 35 tokens), both with the rows of the action ids, without CUDA graphs."""
    load = workload(settings)
    model, random = load.model, torch.Generator().manual_seed(settings.seed)
    rows = model.lm_head.weight[load.codec.low : load.codec.high + 1]
    ids = torch.randint(load.codec.low, load.codec.high + 1, (TOKENS,), generator=random).tolist()
    with torch.inference_mode():
        cache, _ = model.prefill(model.embed(load.of(0).ids, load.image(load.of(0))), TOKENS)

    def run(count: int) -> Callable[[int], None]:
        @torch.inference_mode()
        def side(index: int) -> None:
            cache.length = load.shape.prompt
            (model.extend(ids[:count], cache) @ rows.T).argmax(-1).tolist()

        return side

    repeats = 5
    times = take_turns(
        {"one": lambda index: _repeat(run(1), repeats, load), "block": lambda index: _repeat(run(TOKENS), repeats, load)},
        settings.rounds, WARM[settings.gpu], load.sync,
    )  # fmt: skip
    bound = Bound(">=", 0.85) if settings.gpu else None
    figure = compare(times["block"], times["one"], bound)
    return {**figure, "other": "a step of one token; ours is the pass over 35"}


def _repeat(side: Callable[[int], None], times: int, load: Workload) -> float:
    begin = time.perf_counter()
    for index in range(times):
        side(index)
    load.sync()
    return (time.perf_counter() - begin) / times


def head_cost(settings: Settings, progress: Progress) -> dict[str, Any]:
    """B6: t(decode over the rows of the action ids, one certificate) / t(decode over the full table in every step)."""
    load = workload(settings)
    full = Mechanisms(head="full", draft="none")
    times = take_turns(
        {"ours": stage_of(load, "decode"), "full": stage_of(load, "decode", full)},
        settings.rounds, WARM[settings.gpu], load.sync,
    )  # fmt: skip
    bound = Bound("<=", 0.94) if settings.gpu else Bound("<=", 1.0)
    return {**compare(times["ours"], times["full"], bound, inverse=True), "other": "the full table in every step"}
