"""SigLIP vision tower up to the second-to-last block (``hidden_states[-2]``): no last block, no norm, no head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.model.config import VisionConfig
from reconvla_ros.model.layers import Linear


class Embeddings(nn.Module):
    """Patches of 14 x 14 px without padding, row-major, plus a learned position each."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, config.hidden, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Embedding(config.tokens, config.hidden)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 384, 384) -> (B, 729, hidden)."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        return patches + self.position_embedding.weight


class Attention(nn.Module):
    """Self-attention over all patches, no mask."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = Linear(config.hidden, config.hidden)
        self.k_proj = Linear(config.hidden, config.hidden)
        self.v_proj = Linear(config.hidden, config.hidden)
        self.out_proj = Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 729, hidden) -> (B, 729, hidden)."""
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linears with the tanh form of GELU between (``gelu_pytorch_tanh``)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.hidden, config.intermediate)
        self.fc2 = Linear(config.intermediate, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 729, hidden) -> (B, 729, hidden)."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden, eps=config.norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 729, hidden) -> (B, 729, hidden)."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """All blocks but the last, which the feature does not need."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers - 1))


class SiglipTower(nn.Module):
    """Pixels (B, 3, 384, 384) in [-1, 1] -> patch features (B, 729, hidden)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 384, 384) -> (B, 729, hidden)."""
        x = self.embeddings(pixels)
        for block in self.encoder.layers:
            x = block(x)
        return x


class Projector(nn.Sequential):
    """``mlp2x_gelu``: Linear, exact (erf) GELU, Linear; (B, 729, vision) -> (B, 729, hidden)."""

    def __init__(self, vision: int, hidden: int) -> None:
        super().__init__(Linear(vision, hidden), nn.GELU(approximate="none"), Linear(hidden, hidden))
