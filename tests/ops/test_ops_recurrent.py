"""Recurrent layers against loops written gate by gate."""

import jax.numpy as jnp
import numpy as np

from vision_jax.ops import recurrent


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]


def test_lstm():
    x, kernel_x, kernel_h, bias, h, c = drawn((2, 4, 3), (3, 20), (5, 20), (20,), (2, 5), (2, 5))
    state = (jnp.asarray(h), jnp.asarray(c))
    weights = [jnp.asarray(w) for w in (kernel_x, kernel_h, bias)]
    got, last = recurrent.lstm(jnp.asarray(x), *weights, state)
    for t in range(4):
        gates = x[:, t] @ kernel_x + h @ kernel_h + bias
        i, f, g, o = (gates[:, 5 * k : 5 * k + 5] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        np.testing.assert_allclose(got[:, t], h, atol=1e-5)
    np.testing.assert_allclose(last[0], h, atol=1e-5)
    np.testing.assert_allclose(last[1], c, atol=1e-5)
    zeros = jnp.zeros((2, 5))
    fresh = recurrent.lstm(jnp.asarray(x), *weights)[0]
    np.testing.assert_array_equal(
        fresh, recurrent.lstm(jnp.asarray(x), *weights, (zeros, zeros))[0]
    )


def test_gru():
    shapes = (2, 4, 3), (3, 15), (5, 15), (15,), (15,), (2, 5)
    x, kernel_x, kernel_h, bias_x, bias_h, h = drawn(*shapes)
    weights = [jnp.asarray(w) for w in (kernel_x, kernel_h, bias_x, bias_h)]
    got, last = recurrent.gru(jnp.asarray(x), *weights, jnp.asarray(h))
    for t in range(4):
        of_x, of_h = x[:, t] @ kernel_x + bias_x, h @ kernel_h + bias_h
        reset = sigmoid(of_x[:, :5] + of_h[:, :5])
        update = sigmoid(of_x[:, 5:10] + of_h[:, 5:10])
        new = np.tanh(of_x[:, 10:] + reset * of_h[:, 10:])
        h = (1 - update) * new + update * h
        np.testing.assert_allclose(got[:, t], h, atol=1e-5)
    np.testing.assert_allclose(last, h, atol=1e-5)
    fresh = recurrent.gru(jnp.asarray(x), *weights)[1]
    again = recurrent.gru(jnp.asarray(x), *weights, jnp.zeros((2, 5)))[1]
    np.testing.assert_array_equal(fresh, again)
