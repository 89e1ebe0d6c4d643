"""A checkpoint with random weights in exactly the original's layout, so that everything runs without a model hub.

The answers of such a model pass the token gate and mean nothing: the head's rows of the 256 action ids are
`DOMINANCE` times as large as all other rows, so that one of them wins in every step, whatever the rest computes. The
reconstruction branch, which inference ignores, is not written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from reconvla_ros.errors import ConfigError, choices
from reconvla_ros.model.checkpoint import INDEX, SINGLE, TOWER, put
from reconvla_ros.model.config import ModelConfig, VisionConfig
from reconvla_ros.model.folder import check_disk, new_folder, plan_shards, shard_name, write_json
from reconvla_ros.model.layout import SIZES, Size, full_layout, tower_layout
from reconvla_ros.model.model import ReconVla, stored_parts
from reconvla_ros.model.safetensor import write_file
from reconvla_ros.model.tokenizer import ADDED, write_tokenizer
from reconvla_ros.model.vocabulary import qwen_vocabulary

DOMINANCE = 50.0
ACTION_SPREAD = 4.0
"""Standard deviation of the action ids' logits: large enough that steps differ and that a winner is clear."""
WORD_SPREAD = 0.3
ATTENTION_GAIN = 2.5
"""Small words and sharp attention: each step looks elsewhere, so that the answer depends on image, state and place."""
TOWER_FOLDER = "siglip-so400m-patch14-384"
BINS = 256


def random_tensor(name: str, shape: tuple[int, ...], seed: int, device: torch.device, base: int) -> Tensor:
    """The tensor `name` of seed `seed` as float32; it depends on nothing but these and the kind of device.

    Weights keep the scale of their input (deviation 1 / sqrt(inputs)), norms are 1, biases small, tables 1. `base` is
    the size of the base vocabulary; the action ids are the 256 below it.
    """
    if "norm" in name and name.endswith(".weight"):
        return torch.ones(shape, device=device)
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    values = torch.randn(shape, generator=generator, device=device)
    if name == "lm_head.weight":
        values.mul_(ACTION_SPREAD / DOMINANCE / math.sqrt(shape[1]))
        values[base - BINS : base] *= DOMINANCE
        return values
    if name.endswith(("bias", "position_embedding.weight")):
        return values.mul_(0.1)
    if name.endswith("embed_tokens.weight"):
        return values.mul_(WORD_SPREAD)
    gain = ATTENTION_GAIN if name.startswith("model.layers.") and ".self_attn." in name else 1.0
    return values.mul_(gain).div_(math.sqrt(math.prod(shape[1:])))


def random_model(
    config: ModelConfig, device: torch.device, dtype: torch.dtype, seed: int = 0, base: int | None = None
) -> ReconVla:
    """A network of random weights made where it is used: nothing is written, read or sent to a GPU.

    Built without memory and filled one tensor at a time, so besides the weights only one tensor is held, as float32.
    Its answers pass the token gate like those of a random checkpoint.

    Args:
        config: sizes; `model_config("full")` of model.layout is Qwen2-7B with SigLIP so400m.
        device, dtype: where and as what the weights are made.
        seed: the same seed, sizes and kind of device give the same weights.
        base: size of the base vocabulary, below which the action ids lie; None = all rows but the added tokens.
    """
    base = config.language.vocab_rows - len(ADDED) if base is None else base
    if not BINS < base <= config.language.vocab_rows:
        raise ConfigError(
            f"random model: base must be in {BINS + 1}..{config.language.vocab_rows} (rows of the table), got {base}"
        )
    with torch.device("meta"):
        model = ReconVla(config)
    for prefix, module in stored_parts(model).items():
        for name, parameter in list(module.named_parameters()):
            value = random_tensor(prefix + name, tuple(parameter.shape), seed, device, base).to(dtype)
            put(module, name, value)
    if config.language.tied:
        model.lm_head.weight = model.decoder.embed_tokens.weight
    return model.eval().requires_grad_(False)


def config_json(size: Size, dtype: str) -> dict[str, object]:
    """The ``config.json`` of the checkpoint, with the keys of the original that say what it is."""
    c = size.language
    return {
        "architectures": ["ReconQwen2ForCausalLM"], "model_type": "recon_qwen2", "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151643, "pad_token_id": 151643, "hidden_act": "silu",
        "hidden_size": c.hidden, "intermediate_size": c.intermediate, "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads, "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_theta, "vocab_size": c.vocab_rows, "max_position_embeddings": 32768,
        "sliding_window": None, "use_sliding_window": False, "max_window_layers": 28, "tie_word_embeddings": False,
        "initializer_range": 0.02, "use_cache": True, "torch_dtype": dtype,
        "mm_vision_tower": f"./{TOWER_FOLDER}", "mm_hidden_size": size.vision.hidden,
        "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "flat", "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad", "use_mm_proj": True, "image_embed_len": size.vision.tokens,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "recon_enable": False, "use_mm_inv_proj": False,
        "tokenizer_model_max_length": 32768, "tokenizer_padding_side": "right",
    }  # fmt: skip


def tower_files(folder: Path, config: VisionConfig) -> None:
    """The configuration of the tower's own folder, as the original reads it."""
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": config.hidden, "intermediate_size": config.intermediate,
        "num_attention_heads": config.heads, "num_hidden_layers": config.layers, "image_size": config.image_size,
        "patch_size": config.patch_size,
    }  # fmt: skip
    write_json(
        folder / "config.json", {"architectures": ["SiglipModel"], "model_type": "siglip", "vision_config": vision}
    )
    processor = {
        "image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor", "do_resize": True,
        "do_rescale": True, "do_normalize": True, "do_convert_rgb": None, "resample": 3, "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        "size": {"height": config.image_size, "width": config.image_size},
    }  # fmt: skip
    write_json(folder / "preprocessor_config.json", processor)


Make = Callable[[str, tuple[int, ...]], Tensor]


def _write_weights(folder: Path, size: Size, make: Make, dtype: torch.dtype) -> Iterator[str]:
    """Shards, index and tower folder, one tensor at a time; yields a line for each file."""
    layout = full_layout(size)
    shards = plan_shards({n: math.prod(s) * dtype.itemsize for n, s in layout.items()}, size.shard_bytes)
    index: dict[str, str] = {}
    total = 0
    for k, names in enumerate(shards, start=1):
        file = shard_name(k, len(shards))
        total += write_file(
            folder / file, {n: (dtype, layout[n]) for n in names}, lambda name: [make(name, layout[name])]
        )
        index |= dict.fromkeys(names, file)
        yield f"{file}: {len(names)} tensors, {total / 1e9:.2f} GB so far"
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))})
    tower = folder / TOWER_FOLDER
    tower.mkdir()
    tower_files(tower, size.vision)
    shapes = tower_layout(size.vision)
    write_file(
        tower / SINGLE, {n: (dtype, s) for n, s in shapes.items()}, lambda name: [make(TOWER + name, shapes[name])]
    )
    yield f"{TOWER_FOLDER}/{SINGLE}: {len(shapes)} tensors"


def write_random(
    folder: Path,
    size: str = "tiny",
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | None = None,
    extra: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Write weights, configuration and the real Qwen2 vocabulary into `folder`, all or nothing.

    The same size, seed, dtype and kind of device give the same bytes. `extra` holds more files, name -> text.

    Raises:
        ConfigError: an unknown size, or a folder that is not empty.
        SetupError: the vocabulary's package is not installed, or the disk is too small.
    """
    if size not in SIZES:
        raise ConfigError(f"checkpoint size: {choices(size, SIZES)}")
    vocab, merges = qwen_vocabulary()
    spec, device = SIZES[size], device or torch.device("cpu")
    with new_folder(folder) as partial:
        weights = [*full_layout(spec).values(), *tower_layout(spec.vision).values()]
        check_disk(partial, dtype.itemsize * sum(math.prod(s) for s in weights), str(folder))
        write_tokenizer(partial, vocab, merges)
        write_json(partial / "config.json", config_json(spec, str(dtype).removeprefix("torch.")))
        write_json(
            partial / "generation_config.json",
            {"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643},
        )
        for name, text in (extra or {}).items():
            (partial / name).write_text(text, encoding="utf-8")

        def make(name: str, shape: tuple[int, ...]) -> Tensor:
            return random_tensor(name, shape, seed, device, len(vocab)).to(dtype).cpu()

        for line in _write_weights(partial, spec, make, dtype):
            progress(line)
