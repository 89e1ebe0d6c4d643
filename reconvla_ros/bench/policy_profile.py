"""Where the time of a chunk goes, beside what memory and products of this machine allow in the same run; tail and memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reconvla_ros.bench.policy_bench import Progress, Settings
from reconvla_ros.bench.policy_decode import STEPS, WARM, Bus, products, step_bytes
from reconvla_ros.bench.policy_draft import DRAFTED, oracle
from reconvla_ros.bench.policy_timing import Bound, judge, spread
from reconvla_ros.bench.policy_workload import PLAIN, TOKENS, Laps, Workload, parameter_bytes, workload
from reconvla_ros.model.engine import Engine

PASSES = 10
GPU_CHUNKS = 100  # for a 99th percentile
P50_MS, DRAFTED_MS, TAIL, MEMORY = Bound("<=", 160.0), Bound("<=", 60.0), Bound("<=", 1.1), Bound("<=", 1.15)


def product_rate(load: Workload) -> float:
    """The fastest matrix product of this run, at our dtype [FLOP/s]."""
    gpu = load.model.device.type == "cuda"
    side = 8192 if gpu else 1024
    a = torch.randn(side, side, device=load.model.device, dtype=load.model.dtype)
    best = np.inf
    for _ in range(5):
        load.sync()
        begin = time.perf_counter()
        torch.mm(a, a)
        load.sync()
        best = min(best, time.perf_counter() - begin)
    return float(2.0 * side**3 / best)


def vision_work(load: Workload) -> float:
    """Tower and projector [FLOP]: products of the weights, and of the positions with one another."""
    v, model = load.shape.vision, load.model
    weights = sum(p.numel() for p in (*model.tower.encoder.parameters(), *model.projector.parameters()) if p.ndim == 2)
    patch = model.tower.embeddings.patch_embedding.weight.numel()
    return float(2 * (weights + patch) * v.tokens + 4 * (v.layers - 1) * v.tokens**2 * v.hidden)


def floors(load: Workload, rate: float, bandwidth: float) -> dict[str, float]:
    """Least time of each stage [s]: its products at the rate of a large one, or its bytes at the speed of the memory."""
    model, c, n = load.model, load.shape.language, load.shape.prompt
    layers = sum(linear.weight.numel() for linear in products(load))
    seen = 4.0 * n * n / 2 * c.heads * c.head_dim * c.layers
    vision_bytes = parameter_bytes(model.tower) + parameter_bytes(model.projector)
    return {
        "vision": max(vision_work(load) / rate, vision_bytes / bandwidth),
        "prefill": max((2.0 * n * layers + seen) / rate, parameter_bytes(model.decoder.layers) / bandwidth),
        "decode": STEPS * step_bytes(load) / bandwidth,
    }


@torch.inference_mode()
def one(load: Workload, engine: Engine, index: int, draft: Sequence[int] = ()) -> tuple[dict[str, float], Any]:
    """Stages of one answer [s] and the answer."""
    inputs, laps = load.of(index), Laps(load.sync)
    picture: Tensor = load.pixels(inputs)
    laps("preprocess")
    image = engine.encode_image(picture)
    laps("vision")
    decoded = engine.answer(inputs.ids, image, draft=draft, lap=laps)
    return laps.stages, decoded


def profile(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Stages of a chunk beside their floors; the chunk's median, tail and memory, and its median at ten verify passes.

    A chunk is timed from the tower's input on (vision, prefill, decode): `preprocess` runs on the CPU and is shown beside it.
    The ratio is floor / time of the whole chunk, one token a step.
    """
    load = workload(settings)
    if settings.gpu:
        torch.cuda.reset_peak_memory_stats(load.model.device)
    before = torch.cuda.memory_reserved(load.model.device) if settings.gpu else 0
    engine, count = load.new_engine(PLAIN, watch=True), GPU_CHUNKS if settings.gpu else settings.rounds
    for index in range(WARM[settings.gpu]):
        one(load, engine, index)
    stages = [one(load, engine, index)[0] for index in range(count)]
    most = torch.cuda.max_memory_reserved(load.model.device) if settings.gpu else 0  # graphs' own pools included
    bus = Bus(load.model.device)
    bandwidth = bus.moved / min(bus.seconds() for _ in range(5))
    rate = product_rate(load)
    least = floors(load, rate, bandwidth)
    chunks = [sum(stage[name] for name in least) for stage in stages]
    result = spread([sum(least.values()) / seconds for seconds in chunks])
    result |= {"ours_ms": round(float(np.median(chunks)) * 1e3, 4), "other_ms": round(sum(least.values()) * 1e3, 4)}
    result["stages_ms"] = {
        name: {"p50": round(float(np.median([s[name] for s in stages])) * 1e3, 4),
               "floor": round(least[name] * 1e3, 4) if name in least else None}
        for name in stages[0]
    }  # fmt: skip
    parts = {"p50 [ms]": _limit(result["ours_ms"], P50_MS, settings.gpu)}
    parts["p99/p50"] = _limit(float(np.percentile(chunks, 99) / np.median(chunks)), TAIL, settings.gpu)
    parts["ten passes [ms]"] = _ten(load, count, settings)
    if settings.gpu:
        weights = parameter_bytes(load.model)
        parts["memory/weights"] = _limit((weights + most - before) / weights, MEMORY, True)
    result["parts"] = parts
    if settings.gpu:
        result["kept"] = all(part["kept"] for part in parts.values())
    result |= {"memory_gb_s": round(bandwidth / 1e9, 2), "product_gflop_s": round(rate / 1e9, 1), "chunks": count}
    result["notes"] = _notes(result)
    return result


def _limit(value: float, bound: Bound, gpu: bool) -> dict[str, Any]:
    """A figure whose bound is that of an H200, judged on a GPU only."""
    return judge({"ratio": round(value, 4)}, bound if gpu else None)


def _ten(load: Workload, count: int, settings: Settings) -> dict[str, Any]:
    """Median of a chunk whose draft is wrong so often that it takes `PASSES` passes, the prefill's counted [ms]."""
    engine = load.engine(DRAFTED, watch=True)
    codec, random = load.codec, np.random.default_rng(settings.seed)
    drafts, passes = [], []
    for index in range(len(load.inputs)):
        answer = list(one(load, engine, index)[1].ids)
        wrong = oracle(answer, 0.0, codec.low, codec.high, random)
        for misses in range(TOKENS):
            # evenly, from the second token on: the first comes with the prefill
            places = {1 + k * STEPS // max(misses, 1) for k in range(misses)}
            draft = [wrong[k] if k in places else token for k, token in enumerate(answer)]
            decoded = one(load, engine, index, draft)[1]
            if decoded.passes + 1 >= PASSES:
                break
        drafts.append(draft)
        passes.append(decoded.passes + 1)
    runs = [one(load, engine, index, drafts[index % len(drafts)])[0] for index in range(count)]
    chunk = float(np.median([sum(v for name, v in run.items() if name != "preprocess") for run in runs])) * 1e3
    return {**_limit(chunk, DRAFTED_MS, settings.gpu), "passes": passes}


def _notes(result: dict[str, Any]) -> list[str]:
    lines = [
        f"memory {result['memory_gb_s']:.1f} GB/s, products {result['product_gflop_s'] / 1e3:.2f} TFLOP/s in this run"
    ]
    for name, times in result["stages_ms"].items():
        floor = times["floor"]
        beside = (
            "on the CPU, not part of the chunk here"
            if floor is None
            else f"floor {floor:9.2f} ms ({floor / times['p50']:.2f})"
        )
        lines.append(f"{name:<10} {times['p50']:9.2f} ms   {beside}")
    return [*lines, f"passes of 'ten passes', the prefill's counted: {result['parts']['ten passes [ms]']['passes']}"]
