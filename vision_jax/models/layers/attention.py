"""Attention over sequences of places, and positions that are learned.

Sequences are (batch, places, features). Positions are not added to a sequence once, but to the
queries and keys of every attention (Carion 2020, appendix A.3); where that is not wanted they are
None. Initialisation of an attention: Xavier uniform, of the first three kernels as if they were one
matrix, as torch's; zero biases.
"""

import dataclasses
import functools
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float

from vision_jax.models.layers.arrays import Keys, compute_dtype
from vision_jax.models.layers.dropout import Dropout
from vision_jax.models.layers.linear import Dense
from vision_jax.models.layers.settings import NO_NORM, Layers
from vision_jax.ops import initializers
from vision_jax.ops.attention import attention

Sequence = Float[Array, "b n d"]
Memory = Float[Array, "b k d"]  # a sequence that another one looks at
Heads = Float[Array, "b h k e"]  # keys or values of h subspaces
Mask = Bool[Array, "#b #n k"] | None  # True where a query may look
SelfMask = Bool[Array, "#b #n n"] | None
Positions = Float[Array, "#b n d"] | None
MemoryPositions = Float[Array, "#b k d"] | None

xavier = initializers.xavier
_xavier_of_three = initializers.Distribution("symmetric", 0.5, "mean")


@dataclasses.dataclass(frozen=True)
class TransformerSettings:
    """The settings that all layers of a transformer share.

    Attributes:
      features: of every place.
      heads: subspaces of the attentions; they divide `features`.
      hidden: width between the two layers that each place passes by itself.
      dropout: probability of dropping a value of a branch, or between these two layers.
      attention_dropout: probability of dropping an attention's weight.
      drop_path: probability of dropping a whole branch.
      norm_first: whether branches are normalised before them; else the sums are, after them.
      activation: between the two layers; 'gelu' is the exact one.
      layers: eps of the norms, and the precision.
    """

    features: int = 256
    heads: int = 8
    hidden: int = 2048
    dropout: float = 0.1
    attention_dropout: float = 0.1
    drop_path: float = 0.0
    norm_first: bool = False
    activation: Literal["relu", "gelu"] = "relu"
    layers: Layers = NO_NORM


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016), statistics in float32. Parameters: `scale`, `bias`."""

    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        shape, axes = x.shape[-1:], range(x.ndim - 1)
        scale = self.param("scale", initializers.ones, shape)
        bias = self.param("bias", initializers.zeros, shape)
        y = x.astype(scale.dtype)
        y = y - y.mean(-1, keepdims=True)
        y = y * lax.rsqrt(lax.square(y).mean(-1, keepdims=True) + self.layers.eps)
        y = y * jnp.expand_dims(scale, axes) + jnp.expand_dims(bias, axes)
        return y.astype(compute_dtype(self.layers.dtype, scale))


class MultiHeadAttention(nn.Module):
    """Attention in several subspaces (Vaswani 2017, section 3.2.2); keys and values can be kept.

    Parameters: `query`, `key`, `value`, `output`, each a `Dense`.

    Fields:
      settings: of the transformer.
      layer: number of its dropout, see `Dropout`.
    """

    settings: TransformerSettings
    layer: int = 0

    def setup(self):
        s = self.settings
        self.query, self.key, self.value = (
            Dense(s.features, kernel_init=_xavier_of_three, layers=s.layers) for _ in range(3)
        )
        self.output = Dense(s.features, kernel_init=xavier, layers=s.layers)
        self.dropout = Dropout(s.attention_dropout, self.layer)

    def __call__(
        self,
        query: Sequence,
        key: Memory,
        value: Memory,
        mask: Mask = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Sequence, Float[Array, "b n k"]]:
        """Returns the output, and the weights averaged over the heads."""
        return self.attend(query, *self.keys_values(key, value), mask, train=train, keys=keys)

    def keys_values(self, key: Memory, value: Memory) -> tuple[Heads, Heads]:
        """Projects what is attended to, once for all queries."""
        return self._split(self.key(key)), self._split(self.value(value))

    def attend(
        self,
        query: Sequence,
        keys_of: Heads,
        values_of: Heads,
        mask: Mask = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> tuple[Sequence, Float[Array, "b n k"]]:
        """Looks from queries at what `keys_values` returned; see `__call__`."""
        mask = None if mask is None else mask[:, None]
        drop = functools.partial(self.dropout, train=train, keys=keys)
        of_query = self._split(self.query(query))
        sums, weights = attention(of_query, keys_of, values_of, mask, drop)
        joined = sums.swapaxes(1, 2).reshape(query.shape)
        return self.output(joined), weights.mean(1)

    def _split(self, x: Array) -> Array:
        """Splits features over the heads, (b, h, n, d / h)."""
        return x.reshape(*x.shape[:2], self.settings.heads, -1).swapaxes(1, 2)


class LearnedPositions(nn.Module):
    """A learned vector for each place of a sequence: `embedding` (length, features), N(0, std)."""

    length: int
    features: int
    std: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self) -> Float[Array, "{self.length} {self.features}"]:
        start = initializers.normal(self.std)
        embedding = self.param("embedding", start, (self.length, self.features))
        return embedding.astype(compute_dtype(self.layers.dtype, embedding))


class LearnedGrid(nn.Module):
    """Learned vectors for columns and for rows (Carion 2020, table 3): x's half before y's.

    Parameters: `columns`, `rows` (side, features / 2), uniform in [0, 1).
    """

    features: int
    side: int = 50
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, height: int, width: int) -> Float[Array, "{height} {width} {self.features}"]:
        """Returns the encoding of a map.

        Raises:
          ValueError: a map that is larger than the grid.
        """
        if max(height, width) > self.side:
            raise ValueError(f"a map of {height}×{width} is larger than {self.side} positions")
        shape, start = (self.side, self.features // 2), initializers.uniform(1.0)
        columns, rows = (self.param(name, start, shape) for name in ("columns", "rows"))
        size = height, width, self.features // 2
        x = jnp.broadcast_to(columns[None, :width], size)
        y = jnp.broadcast_to(rows[:height, None], size)
        return jnp.concatenate([x, y], -1).astype(compute_dtype(self.layers.dtype, rows))


def with_positions(x: Sequence, positions: Positions) -> Sequence:
    """Adds positions, in the sequence's precision; the sequence itself without any."""
    return x if positions is None else x + positions.astype(x.dtype)


def causal(length: int) -> Bool[Array, "1 {length} {length}"]:
    """Returns the mask with which a place sees itself and those before it."""
    return jnp.tril(jnp.ones((1, length, length), bool))
