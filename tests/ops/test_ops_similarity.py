"""Peak signal-to-noise ratio and structural similarity against slow loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import similarity


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 255, shape), jnp.float32)


def test_luma_of_black_white_and_primaries():
    """ITU-R BT.601: 16 is black and 235 white."""
    colors = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    images = jnp.asarray(colors, jnp.float32)[None, None]
    wanted = [16, 235, 81.481, 144.553, 40.966]
    np.testing.assert_allclose(similarity.luma(images)[0, 0, :, 0], wanted, rtol=1e-6)
    np.testing.assert_allclose(similarity.luma(images / 255, 1.0)[0, 0, :, 0], wanted, rtol=1e-6)


def test_psnr():
    one, two = drawn(2, 5, 6, 3), drawn(2, 5, 6, 3, seed=1)
    for i, got in enumerate(similarity.psnr(one, two)):
        error = ((np.float64(one[i]) - np.float64(two[i])) ** 2).mean()
        np.testing.assert_allclose(got, 10 * np.log10(255**2 / error), rtol=1e-5)
    assert np.isposinf(similarity.psnr(one, one)).all()


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim(window):
    one, two = drawn(1, 13, 12, 2), drawn(1, 13, 12, 2, seed=1)
    side = 11 if window == "gaussian" else 7
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2)) if side == 11 else np.ones(7)
    weights = np.outer(line, line) / line.sum() ** 2
    factor = 1 if side == 11 else 49 / 48
    values = []
    for i, j, c in np.ndindex(13 - side + 1, 12 - side + 1, 2):
        x, y = (np.float64(z[0, i : i + side, j : j + side, c]) for z in (one, two))
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy = ((weights * (z - m) ** 2).sum() * factor for z, m in ((x, mx), (y, my)))
        both = (weights * (x - mx) * (y - my)).sum() * factor
        c1, c2 = 2.55**2, 7.65**2
        upper = (2 * mx * my + c1) * (2 * both + c2)
        values.append(upper / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    got = similarity.ssim(one, two, window=window)
    np.testing.assert_allclose(got, [np.mean(values)], atol=1e-4)
    np.testing.assert_allclose(similarity.ssim(one, one, window=window), 1, atol=1e-5)
