"""Convolutions with torch's explicit geometry: NHWC images, HWIO kernels."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.kernels import conv_lax, conv_primitives
from vision_jax.kernels.conv_lax import Geometry

# One number for both axes, (rows, columns), or ((top, bottom), (left, right)).
Size = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[Sequence[int]]
# In JAX's own operations: what the primitives in a traced program compute, by their names.
IN_JAX: Mapping[str, Callable[..., Array]] = {
    "conv2d": conv_lax.forward,
    "conv2d_image_gradient": conv_lax.image_gradient,
}


def pair(value: Size) -> tuple[int, int]:
    """Returns (rows, columns) from one number or two."""
    if isinstance(value, int):
        return value, value
    rows, columns = value
    return rows, columns


def pads(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns ((top, bottom), (left, right)) from one number, two, or two pairs."""
    if isinstance(padding, int):
        padding = (padding, padding)
    top, left = ((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    return top, left


def same_pads(
    size: Size, kernel: Size, stride: Size, dilation: Size = 1
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns TensorFlow's 'SAME' padding, which gives ceil(size / stride) rows and columns.

    It depends on the size, and has the odd one below and on the right, where torch's is alike on
    both sides: networks that were trained with one are wrong with the other.
    """
    axes = zip(*(pair(value) for value in (size, kernel, stride, dilation)), strict=True)
    totals = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in axes]
    top, left = ((total // 2, total - total // 2) for total in totals)
    return top, left


def conv2d(
    x: Float[Array, "b h w c"],
    w: Float[Array, "kh kw ci o"],
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "b ho wo o"]:
    """Computes the cross-correlation of `x` with `w`, as torch.nn.functional.conv2d does.

    Args:
      x: images; `c = groups * ci`.
      w: kernels of the same dtype; output channel block g reads input channel block g.
      stride: step of the window.
      padding: zeros added on each side; never 'SAME', whose strided form differs from torch's.
      dilation: distance between kernel taps.
      groups: number of independent channel blocks.

    Raises:
      UserError: channels do not fit, or the padded image is smaller than the kernel.
    """
    stride, dilation, padding = pair(stride), pair(dilation), pads(padding)
    _check(x.shape, w.shape, padding, dilation, groups)
    geometry = Geometry(x.shape[1:3], w.shape[:2], stride, padding, dilation, groups)
    return conv_primitives.forward(x, w, geometry)


def dense(x: Float[Array, "*b c"], w: Float[Array, "c o"]) -> Float[Array, "*b o"]:
    """Computes `x @ w` in the dtype of `x`, whatever that of `w` is.

    Of bfloat16 on CPU the product is that of float32, with one rounding at its end: XLA:CPU has no
    other, and to round the weights before takes longer than to multiply by them.
    """
    if x.dtype != jnp.bfloat16 or jax.default_backend() != "cpu":
        return x @ w.astype(x.dtype)
    return (x.astype(jnp.float32) @ w.astype(jnp.float32)).astype(x.dtype)


def conv_transpose2d(
    x: Float[Array, "b h w c"],
    w: Float[Array, "kh kw ci o"],
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "b ho wo oo"]:
    """Computes a transposed convolution, as torch.nn.functional.conv_transpose2d does.

    Input channel i adds `w[:, :, i, o]` to output channel o, unflipped: the torch weight
    (in, out/groups, kh, kw) with its axes moved. Output size per axis:
    `(h - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1`.

    Args:
      x: images, `c` channels.
      w: kernels, `ci = c`; `o` is the number of output channels per group, `oo = groups * o`.
      stride: distance between the windows that two neighbouring pixels write to.
      padding: rows and columns cut from each side of the result.
      output_padding: rows and columns added below and on the right.
      dilation: distance between kernel taps.
      groups: number of independent channel blocks.
    """
    stride, dilation, padding = pair(stride), pair(dilation), pair(padding)
    extra = pair(output_padding)
    if stride != (1, 1) and dilation == (1, 1) and groups == 1:
        return _phases(x, w, stride, padding, extra)
    # It is the gradient of a convolution at its image.
    sizes = zip(*(x.shape[1:3], w.shape[:2], stride, padding, extra, dilation), strict=True)
    image = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in sizes]
    edges = tuple((p, p - e) for p, e in zip(padding, extra, strict=True))
    geometry = Geometry(tuple(image), w.shape[:2], stride, edges, dilation, groups)
    return conv_primitives.image_gradient(x, w.swapaxes(2, 3), geometry)


def _phases(x, w, stride, padding, extra):
    """Computes a transposed convolution as one product, laid out in blocks, without inserted zeros.

    Output pixel `s * q + a`, of phase a, sums input pixels `q - m` times `w[s * m + a]` over taps
    m. Copies for each tap are made on the side that has fewer channels: of what is multiplied, or
    of what is summed up. XLA:CPU takes up to 70 times as long for the gradients of a convolution
    of the image spread out with zeros.
    """
    (b, h, width, c), (kh, kw, _, o), (sh, sw) = x.shape, w.shape, stride
    th, tw = -(-kh // sh), -(-kw // sw)
    rows, columns = h + th - 1, width + tw - 1  # of a phase
    zero = jnp.zeros((), x.dtype)
    moves = [
        ((0, 0, 0), (i, th - 1 - i, 0), (j, tw - 1 - j, 0), (0, 0, 0))
        for i, j in itertools.product(range(th), range(tw))
    ]
    w = jnp.pad(w, ((0, th * sh - kh), (0, tw * sw - kw), (0, 0), (0, 0)))
    w = w.reshape(th, sh, tw, sw, c, o).transpose(4, 0, 2, 1, 3, 5)
    if c <= sh * sw * o:
        x = jnp.stack([lax.pad(x, zero, move) for move in moves], axis=4)
        y = x.reshape(-1, c * th * tw) @ w.reshape(c * th * tw, -1)
    else:
        parts = (x.reshape(-1, c) @ w.reshape(c, -1)).reshape(b, h, width, th * tw, -1)
        y = sum(lax.pad(parts[..., n, :], zero, move) for n, move in enumerate(moves))
    y = y.reshape(b, rows, columns, sh, sw, o).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(b, rows * sh, columns * sw, o)
    edges = [
        (-before, k - t * s + after - before, 0)
        for before, after, k, t, s in zip(padding, extra, (kh, kw), (th, tw), stride, strict=True)
    ]
    return lax.pad(y, zero, ((0, 0, 0), *edges, (0, 0, 0)))


def pixel_shuffle(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b ho wo o"]:
    """Lays channels out as pixels: (h, w, o · factor²) becomes (h · factor, w · factor, o).

    Shi et al. 2016, section 3.2, in torch's order: channel (o · factor + row) · factor + column.

    Raises:
      UserError: channels that `factor`² does not divide.
    """
    b, h, w, c = x.shape
    if c % factor**2:
        raise UserError(f"pixel_shuffle: {c} channels are no multiple of {factor}² = {factor**2}")
    x = x.reshape(b, h, w, c // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * factor, w * factor, -1)


def _check(x_shape, w_shape, padding, dilation, groups):
    if x_shape[-1] != w_shape[2] * groups or w_shape[3] % groups:
        raise UserError(
            f"convolution: {x_shape[-1]} input channels do not fit a kernel of shape {w_shape} "
            f"in {groups} group(s), which reads {w_shape[2] * groups}"
        )
    for axis in (0, 1):
        size = x_shape[1 + axis] + sum(padding[axis])
        reach = dilation[axis] * (w_shape[axis] - 1) + 1
        if size < reach:
            raise UserError(
                f"convolution: a map of {x_shape[1]}x{x_shape[2]} pixels (padding {padding}) is "
                f"smaller than its kernel's reach of {reach}; give a larger image"
            )
