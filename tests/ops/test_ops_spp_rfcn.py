"""SPP-net's windows and R-FCN's pooling and mining against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import position_sensitive
from vision_jax.ops.rfcn import hardest, rfcn_pool
from vision_jax.ops.spp import caffe_pyramid_level, nearest_scale, pool_cells, released_window


def test_cells_of_windows():
    x = np.random.default_rng(0).normal(size=(1, 7, 9, 2)).astype(np.float32)
    windows = np.array([[[0, 0, 9, 7], [3, 2, 8, 4], [8, 6, 9, 7]]], np.int32)
    got = np.asarray(pool_cells(jnp.asarray(x), jnp.asarray(windows), (3, 1)))
    assert got.shape == (1, 3, 10, 2)
    for r, (x0, y0, x1, y1) in enumerate(windows[0].tolist()):
        number = 0
        for n in (3, 1):
            for i in range(n):
                for j in range(n):
                    rows = slice(y0 + i * (y1 - y0) // n, y0 - (-(i + 1) * (y1 - y0) // n))
                    columns = slice(x0 + j * (x1 - x0) // n, x0 - (-(j + 1) * (x1 - x0) // n))
                    np.testing.assert_array_equal(
                        got[0, r, number], x[0, rows, columns].max((0, 1))
                    )
                    number += 1


def test_released_windows_are_never_empty():
    boxes = jnp.array([[1.0, 1, 400, 300], [100, 100, 101, 101], [399, 299, 400, 300]])
    got = np.asarray(released_window(boxes, (19, 25)))
    np.testing.assert_array_equal(got[:2], [[1, 1, 24, 18], [6, 6, 6, 6]])
    assert (got[:, 2:] >= got[:, :2]).all()


def test_small_boxes_want_large_scales():
    boxes = jnp.array([[1.0, 1, 333, 333], [1, 1, 100, 100], [1, 1, 20, 20]])
    np.testing.assert_array_equal(nearest_scale(boxes, 333), [0, 2, 4])


def test_what_caffe_refuses_is_an_error():
    with pytest.raises(ValueError, match="bins=8 do not fit a map of 13 cells"):
        caffe_pyramid_level(jnp.zeros((1, 13, 13, 1)), 8)


def test_pooling_of_the_authors():
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 8)).astype(np.float32)
    boxes = np.array([[[4, 9, 60, 50], [-40, -40, -20, -20], [30, 30, 30, 30]]], np.float32)
    got = np.asarray(rfcn_pool(jnp.asarray(x), jnp.asarray(boxes), 2, 1 / 16))
    expected = np.zeros((3, 2, 2, 2))
    for r, (x0, y0, x1, y1) in enumerate(boxes[0].tolist()):
        for i in range(2):
            for j in range(2):
                ends = []
                for bin_, low, high in ((i, y0, y1), (j, x0, x1)):
                    extent = max((high + 1 - low) / 16, 0.1) / 2
                    first = int(np.floor(bin_ * extent + low / 16))
                    last = int(np.ceil((bin_ + 1) * extent + low / 16))
                    ends.append(slice(max(first, 0), min(max(last, 0), 6)))
                cells = x[0, ends[0], ends[1], i * 2 + j :: 4]
                expected[r, i, j] = cells.mean((0, 1)) if cells.size else 0
    np.testing.assert_allclose(got[0], expected, atol=1e-6)


def test_the_hardest_of_each_image():
    losses = jnp.array([[1.0, 5, 3, 4], [2, 2, 9, 2]])
    valid = jnp.array([[True, True, True, False], [True, True, False, False]])
    got = hardest(losses, valid, 2)
    np.testing.assert_array_equal(got, [[False, True, True, False], [True, True, False, False]])


def test_spans_and_products_agree_on_several_images_with_gradients():
    rng = np.random.default_rng(3)
    maps = jnp.asarray(rng.normal(size=(2, 5, 6, 27)), jnp.float32)
    low = rng.integers(0, 4, (2, 10, 3, 1))
    weights = [
        jnp.asarray(np.where((cell >= low) & (cell < low + 2), 0.5, 0), jnp.float32)
        for cell in (np.arange(5), np.arange(6))
    ]
    flat = [x.reshape(20, *x.shape[2:]) for x in weights]

    def both(function):
        return jax.jit(lambda x: jax.vjp(function, x)[1](found)[0])

    def spans(x):
        return position_sensitive.position_sensitive(x, 10, *flat)

    def products(x):
        return jax.vmap(position_sensitive._by_products)(x, *weights)

    found = products(maps)
    assert found.shape == (2, 10, 3, 3, 3)
    np.testing.assert_allclose(spans(maps), found, atol=1e-6)
    np.testing.assert_allclose(both(spans)(maps), both(products)(maps), atol=1e-5)


def test_no_regions_are_no_parts():
    maps = jnp.zeros((2, 4, 4, 18))
    assert rfcn_pool(maps, jnp.zeros((2, 0, 4)), 3, 1 / 16).shape == (2, 0, 3, 3, 2)
