"""Parity of the reconstruction branch with the original: denoiser, diffusion, latents, loss (1e-5)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reconvla_ros.model.checkpoint import list_tensors
from reconvla_ros.model.denoiser import PREFIX, positions, read_config, sinusoid
from reconvla_ros.model.diffusion import Diffusion
from reconvla_ros.model.gaze_latents import find_autoencoder, load_autoencoder, read_tensors, vae_pixels
from reconvla_ros.model.reconstruction import Draw, Reconstruction, context_of

pytestmark = pytest.mark.golden

NEAR = 1e-5


@pytest.fixture(scope="module")
def arrays(golden_folder: Path) -> dict[str, Tensor]:
    wanted = ("vm/", "dit/", "diff/", "train/batch/")
    with np.load(golden_folder / "golden.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files if name.startswith(wanted)}


@pytest.fixture(scope="module")
def branch(golden_folder: Path) -> Reconstruction:
    stored = list_tensors(golden_folder / "tiny_checkpoint")
    config = read_config({n: t.shape for n, t in stored.items()})
    assert config is not None
    made = Reconstruction(config)
    mine = {n.removeprefix(PREFIX): t for n, t in stored.items() if n.startswith(PREFIX)}
    made.net.load_state_dict(read_tensors(mine))
    return made.eval().requires_grad_(False)


def near(got: Tensor, wanted: Tensor, tolerance: float = NEAR) -> None:
    torch.testing.assert_close(got, wanted.to(got.dtype), atol=tolerance, rtol=tolerance)


def test_denoiser(branch: Reconstruction, arrays: dict[str, Tensor]) -> None:
    # An angle of 999 rad has float32 steps of 6e-5: one bit of exp, which differs from processor to processor, moves it so far.
    torch.testing.assert_close(sinusoid(arrays["dit/t"]), arrays["dit/t_embed_sinusoid"], atol=1e-4, rtol=0)
    near(branch.net.t_embedder(arrays["dit/t"]), arrays["dit/t_embed"])
    near(branch.net(arrays["dit/x"], arrays["dit/t"], arrays["dit/context"]), arrays["dit/out"])


def test_places_of_the_denoiser(branch: Reconstruction, arrays: dict[str, Tensor]) -> None:
    config = branch.net.config
    near(positions(config.side, config.width)[0], arrays["dit/pos_embed_fp64"], 1e-6)


def test_tables_of_the_diffusion(golden: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    ours, told = Diffusion(), golden["diffusion"]
    assert len(ours) == told["train_timesteps"] == told["gen_timesteps"]
    for name, table in (
        ("betas", ours.betas),
        ("alphas_cumprod", ours.alphas_cumprod),
        ("posterior_variance", ours.posterior_variance),
        ("posterior_log_variance_clipped", ours.posterior_log_variance),
    ):
        np.testing.assert_allclose(table, arrays[f"diff/{name}"].numpy(), rtol=1e-12, atol=0)


def test_noising_and_loss_of_the_diffusion(branch: Reconstruction, arrays: dict[str, Tensor]) -> None:
    x, t, noise = arrays["dit/x"], arrays["dit/t"], arrays["diff/q_noise"]
    noised = branch.diffusion.noised(x, t, noise)
    near(noised[:, : arrays["diff/q_sample"].shape[1]], arrays["diff/q_sample"])
    found = branch.net(noised, t, arrays["dit/context"])
    near((found - noise).pow(2).mean((1, 2, 3)), arrays["diff/training_loss"])


def test_steps_back(branch: Reconstruction, arrays: dict[str, Tensor]) -> None:
    steps = sorted({int(name.split("/")[2]) for name in arrays if name.startswith("diff/p/")})
    x, context = arrays["dit/x"][:1], arrays["dit/context"][:1]
    for step in steps:
        t = torch.tensor([step])
        mean, log_variance, start = branch.diffusion.backward(x, t, branch.net(x, t, context))
        for name, value in (("mean", mean), ("log_variance", log_variance), ("pred_xstart", start)):
            wanted = arrays[f"diff/p/{step}/{name}"]
            cut = value[tuple(slice(n) for n in wanted.shape)]
            near(cut, wanted, NEAR * max(1.0, float(wanted.abs().max())))


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not os.environ.get("RECONVLA_SLOW"), reason="1000 steps take half a minute: RECONVLA_SLOW=1 runs it"
)
def test_a_whole_sample(branch: Reconstruction, arrays: dict[str, Tensor]) -> None:
    generator = torch.Generator().manual_seed(99)
    x = torch.randn(arrays["diff/sample_full"].shape, generator=generator)
    z = branch.net.condition(arrays["dit/context"][:1])
    got = branch.diffusion.sample(lambda x, t: branch.net.denoise(x, t, z), x, generator)
    near(got, arrays["diff/sample_full"], 1e-3)


def test_latents_of_the_target(golden_folder: Path, golden: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    folder = golden_folder / "tiny_checkpoint"
    place = find_autoencoder(folder, json.loads((folder / "config.json").read_text()))
    assert place is not None
    vae, side = load_autoencoder(place), arrays["vm/z_q"].shape[-1]
    images = arrays["train/batch/target_images"]
    pixels = vae_pixels(images, side)
    assert list(pixels.shape) == golden["train_forward"]["vae_in_shape"]
    cut = arrays["vm/vae_in_slice"]
    stats = golden["train_forward"]["vae_in_stats"]
    assert float(pixels.mean()) == pytest.approx(stats["mean"], abs=1e-6)
    assert any(  # which corner of the picture the slice is of is not told
        torch.allclose(pixels[:, :, r : r + cut.shape[2], c : c + cut.shape[3]], cut, atol=NEAR)
        for r in (0, 100, 200, 212) for c in (0, 100, 200, 212)
    )  # fmt: skip
    latents = vae.encode(images, side)
    near(latents.mean, arrays["vm/vae_mean"])
    cut = arrays["vm/vae_std_slice"]
    near(latents.std[tuple(slice(n) for n in cut.shape)], cut)
    near(vae.scaled(latents.draw(arrays["vm/vae_noise"])), arrays["vm/z_q"])
    assert (vae.shift, vae.scale) == (golden["vae_decode"]["shift"], golden["vae_decode"]["scaling"])


def test_loss_of_the_branch(branch: Reconstruction, golden: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    """From the stored context: what `rows` makes of the states is `context_of`, tested with the whole network."""
    cells, context = arrays["vm/z_q"], arrays["vm/context"]
    t, noise = arrays["vm/t"], arrays["vm/noise"]
    repeats = len(t) // len(cells)
    x = branch.diffusion.noised(cells.repeat(repeats, 1, 1, 1), t, noise)
    cut = arrays["vm/x_t_slice"]
    near(x[tuple(slice(n) for n in cut.shape)], cut)
    near(branch.net(x, t, context.repeat(repeats, 1, 1, 1)), arrays["vm/net_out"])
    # A normalised state is its own context, up to the epsilon.
    hidden = context.flatten(2).transpose(1, 2)
    near(context_of(hidden), context, 1e-4)
    got = branch.rows(hidden, cells, Draw(t, noise, torch.empty(0)))
    near(got, arrays["vm/loss_vec"])
    assert t.tolist() == golden["train_forward"]["t"]
    np.testing.assert_allclose(arrays["vm/loss_vec"].numpy(), golden["train_forward"]["vm_loss_vec"], rtol=1e-6)


def test_decoding(golden_folder: Path, golden: dict[str, Any], arrays: dict[str, Tensor]) -> None:
    vae = load_autoencoder(golden_folder / "pretrained_vae")
    picture = vae.decode(arrays["vm/z_q"][:1])
    assert list(picture.shape) == golden["vae_decode"]["shape"]
    stats = golden["vae_decode"]["stats"]
    assert float(picture.mean()) == pytest.approx(stats["mean"], abs=1e-5)
    assert float(picture.std()) == pytest.approx(stats["std"], abs=1e-5)
