"""Encodings of places in a map by sines and cosines, which attention adds to what it compares."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def sine_positions(
    valid: Bool[Array, "b h w"],
    features: int,
    normalize: bool = True,
    temperature: float = 10_000.0,
) -> Float[Array, "b h w 2*{features}"]:
    """Encodes the places of a padded map (Carion 2020, appendix A.4).

    A place is the number of valid rows, or columns, up to it. Channel i has the frequency
    temperature^(-2 floor(i / 2) / features): even ones are its sine, odd ones its cosine.

    Args:
      valid: False on padding, where the count has stopped.
      features: channels for y, which come first, and as many for x; an even number.
      normalize: whether places are divided by the last one, and scaled to 2 π.
      temperature: the ratio of the longest wave to the shortest.

    Raises:
      ValueError: an odd number of features.
    """
    if features % 2:
        raise ValueError(f"{features} features are no pairs of sine and cosine")
    count = valid.astype(jnp.float32)
    y, x = jnp.cumsum(count, 1), jnp.cumsum(count, 2)
    if normalize:
        y = y / (y[:, -1:] + 1e-6) * (2 * math.pi)
        x = x / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
    wave = temperature ** (2 * (jnp.arange(features, dtype=jnp.float32) // 2) / features)
    angle = jnp.stack([y, x], -1)[..., None] / wave[None, None, None, None, :]
    pairs = jnp.stack([jnp.sin(angle[..., 0::2]), jnp.cos(angle[..., 1::2])], -1)
    return pairs.reshape(*valid.shape, 2 * features)


def grid_sines(
    height: int, width: int, features: int
) -> Float[Array, "{height} {width} {features}"]:
    """Encodes the places of a whole map as Pix2Seq's code does (Chen 2021).

    Places are spread over 0..2 π, the last one included. For y, whose half of the channels comes
    first, and for x there are first the sines of all waves, then their cosines; wave k is
    10,000^(4 k / features) long.

    Raises:
      ValueError: features that are no multiple of 4.
    """
    if features % 4:
        raise ValueError(f"{features} features are no sines and cosines of y and x: take 4 n")
    count = features // 4
    wave = 10_000.0 ** (2 * jnp.arange(count, dtype=jnp.float32) / (2 * count))

    def along(places: int) -> Array:
        place = jnp.arange(places, dtype=jnp.float32) / max(places - 1, 1) * (2 * math.pi)
        angle = place[:, None] / wave[None]
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)

    size = height, width, features // 2
    y = jnp.broadcast_to(along(height)[:, None], size)
    x = jnp.broadcast_to(along(width)[None], size)
    return jnp.concatenate([y, x], -1)
