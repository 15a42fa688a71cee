import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.conv import conv2d, conv_transpose2d
from vision_jax.ops.pool import max_pool_indices
from vision_jax.ops.upsample import (
    bed_of_nails,
    bilinear,
    convolution_matrix,
    max_unpool,
    nearest,
    transposed_as_convolution,
    zero_inserted,
)


def _image(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def _gray(rows):
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def test_nearest_and_bed_of_nails_equal_the_loop():
    x = jnp.asarray(_image((2, 3, 2, 4)), jnp.float32)
    blocks, nails = nearest(x, (2, 3)), bed_of_nails(x, (2, 3))
    assert blocks.shape == nails.shape == (2, 6, 6, 4)
    for i, j in itertools.product(range(6), range(6)):
        pixel = x[:, i // 2, j // 3]
        np.testing.assert_array_equal(blocks[:, i, j], pixel)
        np.testing.assert_array_equal(nails[:, i, j], pixel if (i % 2, j % 3) == (0, 0) else 0)


def test_bilinear_by_hand():
    got = bilinear(_gray([[0, 4], [8, 12]]), 2)[0, :, :, 0]
    np.testing.assert_array_equal(got[0], [0, 1, 3, 4])
    np.testing.assert_array_equal(got[:, 0], [0, 2, 6, 8])
    assert got[1, 2] == 5  # a quarter down, three quarters to the right


def test_max_unpool_restores_what_the_pool_kept():
    x = jnp.asarray(_image((2, 5, 7, 3)), jnp.float32)
    y, places = max_pool_indices(x, 2, ceil_mode=True)
    z = np.asarray(max_unpool(y, places, (5, 7)))
    kept = z != 0
    np.testing.assert_array_equal(z[kept], np.asarray(x)[kept])
    assert kept.sum() == y.size


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_unpool_takes_the_encoders_odd_size(ceil_mode):
    x = _gray(np.arange(35).reshape(5, 7))
    y, places = max_pool_indices(x, 2, ceil_mode=ceil_mode)
    z = max_unpool(y, places, (5, 7))
    rows, columns = ((1, 3, 4), (1, 3, 5, 6)) if ceil_mode else ((1, 3), (1, 3, 5))
    expected = np.zeros((5, 7))
    for i, j in itertools.product(rows, columns):
        expected[i, j] = 7 * i + j
    np.testing.assert_array_equal(z[0, :, :, 0], expected)


def test_equal_maxima_return_to_the_first():
    y, places = max_pool_indices(_gray([[1, 3, 2, 2], [3, 3, 0, 2]]), 2)
    np.testing.assert_array_equal(
        max_unpool(y, places, (2, 4))[0, :, :, 0], [[0, 3, 2, 0], [0] * 4]
    )


def test_max_unpool_gives_each_value_its_places_gradient():
    x = jnp.asarray(_image((2, 6, 6, 2)), jnp.float32)
    y, places = max_pool_indices(x, 3, 1)  # one maximum serves several windows
    seed = jnp.asarray(_image((2, 6, 6, 2), 1), jnp.float32)
    gradient = jax.grad(lambda y: (max_unpool(y, places, (6, 6)) * seed).sum())(y)
    for b, i, j, c in itertools.product(range(2), range(4), range(4), range(2)):
        row, column = divmod(int(places[b, i, j, c]), 6)
        assert gradient[b, i, j, c] == seed[b, row, column, c]


def test_the_lectures_matrices():
    # A 4×4 image: a 3×3 filter with stride 1, and a 2×2 filter with stride 2.
    matrix = convolution_matrix(jnp.arange(1.0, 10).reshape(3, 3), (4, 4))
    first = [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]
    expected = [np.roll(first, shift) for shift in (0, 1, 4, 5)]
    np.testing.assert_array_equal(matrix, expected)
    matrix = convolution_matrix(jnp.arange(1.0, 5).reshape(2, 2), (4, 4), 2)
    first = [1, 2, 0, 0, 3, 4] + [0] * 10
    expected = [np.roll(first, shift) for shift in (0, 2, 8, 10)]
    np.testing.assert_array_equal(matrix, expected)


# Side of the large map, filter, stride, padding; with a remainder of (w - f + 2p) / s or without.
EVEN = [(4, 3, 1, 0), (4, 2, 2, 0), (5, 3, 2, 1), (7, 3, 2, 1), (6, 4, 2, 1), (5, 3, 1, 2)]
EVEN += [(7, 1, 3, 0), (8, 2, 3, 0)]  # the stride exceeds the filter: pixels that no window sees
REMAINDER = [(6, 3, 2, 1), (5, 2, 2, 0), (9, 4, 3, 1), (8, 3, 4, 0)]
GEOMETRIES = pytest.mark.parametrize("w, f, s, p", EVEN + REMAINDER)


@GEOMETRIES
def test_the_matrix_is_the_convolution(w, f, s, p):
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(_image((w, w + s))), jnp.asarray(_image((f, f), 1))
        got = convolution_matrix(kernel, x.shape, s, p) @ x.ravel()
        wanted = conv2d(x[None, :, :, None], kernel[:, :, None, None], s, p)
        np.testing.assert_allclose(got, wanted.ravel(), rtol=0, atol=1e-13)


@GEOMETRIES
def test_the_matrixs_transpose_is_the_transposed_convolution(w, f, s, p):
    remainder = (w - f + 2 * p) % s
    assert ((w, f, s, p) in REMAINDER) == (remainder > 0)
    small = (w - f + 2 * p) // s + 1
    with jax.enable_x64(True):
        x = jnp.asarray(_image((1, small, small, 1)))
        kernel = jnp.asarray(_image((f, f), 1))
        matrix = convolution_matrix(kernel, (w, w), s, p)
        wanted = (matrix.T @ x.ravel()).reshape(1, w, w, 1)
        geometry = (kernel[:, :, None, None], s, p, remainder)
        np.testing.assert_allclose(conv_transpose2d(x, *geometry), wanted, rtol=0, atol=1e-13)
        got = transposed_as_convolution(x, *geometry)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-13)


def test_transposed_as_convolution_with_channels_and_two_strides():
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(_image((2, 4, 3, 5))), jnp.asarray(_image((3, 4, 5, 2), 1))
        geometry = (kernel, (2, 3), (1, 2), (1, 0))
        wanted = conv_transpose2d(x, *geometry)
        np.testing.assert_allclose(
            transposed_as_convolution(x, *geometry), wanted, rtol=0, atol=1e-13
        )


def test_zeros_inserted_as_in_the_lecture():
    # 3×3 responses of a 3×3 filter, stride 2, padding 1: 7×7 before the plain convolution.
    got = zero_inserted(_gray(np.arange(1, 10).reshape(3, 3)), 3, 2, 1)[0, :, :, 0]
    expected = np.zeros((7, 7))
    expected[1::2, 1::2] = np.arange(1, 10).reshape(3, 3)
    np.testing.assert_array_equal(got, expected)


def test_the_matrix_has_a_gradient():
    kernel, seed = jnp.ones((2, 2)), jnp.asarray(_image((4, 9)), jnp.float32)
    gradient = jax.grad(lambda k: (convolution_matrix(k, (3, 3)) * seed).sum())(kernel)
    expected = [[sum(seed[i, j + k] for i, j in enumerate((0, 1, 3, 4))) for k in row]
                for row in ((0, 1), (3, 4))]  # fmt: skip
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_a_filter_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="a filter of 5 does not fit 3 pixels with padding 0"):
        convolution_matrix(jnp.ones((5, 5)), (3, 3))
