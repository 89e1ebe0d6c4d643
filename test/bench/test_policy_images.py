"""The sides of B7 and B8 do what they are compared for."""

from __future__ import annotations

import builtins
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reconvla_ros.bench import policy_images
from reconvla_ros.bench.policy_bench import Settings
from reconvla_ros.errors import SetupError

SETTINGS = Settings(rounds=2, size="tiny", device="cpu", dtype="float32")


def silent(line: str) -> None:
    """No progress."""


@pytest.mark.golden
def test_the_other_side_is_the_original(root: Path) -> None:
    """Its pixels are those of the vectors, so the time is compared with the right work."""
    folder = Path(os.environ.get("RECONVLA_GOLDEN", root.parent / "shared" / "golden"))
    if not (folder / "golden.json").is_file():
        pytest.skip(f"the original's vectors are not in {folder}; RECONVLA_GOLDEN names another folder")
    spec = importlib.util.spec_from_file_location("cases_of_images", folder / "cases.py")
    assert spec is not None and spec.loader is not None
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    served = json.loads((folder / "golden.json").read_text())["serve"]
    for case in served:
        _, base, wrist, *_ = cases.CASE[case["case"]]
        made = policy_images.as_upstream(cases.synth_image(*base), cases.synth_image(*wrist))
        assert cases.sha(made) == case["pixel_sha"]


def test_preprocess_says_that_not_a_bit_differs() -> None:
    result = policy_images.preprocess(SETTINGS, silent)
    assert result["identical"] and result["ratio"] > 0 and result["rounds"] == 2


def test_preprocess_is_not_kept_when_a_bit_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    real = policy_images.pixels
    monkeypatch.setattr(policy_images, "pixels", lambda *a: real(*a) + np.float32(1e-6))
    monkeypatch.setattr(policy_images, "PREPROCESS_BOUND", policy_images.Bound(">=", 0.0))
    result = policy_images.preprocess(SETTINGS, silent)
    assert not result["identical"] and not result["kept"]


def test_message_has_both_ways() -> None:
    pytest.importorskip("reconvla_ros.msg", reason="needs the built workspace")
    result = policy_images.message(SETTINGS, silent)
    assert set(result["parts"]) == {"message", "wire"}
    assert result["parts"]["message"]["other_ms"] > 0


def test_message_without_ros_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_ros(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("reconvla_ros.nodes"):
            raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_ros)
    with pytest.raises(SetupError, match=r"rclpy is not here; remedy: run it by \./reconvla"):
        policy_images.message(SETTINGS, silent)
