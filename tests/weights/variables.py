"""Variables of networks without a computation: their shapes, and arrays of random numbers."""

import jax
import jax.numpy as jnp
import numpy as np


def shapes(model, side, *arguments):
    """Returns the shapes of a network's variables; `side` is the image's, then come arguments."""
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image, *arguments)


def detector_shapes(model, side):
    """Returns the shapes of a detector's variables, which also takes images' sizes."""
    return shapes(model, side, jax.ShapeDtypeStruct((1, 2), jnp.float32))


def drawn(tree, seed=0):
    """Returns random numbers of the shapes in a tree: every array differs, so that a swap shows."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(np.float32), tree)


def placeholders(tree):
    """Returns zeros of one byte each, where only shapes matter."""
    return jax.tree.map(lambda a: np.zeros(a.shape, np.int8), tree)


def assert_equal(ours, theirs):
    """Asserts that two trees hold the same arrays in the same places."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def assert_same_shapes(ours, theirs):
    """Asserts that two trees hold arrays of the same shapes in the same places."""
    assert jax.tree.map(np.shape, ours) == jax.tree.map(lambda a: a.shape, theirs)
