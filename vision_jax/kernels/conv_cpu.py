"""Convolutions that XLA:CPU computes slowly, in forms that it computes well.

They serve where oneDNN is missing, and types that it is not used for.
"""

import itertools
import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from vision_jax.kernels import conv_lax
from vision_jax.kernels.chunks import split
from vision_jax.kernels.conv_lax import Geometry, transposed

# Largest count of numbers in images whose gradient is taken at a time; a core's cache is 1 MiB.
_TOGETHER = 250_000


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """Computes the output, as `conv_lax.forward` does."""
    if _is_pointwise(geometry):
        return _pointwise(x, w, geometry)
    if _is_depthwise(x.shape, w.shape, geometry):
        return _shifted(x, w, geometry)
    return conv_lax.forward(x, w, geometry)


def image_gradient(dy: Array, w: Array, geometry: Geometry) -> Array:
    """Computes the gradient at the images, as `conv_lax.image_gradient` does."""
    if _is_plain(geometry):
        return _forward(dy, w[::-1, ::-1].swapaxes(2, 3), _reversed(geometry))
    shape = geometry.image_shape(dy.shape, w.shape)
    return transposed(lambda x: forward(x, w, geometry), shape, dy)


def kernel_gradient(dy: Array, x: Array, geometry: Geometry) -> Array:
    """Computes the gradient at the kernel, as `conv_lax.kernel_gradient` does."""
    shape = geometry.kernel_shape(dy.shape, x.shape)
    if _is_depthwise(x.shape, shape, geometry):
        return _depthwise_kernel_gradient(dy, x, geometry)
    if _is_plain(geometry):  # images are summed over, as channels are; dy slides over them
        dw = _forward(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3), geometry.padding)
        return dw.transpose(1, 2, 0, 3)
    return transposed(lambda w: forward(x, w, geometry), shape, dy)


def _is_plain(geometry):
    """Returns True if gradients are written out as what they are: convolutions of stride 1.

    XLA:CPU is fast with those of this layout. It brings others into it in a program's outermost
    computation alone: kernels of 256 channels take 6 s within a branch or a loop instead of 0.03.
    """
    several = geometry.kernel != (1, 1) and geometry.groups == 1
    return several and geometry.stride == geometry.dilation == (1, 1)


def _forward(x, w, padding):
    geometry = Geometry(x.shape[1:3], w.shape[:2], (1, 1), padding, (1, 1), 1)
    return conv_lax.forward(x, w, geometry)


def _reversed(geometry):
    """Computes the padding with which the output's gradient becomes that at the image."""
    top, left = (
        (k - 1 - before, k - 1 - after)
        for k, (before, after) in zip(geometry.kernel, geometry.padding, strict=True)
    )
    return top, left


def _is_pointwise(geometry):
    is_single = geometry.kernel == (1, 1) and geometry.groups == 1
    return is_single and geometry.padding == ((0, 0), (0, 0))


def _pointwise(x, w, geometry):
    """Computes a 1x1 convolution as one matrix product.

    XLA:CPU runs its own convolution here at a half to a quarter of the speed of the product,
    forward and backward; the product's weight gradient contracts the rows without a transpose.
    """
    if geometry.stride != (1, 1):
        x = x[:, :: geometry.stride[0], :: geometry.stride[1]]
    b, h, width, c = x.shape
    return (x.reshape(-1, c) @ w.reshape(c, -1)).reshape(b, h, width, w.shape[-1])


def _is_depthwise(x_shape, w_shape, geometry):
    each = 1 < geometry.groups == x_shape[3] == w_shape[3]
    return each and geometry.dilation == (1, 1)


def _shifted(x, w, geometry):
    """Computes a depthwise convolution as a sum of shifted images, each times one tap.

    One pass over the pixels, in vectors of channels; XLA:CPU's grouped convolution is 10 to 50
    times as slow, and so is its gradient.
    """
    taps = itertools.product(*map(range, geometry.kernel))
    shifts = _shifts(x, geometry)
    return sum(part * w[i, j][None, None] for (i, j), part in zip(taps, shifts, strict=True))


def _shifts(x, geometry):
    """Returns, for each tap of a kernel, the pixels that it meets."""
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, ((0, 0, 0), *((a, b, 0) for a, b in geometry.padding), (0, 0, 0)))
    b, c = x.shape[0], x.shape[3]
    (sh, sw), (rows, columns) = geometry.stride, geometry.output
    reach = (rows - 1) * sh + 1, (columns - 1) * sw + 1
    return [
        lax.slice(x, (0, i, j, 0), (b, i + reach[0], j + reach[1], c), (1, sh, sw, 1))
        for i, j in itertools.product(*map(range, geometry.kernel))
    ]


def _depthwise_kernel_gradient(dy, x, geometry):
    """Computes sums of products, a few images at a time, which stay in the cache for all taps."""
    many = max(1, _TOGETHER // math.prod(x.shape[1:]))

    def product(images):
        x, dy = images
        # Columns are summed up last: rows of pixels are longer vectors than channels.
        return jnp.stack([(part * dy).sum((0, 1)) for part in _shifts(x, geometry)])

    sums = lax.map(product, split((x, dy), many)).sum((0, 2))
    return sums.reshape(*geometry.kernel, 1, -1)
