"""The peer of `reconvla bench train` computes what ours computes, and the figures are put together rightly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reconvla_ros.bench import train_bench
from reconvla_ros.bench.train_bench import Settings, make_batches, table
from reconvla_ros.bench.train_upstream import OriginalStep
from reconvla_ros.model.config import LanguageConfig, ModelConfig, VisionConfig
from reconvla_ros.model.denoiser import DenoiserConfig
from reconvla_ros.model.prompt import IMAGE_ID
from reconvla_ros.model.reconstruction import draw
from reconvla_ros.training.data import Batch, collate
from reconvla_ros.training.network import TrainingNetwork


@pytest.fixture(scope="module")
def network() -> TrainingNetwork:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig(LanguageConfig(16, 32, 1, 2, 1, 1e4, 1e-6, 50), VisionConfig(16, 32, 2, 2, 42, 14))
    made = TrainingNetwork(config, DenoiserConfig(16, 64, 3, 16, 1, 2))
    assert made.branch is not None
    torch.nn.init.normal_(made.branch.net.final_layer.linear.weight)
    made.tower.requires_grad_(False)
    return made


def batch() -> Batch:
    torch.manual_seed(1)
    rows = [
        ([1, IMAGE_ID, 2, 3, 4], [-100, -100, -100, 3, 4]),
        ([1, 5, IMAGE_ID, 2, 7, 3, 4], [-100, -100, -100, -100, -100, 3, 4]),
    ]
    made = collate(rows, torch.randn(2, 3, 42, 42), [True, True])
    made.targets = torch.randn(2, 3, 42, 42)
    return made


def test_both_sides_have_the_same_loss_and_gradients(network: TrainingNetwork, tmp_path: Path) -> None:
    """Padding, masks, all positions and repetitions change what it costs, not what it is."""
    pytest.importorskip("diffusers")
    vae = train_bench.small_autoencoder(tmp_path / "vae")
    made, drawn = batch(), draw(2, 4, vae.cell_channels, 3, 1000, torch.Generator().manual_seed(0))
    assert made.targets is not None
    original = OriginalStep(network, vae)
    theirs = original(made, drawn)
    ours = network(made, vae.scaled(vae.encode(made.targets, 3).draw(drawn.latent)), drawn).total
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    theirs.backward()
    ours.backward()
    assert original.branch is not None and network.branch is not None
    for mine, other in (
        (network.projector[0], original.projector[0]),
        (network.lm_head, original.lm_head),
        (network.branch.net.z_embedder[1], original.branch.net.z_embedder[1]),
    ):
        assert isinstance(mine.weight, torch.Tensor) and isinstance(other.weight, torch.Tensor)
        torch.testing.assert_close(mine.weight.grad, other.weight.grad, rtol=1e-3, atol=1e-6)


def test_the_peer_makes_logits_of_all_positions(network: TrainingNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = OriginalStep(network, None), []
    original.lm_head.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape)))
    original(batch(), None)
    assert seen == [(2, 7 + 8, 50)]  # 7 ids, one of them the image's 9 tokens
    network.lm_head.register_forward_hook(lambda m, i, o: seen.append(tuple(o.shape)))
    network(batch())
    assert seen[1] == (4, 50)


def test_batches_have_prompts_of_different_lengths(tmp_path: Path) -> None:
    from reconvla_ros.model.tokenizer import QwenTokenizer
    from reconvla_ros.training.fresh import small_vocabulary

    vocab, merges = small_vocabulary(train_bench.WORDS)
    pairs = [(a, b) for a, _, b in (m.partition(" ") for m in merges)]
    added = {"<|endoftext|>": len(vocab), "<|im_start|>": len(vocab) + 1, "<|im_end|>": len(vocab) + 2}
    made = list(make_batches(QwenTokenizer(vocab, pairs, added), Settings(batch=2), 2))
    assert all((b.labels != -100).sum() == 72 and (b.labels[:, -1] == -100).any() for b in made)


def test_the_table_says_what_is_not_kept() -> None:
    part = {"ratio": 1.5, "ratio_min": 1.4, "ratio_max": 1.6, "spread": 0.1, "rounds": 3}
    result = {
        "parts": dict.fromkeys(("ours", "cached", "repeats1", "baseline"), part),
        "samples_per_s": dict.fromkeys(train_bench.SIDES, 1.0), "memory_gb": dict.fromkeys(train_bench.SIDES, 2.0),
        "overhead_percent": dict.fromkeys(("ours", "cached", "repeats1"), part),
        "speed": {**part, "bound": ">= 2", "kept": False}, "curve": {"ratio": 1e-6, "bound": "<= 0.002", "kept": True},
    }  # fmt: skip
    assert "speed 1.50 >= 2: NOT KEPT" in table(result) and "0.002: kept" in table(result)
