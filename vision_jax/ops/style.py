"""Statistics of images and feature maps that style transfer compares."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def gram_matrix(x: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """Computes products of every two channels, summed over the map and divided by c · h · w.

    Gatys et al. 2015, section 3, with Johnson et al.'s (2016, eq. 3) division.
    """
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    return jnp.einsum("bpc,bpd->bcd", flat, flat) / (flat.shape[1] * flat.shape[2])


def total_variation(x: Float[Array, "b h w c"]) -> Float[Array, "b"]:
    """Computes each image's mean absolute difference to right neighbours, plus to lower ones."""
    across, down = jnp.diff(x, axis=2), jnp.diff(x, axis=1)
    return jnp.abs(across).mean((1, 2, 3)) + jnp.abs(down).mean((1, 2, 3))
