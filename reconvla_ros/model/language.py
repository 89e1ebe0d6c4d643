"""Qwen2 decoder for one sequence, with a key-value cache of fixed size that may be cut back."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.model.config import LanguageConfig
from reconvla_ros.model.layers import RmsNorm, rope_tables, rotate


@dataclass
class Cache:
    """Keys and values of one sequence.

    Attributes:
        keys, values: (layers, kv_heads, capacity, head_dim).
        cos, sin: rotary tables (capacity, head_dim).
        length: positions filled; setting it lower forgets the rest.
        watch_layer: layer whose attention is kept, -1 = none.
        watch_at: the position whose attention is kept, when it is run.
        watched: (watch_at + 1,) mean over heads of that attention.
    """

    keys: Tensor
    values: Tensor
    cos: Tensor
    sin: Tensor
    length: int = 0
    watch_layer: int = -1
    watch_at: int = -1
    watched: Tensor | None = field(default=None, repr=False)

    @property
    def capacity(self) -> int:
        """Positions there is room for."""
        return self.keys.shape[2]


class Attention(nn.Module):
    """Grouped-query causal attention with rotary positions; biases on q, k, v only."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.index, self.heads, self.kv_heads, self.dim = index, config.heads, config.kv_heads, config.head_dim
        self.q_proj = nn.Linear(config.hidden, config.heads * self.dim)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * self.dim)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * self.dim)
        self.o_proj = nn.Linear(config.heads * self.dim, config.hidden, bias=False)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """(T, hidden) new positions, appended to the cache -> (T, hidden)."""
        start, count = cache.length, x.shape[0]
        end = start + count
        cos, sin = cache.cos[start:end], cache.sin[start:end]
        q = rotate(self.q_proj(x).view(count, self.heads, self.dim).transpose(0, 1), cos, sin)
        cache.keys[self.index, :, start:end] = rotate(
            self.k_proj(x).view(count, self.kv_heads, self.dim).transpose(0, 1), cos, sin
        )
        cache.values[self.index, :, start:end] = self.v_proj(x).view(count, self.kv_heads, self.dim).transpose(0, 1)
        keys, values = cache.keys[self.index, :, :end], cache.values[self.index, :, :end]
        if self.index == cache.watch_layer and start <= cache.watch_at < end:
            cache.watched = self._one_attention(q[:, cache.watch_at - start], keys[:, : cache.watch_at + 1])
        return self.o_proj(self._attend(q, keys, values, start).transpose(0, 1).flatten(1))

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
        """(heads, T, dim) over (kv_heads, P, dim); query t sees positions 0..start+t."""
        groups, count = self.heads // self.kv_heads, q.shape[1]
        if count == 1:
            # The query heads that share a key head stand in for query positions: nothing is repeated.
            out = F.scaled_dot_product_attention(q.view(1, self.kv_heads, groups, self.dim), keys[None], values[None])
            return out.view(self.heads, 1, self.dim)
        keys, values = (t.repeat_interleave(groups, dim=0)[None] for t in (keys, values))
        if start == 0:
            return F.scaled_dot_product_attention(q[None], keys, values, is_causal=True)[0]
        mask = torch.ones(count, start + count, dtype=torch.bool, device=q.device).tril(diagonal=start)
        return F.scaled_dot_product_attention(q[None], keys, values, attn_mask=mask)[0]

    def _one_attention(self, q: Tensor, keys: Tensor) -> Tensor:
        """Attention of one position (heads, dim) over the keys it sees, mean over heads: one product of a row by them."""
        row = q.reshape(self.kv_heads, -1, self.dim).float()
        scores = row @ keys.float().transpose(1, 2) * self.dim**-0.5
        return scores.softmax(-1).mean((0, 1))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(T, hidden) -> (T, hidden)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Pre-norm decoder block."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden, config.norm_eps)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = RmsNorm(config.hidden, config.norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """(T, hidden) -> (T, hidden)."""
        x = x + self.self_attn(self.input_layernorm(x), cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embeddings (T, hidden) of new positions -> hidden states (T, hidden) after the final norm."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_rows, config.hidden)
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.layers))
        self.norm = RmsNorm(config.hidden, config.norm_eps)

    def new_cache(self, capacity: int) -> Cache:
        """An empty cache for `capacity` positions, of the weights' device and dtype."""
        weight, c = self.norm.weight, self.config
        shape = (c.layers, c.kv_heads, capacity, c.head_dim)
        cos, sin = rope_tables(capacity, c.head_dim, c.rope_theta, weight.device, weight.dtype)
        keys = torch.zeros(shape, device=weight.device, dtype=weight.dtype)
        return Cache(keys, torch.zeros_like(keys), cos, sin)

    def forward(self, x: Tensor, cache: Cache, keep: int = 0) -> Tensor:
        """Append `x` to the sequence in `cache`; the states of the last `keep` positions, 0 = of all."""
        if cache.length + x.shape[0] > cache.capacity:
            raise ValueError(f"cache of {cache.capacity} positions holds {cache.length}, cannot take {x.shape[0]} more")
        for block in self.layers:
            x = block(x, cache)
        cache.length += x.shape[0]
        return self.norm(x[-keep:])
