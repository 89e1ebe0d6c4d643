"""Loading in the background: progress, failure, giving up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from reconvla_ros.errors import Cancelled, CheckpointError, ConfigError, ContractError, ReconVlaError
from reconvla_ros.model.checkpoint import Hooks, Loading
from reconvla_ros.policy.contract import Contract, to_yaml
from reconvla_ros.policy.loader import PolicyLoader, precheck
from reconvla_ros.policy.scripted import ScriptedPolicy
from reconvla_ros.policy.settings import PolicyConfig


class Opener:
    """Stands for `open_policy`: tells of `total` tensors, one each time it is let go on."""

    def __init__(self, total: int = 8) -> None:
        self.total, self.go, self.told = total, threading.Semaphore(0), 0
        self.error: Exception | None = None
        self.warmed = threading.Event()

    def __call__(self, config: PolicyConfig, say: Callable[[str], None], hooks: Hooks) -> ScriptedPolicy:
        for done in range(1, self.total + 1):
            assert self.go.acquire(timeout=10)
            if self.error is not None:
                raise self.error
            assert hooks.cancel is not None and hooks.report is not None
            if hooks.cancel():
                raise Cancelled("loading was called off")
            hooks.report(Loading(done, self.total, done * 10**9, self.total * 10**9, 3 * 10**9))
            self.told = done
        policy = ScriptedPolicy()
        policy.warm_up = self.warmed.set  # type: ignore[method-assign]
        return policy


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Bench:
    def __init__(self) -> None:
        self.opener, self.lines, self.done = Opener(), list[str](), threading.Event()
        self.loader = PolicyLoader(PolicyConfig(policy="scripted"), self.lines.append, self.done.set, self.opener)
        self.loader.start()


def test_it_says_how_far_it_is_and_warms_up_before_it_is_ready() -> None:
    bench = Bench()
    assert bench.loader.state == ("LOADING", "") and bench.loader.policy is None
    bench.opener.go.release(2)
    until(lambda: bench.opener.told == 2)
    state, words = bench.loader.state
    assert state == "LOADING" and words == "25%, 2 of 8 tensors, 2.00 of 8.00 GB, 3.00 GB of memory held"
    bench.opener.go.release(6)
    assert bench.done.wait(10)
    assert bench.loader.state == ("IDLE", "") and bench.opener.warmed.is_set()
    assert bench.loader.policy is not None and bench.loader.about["checkpoint"] == "scripted"
    assert [line.split("%")[0] for line in bench.lines] == ["loading: 25", "loading: 50", "loading: 75", "loading: 100"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            CheckpointError("checkpoint: model-2.safetensors is cut short"),
            "checkpoint: model-2.safetensors is cut short",
        ),
        (
            RuntimeError("CUDA error: device-side assert"),
            "loading failed: RuntimeError: CUDA error: device-side assert",
        ),
    ],
)
def test_a_load_that_fails_is_a_fault_with_its_reason(error: Exception, said: str) -> None:
    bench = Bench()
    bench.opener.error = error
    bench.opener.go.release()
    assert bench.done.wait(10)
    assert bench.loader.state == ("FAULT", said) and bench.loader.policy is None


def test_a_warm_up_that_fails_is_a_fault_too() -> None:
    bench = Bench()

    class Cold(ScriptedPolicy):
        def warm_up(self) -> None:
            raise MemoryError("no room for the cache")

    loader = PolicyLoader(PolicyConfig(policy="scripted"), print, bench.done.set, lambda *a, **k: Cold())
    loader.start()
    assert bench.done.wait(10)
    assert loader.state == ("FAULT", "loading failed: MemoryError: no room for the cache")
    bench.opener.go.release(8)
    bench.loader.cancel()


def test_it_can_be_told_to_give_up() -> None:
    bench = Bench()
    bench.opener.go.release(1)
    until(lambda: bench.opener.told == 1)
    threading.Timer(0.05, bench.opener.go.release).start()  # the tensor under way
    assert bench.loader.cancel()
    assert bench.opener.told == 1 and bench.loader.policy is None
    assert not bench.done.is_set() and not bench.opener.warmed.is_set()


def test_what_is_loaded_is_given_back() -> None:
    bench = Bench()
    bench.opener.go.release(8)
    assert bench.done.wait(10)
    assert bench.loader.cancel() and bench.loader.policy is None


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"checkpoint": "/nowhere"}, CheckpointError, "/nowhere does not exist"),
        ({"checkpoint": "./nowhere"}, CheckpointError, "nowhere does not exist"),
        ({"device": "cuda:99"}, ConfigError, "device"),
        ({"checkpoint": "EMPTY"}, CheckpointError, "holds neither"),
        ({"checkpoint": "HOLLOW"}, ContractError, "contract.yaml does not exist"),
    ],
)
def test_what_can_be_said_at_once(change: dict, error: type[ReconVlaError], said: str, tmp_path: Path) -> None:
    if change.get("checkpoint") == "HOLLOW":
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    change = {k: str(tmp_path) if v in ("EMPTY", "HOLLOW") else v for k, v in change.items()}
    with pytest.raises(error, match=said):
        precheck(PolicyConfig(**change))


def test_another_arm_is_refused_at_once(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "contract.yaml").write_text(to_yaml(Contract(embodiment="calvin")))
    with pytest.raises(ContractError, match="'calvin'"):
        precheck(PolicyConfig(checkpoint=str(tmp_path)))
    precheck(PolicyConfig(checkpoint=str(tmp_path), simulated=True))
    for good in ({"policy": "scripted", "checkpoint": "/nowhere"}, {}, {"checkpoint": "owner/model"}):
        precheck(PolicyConfig(**good))  # type: ignore[arg-type]
