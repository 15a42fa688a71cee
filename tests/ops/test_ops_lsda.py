"""LSDA's adaptation against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.lsda import lend_changes, nearest_classes


def weights(classes=7, width=5, seed=0):
    return jax.random.normal(jax.random.key(seed), (classes, width))


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_changes_are_the_mean_of_the_nearest(count):
    boxed, before, changes = (5, 0, 3, 2), weights(), weights(width=6, seed=1)
    lent = np.asarray(lend_changes(changes, before, boxed, count))
    unit = np.asarray(before) / np.linalg.norm(before, axis=1, keepdims=True)
    for number in range(7):
        if number in boxed:
            expected = changes[number]
        else:
            order = sorted(boxed, key=lambda c, n=number: np.square(unit[c] - unit[n]).sum())
            expected = np.mean([changes[c] for c in order[:count]], 0) if count else 0
        np.testing.assert_allclose(lent[number], expected, atol=1e-6)


def test_neighbours_are_numbers_of_classes_with_boxes():
    found = np.asarray(nearest_classes(weights(), (6, 1), 2))
    assert found.shape == (5, 2) and {*found.ravel().tolist()} == {1, 6}


def test_changes_of_classes_without_boxes_are_not_read():
    boxed, before = (0, 1), weights()
    changes = jnp.where(jnp.arange(7)[:, None] < 2, weights(seed=1), jnp.nan)
    assert np.isfinite(lend_changes(changes, before, boxed, 2)).all()
    read = jax.grad(lambda c: lend_changes(c, before, boxed, 1).sum())(weights(seed=1))
    assert np.all(read[:2] != 0) and np.all(read[2:] == 0)


def test_all_classes_may_have_boxes():
    changes = weights(seed=1)
    np.testing.assert_array_equal(lend_changes(changes, weights(), range(7), 3), changes)


@pytest.mark.parametrize("count", [0, 3])
def test_more_neighbours_than_there_are_is_an_error(count):
    with pytest.raises(ValueError, match=f"count={count}: 1 to 2 of the classes with boxes"):
        nearest_classes(weights(), (0, 1), count)
