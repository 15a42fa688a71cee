"""Resizing of images and maps with torch's conventions, as one matrix product per axis.

The matrices follow from the sizes alone, so they are constants of the program; the gradient is the
transposed product.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Method = Literal["bilinear", "bicubic", "nearest", "nearest-exact"]


def resize(
    x: Float[Array, "b h w c"],
    size: tuple[int, int],
    method: Method = "bilinear",
    align_corners: bool = False,
    antialias: bool = False,
    scale: float | None = None,
) -> Float[Array, "b ho wo c"]:
    """Resizes images or maps as torch.nn.functional.interpolate does.

    By default pixels are squares, not points.

    Args:
      x: images.
      size: output rows and columns.
      method: 'nearest' floors, as torch's does; 'nearest-exact' takes pixel centres, as PIL does.
      align_corners: the centres of the corner pixels stay where they are.
      antialias: widen the filter when shrinking, as PIL does (bilinear and bicubic only).
      scale: output pixels per input pixel, where that is not output size over input size.
    """
    for axis, out in enumerate(size, start=1):
        n = x.shape[axis]
        if out == n and scale is None:
            continue
        if method in ("nearest", "nearest-exact"):
            x = jnp.take(x, _nearest(n, out, method == "nearest-exact", scale), axis)
            continue
        if antialias:
            weights = _antialiased(n, out, method)
        else:
            weights = _interpolated(n, out, method, align_corners, scale)
        # At full precision: accelerators would round the factors of a default product.
        y = jnp.tensordot(
            jnp.asarray(weights, x.dtype), x, ((1,), (axis,)), precision=lax.Precision.HIGHEST
        )
        x = jnp.moveaxis(y, 0, axis)
    return x


def resize_content(
    x: Float[Array, "b h w c"],
    content: Float[Array, "b 2"],
    size: tuple[int, int],
    new_content: Float[Array, "b 2"],
) -> Float[Array, "b ho wo c"]:
    """Resizes images that fill only the top left of their arrays, bilinear as `resize`.

    Args:
      x: images, whose padding is not looked at.
      content: height and width of each image in its array, whole numbers of at least 1.
      size: rows and columns of the result.
      new_content: height and width that each image gets there; beyond it there are zeros.
    """
    for axis, out in enumerate(size, start=1):
        old, new = (
            jnp.asarray(v[:, axis - 1 : axis, None], x.dtype) for v in (content, new_content)
        )
        place = jnp.arange(out, dtype=x.dtype)[None, :, None]
        middle = jnp.clip((place + 0.5) * (old / new) - 0.5, 0, old - 1)
        pixel = jnp.arange(x.shape[axis], dtype=x.dtype)[None, None]
        weights = jnp.where(place < new, jnp.maximum(1 - jnp.abs(middle - pixel), 0), 0)
        y = jnp.einsum(
            "bon,bn...->bo...",
            weights,
            jnp.moveaxis(x, axis, 1),
            precision=lax.Precision.HIGHEST,
        )
        x = jnp.moveaxis(y, 1, axis)
    return x


def _nearest(n: int, out: int, exact: bool, scale: float | None) -> np.ndarray:
    """Finds the input index of each output pixel, in float32 as the reference computes it."""
    step = np.float32(1 / scale if scale else n / out)
    place = (np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0)) * step
    return np.minimum(np.floor(place).astype(int), n - 1)


def _interpolated(n, out, method, align_corners, scale) -> np.ndarray:
    """Makes the weights (out, n) of the two or four pixels around each output pixel's place."""
    if align_corners:
        place = np.arange(out) * ((n - 1) / (out - 1) if out > 1 else 0)
    else:
        place = (np.arange(out) + 0.5) * (1 / scale if scale else n / out) - 0.5
    if method == "bilinear":
        place = np.maximum(place, 0)
    taps = (0, 1) if method == "bilinear" else (-1, 0, 1, 2)
    kernel = _triangle if method == "bilinear" else _cubic(-0.75)
    first = np.floor(place).astype(int)
    weights = np.zeros((out, n))
    for tap in taps:
        index = np.clip(first + tap, 0, n - 1)  # beyond the border the last pixel repeats
        np.add.at(weights, (np.arange(out), index), kernel(place - (first + tap)))
    return weights


def _antialiased(n, out, method) -> np.ndarray:
    """Makes the weights (out, n) of a filter stretched over the pixels that a new one covers."""
    ratio = n / out
    stretch = max(ratio, 1.0)
    kernel, radius = (_triangle, 1) if method == "bilinear" else (_cubic(-0.5), 2)
    weights = np.zeros((out, n))
    for i in range(out):
        centre = ratio * (i + 0.5)
        start = max(int(centre - radius * stretch + 0.5), 0)
        stop = min(int(centre + radius * stretch + 0.5), n)
        weights[i, start:stop] = kernel((np.arange(start, stop) - centre + 0.5) / stretch)
    return weights / weights.sum(1, keepdims=True)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Makes the kernel of Keys' cubic convolution (1981).

    a = -0.5 is his, -0.75 that of torch without antialias.
    """

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = a * (((x - 5) * x + 8) * x - 4)
        return np.where(x <= 1, near, np.where(x < 2, far, 0))

    return kernel
