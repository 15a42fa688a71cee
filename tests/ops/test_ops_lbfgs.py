"""L-BFGS: minima that are known, chunks, the Wolfe conditions, and where it stays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.lbfgs import lbfgs
from vision_jax.ops.wolfe import wolfe_step


def quadratic(x):
    """Has its minimum 0 where element i is i; the Hessian's eigenvalues are 1 to 9."""
    place = jnp.arange(6, dtype=x.dtype).reshape(2, 3)
    return (jnp.linspace(1, 9, 6, dtype=x.dtype).reshape(2, 3) * (x - place) ** 2).sum() / 2


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@functools.partial(jax.jit, static_argnums=(1, 3))
def minimize(x, steps, state=None, line_search=False):
    return lbfgs(quadratic, x, steps, state, 5, line_search=line_search)


@pytest.mark.parametrize("line_search", [False, True])
def test_a_quadratics_minimum_is_found(line_search):
    x, state, values = minimize(jnp.zeros((2, 3)), 20, None, line_search)
    np.testing.assert_allclose(x, np.arange(6).reshape(2, 3), atol=1e-4)
    assert values.shape == (20,) and values[0] == quadratic(jnp.zeros((2, 3)))
    assert state.moves.shape == (5, 6) and values[-1] < 1e-9


def test_chunks_have_the_same_bits():
    whole, state, values = minimize(jnp.zeros((2, 3)), 6)
    x, part, first = minimize(jnp.zeros((2, 3)), 3)
    x, part, second = minimize(x, 3, part)
    np.testing.assert_array_equal(x, whole)
    np.testing.assert_array_equal(np.concatenate([first, second]), values)
    jax.tree.map(np.testing.assert_array_equal, part, state)


def test_a_line_search_goes_down_a_bent_valley():
    with jax.enable_x64(True):
        start = jnp.asarray([-1.2, 1.0, -0.5])
        run = jax.jit(lambda x: lbfgs(rosenbrock, x, 60, history=5, line_search=True))
        x, _, values = run(start)
        assert (np.diff(values) <= 0).all()
        np.testing.assert_allclose(x, 1, atol=1e-6)


@pytest.mark.parametrize("first", [1e-4, 1e-2, 1.0, 50.0])
def test_steps_fulfil_the_strong_wolfe_conditions(first):
    x = jnp.asarray([-1.2, 1.0, -0.5])
    value, gradient = jax.value_and_grad(rosenbrock)(x)
    slope = -jnp.vdot(gradient, gradient)
    arguments = (jnp.float32(first), value, slope, jnp.bool_(True))
    step = wolfe_step(rosenbrock, x, -gradient, *arguments)
    later, there = jax.value_and_grad(rosenbrock)(x - step * gradient)
    assert later <= value + 1e-4 * step * slope
    assert abs(jnp.vdot(there, -gradient)) <= -0.9 * slope


@pytest.mark.parametrize("line_search", [False, True])
def test_it_stays_at_a_minimum(line_search):
    minimum = jnp.arange(6, dtype=jnp.float32).reshape(2, 3)
    x, state, values = minimize(minimum, 3, None, line_search)
    np.testing.assert_array_equal(x, minimum)
    np.testing.assert_array_equal(values, 0)
    assert state.iteration == 0


def test_many_starts_at_once():
    starts = jnp.stack([jnp.zeros((2, 3)), jnp.ones((2, 3)) * 7])
    together = jax.vmap(lambda x: lbfgs(quadratic, x, 20, line_search=True)[0])(starts)
    np.testing.assert_allclose(together, np.tile(np.arange(6).reshape(2, 3), (2, 1, 1)), atol=1e-4)
