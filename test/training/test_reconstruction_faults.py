"""Faults of the original's reconstruction loss that are corrected, and the parts of it that stand alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reconvla_ros.cli import reconstruct
from reconvla_ros.errors import CheckpointError, ConfigError
from reconvla_ros.model.config import LanguageConfig, ModelConfig, VisionConfig
from reconvla_ros.model.denoiser import Denoiser, DenoiserConfig
from reconvla_ros.model.diffusion import Diffusion
from reconvla_ros.model.gaze_latents import from_cells, load_autoencoder, to_cells
from reconvla_ros.model.prompt import IMAGE_ID
from reconvla_ros.model.reconstruction import draw
from reconvla_ros.training.data import collate
from reconvla_ros.training.network import TrainingNetwork
from reconvla_ros.training.plan import need, parts_of, plan
from reconvla_ros.training.recipe import Recipe, load_recipe, to_yaml

RECIPES = Path(__file__).resolve().parents[2] / "config" / "recipes"


@pytest.fixture(scope="module")
def network() -> TrainingNetwork:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig(LanguageConfig(16, 32, 1, 2, 1, 1e4, 1e-6, 50), VisionConfig(16, 32, 2, 2, 42, 14))
    made = TrainingNetwork(config, DenoiserConfig(16, 8, 3, 16, 1, 2))
    assert made.branch is not None
    torch.nn.init.normal_(made.branch.net.final_layer.linear.weight)
    return made.eval()


def test_the_mean_is_over_the_samples_that_have_a_gaze_region(network: TrainingNetwork) -> None:
    """The original takes the mean over all rows, then scales by n / (n + eps): with loss 100 beside 1 it says 50.5, not 1."""
    torch.manual_seed(1)
    rows = [([1, IMAGE_ID, 2, 3, 4], [-100, -100, -100, 3, 4])] * 2
    batch = collate(rows, torch.randn(2, 3, 42, 42), [True, False])
    cells, chance = torch.randn(1, 8, 3, 3), torch.Generator().manual_seed(0)
    drawn = draw(1, 2, 8, 3, 1000, chance)
    alone = collate(rows[:1], batch.images[:1], [True])
    with torch.no_grad():
        both, one = network(batch, cells, drawn), network(alone, cells, drawn)
    assert both.gaze is not None and one.gaze is not None
    assert float(both.gaze) == pytest.approx(float(one.gaze), rel=1e-5)


def test_a_batch_without_gaze_regions_has_no_gaze_loss(network: TrainingNetwork) -> None:
    rows = [([1, IMAGE_ID, 2, 3], [-100, -100, -100, 3])]
    with torch.no_grad():
        found = network(collate(rows, torch.zeros(1, 3, 42, 42), [False]), None, None)
    assert found.gaze is None and torch.equal(found.total, found.action)


def test_the_branch_computes_in_float32_under_autocast(network: TrainingNetwork) -> None:
    """The original wraps it in CUDA's autocast of float32, which means something on some versions of torch only."""
    assert network.branch is not None
    hidden, cells = torch.randn(2, 9, 16), torch.randn(2, 8, 3, 3)
    drawn = draw(2, 2, 8, 3, 1000, torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = network.branch.rows(hidden, cells, drawn)
        with torch.autocast("cpu", torch.bfloat16):
            wrapped = network.branch.rows(hidden, cells, drawn)
    assert wrapped.dtype == torch.float32 and torch.equal(plain, wrapped)


def test_a_fresh_denoiser_answers_zero() -> None:
    net = Denoiser(DenoiserConfig(8, 16, 3, 32, 2, 4))
    x = torch.randn(2, 16, 3, 3)
    assert not net(x, torch.tensor([0, 999]), torch.randn(2, 8, 3, 3)).any()
    with pytest.raises(CheckpointError, match="divisible by its 16 heads"):
        DenoiserConfig(8, 16, 3, 40)


def test_cells_and_back() -> None:
    z = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    cells = to_cells(z)
    assert torch.equal(from_cells(cells), z)
    assert cells[0, 1 * 4 + 1 * 2 + 0, 1, 1] == z[0, 1, 3, 2]  # channel c * 4 + dy * 2 + dx


def test_fewer_steps_keep_the_noise_levels() -> None:
    whole = Diffusion()
    some = whole.respaced(20)
    np.testing.assert_allclose(some.alphas_cumprod, whole.alphas_cumprod[some.times], rtol=1e-9)
    x = torch.randn(1, 4, 3, 3)

    def perfect(noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = torch.from_numpy(whole.alphas_cumprod)[t].float()[:, None, None, None]
        return (noisy - level.sqrt() * x) / (1 - level).sqrt()

    found = some.sample(perfect, torch.randn(1, 4, 3, 3), torch.Generator().manual_seed(0), limit=5.0)
    torch.testing.assert_close(found, x, atol=0.05, rtol=0.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"use_quant_conv": True}, "use_quant_conv must be false"),
        ({"block_out_channels": [4, 4]}, "must have 4 entries"),
        ({"shift_factor": None}, "shift_factor must be a number"),
        ({"_class_name": "VQModel"}, "must be 'AutoencoderKL'"),
    ],
)
def test_an_autoencoder_of_another_layout_is_refused(
    small_vae: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    data = json.loads((small_vae / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=says):
        load_autoencoder(tmp_path)


def test_a_checkpoint_of_another_autoencoder_is_refused(train: Any, tmp_path: Path) -> None:
    from reconvla_ros.training.weights import load_start

    folder = train(steps=1).checkpoint
    with pytest.raises(CheckpointError, match=r"its denoiser is for 16 channels of the autoencoder .* here it is 64"):
        load_start(folder, Recipe(), 0, 64)


def test_reconstruct_writes_a_picture(train: Any, tmp_path: Path, samples: Path) -> None:
    folder = train(steps=1).checkpoint
    out = tmp_path / "page.png"
    assert reconstruct.main([str(folder), str(samples), "--out", str(out), "--samples", "2", "--steps", "3"]) == 0
    from PIL import Image

    with Image.open(out) as page:
        assert page.width > 4 * 200 and page.height > 2 * 200
    blind = train("blind", steps=1, reconstruction=False).checkpoint
    (tmp_path / "vae").mkdir()
    with pytest.raises(CheckpointError, match="no denoiser"):
        reconstruct.main([str(blind), str(samples), "--vae", str(tmp_path / "run" / "vae")])


# ---- recipes and plans ----------------------------------------


def test_recipes_are_read_and_written_back(tmp_path: Path) -> None:
    names = {p.stem for p in RECIPES.glob("*.yaml")}
    assert names >= {"tiny", "lora-24gb", "lora-80gb", "full-8x80gb"}
    for name in names:
        recipe = load_recipe(name, RECIPES, {})
        (tmp_path / "again.yaml").write_text(to_yaml(recipe))
        assert load_recipe(str(tmp_path / "again.yaml"), RECIPES, {}) == recipe
    assert load_recipe("tiny", RECIPES, {}).denoiser_width <= 128
    assert load_recipe("tiny", RECIPES, {"lr": "1e-3"}).lr == 1e-3
    with pytest.raises(ConfigError, match=r"did you mean 'tiny'"):
        load_recipe("tinny", RECIPES, {})
    with pytest.raises(ConfigError, match="unknown parameter"):
        load_recipe("tiny", RECIPES, {"learning_rate": "1"})


def test_a_plan_says_what_fits() -> None:
    recipe = load_recipe("tiny", RECIPES, {})
    assert "as the recipe says" in plan(None, recipe, room=8_000_000_000)
    small = plan(None, recipe, room=1_950_000_000)
    assert "does not fit" in small and "what fits: --set batch=" in small
    assert "nothing here fits" in plan(None, recipe, room=1_000_000)


def test_a_plan_counts_weights_exactly(train: Any) -> None:
    from reconvla_ros.training.weights import load_start

    folder = train(steps=1).checkpoint
    recipe = Recipe(dtype="float32", checkpointing=False, train_tower=True)
    start = load_start(folder, recipe, 0, 16)
    parts = parts_of(folder, recipe)
    assert start.network.branch is not None
    assert parts.denoiser == sum(p.numel() for p in start.network.branch.net.parameters())
    trained = sum(p.numel() for p in start.network.parameters() if p.requires_grad)
    # The checkpoint holds a block and a head of the tower that no run trains.
    assert trained * 4 <= need(parts, recipe, 1).gradients <= trained * 4 + parts.tower * 4
