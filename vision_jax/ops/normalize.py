"""Normalisations without running statistics."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def local_response_norm(
    x: Float[Array, "b h w c"],
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
    mean: bool = True,
) -> Float[Array, "b h w c"]:
    """Computes x / (k + alpha * s)^beta, where s are the squares of neighbouring channels.

    Krizhevsky et al. 2012, section 3.3. Channel i has size // 2 neighbours before it and
    (size - 1) // 2 after it.

    Args:
      x: images or maps.
      size: channels in the window.
      alpha, beta, k: see the formula.
      mean: s is the mean over the window, zeros beyond the borders counted (torch, Caffe), or the
        sum (the paper's text, TensorFlow).
    """
    c = x.shape[-1]
    squares = jnp.pad(lax.square(x), ((0, 0), (0, 0), (0, 0), (size // 2, (size - 1) // 2)))
    total = sum(squares[..., i : i + c] for i in range(size))
    return x * (k + (alpha / size if mean else alpha) * total) ** -beta


def l2_normalize(x: Float[Array, "*d c"], eps: float = 1e-12) -> Float[Array, "*d c"]:
    """Divides x by its Euclidean norm along the last axis, which counts as no less than `eps`."""
    squared = lax.square(x).sum(-1, keepdims=True)
    # The root's gradient at 0 is infinite; the bound takes it out of the way.
    return x * lax.rsqrt(jnp.maximum(squared, eps**2))


def prewhiten(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Brings each image to mean 0 and deviation 1, as facenet does for its networks.

    The deviation counts as no less than 1 / sqrt(values of an image).
    """
    centred = images - images.mean((1, 2, 3), keepdims=True)
    centred -= centred.mean((1, 2, 3), keepdims=True)  # what rounding left of a flat image
    deviation = jnp.sqrt(lax.square(centred).mean((1, 2, 3), keepdims=True))
    return centred / jnp.maximum(deviation, images[0].size ** -0.5)


def layer_norm(
    x: Float[Array, "*d c"],
    scale: Float[Array, "c"],
    bias: Float[Array, "c"],
    eps: float = 1e-5,
) -> Float[Array, "*d c"]:
    """Brings the last axis to mean 0 and variance 1, then scales and shifts (Ba et al. 2016)."""
    centred = x - x.mean(-1, keepdims=True)
    wide = (1,) * (x.ndim - 1) + scale.shape
    y = centred * lax.rsqrt(lax.square(centred).mean(-1, keepdims=True) + eps)
    return y * scale.reshape(wide) + bias.reshape(wide)
