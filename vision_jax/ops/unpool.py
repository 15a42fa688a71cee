"""The way back through a max pooling, as deconvolutional networks take it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def max_unpool(
    x: Float[Array, "b ho wo c"], indices: Int[Array, "b ho wo c"], size: tuple[int, int]
) -> Float[Array, "b h w c"]:
    """Values put back to where `max_pool_indices` found them, zeros elsewhere.

    Args:
      x: values of the pooled size.
      indices: row * w + column within the output image. Where windows overlap, one place may be
        named twice; both values are then the same maximum, and each gets the place's gradient, as
        in torch.nn.functional.max_unpool2d.
      size: (h, w) of the output.
    """
    return _unpool(x, indices, tuple(size))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _unpool(x, indices, size):
    b, _, _, c = x.shape
    h, w = size
    flat = jnp.zeros((b, h * w, c), x.dtype).at[_places(indices)].set(x.reshape(b, -1, c))
    return flat.reshape(b, h, w, c)


def _unpool_forward(x, indices, size):
    return _unpool(x, indices, size), indices


def _unpool_backward(size, indices, gradient):
    b, h, w, c = gradient.shape
    x = gradient.reshape(b, h * w, c)[_places(indices)]
    return x.reshape(indices.shape), np.zeros(indices.shape, jax.dtypes.float0)


_unpool.defvjp(_unpool_forward, _unpool_backward)


def _places(indices):
    """Index of each value in a (b, h * w, c) array."""
    b, _, _, c = indices.shape
    image, channel = jnp.arange(b)[:, None, None], jnp.arange(c)[None, None, :]
    return image, indices.reshape(b, -1, c), channel
