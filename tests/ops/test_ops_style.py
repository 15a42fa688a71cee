"""Style transfer's losses and colours against slow loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import style


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, shape), jnp.float32)


def loop_gram(x):
    """The Gram matrix of one map, undivided."""
    h, w, c = x.shape
    gram = np.zeros((c, c))
    for i, j, n, m in np.ndindex(h, w, c, c):
        gram[n, m] += x[i, j, n] * x[i, j, m]
    return gram


def test_style_losses_are_the_papers_formulas():
    x, other = np.float64(drawn(2, 3, 4, 2)), np.float64(drawn(1, 3, 4, 2, seed=1))
    target = style.gram_matrix(drawn(1, 3, 4, 2, seed=1))
    for i in range(2):
        difference = loop_gram(x[i]) - loop_gram(other[0])
        wanted = {
            "gatys": (difference**2).sum() / (4 * 2**2 * 12**2),
            "johnson": ((difference / (2 * 12)) ** 2).sum(),
            "mean": ((difference / (2 * 12)) ** 2).mean(),
            "relative": (difference**2).sum() / (loop_gram(other[0]) ** 2).sum(),
        }
        for form, value in wanted.items():
            got = style.style_loss(drawn(2, 3, 4, 2), target, form)[i]
            np.testing.assert_allclose(got, value, rtol=1e-4)


def test_a_style_picture_of_another_size_is_the_same_style():
    """A texture that repeats has the same statistics in a larger picture."""
    tile = drawn(1, 4, 4, 3)
    small, large = style.gram_matrix(tile), style.gram_matrix(jnp.tile(tile, (1, 3, 2, 1)))
    np.testing.assert_allclose(small, large, rtol=1e-5)
    np.testing.assert_allclose(style.style_loss(jnp.tile(tile, (1, 2, 1, 1)), small), 0, atol=1e-10)


def test_content_losses():
    x, target = drawn(2, 3, 4, 2), drawn(1, 3, 4, 2, seed=1)
    squared = (np.float64(x) - np.float64(target)) ** 2
    np.testing.assert_allclose(style.content_loss(x, target), squared.sum((1, 2, 3)) / 2, rtol=1e-5)
    relative = squared.sum((1, 2, 3)) / (np.float64(target) ** 2).sum()
    np.testing.assert_allclose(style.content_loss(x, target, "relative"), relative, rtol=1e-5)
    means = style.content_loss(x, target, "johnson")
    np.testing.assert_allclose(means, squared.mean((1, 2, 3)), rtol=1e-5)


def test_total_variations_of_squares():
    image = drawn(1, 3, 4, 2)
    x, every, common = np.float64(image[0]), 0.0, 0.0
    for i, j, c in np.ndindex(x.shape):
        right = (x[i, j + 1, c] - x[i, j, c]) ** 2 if j < 3 else None
        below = (x[i + 1, j, c] - x[i, j, c]) ** 2 if i < 2 else None
        every += (right or 0.0) + (below or 0.0)
        common += right + below if right is not None and below is not None else 0.0
    np.testing.assert_allclose(style.total_variation(image, "l2_sum"), [every], rtol=1e-5)
    np.testing.assert_allclose(style.total_variation(image, "l2_common"), [common], rtol=1e-5)


@pytest.mark.parametrize("form", ["symmetric", "cholesky"])
def test_matched_colors_have_the_others_mean_and_covariance(form):
    source, target = drawn(2, 9, 8, 3), drawn(1, 6, 7, 3, seed=1) ** 2
    got = np.float64(style.match_colors(source, target, form)).reshape(2, -1, 3)
    wanted = np.float64(target).reshape(-1, 3)
    for colors in got:
        np.testing.assert_allclose(colors.mean(0), wanted.mean(0), atol=1e-5)
        covariances = np.cov(colors.T), np.cov(wanted.T)
        np.testing.assert_allclose(*covariances, atol=2e-3)
    again = style.match_colors(source, source, form)
    np.testing.assert_allclose(again, source, atol=1e-3)


def test_colors_of_gray_and_of_flat_pictures_stay_finite():
    gray = jnp.repeat(drawn(1, 5, 5, 1), 3, axis=3)
    for source, target in ((gray, drawn(1, 4, 4, 3)), (drawn(1, 4, 4, 3), gray), (gray * 0, gray)):
        for form in ("symmetric", "cholesky"):
            assert np.isfinite(style.match_colors(source, target, form)).all()


def test_chroma_comes_from_the_other_picture_and_luma_stays():
    images, colors = drawn(2, 4, 5, 3), drawn(1, 4, 5, 3, seed=1)
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    got, own, others = (
        np.float64(x) @ yiq.T for x in (style.with_chroma_of(images, colors), images, colors)
    )
    np.testing.assert_allclose(got[..., 0], own[..., 0], atol=1e-5)
    np.testing.assert_allclose(got[0, ..., 1:], others[0, ..., 1:], atol=1e-4)
    np.testing.assert_allclose(style.with_chroma_of(colors, colors), colors, atol=1e-6)
