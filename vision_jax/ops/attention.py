"""Attention (Vaswani et al. 2017, section 3.2) as pure functions of its weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vision_jax.ops.dtypes import at_least_float32


def attention(
    query: Float[Array, "*b q d"],
    key: Float[Array, "*b k d"],
    value: Float[Array, "*b k v"],
    mask: Bool[Array, "*#b #q k"] | None = None,
    drop: Callable[[Array], Array] | None = None,
) -> tuple[Float[Array, "*b q v"], Float[Array, "*b q k"]]:
    """Computes scaled dot-product attention: softmax(query · key / √d) · value.

    Args:
      query, key, value: leading axes (batch, heads) alike.
      mask: True where a query may look. A query that may look nowhere gets zeros.
      drop: changes the weights before values are summed up, such as dropout.

    Returns:
      The weighted sums of values, and the weights before `drop`, which sum to 1 over the keys.
    """
    scores = jnp.einsum("...qd,...kd->...qk", query * query.shape[-1] ** -0.5, key)
    scores = at_least_float32(scores)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    if mask is not None:
        weights = jnp.where(mask, weights, 0)
    dropped = (weights if drop is None else drop(weights)).astype(value.dtype)
    return jnp.einsum("...qk,...kv->...qv", dropped, value), weights


def multi_head_attention(
    query: Float[Array, "b q d"],
    key: Float[Array, "b k d"],
    value: Float[Array, "b k d"],
    heads: int,
    kernels: Float[Array, "4 d d"],
    biases: Float[Array, "4 d"],
    mask: Bool[Array, "b k"] | None = None,
) -> tuple[Float[Array, "b q d"], Float[Array, "b q k"]]:
    """Computes attention in `heads` subspaces of d / heads dimensions each.

    Args:
      query, key, value: sequences; keys are compared with queries, and values summed up.
      heads: divides d.
      kernels: of query, key, value and output, (in, out). torch's `in_proj_weight` (3 d, d) holds
        the first three, each transposed, one below the other; `out_proj.weight` is the last.
      biases: likewise.
      mask: True on keys that count; torch's `key_padding_mask` is its opposite.

    Returns:
      The output, and the weights averaged over the heads.
    """

    def split(x: Array, i: int) -> Array:
        projected = x @ kernels[i] + biases[i][None, None, :]
        return projected.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)

    mask = None if mask is None else mask[:, None, None, :]
    sums, weights = attention(split(query, 0), split(key, 1), split(value, 2), mask)
    joined = sums.swapaxes(1, 2).reshape(query.shape)
    return joined @ kernels[3] + biases[3][None, None, :], weights.mean(1)
