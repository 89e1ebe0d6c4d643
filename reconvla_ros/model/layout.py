"""Names and shapes of the original layout, for the sizes random checkpoints come in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconvla_ros.model.checkpoint import TOWER
from reconvla_ros.model.config import LanguageConfig, ModelConfig, VisionConfig
from reconvla_ros.model.tokenizer import ADDED

VOCAB_ROWS = 152064  # rows of Qwen2's tables; the tokenizer uses 151646 of them
VOCAB_BASE = 151643  # tokens of Qwen2's base vocabulary


@dataclass(frozen=True)
class Size:
    """Sizes of one kind of random checkpoint and the size its shards are cut at [bytes]."""

    language: LanguageConfig
    vision: VisionConfig
    shard_bytes: int


SIZES = {
    "tiny": Size(
        LanguageConfig(64, 128, 3, 4, 2, 1e6, 1e-6, VOCAB_ROWS),
        VisionConfig(48, 96, 3, 4),
        20_000_000,
    ),
    "small": Size(
        LanguageConfig(768, 2048, 6, 12, 4, 1e6, 1e-6, VOCAB_ROWS),
        VisionConfig(192, 768, 5, 4),
        200_000_000,
    ),
    "full": Size(
        LanguageConfig(3584, 18944, 28, 28, 4, 1e6, 1e-6, VOCAB_ROWS),
        VisionConfig(1152, 4304, 27, 16),
        5_000_000_000,
    ),
}
"""Qwen2-7B with SigLIP so400m, and two models of the same shape in miniature (45 MB and 0.6 GB in bfloat16)."""


def model_config(size: str) -> ModelConfig:
    """The network of one of `SIZES` as it is after loading: tables cut to the tokenizer's 151646 rows."""
    chosen = SIZES[size]
    return ModelConfig(replace(chosen.language, vocab_rows=VOCAB_BASE + len(ADDED)), chosen.vision)


def language_layout(c: LanguageConfig, vision: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of decoder, head and projector."""
    kv = c.kv_heads * c.head_dim
    layout: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c.vocab_rows, c.hidden)}
    for i in range(c.layers):
        layer = f"model.layers.{i}."
        for name, rows in (("q", c.hidden), ("k", kv), ("v", kv)):
            layout[f"{layer}self_attn.{name}_proj.weight"] = (rows, c.hidden)
            layout[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        layout[f"{layer}self_attn.o_proj.weight"] = (c.hidden, c.hidden)
        layout[f"{layer}mlp.gate_proj.weight"] = layout[f"{layer}mlp.up_proj.weight"] = (c.intermediate, c.hidden)
        layout[f"{layer}mlp.down_proj.weight"] = (c.hidden, c.intermediate)
        layout[f"{layer}input_layernorm.weight"] = layout[f"{layer}post_attention_layernorm.weight"] = (c.hidden,)
    layout["model.norm.weight"] = (c.hidden,)
    layout["model.mm_projector.0.weight"], layout["model.mm_projector.0.bias"] = (c.hidden, vision), (c.hidden,)
    layout["model.mm_projector.2.weight"], layout["model.mm_projector.2.bias"] = (c.hidden, c.hidden), (c.hidden,)
    layout["lm_head.weight"] = (c.vocab_rows, c.hidden)
    return layout


def tower_layout(c: VisionConfig) -> dict[str, tuple[int, ...]]:
    """Names (from ``vision_model.`` on) and shapes of the tower, with the last block and the head nobody uses."""
    h, inner = c.hidden, c.intermediate
    layout: dict[str, tuple[int, ...]] = {
        "embeddings.patch_embedding.weight": (h, 3, c.patch_size, c.patch_size),
        "embeddings.patch_embedding.bias": (h,),
        "embeddings.position_embedding.weight": (c.tokens, h),
    }
    blocks = [f"encoder.layers.{i}." for i in range(c.layers)]
    for block in blocks:
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            layout |= {f"{block}self_attn.{name}.weight": (h, h), f"{block}self_attn.{name}.bias": (h,)}
    for norm in [f"{b}{n}" for b in blocks for n in ("layer_norm1", "layer_norm2")] + [
        "post_layernorm",
        "head.layernorm",
    ]:
        layout |= {f"{norm}.weight": (h,), f"{norm}.bias": (h,)}
    for mlp in [f"{b}mlp" for b in blocks] + ["head.mlp"]:
        layout |= {f"{mlp}.fc1.weight": (inner, h), f"{mlp}.fc1.bias": (inner,)}
        layout |= {f"{mlp}.fc2.weight": (h, inner), f"{mlp}.fc2.bias": (h,)}
    layout |= {"head.probe": (1, 1, h), "head.attention.in_proj_weight": (3 * h, h)}
    layout |= {"head.attention.in_proj_bias": (3 * h,), "head.attention.out_proj.bias": (h,)}
    layout["head.attention.out_proj.weight"] = (h, h)
    return {f"vision_model.{name}": shape for name, shape in layout.items()}


def full_layout(size: Size) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint."""
    tower = {TOWER + name: shape for name, shape in tower_layout(size.vision).items()}
    return {**language_layout(size.language, size.vision.hidden), **tower}
