"""Ways to a larger map: nearest, bed of nails, bilinear, max unpooling, transposed convolution.

Transposed convolution with any filter, stride and padding is `conv.conv_transpose2d`. Here are the
two forms that explain it: the transpose of the matrix M_F of a convolution, and a plain convolution
over the map with zeros between its pixels (Dumoulin & Visin 2016, arXiv:1603.07285).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vision_jax.ops.conv import Size, conv2d, pair
from vision_jax.ops.resize import resize


def nearest(x: Float[Array, "b h w c"], factor: Size) -> Float[Array, "b ho wo c"]:
    """Repeats each pixel in a block of `factor` (rows, columns)."""
    rows, columns = pair(factor)
    return jnp.repeat(jnp.repeat(x, rows, axis=1), columns, axis=2)


def bed_of_nails(x: Float[Array, "b h w c"], factor: Size) -> Float[Array, "b ho wo c"]:
    """Makes each pixel a block of `factor` (rows, columns): itself at the top left, and zeros."""
    rows, columns = pair(factor)
    return _between(x, (rows, columns), (rows - 1, columns - 1))


def bilinear(x: Float[Array, "b h w c"], factor: Size) -> Float[Array, "b ho wo c"]:
    """Resizes by a whole factor (rows, columns), bilinear: pixels are squares, borders repeat."""
    rows, columns = pair(factor)
    return resize(x, (x.shape[1] * rows, x.shape[2] * columns), "bilinear")


def max_unpool(
    x: Float[Array, "b ho wo c"], indices: Int[Array, "b ho wo c"], size: tuple[int, int]
) -> Float[Array, "b h w c"]:
    """Puts values back to where `pool.max_pool_indices` found them, zeros elsewhere.

    Args:
      x: values of the pooled size.
      indices: row * w + column within the output image. Where windows overlap, one place may be
        named twice; both values are then the same maximum, and each gets the place's gradient, as
        in torch.nn.functional.max_unpool2d.
      size: (h, w) of the output: that of the map before pooling, which for an odd side does not
        follow from the pooled one.
    """
    return _unpool(x, indices, tuple(size))


def convolution_matrix(
    kernel: Float[Array, "kh kw"], size: tuple[int, int], stride: Size = 1, padding: Size = 0
) -> Float[Array, "m n"]:
    """Makes the matrix M_F of a convolution of one image by the filter F: vec(S) = M_F vec(X).

    vec reads row by row. M_F's transpose times vec(S) is the transposed convolution of S.

    Args:
      kernel: F, not flipped: S[l, m] = Σ X[l s + i - p, m s + j - p] F[i, j].
      size: (h, w) of X; n = h w.
      stride: s.
      padding: p; its pixels are zero and have no column.

    Raises:
      ValueError: the padded image is smaller than the filter.
    """
    rows, columns = (
        _taps(*axis) for axis in zip(size, kernel.shape, pair(stride), pair(padding), strict=True)
    )
    # Which tap of F lies on pixel (y, x) in window (l, m), if any.
    row, column = rows[:, None, :, None], columns[None, :, None, :]
    inside = (row >= 0) & (column >= 0)
    taps = kernel[np.maximum(row, 0), np.maximum(column, 0)]
    matrix = jnp.where(inside, taps, jnp.zeros((), kernel.dtype))
    return matrix.reshape(rows.shape[0] * columns.shape[0], size[0] * size[1])


def zero_inserted(
    x: Float[Array, "b h w c"],
    kernel: Size,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
) -> Float[Array, "b ho wo c"]:
    """Inserts the zeros with which a plain convolution of the map is a transposed one.

    There are s - 1 of them between neighbouring pixels and f - p - 1 around.

    Args:
      x: images.
      kernel: (rows, columns) of the filter, f.
      stride: s.
      padding: p, of the convolution that is transposed; f or more cuts pixels off.
      output_padding: zeros more below and on the right: the remainder (h - f + 2p) mod s where
        the large map has h rows.
    """
    before = [f - p - 1 for f, p in zip(pair(kernel), pair(padding), strict=True)]
    after = [b + extra for b, extra in zip(before, pair(output_padding), strict=True)]
    return _between(x, pair(stride), after, before)


def transposed_as_convolution(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw ci o"],
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
) -> Float[Array, "b ho wo o"]:
    """Computes `conv.conv_transpose2d` in two steps.

    They are `zero_inserted`, then a convolution of stride 1 with the filter turned by 180 degrees.
    """
    spread = zero_inserted(x, kernel.shape[:2], stride, padding, output_padding)
    return conv2d(spread, kernel[::-1, ::-1])


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
    """Returns the index of each value in a (b, h * w, c) array."""
    b, _, _, c = indices.shape
    image, channel = jnp.arange(b)[:, None, None], jnp.arange(c)[None, None, :]
    return image, indices.reshape(b, -1, c), channel


def _taps(size: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Finds the filter's tap on each pixel of an axis, (windows, pixels); -1 where it is off."""
    room = size + 2 * padding - kernel
    if room < 0:
        raise ValueError(f"a filter of {kernel} does not fit {size} pixels with padding {padding}")
    starts = np.arange(room // stride + 1) * stride - padding
    taps = np.arange(size) - starts[:, None]
    return np.where(taps < kernel, taps, -1)


def _between(x, stride, after, before=(0, 0)):
    """Puts zeros between pixels, before the first and after the last (negative: cuts off)."""
    rows, columns = zip(before, after, (s - 1 for s in stride), strict=True)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), rows, columns, (0, 0, 0)])
