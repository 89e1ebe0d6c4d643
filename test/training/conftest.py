"""A dataset, an autoencoder of FLUX.1's layout and recipes small enough for seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_samples import make_samples

from reconvla_ros.training.finetune import Result, finetune
from reconvla_ros.training.prepare import Job
from reconvla_ros.training.recipe import Recipe

SMALL = Recipe(
    fresh=True, train_tower=True, fresh_hidden=32, fresh_layers=2, fresh_tower=16, fresh_tower_layers=2, fresh_heads=2,
    fresh_image=56, denoiser_width=16, denoiser_depth=1, repeats=2, batch=2, steps=6, lr=3e-3, warmup=0.2, dtype="float32",
    checkpointing=False, validate_every=3, save_every=3, validate_share=0.25, device="cpu", keep=3,
)  # fmt: skip


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_samples(tmp_path_factory.mktemp("samples") / "set")


@pytest.fixture(scope="session")
def small_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    blocks = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = diffusers.AutoencoderKL(
        down_block_types=blocks[0], up_block_types=blocks[1], block_out_channels=(4, 4, 4, 4), latent_channels=4,
        norm_num_groups=2, layers_per_block=1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1,
        scaling_factor=0.4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("vae") / "vae"
    vae.save_pretrained(folder)
    return folder


Train = Callable[..., Result]


@pytest.fixture
def train(samples: Path, small_vae: Path, tmp_path: Path) -> Train:
    """train(out="run", resume=False, checkpoint=None, data=None, **recipe changes) -> the run's result."""

    def run(
        out: str = "run", resume: bool = False, checkpoint: Path | None = None, data: Any = None, **changes: Any
    ) -> Result:
        if checkpoint is not None:
            changes.setdefault("fresh", False)
        job = Job(checkpoint, data or ((samples, 0.0),), tmp_path / out, replace(SMALL, **changes), small_vae, resume)
        return finetune(job, lambda line: None)

    return run
