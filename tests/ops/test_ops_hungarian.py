"""The assignment against SciPy's, alone and many at once, and against all permutations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from vision_jax.ops.hungarian import cheapest_assignment, search_assignment

# As the CPU computes, and as accelerators do.
MANY = [jax.jit(jax.vmap(f)) for f in (cheapest_assignment, search_assignment)]


def cost_of(cost, columns):
    rows = np.flatnonzero(columns >= 0)
    return cost[rows, columns[rows]].astype(np.float64).sum()


@pytest.mark.parametrize("kind", ["uniform", "boxes", "few values", "equal"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 7), (12, 12), (20, 33)])
def test_costs_what_scipy_says(kind, rows, columns):
    rng = np.random.default_rng(rows)
    shape = (5, rows, columns)
    if kind == "boxes":
        cost = np.abs(rng.random((5, rows, 1, 4)) - rng.random((5, 1, columns, 4))).sum(-1)
    elif kind == "few values":
        cost = rng.integers(0, 3, shape)
    else:
        cost = rng.random(shape) if kind == "uniform" else np.full(shape, 2.0)
    cost = cost.astype(np.float32)
    counts = rng.integers(0, rows + 1, 5)
    valid = np.arange(rows)[None] < counts[:, None]
    for many in MANY:
        got = np.asarray(many(jnp.asarray(cost), jnp.asarray(valid)))
        for one, columns_of, count in zip(cost, got, counts, strict=True):
            assert (columns_of[count:] == -1).all()
            assert len(set(columns_of[:count].tolist())) == count
            wanted = scipy.optimize.linear_sum_assignment(one[:count])
            np.testing.assert_allclose(cost_of(one, columns_of), one[wanted].sum(), rtol=1e-5)


def test_batches_of_batches_and_what_they_share():
    rng = np.random.default_rng(0)
    costs = jnp.asarray(rng.random((2, 3, 4, 6)), jnp.float32)
    valid = jnp.asarray(rng.random((3, 4)) < 0.7)
    nested = jax.jit(jax.vmap(jax.vmap(cheapest_assignment), (0, None)))(costs, valid)
    alone = [[cheapest_assignment(costs[i, j], valid[j]) for j in range(3)] for i in range(2)]
    np.testing.assert_array_equal(nested, alone)


def test_no_gradient_passes():
    cost = jnp.asarray(np.random.default_rng(0).random((2, 3, 5)), jnp.float32)

    def total(cost):
        columns = jax.vmap(cheapest_assignment)(cost)
        return jnp.take_along_axis(cost, columns[..., None], 2).sum()

    gradient = jax.jit(jax.grad(total))(cost)
    assert gradient.sum() == 6 and set(np.unique(gradient).tolist()) == {0.0, 1.0}


def test_any_rows_may_be_left_out():
    rng = np.random.default_rng(0)
    cost = rng.normal(0, 1, (4, 5)).astype(np.float32)
    valid = np.array([False, True, False, True])
    got = np.asarray(cheapest_assignment(jnp.asarray(cost), jnp.asarray(valid)))
    assert got.tolist()[::2] == [-1, -1]
    best = min(cost[1, i] + cost[3, j] for i, j in itertools.permutations(range(5), 2))
    np.testing.assert_allclose(cost_of(cost, got), best, rtol=1e-6)
    assert cheapest_assignment(jnp.zeros((0, 3))).shape == (0,)
    with pytest.raises(ValueError, match="4 rows cannot have columns of their own among 3"):
        cheapest_assignment(jnp.zeros((4, 3)))
