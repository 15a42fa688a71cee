"""Convolutions that XLA:CPU computes slowly, in forms that it computes well.

Each is equal to `lax.conv_general_dilated` but for rounding, in every order and mode of
differentiation; programs for other platforms keep lax's own.
"""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Most channels, in and out, of convolutions that XLA:CPU gives to its slow implementation.
NARROW = 16
# Most channels whose weight gradient is taken from patches; with 128 and more, whole steps of
# ResNet-50 are 2% slower with it.
MIDDLING = 64
# Most numbers in the patches of images whose product is taken at a time; a core's cache is 1 MiB.
PATCHES = 1_000_000


def form(x, w, stride, padding, dilation, groups) -> Callable[[Array, Array], Array] | None:
    """A faster way to convolve `x` with `w`, arguments as of `conv.conv2d`; None without one."""
    is_single = w.shape[:2] == (1, 1) and groups == 1 and padding == ((0, 0), (0, 0))
    if is_single and jax.default_backend() == "cpu":
        return functools.partial(_pointwise, stride=stride)
    if x.dtype != jnp.float32 or dilation != (1, 1):
        return None
    if groups > 1 and groups == x.shape[3] == w.shape[3]:
        return lambda x, w: _depthwise(x, w, stride, padding)
    if groups == 1 and stride == (1, 1) and _is_small(x.shape, w.shape):
        return lambda x, w: _small(x, w, padding)
    return None


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
    """A convolution at stride 1 of few channels or pixels."""
    return _by_platform(_forward, _plain, x, w, padding=padding)


@functools.partial(_small.defjvp, symbolic_zeros=True)
def _small_jvp(padding, primals, tangents):
    x, w = primals
    y = _small(x, w, padding)

    def to_image(dy):
        options = {"size": x.shape[1:3], "padding": padding}
        return _by_platform(_image_gradient, _plain_image_gradient, dy, w, **options)

    def to_kernel(dy):
        options = {"size": w.shape[:2], "padding": padding}
        return _by_platform(_kernel_gradient, _plain_kernel_gradient, dy, x, **options)

    return y, _tangent(y, tangents, (to_image, to_kernel))


def _tangent(y, tangents, gradients):
    """The output's, from the inputs' and from the maps of the output's gradient to theirs.

    The tangents' maps are the transposed ones of the gradients' maps, which is what makes reverse
    mode compute those. So every order and mode of differentiation works.
    """
    parts = []
    for tangent, gradient in zip(tangents, gradients, strict=True):
        if not isinstance(tangent, SymbolicZero):
            parts += jax.linear_transpose(gradient, y)(tangent)
    return sum(parts) if parts else SymbolicZero(jax.typeof(y).to_tangent_aval())


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
    many = _share((b, h, width, kh, kw, o), PATCHES)
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


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _depthwise(x, w, stride, padding):
    """A convolution of each channel by itself."""
    return _by_platform(_shifted, _grouped, x, w, stride=stride, padding=padding)


@functools.partial(_depthwise.defjvp, symbolic_zeros=True)
def _depthwise_jvp(stride, padding, primals, tangents):
    x, w = primals
    y = _depthwise(x, w, stride, padding)
    options = {"stride": stride, "padding": padding}

    def transposed(way):
        def gradient(dy, w, **options):
            image = jax.ShapeDtypeStruct(x.shape, x.dtype)
            return jax.linear_transpose(lambda x: way(x, w, **options), image)(dy)[0]

        return gradient

    def grouped_kernel_gradient(dy, x, **options):
        kernel = jax.ShapeDtypeStruct(w.shape, w.dtype)
        return jax.linear_transpose(lambda w: _grouped(x, w, **options), kernel)(dy)[0]

    def to_image(dy):
        return _by_platform(transposed(_shifted), transposed(_grouped), dy, w, **options)

    def to_kernel(dy):
        shifted = functools.partial(_depthwise_kernel_gradient, size=w.shape[:2])
        return _by_platform(shifted, grouped_kernel_gradient, dy, x, **options)

    return y, _tangent(y, tangents, (to_image, to_kernel))


def _grouped(x, w, stride, padding):
    return lax.conv_general_dilated(
        x, w, stride, padding, dimension_numbers=DIMENSIONS, feature_group_count=x.shape[-1]
    )


def _shifted(x, w, stride, padding):
    """A sum of shifted images, each times one tap of the kernels.

    One pass over the pixels, in vectors of channels; XLA:CPU's grouped convolution is 10 to 50
    times as slow, and so is its gradient.
    """
    kh, kw = w.shape[:2]
    taps = itertools.product(range(kh), range(kw))
    shifts = _shifts(x, (kh, kw), stride, padding)
    return sum(part * w[i, j][None, None] for (i, j), part in zip(taps, shifts, strict=True))


def _shifts(x, size, stride, padding):
    """For each tap of a kernel, the pixels that it meets."""
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, ((0, 0, 0), *((a, b, 0) for a, b in padding), (0, 0, 0)))
    b, h, width, c = x.shape
    reach = [(n - k) // s * s + 1 for n, k, s in zip((h, width), size, stride, strict=True)]
    return [
        lax.slice(x, (0, i, j, 0), (b, i + reach[0], j + reach[1], c), (1, *stride, 1))
        for i, j in itertools.product(range(size[0]), range(size[1]))
    ]


def _depthwise_kernel_gradient(dy, x, size, stride, padding):
    """Sums of products, a few images at a time, which stay in the cache from tap to tap."""
    many = _share(x.shape, PATCHES // 4)

    def product(images):
        x, dy = images
        # Columns are summed up last: rows of pixels are longer vectors than channels.
        return jnp.stack([(part * dy).sum((0, 1)) for part in _shifts(x, size, stride, padding)])

    groups = tuple(a.reshape(-1, many, *a.shape[1:]) for a in (x, dy))
    return lax.map(product, groups).sum((0, 2)).reshape(*size, 1, -1)


def _share(shape, most):
    """So many images, a divisor of all, have at most `most` numbers; one at least."""
    b, *image = shape
    fitting = [n for n in range(1, b + 1) if b % n == 0 and n * math.prod(image) <= most]
    return max(fitting, default=1)
