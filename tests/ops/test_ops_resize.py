import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from vision_jax.ops.resize import resize, resize_content


def _image(shape=(2, 5, 7, 3)):
    return np.random.default_rng(0).standard_normal(shape)


def _at(x, row, column):
    """Bilinear value at a place between pixels, borders repeated."""
    h, w = x.shape[1:3]
    top, left = math.floor(row), math.floor(column)
    value = 0
    for i, j in itertools.product((0, 1), (0, 1)):
        weight = (1 - abs(row - top - i)) * (1 - abs(column - left - j))
        value = value + weight * x[:, min(top + i, h - 1), min(left + j, w - 1)]
    return value


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(9, 11), (3, 2), (5, 4), (1, 1)])
def test_bilinear_equals_the_loop(size, corners):
    x = _image()
    with jax.enable_x64(True):
        y = resize(jnp.asarray(x), size, align_corners=corners)
        assert y.shape == (2, *size, 3)
        for place in itertools.product(range(size[0]), range(size[1])):
            source = []
            for i, n, out in zip(place, (5, 7), size, strict=True):
                if corners:
                    source.append(i * (n - 1) / (out - 1) if out > 1 else 0.0)
                else:
                    source.append(max((i + 0.5) * n / out - 0.5, 0.0))
            np.testing.assert_allclose(y[:, *place], _at(x, *source), rtol=0, atol=1e-13)


def test_scale_places_pixels_by_itself():
    x = _image()
    with jax.enable_x64(True):
        y = resize(jnp.asarray(x), (6, 8), scale=1.3)
        for place in itertools.product(range(6), range(8)):
            source = [max((i + 0.5) / 1.3 - 0.5, 0.0) for i in place]
            np.testing.assert_allclose(y[:, *place], _at(x, *source), rtol=0, atol=1e-13)


@pytest.mark.parametrize("method, shift", [("nearest", 0.0), ("nearest-exact", 0.5)])
def test_nearest_takes_the_pixel_it_names(method, shift):
    x = jnp.asarray(_image(), jnp.float32)
    y = resize(x, (11, 4), method)
    for i, j in itertools.product(range(11), range(4)):
        row, column = int((i + shift) * 5 / 11), int((j + shift) * 7 / 4)
        np.testing.assert_array_equal(y[:, i, j], x[:, row, column])


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(4, 3), (3, 13), (20, 30)])
def test_antialias_is_pils(method, size):
    x = np.random.default_rng(0).normal(0, 1, (11, 14)).astype(np.float32)
    kind = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}[method]
    expected = np.asarray(Image.fromarray(x).resize(size[::-1], kind))
    y = resize(jnp.asarray(x[None, :, :, None]), size, method, antialias=True)[0, :, :, 0]
    np.testing.assert_allclose(y, expected, atol=2e-6)


def test_bicubic_reproduces_a_line_inside():
    ramp = jnp.arange(12.0)[None, :, None, None] * jnp.ones((1, 1, 3, 1))
    y = resize(ramp, (24, 3), "bicubic")[0, 6:-6, 0, 0]
    np.testing.assert_allclose(y, (np.arange(24) + 0.5)[6:-6] / 2 - 0.5, atol=0.05)
    np.testing.assert_allclose(np.diff(y).mean(), 0.5, atol=1e-2)


def test_the_same_size_is_the_same_image():
    x = jnp.asarray(_image(), jnp.float32)
    np.testing.assert_array_equal(resize(x, (5, 7)), x)


def test_content_is_resized_as_if_it_were_the_whole_image():
    x = jnp.asarray(_image((3, 6, 8, 2)), jnp.float32)
    content = jnp.asarray([[6, 8], [3, 5], [1, 1]], jnp.float32)
    wanted = jnp.asarray([[9, 4], [7, 10], [2, 3]], jnp.float32)
    y = resize_content(x, content, (10, 11), wanted)
    for row in range(3):
        (h, w), (ho, wo) = (np.asarray(v[row], int) for v in (content, wanted))
        expected = np.zeros((10, 11, 2), np.float32)
        expected[:ho, :wo] = resize(x[row : row + 1, :h, :w], (int(ho), int(wo)))[0]
        np.testing.assert_allclose(y[row], expected, rtol=0, atol=1e-6)


def test_padding_is_not_looked_at():
    x = jnp.asarray(_image((1, 6, 8, 1)), jnp.float32)
    content, wanted = jnp.asarray([[4.0, 5.0]]), jnp.asarray([[8.0, 9.0]])
    changed = x.at[:, 4:].set(1e6).at[:, :, 5:].set(-1e6)
    got = [resize_content(image, content, (8, 9), wanted) for image in (x, changed)]
    np.testing.assert_array_equal(*got)
