"""Two ways to compute the same, compared in every mode of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np


def assert_equal_in_every_mode(ours, plain, primals, tangents, tolerance):
    """Values, forward and reverse mode, second derivatives; `tolerance` of the largest value."""

    def first(f):
        return jax.grad(_cubes(f), argnums=(0, 1))

    def second(f):
        return jax.grad(lambda *a: sum(jnp.sum(g**2) for g in first(f)(*a)), argnums=(0, 1))

    def forward(f):
        return lambda x, w: jax.jvp(f, (x, w), tangents)

    def one_sided(f):  # only one of the two has a tangent
        return lambda x, w: (
            jax.jvp(lambda x: f(x, w), (x,), tangents[:1])[1],
            jax.grad(_cubes(f), 1)(x, w),
        )

    for mode in (lambda f: f, forward, one_sided, first, second):
        found, expected = (jax.tree.leaves(jax.jit(mode(f))(*primals)) for f in (ours, plain))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def _cubes(f):
    return lambda x, w: jnp.sum(f(x, w) ** 3)
