"""Transformers (Vaswani et al. 2017, arXiv:1706.03762): encoder and decoder layers, and stacks.

Norms stand after each residual sum (the paper, DETR) or before each branch (`norm_first`: ViT,
Pix2Seq). Decoders run on whole sequences, or place by place with cached keys and values, by `start`
and `step`, which fit `lax.scan`. Initialisation: Xavier uniform, zero biases.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.models.layers.arrays import Keys
from vision_jax.models.layers.attention import (
    Heads,
    LayerNorm,
    Mask,
    Memory,
    MemoryPositions,
    MultiHeadAttention,
    Positions,
    SelfMask,
    Sequence,
    TransformerSettings,
    with_positions,
    xavier,
)
from vision_jax.models.layers.dropout import HEAD_LAYER, Dropout, StochasticDepth
from vision_jax.models.layers.linear import Dense

# Numbers of dropout layers that one layer of a transformer may use: residual branches from 0, in
# the feed-forward branch, of attentions from 4, and of whole branches from 8.
_DRAWS = 16
_BETWEEN, _ATTENTION, _PATHS = 3, 4, 8

Place = Float[Array, "b 1 d"]


class _Layer(nn.Module):
    """The part that encoder and decoder layers share: residual sums and the feed-forward branch.

    Fields:
      settings: of the transformer.
      layer: number of its first dropout, see `Dropout`.
    """

    settings: TransformerSettings
    layer: int = HEAD_LAYER

    def setup(self):
        s = self.settings
        self.fc1 = Dense(s.hidden, kernel_init=xavier, layers=s.layers)
        self.fc2 = Dense(s.features, kernel_init=xavier, layers=s.layers)
        self.dropouts = [Dropout(s.dropout, self.layer + i) for i in range(_BETWEEN + 1)]
        self.paths = [StochasticDepth(s.drop_path, self.layer + _PATHS + i) for i in range(3)]

    def enter(self, x: Sequence, norm: LayerNorm) -> Sequence:
        """Returns what a branch reads."""
        return norm(x) if self.settings.norm_first else x

    def leave(
        self, x: Sequence, y: Sequence, norm: LayerNorm, number: int, train: bool, keys: Keys
    ) -> Sequence:
        """Adds the output y of a layer's branch, by its number, to x."""
        y = self.dropouts[number](y, train=train, keys=keys)
        x = x + self.paths[number](y, train=train, keys=keys)
        return x if self.settings.norm_first else norm(x)

    def feed_forward(
        self, x: Sequence, norm: LayerNorm, number: int, train: bool, keys: Keys
    ) -> Sequence:
        """Runs the branch of two layers that each place passes by itself."""
        y = self.fc1(self.enter(x, norm))
        if self.settings.activation == "relu":
            y = nn.relu(y)
        else:
            y = nn.gelu(y, approximate=False)
        y = self.fc2(self.dropouts[_BETWEEN](y, train=train, keys=keys))
        return self.leave(x, y, norm, number, train, keys)


class FeedForward(_Layer):
    """The branch of two layers by itself, with its residual sum. Parameters: `norm`, `fc1`, `fc2`.

    See `EncoderLayer`, which has attention before it.
    """

    def setup(self):
        super().setup()
        self.norm = LayerNorm(self.settings.layers)

    def __call__(self, x: Sequence, *, train: bool = False, keys: Keys = None) -> Sequence:
        return self.feed_forward(x, self.norm, 0, train, keys)


class EncoderLayer(_Layer):
    """Self-attention and two layers for each place.

    Parameters: `self_attention`, `norm1`, `fc1`, `fc2`, `norm2`.
    """

    def setup(self):
        super().setup()
        self.self_attention = MultiHeadAttention(self.settings, self.layer + _ATTENTION)
        self.norm1, self.norm2 = (LayerNorm(self.settings.layers) for _ in range(2))

    def __call__(
        self,
        x: Sequence,
        positions: Positions = None,
        mask: SelfMask = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Sequence, Float[Array, "b n n"]]:
        """Returns the sequence, and the attention's weights averaged over the heads."""
        y = self.enter(x, self.norm1)
        placed = with_positions(y, positions)
        y, weights = self.self_attention(placed, placed, y, mask, train=train, keys=keys)
        x = self.leave(x, y, self.norm1, 0, train, keys)
        return self.feed_forward(x, self.norm2, 1, train, keys), weights


class LayerCache(NamedTuple):
    """What a decoder layer keeps between the places of a sequence that grows."""

    keys: Heads  # of the sequence itself, as long as it may become
    values: Heads
    memory_keys: Heads
    memory_values: Heads


class DecoderLayer(_Layer):
    """Self-attention, attention to a memory, and two layers for each place.

    Parameters: `self_attention`, `norm1`, `cross_attention`, `norm2`, `fc1`, `fc2`, `norm3`.
    """

    def setup(self):
        super().setup()
        self.self_attention = MultiHeadAttention(self.settings, self.layer + _ATTENTION)
        self.cross_attention = MultiHeadAttention(self.settings, self.layer + _ATTENTION + 1)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(self.settings.layers) for _ in range(3))

    def __call__(
        self,
        x: Sequence,
        memory: Memory,
        positions: Positions = None,
        memory_positions: MemoryPositions = None,
        mask: SelfMask = None,
        memory_mask: Mask = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Sequence, Float[Array, "b n k"]]:
        """Returns the sequence, and the weights of its attention to the memory."""
        y = self.enter(x, self.norm1)
        placed = with_positions(y, positions)
        y, _ = self.self_attention(placed, placed, y, mask, train=train, keys=keys)
        x = self.leave(x, y, self.norm1, 0, train, keys)
        read = self._read(memory, memory_positions)
        return self._finish(x, positions, read, memory_mask, train, keys)

    def start(self, memory: Memory, positions: MemoryPositions, length: int) -> LayerCache:
        """Makes the cache of a sequence that may become `length` places long.

        Args:
          memory: what it looks at.
          positions: of the memory.
          length: of the sequence.
        """
        memory_keys, memory_values = self._read(memory, positions)
        b, h, _, e = memory_keys.shape
        empty = jnp.zeros((b, h, length, e), memory_keys.dtype)
        return LayerCache(empty, empty, memory_keys, memory_values)

    def step(
        self, x: Place, cache: LayerCache, index: Int[Array, ""], memory_mask: Mask = None
    ) -> tuple[Place, LayerCache]:
        """Computes the place number `index`, which sees itself and those before it."""
        y = self.enter(x, self.norm1)
        here = self.self_attention.keys_values(y, y)
        keys, values = (
            lax.dynamic_update_slice_in_dim(old, new, index, 2)
            for old, new in zip((cache.keys, cache.values), here, strict=True)
        )
        past = (jnp.arange(keys.shape[2]) <= index)[None, None]
        y, _ = self.self_attention.attend(y, keys, values, past)
        x = self.leave(x, y, self.norm1, 0, False, None)
        read = cache.memory_keys, cache.memory_values
        x, _ = self._finish(x, None, read, memory_mask, False, None)
        return x, cache._replace(keys=keys, values=values)

    def _read(self, memory: Array, positions: Array | None) -> tuple[Array, Array]:
        """Projects the memory to keys and values."""
        return self.cross_attention.keys_values(with_positions(memory, positions), memory)

    def _finish(self, x, positions, read, memory_mask, train, keys):
        """Runs the branches after self-attention."""
        y = with_positions(self.enter(x, self.norm2), positions)
        y, weights = self.cross_attention.attend(y, *read, memory_mask, train=train, keys=keys)
        x = self.leave(x, y, self.norm2, 1, train, keys)
        return self.feed_forward(x, self.norm3, 2, train, keys), weights


class Encoder(nn.Module):
    """Layers `layer_0`, …, and a last `norm` with `norm_first`.

    Fields:
      depth: number of layers.
      settings: of all of them.
    """

    depth: int = 6
    settings: TransformerSettings = TransformerSettings()

    def setup(self):
        first = HEAD_LAYER
        self.layer = [EncoderLayer(self.settings, first + _DRAWS * i) for i in range(self.depth)]
        if self.settings.norm_first:
            self.norm = LayerNorm(self.settings.layers)

    def __call__(
        self,
        x: Sequence,
        positions: Positions = None,
        mask: SelfMask = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Sequence, Float[Array, "b n n"] | None]:
        """Returns the sequence, and the last layer's attention; None without layers."""
        weights = None
        for layer in self.layer:
            x, weights = layer(x, positions, mask, train=train, keys=keys)
        return (self.norm(x) if self.settings.norm_first else x), weights


class Decoder(nn.Module):
    """Layers `layer_0`, …, and a last `norm`, which serves the answers of all of them.

    Fields:
      depth: number of layers, at least 1.
      settings: of all of them.
    """

    depth: int = 6
    settings: TransformerSettings = TransformerSettings()

    def setup(self):
        first = 2 * HEAD_LAYER
        self.layer = [DecoderLayer(self.settings, first + _DRAWS * i) for i in range(self.depth)]
        self.norm = LayerNorm(self.settings.layers)

    def __call__(
        self,
        x: Sequence,
        memory: Memory,
        positions: Positions = None,
        memory_positions: MemoryPositions = None,
        mask: SelfMask = None,
        memory_mask: Mask = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[tuple[Sequence, ...], Float[Array, "b n k"]]:
        """Returns every layer's answer, and the last layer's attention to the memory."""
        answers, where = [], (positions, memory_positions, mask, memory_mask)
        for layer in self.layer:
            x, weights = layer(x, memory, *where, train=train, keys=keys)
            answers.append(self.norm(x))
        return tuple(answers), weights

    def start(
        self, memory: Memory, positions: MemoryPositions, length: int
    ) -> tuple[LayerCache, ...]:
        """Makes the caches of a sequence that may become `length` places long."""
        return tuple(layer.start(memory, positions, length) for layer in self.layer)

    def step(
        self,
        x: Place,
        caches: tuple[LayerCache, ...],
        index: Int[Array, ""],
        memory_mask: Mask = None,
    ) -> tuple[Place, tuple[LayerCache, ...]]:
        """Computes the place number `index` from the caches of those before it."""
        kept = []
        for layer, cache in zip(self.layer, caches, strict=True):
            x, cache = layer.step(x, cache, index, memory_mask)
            kept.append(cache)
        return self.norm(x), tuple(kept)
