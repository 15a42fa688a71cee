import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import golden_choices as choices
from vision_jax.ops.pool import max_pool


def loss(x):
    """Depends on a ReLU's side and on a window's winner."""
    return (jax.nn.relu(x).sum() + max_pool(x[None, ..., None], 2).sum()) * 3


def test_a_gradient_follows_the_recorded_choices():
    one = jnp.array([[1.0, 0.5], [-0.1, 0.2]])
    other = jnp.array([[0.5, 1.0], [0.1, 0.2]])
    value, kept = jax.jit(lambda x: choices.record(jax.grad(loss), x))(one)
    np.testing.assert_array_equal(value, jax.grad(loss)(one))
    np.testing.assert_array_equal(value, [[6, 3], [0, 3]])
    np.testing.assert_array_equal(jax.grad(loss)(other), [[3, 6], [3, 3]])
    repeated = jax.jit(lambda kept, x: choices.repeat(jax.grad(loss), kept, x))(kept, other)
    np.testing.assert_array_equal(repeated, value)


def test_turned_choices_are_counted():
    _, some = choices.record(lambda x: x > 0, jnp.array([1.0, 2, -3, 4]))
    _, others = choices.record(lambda x: x > 0, jnp.array([1.0, -2, -3, 4]))
    assert choices.turned(some, others) == 1 / 4


def test_another_program_is_refused():
    with pytest.raises(ValueError, match="1 of 1 choices"):
        choices.repeat(lambda x: x, [jnp.array([True])], jnp.ones(1))
