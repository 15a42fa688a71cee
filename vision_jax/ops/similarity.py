"""How similar two images are: peak signal-to-noise ratio and structural similarity.

Papers on super-resolution measure them on the luma of YCbCr, which is `luma`, after cutting a
border off; cutting is the caller's.
"""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

_LUMA = (65.481, 128.553, 24.966)  # of red, green and blue in 0..1
_K1, _K2 = 0.01, 0.03  # Wang et al. 2004, section III.C
_SIGMA, _RADIUS = 1.5, 5  # its Gaussian window of 11 x 11
_SIDE = 7  # of the uniform window


def luma(images: Float[Array, "b h w 3"], white: float = 255.0) -> Float[Array, "b h w 1"]:
    """Computes Y of YCbCr (ITU-R BT.601), in 16..235, from RGB images in 0..`white`."""
    weights = jnp.asarray(_LUMA, images.dtype) / white
    return (images @ weights + 16)[..., None]


def psnr(
    one: Float[Array, "b h w c"], two: Float[Array, "b h w c"], white: float = 255.0
) -> Float[Array, "b"]:
    """Computes each pair's peak signal-to-noise ratio in decibels, infinite for equal images.

    It is 10 log10(white² / e), where e is the mean squared difference.
    """
    error = lax.square(one - two).mean((1, 2, 3))
    return 20 * math.log10(white) - 10 * jnp.log10(error)


def ssim(
    one: Float[Array, "b h w c"],
    two: Float[Array, "b h w c"],
    white: float = 255.0,
    window: Literal["gaussian", "uniform"] = "gaussian",
) -> Float[Array, "b"]:
    """Computes each pair's structural similarity, at most 1 (Wang et al. 2004, section III).

    It is the mean over the channels and over the windows that lie within the image.

    Args:
      one, two: images of at least 11 x 11 pixels ('uniform': 7 x 7).
      white: the range of values.
      window: 'gaussian', the paper's, of 11 x 11 pixels and deviation 1.5, with population
        variances; or 'uniform', of 7 x 7, with sample variances, scikit-image's default.
    """
    weights = _window(window)
    size = len(weights) ** 2
    correction = size / (size - 1) if window == "uniform" else 1.0
    mean_one, mean_two = _local_mean(one, weights), _local_mean(two, weights)

    def covariance(x, y, product):
        return correction * (_local_mean(x * y, weights) - product)

    product = mean_one * mean_two
    squares = lax.square(mean_one), lax.square(mean_two)
    variances = covariance(one, one, squares[0]) + covariance(two, two, squares[1])
    c1, c2 = (_K1 * white) ** 2, (_K2 * white) ** 2
    upper = (2 * product + c1) * (2 * covariance(one, two, product) + c2)
    lower = (squares[0] + squares[1] + c1) * (variances + c2)
    return (upper / lower).mean((1, 2, 3))


def _window(window):
    """Returns the weights of a window along one axis."""
    if window == "uniform":
        return np.full(_SIDE, 1 / _SIDE)
    distance = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (distance / _SIGMA) ** 2)
    return weights / weights.sum()


def _local_mean(x, weights):
    """Averages over each window that lies within the image, axis by axis."""
    for axis in (1, 2):
        count = x.shape[axis] - len(weights) + 1
        parts = (lax.slice_in_dim(x, i, i + count, axis=axis) for i in range(len(weights)))
        x = sum(float(w) * part for w, part in zip(weights, parts, strict=True))
    return x
