"""Convolutions with torch's explicit geometry: NHWC images, HWIO kernels."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from vision_jax.config import UserError

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Most channels, in and out, of convolutions that XLA:CPU gives to its slow implementation.
NARROW = 16
# Most channels whose weight gradient is taken from patches; with 128 and more, whole steps of
# ResNet-50 are 2% slower with it.
MIDDLING = 64
# Most numbers in the patches of images whose product is taken at a time; a core's cache is 1 MiB.
PATCHES = 1_000_000
# One number for both axes, (rows, columns), or ((top, bottom), (left, right)).
Size = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[Sequence[int]]


def pair(value: Size) -> tuple[int, int]:
    """(rows, columns) from one number or two."""
    if isinstance(value, int):
        return value, value
    rows, columns = value
    return rows, columns


def pads(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) from one number, two, or two pairs."""
    if isinstance(padding, int):
        padding = (padding, padding)
    top, left = ((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    return top, left


def conv2d(
    x: Float[Array, "b h w c"],
    w: Float[Array, "kh kw ci o"],
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "b ho wo o"]:
    """Cross-correlation of `x` with `w`, as in torch.nn.functional.conv2d.

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
    is_pointwise = w.shape[:2] == (1, 1) and groups == 1 and padding == ((0, 0), (0, 0))
    if is_pointwise and jax.default_backend() == "cpu":
        return _pointwise(x, w, stride)
    is_plain = stride == dilation == (1, 1) and groups == 1
    if is_plain and x.dtype == jnp.float32 and _is_small(x.shape, w.shape):
        return _small(x, w, padding)
    return lax.conv_general_dilated(
        x,
        w,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
    )


def conv_transpose2d(
    x: Float[Array, "b h w c"],
    w: Float[Array, "kh kw ci o"],
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "b ho wo oo"]:
    """Transposed convolution, as in torch.nn.functional.conv_transpose2d.

    `w[:, :, i, o]` is what input channel i adds to output channel o, unflipped: the torch weight
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
    reach = [d * (k - 1) for d, k in zip(dilation, w.shape[:2], strict=True)]
    if groups > 1:  # (kh, kw, groups * ci, o) to the (kh, kw, ci, groups * o) that lax reads
        kh, kw, c, o = w.shape
        w = w.reshape(kh, kw, groups, c // groups, o)
        w = jnp.moveaxis(w, 2, 3).reshape(kh, kw, c // groups, groups * o)
    return lax.conv_general_dilated(
        x,
        w[::-1, ::-1],
        (1, 1),
        [(r - p, r - p + e) for r, p, e in zip(reach, padding, extra, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
    )


def pixel_shuffle(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b ho wo o"]:
    """Channels laid out as pixels: (h, w, o · factor²) becomes (h · factor, w · factor, o).

    Shi et al. 2016, section 3.2, in torch's order: channel (o · factor + row) · factor + column.

    Raises:
      UserError: channels that `factor`² does not divide.
    """
    b, h, w, c = x.shape
    if c % factor**2:
        raise UserError(f"pixel_shuffle: {c} channels are no multiple of {factor}² = {factor**2}")
    x = x.reshape(b, h, w, c // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(b, h * factor, w * factor, -1)


def _pointwise(x, w, stride):
    """A 1x1 convolution as one matrix product.

    XLA:CPU runs its own convolution here at a half to a quarter of the speed of the product,
    forward and backward; the product's weight gradient contracts the rows without a transpose.
    """
    if stride != (1, 1):
        x = x[:, :: stride[0], :: stride[1]]
    b, h, width, c = x.shape
    return (x.reshape(-1, c) @ w.reshape(c, -1)).reshape(b, h, width, w.shape[-1])


def _is_small(x_shape, w_shape):
    """Whether `_small` knows a faster way on CPU for at least one of its three parts."""
    _, h, width, _ = x_shape
    kh, kw, c, o = w_shape
    fits = max(c, o) <= MIDDLING and h * width * kh * kw * o <= PATCHES
    return kh * kw > 1 and (max(c, o) <= NARROW or fits)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _small(x, w, padding):
    """A convolution at stride 1 of few channels or pixels; on other machines than CPUs, lax's.

    The tangents' maps are written as the transposed ones of the gradients' maps, which is what
    makes reverse mode compute those. So every order and mode of differentiation works.
    """
    return _by_platform(_forward, _plain, x, w, padding=padding)


@functools.partial(_small.defjvp, symbolic_zeros=True)
def _small_jvp(padding, primals, tangents):
    (x, w), (dx, dw) = primals, tangents
    y = _small(x, w, padding)
    parts = []
    if not isinstance(dx, SymbolicZero):

        def from_output(dy):
            options = {"size": x.shape[1:3], "padding": padding}
            return _by_platform(_image_gradient, _plain_image_gradient, dy, w, **options)

        parts += jax.linear_transpose(from_output, y)(dx)
    if not isinstance(dw, SymbolicZero):

        def from_output(dy):
            options = {"size": w.shape[:2], "padding": padding}
            return _by_platform(_kernel_gradient, _plain_kernel_gradient, dy, x, **options)

        parts += jax.linear_transpose(from_output, y)(dw)
    return y, sum(parts) if parts else SymbolicZero(jax.typeof(y).to_tangent_aval())


def _by_platform(cpu, default, *arrays, **options):
    ways = (functools.partial(way, **options) for way in (cpu, default))
    return lax.platform_dependent(*arrays, **dict(zip(("cpu", "default"), ways, strict=True)))


def _plain(x, w, padding):
    return lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=DIMENSIONS)


def _plain_image_gradient(dy, w, size, padding):
    x = jax.ShapeDtypeStruct((len(dy), *size, w.shape[2]), dy.dtype)
    return jax.linear_transpose(lambda x: _plain(x, w, padding), x)(dy)[0]


def _plain_kernel_gradient(dy, x, size, padding):
    w = jax.ShapeDtypeStruct((*size, x.shape[-1], dy.shape[-1]), dy.dtype)
    return jax.linear_transpose(lambda w: _plain(x, w, padding), w)(dy)[0]


def _forward(x, w, padding):
    return (_packed if max(w.shape[2:]) <= NARROW else _plain)(x, w, padding)


def _image_gradient(dy, w, size, padding):
    if max(w.shape[2:]) > NARROW:
        return _plain_image_gradient(dy, w, size, padding)
    return _packed(dy, w[::-1, ::-1].swapaxes(2, 3), _reversed(w.shape, padding))


def _reversed(w_shape, padding):
    """The padding with which the gradient at a convolution's output becomes that at its input."""
    return tuple((k - 1 - a, k - 1 - b) for k, (a, b) in zip(w_shape, padding, strict=False))


def _kernel_gradient(dy, x, size, padding):
    """Products of pixels with patches of `dy`, a few images at a time.

    XLA:CPU's own way is a convolution whose window is the image, after two transposes into which
    it fuses, and so computes anew, whatever elementwise work made `x` and `dy`. The loop's operands
    are computed once, its patches stay in the cache, and its products use all cores.
    """
    (b, h, width, c), (kh, kw), o = x.shape, size, dy.shape[-1]
    if min(c, o) < NARROW or h * width * kh * kw * o > PATCHES:
        return _plain_kernel_gradient(dy, x, size, padding)
    many = max(n for n in range(1, b + 1) if b % n == 0 and n * h * width * kh * kw * o <= PATCHES)
    edges = ((0, 0), *_reversed((kh, kw), padding), (0, 0))
    edges = [(before, after, 0) for before, after in edges]

    def product(images):
        x, dy = images
        dy = lax.pad(dy, jnp.zeros((), dy.dtype), edges)
        shifts = itertools.product(range(kh)[::-1], range(kw)[::-1])
        patches = [dy[:, i : i + h, j : j + width] for i, j in shifts]
        patches = jnp.concatenate(patches, axis=3).reshape(-1, kh * kw * o)
        return lax.dot_general(x.reshape(-1, c), patches, (((0,), (0,)), ((), ())))

    groups = tuple(a.reshape(b // many, many, *a.shape[1:]) for a in (x, dy))
    return lax.map(product, groups).sum(0).reshape(c, kh, kw, o).transpose(1, 2, 0, 3)


def _packed(x, w, padding):
    """A convolution at stride 1 over blocks of a row's pixels, as channels.

    XLA:CPU computes convolutions of at most 16 channels on one core, at up to a sixth of the speed
    of wider ones. A block of 2 to 4 output pixels reads two blocks of input pixels; though a part
    of the wider kernel is zero, it is 1.5 to 9 times faster so.
    """
    (kh, kw, c, o), (b, _, width, _) = w.shape, x.shape
    left, right = padding[1]
    columns = width + left + right - kw + 1
    block = _block(columns, c, o)
    blocks, reach = -(-columns // block), -(-(block + kw - 1) // block)
    room = (blocks + reach - 1) * block - width - left
    zero = jnp.zeros((), x.dtype)
    above, below = padding[0]
    if above + below >= kh:  # which is also left to the slow implementation
        x = lax.pad(x, zero, ((0, 0, 0), (above, below, 0), (0, 0, 0), (0, 0, 0)))
        above = below = 0
    x = lax.pad(x, zero, ((0, 0, 0), (0, 0, 0), (left, room, 0), (0, 0, 0)))
    x = x.reshape(b, x.shape[1], -1, block * c)
    shifted = [
        jnp.pad(w, ((0, 0), (i, reach * block - kw - i), (0, 0), (0, 0))) for i in range(block)
    ]
    w = jnp.stack(shifted, axis=3).reshape(kh, reach, block * c, block * o)
    y = _plain(x, w, ((above, below), (0, 0)))
    return y.reshape(b, y.shape[1], blocks * block, o)[:, :, :columns]


def _block(columns, c, o):
    """Pixels to pack: more than `NARROW` channels, at most twice as many, at best no remainder."""
    sizes = [2**i for i in range(1, 6) if 2**i * o <= 2 * NARROW]
    whole = [n for n in sizes if columns % n == 0 and n * max(c, o) > NARROW]
    return max(whole or sizes)


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
