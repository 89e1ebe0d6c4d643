"""The peer of B1: the way the original answers a request, built anew from what it does (OpenHelix-Team/ReconVLA 047ccd9).

What costs time there, and is kept: float32 weights with an image rounded to float16; the whole SigLIP model of transformers,
last block, last norm and pooling head included, though the feature is the state before the last block; eager attention, whose
maps of every layer and step are kept (`output_attentions`); logits of all prompt positions in the prefill; `generate`, greedy,
until an end id or the limit, so a chunk of 35 costs 36 tokens; PIL for stitching, transformers' float arithmetic for pixels.

What is left out, in its favour: Flask and HTTP, its slow tokenizer, the debug picture it writes as PNG for each request.
The golden test is test/bench/test_upstream.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from reconvla_ros.errors import SetupError
from reconvla_ros.model.config import LanguageConfig, VisionConfig
from reconvla_ros.model.model import ReconVla
from reconvla_ros.model.prompt import IMAGE_ID

CANVAS, HALF, SIDE = 334, 167, 384  # [px] of the stitched picture, of each view in it, of the tower's input


def pixels(base: NDArray[np.uint8], wrist: NDArray[np.uint8]) -> Tensor:
    """Two RGB views (H, W, 3) uint8 -> (1, 3, 384, 384) float32, by the steps the original's server takes."""
    canvas = Image.new("RGB", (CANVAS, CANVAS))
    for top, view in ((0, base), (HALF, wrist)):
        canvas.paste(Image.fromarray(view).resize((CANVAS, HALF), Image.Resampling.LANCZOS), (0, top))
    array = np.array(canvas.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    scaled = (array * (1 / 255)).astype(np.float32)
    half = np.full(3, 0.5, np.float32)
    return torch.from_numpy(np.ascontiguousarray(((scaled - half) / half).transpose(2, 0, 1)))[None]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SetupError(
            f"B1 needs transformers for the original's loop: pip install transformers ({error})"
        ) from error
    return transformers


def language_model(c: LanguageConfig) -> nn.Module:
    """transformers' Qwen2 with eager attention, on the meta device."""
    transformers = _transformers()
    config = transformers.Qwen2Config(
        vocab_size=c.vocab_rows, hidden_size=c.hidden, intermediate_size=c.intermediate, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, num_key_value_heads=c.kv_heads, rms_norm_eps=c.norm_eps, hidden_act="silu",
        rope_theta=c.rope_theta, tie_word_embeddings=c.tied, max_position_embeddings=32768, use_cache=True,
        attn_implementation="eager",
    )  # fmt: skip
    with torch.device("meta"):
        model: nn.Module = transformers.Qwen2ForCausalLM(config)
    return model


def vision_model(c: VisionConfig) -> nn.Module:
    """transformers' SigLIP with eager attention, all blocks and the pooling head, on the meta device."""
    transformers = _transformers()
    config = transformers.SiglipVisionConfig(
        hidden_size=c.hidden, intermediate_size=c.intermediate, num_hidden_layers=c.layers, num_attention_heads=c.heads,
        image_size=c.image_size, patch_size=c.patch_size, layer_norm_eps=c.norm_eps, attn_implementation="eager",
    )  # fmt: skip
    with torch.device("meta"):
        model: nn.Module = transformers.SiglipVisionModel(config)
    return model


def hand_over(module: nn.Module, weights: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
    """Give a module on the meta device the weights by name; shared where device, dtype and layout are theirs already.

    Weights lie row by row, as a checkpoint has them: an engine may have laid ours otherwise, and the peer must not have that.

    What `weights` lacks (the tower's end, which never reaches the answer) becomes small random numbers. Tables that a
    checkpoint does not hold are made anew: rotary frequencies and position numbers.
    """
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in module.state_dict()) else ""
    given = {prefix + name: tensor.to(device, dtype).contiguous() for name, tensor in weights.items()}
    for name, tensor in module.state_dict().items():
        if name not in given:
            given[name] = torch.randn(tensor.shape, device=device, dtype=dtype) * 0.02
    module.load_state_dict(given, strict=True, assign=True)
    for part in module.modules():
        for name, buffer in list(part.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(part, name, _table(name, part, buffer).to(device))
    module.eval().requires_grad_(False)


def _table(name: str, part: nn.Module, buffer: Tensor) -> Tensor:
    """A table that is no weight: what its module computes when it is made elsewhere than on the meta device."""
    if name == "position_ids":
        return torch.arange(buffer.numel()).expand(buffer.shape)
    made: Tensor = getattr(type(part)(part.config), name)
    return made


class Upstream:
    """Images and prompt ids in, generated ids out, as the original's server does it.

    Args:
        model: ours, whose weights are used; they are shared where `dtype` is theirs.
        dtype: float32 as served.
        half_image: round pixels and features to float16, as served; else to `dtype`.
        eos_ids: end of an answer.
    """

    def __init__(
        self, model: ReconVla, dtype: torch.dtype = torch.float32, half_image: bool = True, eos_ids: Sequence[int] = ()
    ) -> None:
        self.device, self.dtype, self.eos_ids = model.device, dtype, list(eos_ids)
        self.image_dtype = torch.float16 if half_image else dtype
        words = {f"model.{name}": tensor for name, tensor in model.decoder.state_dict().items()}
        self.language: Any = language_model(model.config.language)
        hand_over(self.language, {**words, "lm_head.weight": model.lm_head.weight}, self.device, dtype)
        self.tower: Any = vision_model(model.config.vision)
        hand_over(self.tower, dict(model.tower.state_dict()), self.device, dtype)
        self.projector = _projector(model, dtype)

    @torch.inference_mode()
    def generate(self, image: Tensor, ids: Sequence[int], max_new: int) -> list[int]:
        """Pixels (1, 3, 384, 384) and prompt ids with `IMAGE_ID` once -> the new ids, an end id included."""
        image = image.to(self.image_dtype).to(self.device)
        states = self.tower(image.to(self.dtype), output_hidden_states=True).hidden_states
        features = self.projector(states[-2].to(self.image_dtype).to(self.dtype))[0]
        place = list(ids).index(IMAGE_ID)
        table = self.language.get_input_embeddings()
        before, after = (table(torch.tensor(part, device=self.device)) for part in (ids[:place], ids[place + 1 :]))
        answer = self.language.generate(
            inputs_embeds=torch.cat((before, features, after))[None],
            attention_mask=torch.ones(1, len(ids) - 1 + len(features), dtype=torch.long, device=self.device),
            do_sample=False, num_beams=1, max_new_tokens=max_new, use_cache=True, output_attentions=True,
            return_dict_in_generate=True, logits_to_keep=0, eos_token_id=self.eos_ids or None, pad_token_id=0,
        )  # fmt: skip
        new: list[int] = answer["sequences"][0].cpu().numpy().tolist()
        return new

    def answer(self, base: NDArray[np.uint8], wrist: NDArray[np.uint8], ids: Sequence[int], max_new: int) -> list[int]:
        """Two views and prompt ids -> the new ids without the last one, which the original drops whatever it is."""
        return self.generate(pixels(base, wrist), ids, max_new)[:-1]


def _projector(model: ReconVla, dtype: torch.dtype) -> nn.Sequential:
    vision, hidden = model.config.vision.hidden, model.config.language.hidden
    with torch.device("meta"):
        made = nn.Sequential(nn.Linear(vision, hidden), nn.GELU(), nn.Linear(hidden, hidden))
    hand_over(made, dict(model.projector.state_dict()), model.device, dtype)
    return made
