"""Class images and inverted features where the optimum is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vision_jax.config import UserError
from vision_jax.inspect import class_image, invert_features
from vision_jax.ops import avg_pool


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


def test_a_linear_scores_best_image_is_its_weights():
    """The maximum of w·x - λ‖x‖² is at w / 2λ."""
    weights = drawn(4, 5, 2)

    def score(x):
        return (x * weights[None]).sum((1, 2, 3))

    run = jax.jit(lambda x: class_image(score, x, 60, l2=0.5, optimizer=optax.sgd(0.3)))
    images, scores = run(drawn(2, 4, 5, 2, seed=1))
    np.testing.assert_allclose(images, np.broadcast_to(weights, (2, 4, 5, 2)), atol=1e-4)
    assert scores.shape == (60, 2)
    np.testing.assert_allclose(scores[-1], float((weights**2).sum()), rtol=1e-4)


def test_the_standard_optimizer_climbs_and_variation_smooths():
    weights = drawn(1, 6, 6, 1)

    def score(x):
        return (x * weights).sum((1, 2, 3))

    start = jnp.zeros((1, 6, 6, 1))
    rough, scores = jax.jit(lambda x: class_image(score, x, 30))(start)
    smooth, _ = jax.jit(lambda x: class_image(score, x, 30, variation=3.0))(start)
    assert (np.diff(scores[:, 0]) > 0).all()
    assert np.abs(np.diff(smooth, axis=1)).mean() < np.abs(np.diff(rough, axis=1)).mean() / 3


def test_features_that_keep_all_give_the_image_back():
    image, mixing = drawn(1, 4, 4, 3), jnp.asarray(np.linalg.qr(drawn(3, 3))[0])

    def features(x):
        return x @ mixing

    run = jax.jit(
        lambda x: invert_features(features, features(image), x, 80, optimizer=optax.sgd(10.0))
    )
    found, distances = run(jnp.zeros_like(image))
    np.testing.assert_allclose(found, image, atol=1e-3)
    np.testing.assert_allclose(distances[0], 1, rtol=1e-5)
    assert distances.shape == (80, 1) and distances[-1] < 1e-6


def test_features_that_forget_give_the_smoothest_image_that_has_them():
    image = drawn(1, 6, 6, 1)

    def features(x):
        return avg_pool(x, 3).reshape(1, -1)

    target = features(image)
    run = jax.jit(lambda x: invert_features(features, target, x, 400, variation=1e-4))
    found, _ = run(jnp.zeros_like(image))
    np.testing.assert_allclose(features(found), target, atol=0.02)
    blocks = np.repeat(np.repeat(np.asarray(target).reshape(2, 2), 3, 0), 3, 1)
    assert np.abs(found[0, ..., 0] - blocks).max() < np.abs(image[0, ..., 0] - blocks).max() / 2


def test_features_of_another_shape_are_named():
    with pytest.raises(UserError, match=r"features of the start are \(1, 4\).*are \(1, 5\)"):
        invert_features(lambda x: x.reshape(1, -1), drawn(1, 5), drawn(1, 2, 2, 1))
