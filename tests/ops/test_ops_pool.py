import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.ops import pool
from vision_jax.ops.conv import pads


def _image(shape=(2, 7, 9, 3), seed=0, ties=False):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, shape).astype(float) if ties else rng.standard_normal(shape)


def _counts(shape, window, stride, padding, ceil_mode):
    """torch's rule for the number of windows, from its documentation."""
    found = []
    for n, k, s, (before, after) in zip(shape[1:3], window, stride, padding, strict=True):
        room = n + before + after - k
        count = (int(np.ceil(room / s)) if ceil_mode else room // s) + 1
        found.append(count - 1 if ceil_mode and (count - 1) * s >= n + before else count)
    return found


def _windows(x, window, stride, padding, ceil_mode):
    """Every output place with the rows and columns (unclipped) of its window."""
    rows, columns = _counts(x.shape, window, stride, padding, ceil_mode)
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i * stride[0] - padding[0][0], j * stride[1] - padding[1][0]
        yield (i, j), (top, top + window[0]), (left, left + window[1])


def _slow_max(x, seed, window, stride, padding, ceil_mode):
    rows, columns = _counts(x.shape, window, stride, padding, ceil_mode)
    y = np.zeros((x.shape[0], rows, columns, x.shape[3]))
    places, gradient = np.zeros(y.shape, int), np.zeros_like(x)
    for (i, j), (top, bottom), (left, right) in _windows(x, window, stride, padding, ceil_mode):
        for b, c in itertools.product(range(x.shape[0]), range(x.shape[3])):
            best = None
            for r in range(max(top, 0), min(bottom, x.shape[1])):
                for s in range(max(left, 0), min(right, x.shape[2])):
                    if best is None or x[b, r, s, c] > x[b, best[0], best[1], c]:
                        best = r, s
            y[b, i, j, c] = x[b, best[0], best[1], c]
            places[b, i, j, c] = best[0] * x.shape[2] + best[1]
            gradient[b, best[0], best[1], c] += seed[b, i, j, c] if seed is not None else 0
    return y, places, gradient


GEOMETRY = [  # window, stride, padding, ceil_mode
    ((3, 3), (2, 2), 1, False),
    ((3, 3), (2, 2), 0, True),
    ((2, 2), (2, 2), 0, True),
    ((2, 3), (1, 2), ((0, 1), (1, 0)), False),
    ((5, 5), (1, 1), 2, False),
    ((3, 3), (3, 3), 1, True),
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("window, stride, padding, ceil_mode", GEOMETRY)
def test_max_pool_equals_the_loop(window, stride, padding, ceil_mode, ties):
    x = _image(ties=ties)
    with jax.enable_x64(True):
        y, pullback = jax.vjp(
            lambda x: pool.max_pool(x, window, stride, padding, ceil_mode), jnp.asarray(x)
        )
        seed = _image(y.shape, 1)
        expected, places, gradient = _slow_max(x, seed, window, stride, pads(padding), ceil_mode)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_allclose(pullback(jnp.asarray(seed))[0], gradient, rtol=0, atol=1e-14)
        z, found = pool.max_pool_indices(jnp.asarray(x), window, stride, padding, ceil_mode)
        np.testing.assert_array_equal(z, expected)
        np.testing.assert_array_equal(found, places)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("window, stride, padding, ceil_mode", GEOMETRY)
def test_avg_pool_equals_the_loop(window, stride, padding, ceil_mode, include):
    x = _image()
    edges = pads(padding)
    with jax.enable_x64(True):
        y = pool.avg_pool(jnp.asarray(x), window, stride, padding, ceil_mode, include)
        for (i, j), (top, bottom), (left, right) in _windows(x, window, stride, edges, ceil_mode):
            inside = x[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            area = inside.shape[1] * inside.shape[2]
            if include:
                height = min(bottom, x.shape[1] + edges[0][1]) - top
                area = height * (min(right, x.shape[2] + edges[1][1]) - left)
            np.testing.assert_allclose(y[:, i, j], inside.sum((1, 2)) / area, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [1, 3, (4, 5), 7, (20, 2)])
def test_adaptive_pools_equal_the_loop(size):
    x = _image((2, 7, 9, 3))
    rows, columns = (size, size) if isinstance(size, int) else size
    with jax.enable_x64(True):
        mean = pool.adaptive_avg_pool(jnp.asarray(x), size)
        largest = pool.adaptive_max_pool(jnp.asarray(x), size)
        assert mean.shape == largest.shape == (2, rows, columns, 3)
        for i, j in itertools.product(range(rows), range(columns)):
            top, bottom = int(np.floor(i * 7 / rows)), int(np.ceil((i + 1) * 7 / rows))
            left, right = int(np.floor(j * 9 / columns)), int(np.ceil((j + 1) * 9 / columns))
            bin_ = x[:, top:bottom, left:right]
            np.testing.assert_allclose(mean[:, i, j], bin_.mean((1, 2)), rtol=0, atol=1e-14)
            np.testing.assert_array_equal(largest[:, i, j], bin_.max((1, 2)))


def test_global_avg_pool_sums_bfloat16_in_float32():
    x = jnp.full((1, 64, 64, 1), 1.0, jnp.bfloat16)
    assert pool.global_avg_pool(x).dtype == jnp.bfloat16
    assert float(pool.global_avg_pool(x)[0, 0]) == 1.0


def test_pools_vmap_and_keep_bfloat16():
    x = jnp.asarray(_image((4, 2, 6, 6, 3)), jnp.bfloat16)
    y = jax.vmap(lambda x: pool.max_pool(x, 2))(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        y.astype(jnp.float32), pool.max_pool(x.reshape(8, 6, 6, 3), 2).reshape(4, 2, 3, 3, 3)
    )


def test_too_small_a_map_is_one_line():
    with pytest.raises(UserError, match="smaller than its window"):
        pool.max_pool(jnp.ones((1, 2, 9, 1)), 3)
