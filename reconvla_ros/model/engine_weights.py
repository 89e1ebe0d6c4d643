"""The weights of the decoder in the form that is fastest to apply: fused, and on request in 8 bits.

Fusing puts the weights of maps with a common input into one tensor and leaves views of it in the network's parameters;
no moment holds more than one layer twice. 8-bit weights take the place of the plain ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reconvla_ros.errors import ConfigError
from reconvla_ros.model.language import Block, Decoder
from reconvla_ros.model.layers import Matrix

WEIGHTS = ("plain", "int8", "fp8")
INT8_MOST = 127.0
FP8_MOST = 448.0  # the largest finite value of float8 e4m3fn


def joined(parts: Sequence[nn.Linear]) -> Matrix:
    """One matrix of maps with a common input, below one another; the parts become views of it."""
    if len(parts) == 1:
        return Matrix(parts[0].weight.data, None if parts[0].bias is None else parts[0].bias.data)
    weight = torch.cat([p.weight.data for p in parts])
    bias = None if parts[0].bias is None else torch.cat([p.bias.data for p in parts])
    place = 0
    for part in parts:
        end = place + part.out_features
        part.weight.data = weight[place:end]
        if bias is not None:
            part.bias.data = bias[place:end]
        place = end
    return Matrix(weight, bias)


def narrowed(matrix: Matrix, kind: str) -> Matrix:
    """The matrix in 8 bits with a scale for each output: its largest weight fills the range.

    int8 rounds to 127 steps on either side; fp8 (e4m3) keeps 3 bits behind the leading one of every weight.
    """
    most, dtype = (INT8_MOST, torch.int8) if kind == "int8" else (FP8_MOST, torch.float8_e4m3fn)
    wide = matrix.weight.float()
    scale = wide.abs().amax(dim=1).clamp_min(1e-12) / most
    scaled = wide / scale[:, None]
    small = (scaled.round() if kind == "int8" else scaled).clamp(-most, most).to(dtype)
    return Matrix(small, matrix.bias, scale.to(matrix.weight.dtype))


def _maps(block: Block) -> dict[str, tuple[nn.Module, list[nn.Linear]]]:
    """Name of the fused matrix -> its owner and its parts."""
    attention, mlp = block.self_attn, block.mlp
    return {
        "qkv": (attention, [attention.q_proj, attention.k_proj, attention.v_proj]),
        "out": (attention, [attention.o_proj]),
        "gate_up": (mlp, [mlp.gate_proj, mlp.up_proj]),
        "down": (mlp, [mlp.down_proj]),
    }


def prepare(decoder: Decoder, kind: str = "plain") -> None:
    """Bring the decoder into the form `kind`, in place; a second call with the same kind changes nothing.

    Raises:
        ConfigError: it is in another form already; 8-bit weights cannot be turned back.
    """
    if decoder.form == kind:
        return
    if decoder.form is not None:
        raise ConfigError(
            f"mechanisms: weights {kind!r} asked of a network whose weights are {decoder.form!r}; load it again"
        )
    for block in decoder.layers:
        assert isinstance(block, Block)
        for name, (owner, parts) in _maps(block).items():
            matrix = joined(parts)
            if kind != "plain":
                matrix = narrowed(matrix, kind)
                for part in parts:
                    part.weight.data = part.weight.data.new_empty(0)
            setattr(owner, name, matrix)
        if decoder.norm.weight.is_cuda:
            torch.cuda.empty_cache()  # the freed parts are too small for the next layer's fused ones
    decoder.form = kind


def weight_bytes(model: nn.Module) -> int:
    """Memory of all weights in whatever form, shared ones once [bytes]."""
    tensors = list(model.parameters())
    for module in model.modules():
        for matrix in (m for m in vars(module).values() if isinstance(m, Matrix)):
            tensors += [t for t in matrix if t is not None]  # type: ignore[misc]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def agreement(ours: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> dict[str, float]:
    """How far answers in 8 bits are from the plain ones, chunk by chunk of equal length.

    Returns:
        tokens: share of equal tokens; chunks: share of equal chunks; bins: mean distance of the tokens [bins].
    """
    a, b = (torch.tensor([list(c) for c in chunks], dtype=torch.float64) for chunks in (ours, wanted))
    if a.shape != b.shape or a.numel() == 0:
        raise ValueError(f"agreement: answers {tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
    same: Tensor = a == b
    return {
        "tokens": float(same.double().mean()),
        "chunks": float(same.all(dim=1).double().mean()),
        "bins": float((a - b).abs().mean()),
    }
