import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.ops.modes import assert_equal_in_every_mode
from vision_jax.config import UserError
from vision_jax.ops.conv import conv2d, conv_transpose2d, pads, pair


def _random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def _slow(x, w, stride, padding, dilation, groups):
    """Convolution as its definition reads."""
    (top, bottom), (left, right) = padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    kh, kw, ci, o = w.shape
    ho = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    wo = (x.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((x.shape[0], ho, wo, o))
    for out in range(o):
        first = out // (o // groups) * ci
        for i, j, a, b in itertools.product(range(ho), range(wo), range(kh), range(kw)):
            pixel = x[:, i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]]
            y[:, i, j, out] += pixel[:, first : first + ci] @ w[a, b, :, out]
    return y


def _slow_transpose(x, w, stride, padding, extra, dilation, groups):
    b, h, width, c = x.shape
    kh, kw, _, o = w.shape
    full_h = (h - 1) * stride[0] + dilation[0] * (kh - 1) + 1 + extra[0]
    full_w = (width - 1) * stride[1] + dilation[1] * (kw - 1) + 1 + extra[1]
    y = np.zeros((b, full_h, full_w, groups * o))
    for i, j, a, k, channel in itertools.product(
        range(h), range(width), range(kh), range(kw), range(c)
    ):
        g = channel // (c // groups)
        row, column = i * stride[0] + a * dilation[0], j * stride[1] + k * dilation[1]
        y[:, row, column, g * o : (g + 1) * o] += x[:, i, j, channel, None] * w[a, k, channel]
    return y[:, padding[0] : full_h - padding[0], padding[1] : full_w - padding[1]]


CASES = [  # kernel, stride, padding, dilation, groups
    ((3, 3), 1, 1, 1, 1),
    ((3, 3), 2, 1, 1, 1),
    ((1, 1), 1, 0, 1, 1),
    ((1, 1), 2, 0, 1, 1),
    ((1, 1), (1, 2), 0, 1, 1),
    ((1, 1), 1, 1, 1, 1),
    ((1, 1), 1, 0, 1, 2),
    ((3, 2), (1, 2), ((0, 2), (1, 0)), (2, 1), 2),
    ((7, 7), 2, 3, 1, 1),
    ((3, 3), 2, 1, 1, 4),
]


@pytest.mark.parametrize("kernel, stride, padding, dilation, groups", CASES)
def test_conv2d_equals_the_loop(kernel, stride, padding, dilation, groups):
    both = lambda v: (v, v) if isinstance(v, int) else v  # noqa: E731
    with jax.enable_x64(True):
        x, w = _random((2, 8, 7, 4)), _random((*kernel, 4 // groups, 4), 1)
        y = conv2d(jnp.asarray(x), jnp.asarray(w), stride, padding, dilation, groups)
        expected = _slow(x, w, both(stride), pads(padding), both(dilation), groups)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_product_equals_lax_with_its_gradients(stride):
    x, w = (jnp.asarray(_random(s), jnp.float32) for s in ((2, 7, 6, 5), (1, 1, 5, 3)))

    def plain(x, w):
        return lax.conv_general_dilated(
            x, w, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    y, pullback = jax.vjp(lambda x, w: conv2d(x, w, stride), x, w)
    expected, expected_pullback = jax.vjp(plain, x, w)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    seed = jnp.asarray(_random(y.shape, 2), jnp.float32)
    for ours, theirs in zip(pullback(seed), expected_pullback(seed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


# Image, kernel, stride, padding: few channels; few pixels; a padding beyond the kernel; depthwise.
SPECIAL = [
    ((2, 9, 7, 3), (3, 3, 3, 5), 1, 1),
    ((2, 12, 12, 6), (5, 5, 6, 16), 1, 0),
    ((3, 8, 8, 1), (5, 5, 1, 6), 1, 2),
    ((2, 8, 9, 16), (3, 3, 16, 16), 1, ((0, 2), (1, 0))),
    ((2, 5, 3, 4), (3, 2, 4, 1), 1, ((3, 3), (4, 2))),
    ((6, 10, 10, 33), (3, 3, 33, 20), 1, 1),
    ((4, 7, 6, 20), (3, 3, 20, 64), 1, ((0, 1), (2, 1))),
    ((3, 9, 7, 5), (3, 3, 1, 5), 1, 1),
    ((2, 8, 9, 4), (3, 2, 1, 4), (2, 3), ((0, 1), (2, 0))),
    ((2, 5, 5, 40), (5, 5, 1, 40), 2, 2),
]


@pytest.mark.parametrize("image, kernel, stride, padding", SPECIAL)
def test_forms_for_cpus_equal_lax_in_every_mode_of_differentiation(image, kernel, stride, padding):
    x, w, dx, dw = (
        jnp.asarray(_random(shape, seed), jnp.float32)
        for seed, shape in enumerate((image, kernel, image, kernel))
    )

    groups = image[3] // kernel[2]

    def ours(x, w):
        return conv2d(x, w, stride, padding, groups=groups)

    def plain(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            pair(stride),
            pads(padding),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    assert_equal_in_every_mode(ours, plain, (x, w), (dx, dw), 1e-5)


@pytest.mark.parametrize("inputs, groups", [(16, 1), (1, 16)])
def test_forms_for_cpus_are_for_cpus_alone(inputs, groups):
    def gradients(x, w):
        def loss(x, w):
            return jnp.sum(conv2d(x, w, 1, 1, groups=groups) ** 2)

        return jax.grad(loss, argnums=(0, 1))(x, w)

    traced = jax.jit(gradients).trace(jnp.ones((2, 8, 8, 16)), jnp.ones((3, 3, inputs, 16)))
    assert "stablehlo.while" in traced.lower(lowering_platforms=("cpu",)).as_text()
    elsewhere = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in elsewhere and "stablehlo.pad" not in elsewhere
    assert elsewhere.count("stablehlo.convolution") == 3


def test_conv2d_keeps_bfloat16():
    y = conv2d(jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.ones((1, 1, 2, 3), jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y.astype(jnp.float32), 2)


@pytest.mark.parametrize(
    "kernel, stride, padding, extra, dilation, groups",
    [
        ((2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 1),
        ((4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
        ((3, 3), (2, 1), (1, 0), (1, 0), (1, 2), 1),
        ((3, 2), (2, 3), (0, 1), (0, 2), (2, 1), 2),
        ((3, 2), (3, 2), (0, 0), (0, 0), (1, 1), 1),
    ],
)
def test_conv_transpose2d_equals_the_loop(kernel, stride, padding, extra, dilation, groups):
    with jax.enable_x64(True):
        x, w = _random((2, 4, 5, 4)), _random((*kernel, 4, 3), 1)
        y = conv_transpose2d(
            jnp.asarray(x), jnp.asarray(w), stride, padding, extra, dilation, groups
        )
        expected = _slow_transpose(x, w, stride, padding, extra, dilation, groups)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "image, kernel, stride, padding, extra",
    [
        ((2, 4, 5, 3), (2, 2, 3, 4), 2, 0, 0),
        ((2, 4, 5, 3), (4, 4, 3, 2), 2, 1, 0),
        ((2, 4, 5, 20), (4, 4, 20, 2), 2, 1, 1),
        ((1, 3, 2, 2), (8, 8, 2, 2), 4, 0, 0),
        ((2, 3, 4, 7), (5, 3, 7, 2), (3, 1), (4, 1), (2, 0)),
        ((2, 4, 3, 2), (2, 3, 2, 2), (3, 2), (0, 2), (2, 1)),
        ((2, 2, 3, 2), (1, 2, 2, 3), (4, 3), (0, 1), (3, 2)),
    ],
)
def test_phases_equal_the_dilated_image_in_every_mode_of_differentiation(
    image, kernel, stride, padding, extra
):
    def ours(x, w):
        return conv_transpose2d(x, w, stride, padding, extra)

    def plain(x, w):
        geometry = zip(kernel[:2], pair(padding), pair(extra), strict=True)
        edges = [(k - 1 - p, k - 1 - p + e) for k, p, e in geometry]
        return lax.conv_general_dilated(
            x,
            w[::-1, ::-1],
            (1, 1),
            edges,
            lhs_dilation=pair(stride),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    with jax.enable_x64(True):
        x, w, dx, dw = (
            jnp.asarray(_random(shape, seed))
            for seed, shape in enumerate((image, kernel, image, kernel))
        )
        assert x.dtype == jnp.float64
        assert_equal_in_every_mode(ours, plain, (x, w), (dx, dw), 1e-12)


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="4 input channels do not fit"):
        conv2d(jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 3, 8)))
    with pytest.raises(UserError, match="smaller than its kernel's reach of 5"):
        conv2d(jnp.ones((1, 3, 9, 3)), jnp.ones((3, 3, 3, 8)), dilation=2)
