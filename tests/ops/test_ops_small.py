"""Crops, style statistics, activations and layer normalisation against slow loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.ops import activation, conv, crop, normalize, style


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(0, 1, shape), jnp.float32)


@pytest.mark.parametrize("size", [(3, 4), (4, 3), (9, 4), (10, 11)])
def test_center_crop(size):
    """As much on either side as possible; zeros where the image ends."""
    image = drawn(2, 6, 7, 2) + 10
    got = np.asarray(crop.center_crop(image, size))
    assert got.shape == (2, *size, 2)
    rows, columns = (np.flatnonzero(got[0, :, :, 0].any(axis)) for axis in (1, 0))
    assert len(rows) == min(6, size[0]) and len(columns) == min(7, size[1])
    inner = got[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = (round((n - m) / 2) if n > m else 0 for n, m in zip((6, 7), size, strict=True))
    want = np.asarray(image)[:, top : top + len(rows), left : left + len(columns)]
    np.testing.assert_array_equal(inner, want)
    assert rows[0] == max(0, size[0] - 6) // 2 and columns[0] == max(0, size[1] - 7) // 2


def test_ten_crop():
    image = drawn(2, 5, 6, 1)
    got = np.asarray(crop.ten_crop(image, (2, 3)))
    raw = np.asarray(image)
    places = [(0, 0), (0, 3), (3, 0), (3, 3), (2, 2)]
    for i, (top, left) in enumerate(places):
        np.testing.assert_array_equal(got[:, i], raw[:, top : top + 2, left : left + 3])
        mirror = raw[:, :, ::-1][:, top : top + 2, left : left + 3]
        np.testing.assert_array_equal(got[:, 5 + i], mirror)
    with pytest.raises(ValueError, match="6×3 is larger than the image of 5×6"):
        crop.ten_crop(image, (6, 3))


def test_resized_crop_of_its_own_size_is_the_window():
    image = drawn(1, 6, 7, 2)
    got = crop.resized_crop(image, (1, 2, 3, 4), (3, 4))
    np.testing.assert_array_equal(got, image[:, 1:4, 2:6])


def test_gram_matrix_and_total_variation():
    x = np.asarray(drawn(2, 3, 4, 2), np.float64)
    gram, variation = np.zeros((2, 2, 2)), np.zeros(2)
    for b, row, column, c in np.ndindex(x.shape):
        for d in range(2):
            gram[b, c, d] += x[b, row, column, c] * x[b, row, column, d] / 24
        if column < 3:
            variation[b] += abs(x[b, row, column + 1, c] - x[b, row, column, c]) / 18
        if row < 2:
            variation[b] += abs(x[b, row + 1, column, c] - x[b, row, column, c]) / 16
    np.testing.assert_allclose(style.gram_matrix(drawn(2, 3, 4, 2)), gram, atol=1e-6)
    np.testing.assert_allclose(style.total_variation(drawn(2, 3, 4, 2)), variation, rtol=1e-5)


def test_prelu_and_layer_norm():
    x, slope = drawn(3, 4, 5), drawn(5)
    raw, scale = np.asarray(x, np.float64), np.asarray(slope, np.float64)
    got, normed = activation.prelu(x, slope), normalize.layer_norm(x, slope, slope + 1)
    for place in np.ndindex(3, 4):
        vector = raw[place]
        np.testing.assert_allclose(
            got[place], [v if v > 0 else v * a for v, a in zip(vector, scale, strict=True)],
            rtol=1e-6,
        )  # fmt: skip
        want = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5) * scale + scale + 1
        np.testing.assert_allclose(normed[place], want, atol=1e-5)


def test_pixel_shuffle():
    x = drawn(2, 3, 4, 12)
    got = conv.pixel_shuffle(x, 2)
    assert got.shape == (2, 6, 8, 3)
    for b, row, column, o in np.ndindex(got.shape):
        channel = (o * 2 + row % 2) * 2 + column % 2
        assert got[b, row, column, o] == x[b, row // 2, column // 2, channel]
    with pytest.raises(UserError, match="12 channels are no multiple of 5² = 25"):
        conv.pixel_shuffle(x, 5)
