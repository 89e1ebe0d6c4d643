"""`reconvla bench policy`: the policy beside its peers and the machine's limits, every figure a ratio measured in one run.

A bench is a line of `BENCHES`: its name, what it compares and where it lives, "module:function". The module is imported when
the bench is asked for, so one that needs ROS or a GPU hinders no other. The function takes (Settings, Progress) and returns

    {"ratio", "ratio_min", "ratio_max", "spread", "rounds", "ours_ms", "other_ms", "bound", "kept", ...}

as `policy_timing.compare` makes it; `policy_timing.gather` joins several figures. It raises `SetupError` with the remedy where
this machine lacks something: the bench is then reported as skipped, and the others go on.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from reconvla_ros.errors import ConfigError, SetupError, choices

SIZES = ("small", "full", "tiny")
_QUIET = 15.0  # [%] of all processors: above it, somebody else is at work and the host is not quiet


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: measurements of each side.
        size: of the random weights; "full" = Qwen2-7B with SigLIP so400m, "small" for a CPU, "tiny" for tests; "auto" until
            `settle` has decided.
        device, dtype: as `model.pick_device` and `model.pick_dtype` read them.
        threads: CPU threads of the network.
        seed: of weights and inputs.
    """

    rounds: int = 7
    size: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in ("auto", *SIZES):
            raise ConfigError(f"--size: {choices(self.size, ('auto', *SIZES))}")
        for name in ("rounds", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name}: must be at least 1, got {getattr(self, name)}")

    @property
    def gpu(self) -> bool:
        """Whether the network runs on a GPU; known after `settle`."""
        return self.device.startswith("cuda")


Progress = Callable[[str], None]
Measure = Callable[[Settings, Progress], dict[str, Any]]


@dataclass(frozen=True)
class Bench:
    """One line of the table: what it compares, in words, and "module:function"."""

    title: str
    where: str

    def load(self) -> Measure:
        """The function; imports its module."""
        module, _, function = self.where.partition(":")
        measure: Measure = getattr(importlib.import_module(f"reconvla_ros.bench.{module}"), function)
        return measure


BENCHES: dict[str, Bench] = {
    "B1": Bench("chunk: the original's loop / ours", "policy_chunk:chunk"),
    "B2": Bench("decode: what the memory allows / a step", "policy_decode:decode_efficiency"),
    "B3": Bench("prefill: its bare products / prefill", "policy_decode:prefill_efficiency"),
    "B4a": Bench("verify: a step / a pass over 35 tokens", "policy_decode:verify_cost"),
    "B4b": Bench("draft: one token a step / with a draft", "policy_draft:draft_curve"),
    "B5": Bench("fidelity: tokens equal to plain decoding in float32", "policy_fidelity:fidelity"),
    "B6": Bench("head: action rows and certificate / full table", "policy_decode:head_cost"),
    "B7": Bench("images: the original's preprocessing / ours, bit for bit", "policy_images:preprocess"),
    "B8": Bench("image message: a memcpy / built and read back", "policy_images:message"),
    "B9": Bench("hop, camera to policy: zenoh / ours", "policy_hop:measure"),
    "B14": Bench("capture to bus / the sum of its stages", "policy_end_to_end:measure"),
    "profile": Bench("a chunk's stages: floor / time; median, tail, memory", "policy_profile:profile"),
    "B15": Bench("steps per second: while the arm moves / while it waits", "policy_async:gain"),
}


def settle(settings: Settings) -> Settings:
    """`settings` with device, dtype and size decided: full size in bfloat16 on a GPU, small in float32 on a CPU.

    Raises:
        ConfigError: a device or dtype that is not to be had here.
    """
    from reconvla_ros.model.model import pick_device, pick_dtype

    device = pick_device(settings.device)
    dtype = str(pick_dtype(settings.dtype, device)).removeprefix("torch.")
    size = settings.size if settings.size != "auto" else ("full" if device.type == "cuda" else "small")
    return replace(settings, device=str(device), dtype=dtype, size=size)


def pick(text: str) -> tuple[str, ...]:
    """'B1,B5' -> ('B1', 'B5'); '' = all of them.

    Raises:
        ConfigError: one that does not exist.
    """
    words = tuple(dict.fromkeys(word.strip().upper() for word in text.split(",") if word.strip()))
    valid = {name.upper(): name for name in BENCHES}
    for word in words:
        if word not in valid:
            raise ConfigError(f"--only: no bench {choices(word, BENCHES)}")
    return tuple(valid[word] for word in words) or tuple(BENCHES)


def run(names: tuple[str, ...], settings: Settings, progress: Progress = lambda line: None) -> dict[str, Any]:
    """Measure `names`, one after the other.

    Returns:
        name -> result; a bench that cannot run here is {"ratio": None, "skipped": why}. "host" says what it ran on.
    """
    result: dict[str, Any] = {"host": host(settings)}
    for place, name in enumerate(names, start=1):
        progress(f"[{place}/{len(names)}] {name}: {BENCHES[name].title}")
        try:
            result[name] = BENCHES[name].load()(settings, progress)
        except SetupError as error:
            result[name] = {"ratio": None, "skipped": str(error)}
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("reconvla_ros"):
                raise  # a mistake of ours
            result[name] = {"ratio": None, "skipped": f"needs {error.name}: pip install {error.name}"}
        progress(line(name, result[name]))
    return result


def host(settings: Settings) -> dict[str, Any]:
    """The machine and the versions, for whoever compares two runs."""
    facts: dict[str, Any] = {
        "processors": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version(),
        "size": settings.size, "device": settings.device, "dtype": settings.dtype, "threads": settings.threads,
        "rounds": settings.rounds, "seed": settings.seed, "busy_before_percent": None,
    }  # fmt: skip
    for name in ("torch", "transformers", "numpy"):
        try:
            facts[name] = importlib.import_module(name).__version__
        except ImportError:
            facts[name] = None
    try:
        import psutil
    except ImportError:
        return facts
    facts["busy_before_percent"] = psutil.cpu_percent(interval=1.0)
    return facts


def kept(result: dict[str, Any]) -> bool:
    """Whether every bench that ran keeps its bound, and at least one ran."""
    ran = [entry for name, entry in result.items() if name != "host" and "skipped" not in entry]
    return bool(ran) and all(entry.get("kept", True) for entry in ran)


def line(name: str, entry: dict[str, Any]) -> str:
    """One figure for a terminal."""
    if "skipped" in entry:
        return f"{name:<10} skipped: {entry['skipped']}"
    verdict = {True: "kept", False: "NOT KEPT", None: ""}[entry.get("kept")]
    times = ""
    if entry.get("ours_ms") is not None and entry.get("other_ms") is not None:
        times = f"ours {entry['ours_ms']:10.3f} ms  other {entry['other_ms']:10.3f} ms"
    extremes = f"({entry.get('ratio_min', entry['ratio']):.2f}..{entry.get('ratio_max', entry['ratio']):.2f})"
    bound = entry.get("bound", "")
    broken = [part for part, figure in entry.get("parts", {}).items() if figure.get("kept") is False]
    if len(entry.get("parts", {})) > 1 and broken:
        times += "  not kept: " + ", ".join(broken)
    return f"{name:<10} {entry['ratio']:7.3f} {extremes:<16} {bound:<9} {verdict:<9} {times}".rstrip()


def table(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    facts = result["host"]
    busy = facts["busy_before_percent"]
    quiet = "load before the run unknown (psutil is not installed)"
    if busy is not None:
        quiet = "quiet" if busy < _QUIET else f"NOT quiet: {busy:g} % busy before the run"
    lines = [
        f"{facts['processors']} processors, {quiet}; torch {facts['torch']}, transformers {facts['transformers']}; "
        f"size {facts['size']}, {facts['rounds']} rounds, medians (extremes)"
    ]
    for name, entry in result.items():
        if name == "host":
            continue
        title = f"{name} {BENCHES[name].title}" if name in BENCHES else name
        lines += [title, "  " + line(name, entry)]
        parts = entry.get("parts", {})
        lines += ["  " + line(f" {part}", figure) for part, figure in parts.items() if len(parts) > 1]
        lines += [f"    {words}" for words in entry.get("notes", [])]
    return "\n".join(lines)


def show(text: str) -> None:
    """Progress for people: to stderr, so that stdout is the table alone."""
    print(text, file=sys.stderr, flush=True)
