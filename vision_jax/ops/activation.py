"""Activations with parameters."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def prelu(x: Float[Array, "*d c"], slope: Float[Array, "c"]) -> Float[Array, "*d c"]:
    """Computes PReLU: x above 0, slope · x below, by channel (He et al. 2015, arXiv:1502.01852)."""
    return jnp.where(x > 0, x, x * slope.reshape((1,) * (x.ndim - 1) + slope.shape))
