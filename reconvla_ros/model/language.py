"""Qwen2 decoder for one sequence, with a key-value cache of fixed size that may be cut back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconvla_ros.model.config import LanguageConfig
from reconvla_ros.model.layers import Linear, Matrix, RmsNorm, project, rope_tables, rotate


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


class Fixed(NamedTuple):
    """Where M new positions go, as tensors, so that the same recorded kernels serve every length of the sequence.

    Attributes:
        positions: (M,) places in the cache.
        cos, sin: (M, head_dim) rotary tables there.
        mask: (groups * M, capacity) 0 where a query may look, -inf elsewhere; queries of a key head lie below another.
    """

    positions: Tensor
    cos: Tensor
    sin: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Grouped-query causal attention with rotary positions; biases on q, k, v only."""

    def __init__(self, config: LanguageConfig, index: int) -> None:
        super().__init__()
        self.index, self.heads, self.kv_heads, self.dim = index, config.heads, config.kv_heads, config.head_dim
        self.q_proj = Linear(config.hidden, config.heads * self.dim)
        self.k_proj = Linear(config.hidden, config.kv_heads * self.dim)
        self.v_proj = Linear(config.hidden, config.kv_heads * self.dim)
        self.o_proj = Linear(config.heads * self.dim, config.hidden, bias=False)
        self.qkv: Matrix | None = None
        self.out: Matrix | None = None

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """(T, hidden) new positions, appended to the cache -> (T, hidden)."""
        start = cache.length
        end = start + x.shape[0]
        q, k, v = self._inputs(x, cache.cos[start:end], cache.sin[start:end])
        cache.keys[self.index, :, start:end] = k
        cache.values[self.index, :, start:end] = v
        keys, values = cache.keys[self.index, :, :end], cache.values[self.index, :, :end]
        if self.index == cache.watch_layer and start <= cache.watch_at < end:
            cache.watched = self._one_attention(q[:, cache.watch_at - start], keys[:, : cache.watch_at + 1])
        return self._output(self._attend(q, keys, values, start))

    def fixed(self, x: Tensor, keys: Tensor, values: Tensor, at: Fixed) -> Tensor:
        """(M, hidden) new positions, written into keys and values (kv_heads, capacity, dim) `at` -> (M, hidden)."""
        q, k, v = self._inputs(x, at.cos, at.sin)
        keys.index_copy_(1, at.positions, k)
        values.index_copy_(1, at.positions, v)
        return self._output(self._grouped(q, keys, values, at.mask))

    def _inputs(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turned queries (heads, T, dim), turned keys and values (kv_heads, T, dim) of (T, hidden)."""
        if self.qkv is None:
            joined = torch.cat((self.q_proj(x), self.k_proj(x), self.v_proj(x)), dim=-1)
        else:
            joined = project(x, self.qkv)
        every = joined.view(x.shape[0], -1, self.dim).transpose(0, 1)
        turned = rotate(every[: self.heads + self.kv_heads], cos, sin)
        return turned[: self.heads], turned[self.heads :], every[self.heads + self.kv_heads :]

    def _output(self, attended: Tensor) -> Tensor:
        """(heads, T, dim) -> (T, hidden)."""
        x = attended.transpose(0, 1).flatten(1)
        return self.o_proj(x) if self.out is None else project(x, self.out)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, start: int) -> Tensor:
        """(heads, T, dim) over (kv_heads, P, dim); query t sees positions 0..start+t."""
        count, device = q.shape[1], q.device
        if count == 1:
            return self._grouped(q, keys, values, None)
        if start == 0:
            groups = self.heads // self.kv_heads
            keys, values = (t.repeat_interleave(groups, dim=0)[None] for t in (keys, values))
            return F.scaled_dot_product_attention(q[None], keys, values, is_causal=True)[0]
        seen = torch.ones(count, start + count, dtype=torch.bool, device=device).tril(diagonal=start)
        return self._grouped(q, keys, values, seen.repeat(self.heads // self.kv_heads, 1))

    def _grouped(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """The query heads that share a key head stand in for query positions, so that nothing is repeated."""
        rows = q.reshape(1, self.kv_heads, -1, self.dim)
        return F.scaled_dot_product_attention(rows, keys[None], values[None], attn_mask=mask).view(q.shape)

    def _one_attention(self, q: Tensor, keys: Tensor) -> Tensor:
        """Attention of one position (heads, dim) over the keys it sees, mean over heads: one product of a row by them."""
        row = q.reshape(self.kv_heads, -1, self.dim).float()
        scores = row @ keys.float().transpose(1, 2) * self.dim**-0.5
        return scores.softmax(-1).mean((0, 1))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = Linear(config.intermediate, config.hidden, bias=False)
        self.gate_up: Matrix | None = None
        self.down: Matrix | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(T, hidden) -> (T, hidden)."""
        if self.gate_up is None or self.down is None:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        gate, up = project(x, self.gate_up).chunk(2, dim=-1)
        return project(F.silu(gate) * up, self.down)


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

    def fixed(self, x: Tensor, keys: Tensor, values: Tensor, at: Fixed) -> Tensor:
        """(M, hidden) -> (M, hidden), see `Attention.fixed`."""
        x = x + self.self_attn.fixed(self.input_layernorm(x), keys, values, at)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embeddings (T, hidden) of new positions -> hidden states (T, hidden) after the final norm."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_rows, config.hidden)
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.layers))
        self.norm = RmsNorm(config.hidden, config.norm_eps)
        self.form: str | None = None
        """How the weights are held: None = as loaded, else see model.engine_weights."""

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

    def fixed(self, x: Tensor, cache: Cache, start: Tensor, block: Callable[..., Tensor] = Block.fixed) -> Tensor:
        """As `forward` for positions start.. (start a tensor (1,)), over the whole capacity and with fixed shapes.

        The caller keeps `cache.length`. Positions from start + M on may hold anything finite: the mask hides them.
        `block` may be a compiled `Block.fixed`.
        """
        count, groups = x.shape[0], self.config.heads // self.config.kv_heads
        positions = start + torch.arange(count, device=x.device)
        ahead = torch.arange(cache.capacity, device=x.device) > positions[:, None]
        mask = torch.zeros(ahead.shape, device=x.device, dtype=x.dtype).masked_fill(ahead, float("-inf"))
        at = Fixed(positions, cache.cos[positions], cache.sin[positions], mask.repeat(groups, 1))
        for keys, values, layer in zip(cache.keys, cache.values, self.layers, strict=True):
            x = block(layer, x, keys, values, at)
        return self.norm(x)
