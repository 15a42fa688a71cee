import concurrent.futures
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.export import export
from jax.sharding import AxisType, PartitionSpec

from vision_jax.config import UserError
from vision_jax.kernels import onednn
from vision_jax.kernels.conv_lax import DIMENSIONS
from vision_jax.ops.conv import conv2d, conv_transpose2d, pads, pair, same_pads


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


@pytest.mark.core
@pytest.mark.parametrize("kernel, stride, padding, dilation, groups", CASES)
def test_conv2d_equals_the_loop(kernel, stride, padding, dilation, groups):
    both = lambda v: (v, v) if isinstance(v, int) else v  # noqa: E731
    with jax.enable_x64(True):
        x, w = _random((2, 8, 7, 4)), _random((*kernel, 4 // groups, 4), 1)
        y = conv2d(jnp.asarray(x), jnp.asarray(w), stride, padding, dilation, groups)
        expected = _slow(x, w, both(stride), pads(padding), both(dilation), groups)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


# Image, kernel, stride, padding, dilation: all kinds of blocks in oneDNN; forms of `conv_cpu`.
SPECIAL = [
    ((2, 9, 7, 3), (3, 3, 3, 5), 1, 1, 1),
    ((2, 12, 12, 6), (5, 5, 6, 16), 1, 0, 1),
    ((2, 8, 9, 16), (3, 3, 16, 16), 1, ((0, 2), (1, 0)), 1),
    ((2, 5, 3, 4), (3, 2, 4, 1), 1, ((3, 3), (4, 2)), 1),
    ((6, 11, 10, 33), (3, 3, 33, 20), 2, 1, 1),
    ((4, 9, 8, 20), (3, 3, 20, 64), 1, ((0, 1), (2, 1)), (2, 3)),
    ((2, 7, 6, 5), (1, 1, 5, 3), 1, 0, 1),
    ((2, 7, 6, 5), (1, 1, 5, 3), 2, 0, 1),
    ((2, 7, 6, 8), (3, 3, 4, 6), 1, 1, 1),
    ((3, 9, 7, 5), (3, 3, 1, 5), 1, 1, 1),
    ((2, 8, 9, 4), (3, 2, 1, 4), (2, 3), ((0, 1), (2, 0)), 1),
    ((2, 5, 5, 40), (5, 5, 1, 40), 2, 2, 1),
]


@pytest.fixture(params=["onednn", "xla"])
def way(request, monkeypatch):
    if request.param == "xla":
        monkeypatch.setattr(onednn, "takes", lambda sizes: False)
    elif not onednn.available():
        pytest.skip("oneDNN is not installed")
    return request.param


def _compiled(function, way):
    """`function` under jit, as `way` computes convolutions."""
    compiled = jax.jit(lambda *a: function(*a))

    def call(*a):
        assert (onednn.TARGET in compiled.lower(*a).as_text()) == (way == "onednn")
        return compiled(*a)

    return call


@pytest.mark.parametrize("image, kernel, stride, padding, dilation", SPECIAL)
def test_conv2d_equals_lax_in_every_mode_of_differentiation(
    image, kernel, stride, padding, dilation, way
):
    x, w, dx, dw = (
        jnp.asarray(_random(shape, seed), jnp.float32)
        for seed, shape in enumerate((image, kernel, image, kernel))
    )
    groups = image[3] // kernel[2]

    def ours(x, w):
        return conv2d(x, w, stride, padding, dilation, groups)

    def plain(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            pair(stride),
            pads(padding),
            rhs_dilation=pair(dilation),
            dimension_numbers=DIMENSIONS,
            feature_group_count=groups,
        )

    for mode in _modes(dx, dw):
        found = jax.tree.leaves(_compiled(mode(ours), way)(x, w))
        _assert_close(found, jax.jit(mode(plain))(x, w), 1e-5)


def _modes(dx, dw):
    """What becomes of a function of images and kernel: values and derivatives of all kinds."""

    def first(f):
        return jax.grad(_cubes(f), argnums=(0, 1))

    def second(f):
        return jax.grad(lambda *a: sum(jnp.sum(g**2) for g in first(f)(*a)), argnums=(0, 1))

    def forward(f):
        return lambda x, w: jax.jvp(f, (x, w), (dx, dw))

    def one_sided(f):  # only one of the two has a tangent
        return lambda x, w: (
            jax.jvp(lambda x: f(x, w), (x,), (dx,))[1],
            jax.grad(_cubes(f), 1)(x, w),
        )

    return lambda f: f, forward, one_sided, first, second


def _assert_close(found, expected, tolerance):
    """Up to `tolerance` of the largest value of each array."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def _cubes(f):
    return lambda x, w: jnp.sum(f(x, w) ** 3)


@pytest.mark.parametrize("axes", [(0, None), (None, 3), (1, 0)])
def test_runs_side_by_side_equal_single_ones(axes, way):
    shapes = [[2, 6, 7, 4], [3, 3, 4, 5]]
    for shape, axis in zip(shapes, axes, strict=True):
        if axis is not None:
            shape.insert(axis, 3)
    x, w = (jnp.asarray(_random(shape), jnp.float32) for shape in shapes)

    def gradients(x, w):
        return conv2d(x, w, 2, 1), jax.grad(_cubes(lambda x, w: conv2d(x, w, 2, 1)), (0, 1))(x, w)

    found = _compiled(jax.vmap(gradients, axes), way)(x, w)
    for run in range(3):
        one = _compiled(gradients, way)(
            *(a if at is None else jnp.take(a, run, at) for a, at in zip((x, w), axes, strict=True))
        )
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True):
            if way == "onednn" and None not in axes:  # the same calls
                np.testing.assert_array_equal(a[run], b)
            np.testing.assert_allclose(a[run], b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_gradients_per_example_of_several_runs(way):
    x, w = (jnp.asarray(_random(s), jnp.float32) for s in ((3, 2, 6, 7, 4), (3, 3, 3, 4, 5)))

    def gradient(x, w):
        return jax.grad(_cubes(lambda x, w: conv2d(x[None], w, 1, 1)), 1)(x, w)

    found = _compiled(jax.vmap(jax.vmap(gradient, (0, None))), way)(x, w)
    for run, example in itertools.product(range(3), range(2)):
        one = _compiled(gradient, way)(x[run, example], w[run])
        np.testing.assert_allclose(found[run, example], one, rtol=0, atol=1e-5 * np.abs(one).max())


@pytest.mark.core
@pytest.mark.skipif(not onednn.available(), reason="oneDNN is not installed")
def test_in_a_loop_and_from_several_threads():
    x, w = (jnp.asarray(_random(s), jnp.float32) for s in ((4, 9, 9, 16), (3, 3, 16, 16)))

    def repeated(x, w):
        return lax.fori_loop(0, 3, lambda _, y: conv2d(y, w, 1, 1) / 16, x)

    expected = x
    for _ in range(3):
        expected = conv2d(expected, w, 1, 1) / 16
    calls = [_compiled(repeated, "onednn")] * 8
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda call: call(x, w), calls):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.core
def test_a_kernel_that_all_devices_share_has_the_sum_of_their_gradients():
    x, w = (jnp.asarray(_random(s), jnp.float32) for s in ((8, 5, 5, 3), (3, 3, 3, 4)))
    spread = jax.shard_map(
        lambda x, w: conv2d(x, w, 1, 1),
        mesh=jax.make_mesh((4,), ("data",), (AxisType.Auto,)),
        in_specs=(PartitionSpec("data"), PartitionSpec()),
        out_specs=PartitionSpec("data"),
    )
    for found, expected in zip(
        jax.grad(_cubes(spread), (0, 1))(x, w),
        jax.grad(_cubes(lambda x, w: conv2d(x, w, 1, 1)), (0, 1))(x, w),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.core
@pytest.mark.parametrize("inputs, groups", [(16, 1), (1, 16)])
def test_other_platforms_and_exported_programs_have_laxs_convolutions(inputs, groups):
    def gradients(x, w):
        def loss(x, w):
            return jnp.sum(conv2d(x, w, 1, 1, groups=groups) ** 2)

        return jax.grad(loss, argnums=(0, 1))(x, w)

    x, w = jnp.ones((2, 8, 8, 16)), jnp.ones((3, 3, inputs, 16))
    traced = jax.jit(gradients).trace(x, w)
    elsewhere = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in elsewhere and "stablehlo.pad" not in elsewhere
    assert elsewhere.count("stablehlo.convolution") == 3
    exported = export(jax.jit(gradients), platforms=("cpu", "cuda"))(x, w)
    assert onednn.TARGET not in exported.mlir_module()
    for a, b in zip(exported.call(x, w), gradients(x, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_without_onednn_gradients_are_laid_out_as_the_value_is(monkeypatch):
    """XLA:CPU computes no others fast within branches and loops."""
    monkeypatch.setattr(onednn, "takes", lambda sizes: False)
    gradients = jax.jit(jax.grad(_cubes(lambda x, w: conv2d(x, w, 1, 1)), (0, 1)))
    text = gradients.lower(jnp.ones((2, 5, 5, 20)), jnp.ones((3, 3, 20, 20))).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    layouts = {line.split("dim_numbers = ")[1].split(", window")[0] for line in lines}
    assert len(lines) == 3 and layouts == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert "reverse = [true" not in text


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
@pytest.mark.parametrize("kernel", [1, 2, 3, (4, 5)])
def test_the_padding_same_is_xlas(kernel, stride):
    for size in ((8, 9), (7, 2), (1, 1), (224, 33)):
        for dilation in (1, 2):
            reach = [dilation * (k - 1) + 1 for k in pair(kernel)]
            expected = lax.padtype_to_pads(size, reach, pair(stride), "SAME")
            assert same_pads(size, kernel, stride, dilation) == tuple(map(tuple, expected))


def test_without_jit_it_is_the_same():
    x, w = (jnp.asarray(_random(s), jnp.float32) for s in ((2, 5, 5, 3), (3, 3, 3, 4)))
    with jax.disable_jit():
        alone = jax.grad(_cubes(lambda x, w: conv2d(x, w, 1, 1)), (0, 1))(x, w)
    _assert_close(alone, jax.grad(_cubes(lambda x, w: conv2d(x, w, 1, 1)), (0, 1))(x, w), 1e-6)


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
        for mode in _modes(dx, dw):
            _assert_close(jax.jit(mode(ours))(x, w), jax.jit(mode(plain))(x, w), 1e-12)


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="4 input channels do not fit"):
        conv2d(jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 3, 8)))
    with pytest.raises(UserError, match="smaller than its kernel's reach of 5"):
        conv2d(jnp.ones((1, 3, 9, 3)), jnp.ones((3, 3, 3, 8)), dilation=2)
