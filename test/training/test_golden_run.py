"""Ten steps of `reconvla finetune` from the original's checkpoint, and the same again after it was cut short."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from synthetic_samples import make_samples

from reconvla_ros.cli import finetune
from reconvla_ros.model.model import load_model
from reconvla_ros.training.log import read
from reconvla_ros.training.resume import read_exact
from reconvla_ros.training.saving import MOMENTS

pytestmark = [pytest.mark.golden, pytest.mark.timeout(300)]


def test_ten_steps_from_the_originals_checkpoint_resume_exactly(
    golden_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    data = make_samples(tmp_path / "data", 4, 2)
    words = ["--checkpoint", str(golden_folder / "tiny_checkpoint"), "--data", str(data), "--steps", "10"]
    for pair in ("batch=1", "repeats=1", "dtype=float32", "checkpointing=false", "lr=1e-3", "device=cpu", "save_every=6",
                 "validate_share=0", "keep=9", "cache_targets=true"):  # fmt: skip
        words += ["--set", pair]
    assert finetune.main([*words, "--out", str(tmp_path / "whole")]) == 0
    told = capsys.readouterr().out
    assert "denoiser restored" in told and "step 10/10" in told
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "step-000010")
    assert finetune.main([*words, "--out", str(tmp_path / "cut"), "--resume"]) == 0
    assert "going on from step 6 of 10" in capsys.readouterr().out
    whole, cut = (read(tmp_path / name / "metrics.csv") for name in ("whole", "cut"))
    assert [r["loss"] for r in whole] == [r["loss"] for r in cut] and len(whole) == 10
    assert float(whole[-1]["loss"]) < 0.8 * float(whole[0]["loss"])
    first, second = (read_exact(tmp_path / name / "step-000010" / MOMENTS) for name in ("whole", "cut"))
    assert first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
    load_model(tmp_path / "cut" / "step-000010", torch.device("cpu"), torch.float32)
