"""L-BFGS as an update rule is the operation on all parameters as one array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import ops
from vision_jax.config import UserError
from vision_jax.training import Constant, Optimizer
from vision_jax.training.lbfgs import Lbfgs

SCALES = {"a": jnp.asarray([[1.0, 9.0], [4.0, 2.0]]), "b": jnp.asarray([3.0, 0.5, 7.0])}
START = {"a": jnp.asarray([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.asarray([2.0, 1.0, -1.0])}


def objective(tree):
    return sum(
        (s * (x - 1) ** 2).sum() for s, x in zip(SCALES.values(), tree.values(), strict=True)
    )


@pytest.mark.parametrize("search", [False, True])
def test_the_rule_is_the_operation(search):
    rule = Lbfgs(history=3, line_search=search)
    update = Optimizer(rule, Constant(0.9)).build(START, 10, 1)
    params, state = START, update.init(START)

    @jax.jit
    def step(params, state):
        gradients = jax.grad(objective)(params)
        return update.apply(gradients, state, params, jnp.float32(0.9), objective)

    for _ in range(6):
        params, state = step(params, state)

    def of_flat(x):
        return objective({"a": x[:4].reshape(2, 2), "b": x[4:]})

    flat = jnp.concatenate([START["a"].ravel(), START["b"]])
    wanted, _, values = ops.lbfgs(of_flat, flat, 6, None, 3, 0.9, search)
    got = np.concatenate([np.ravel(params["a"]), params["b"]])
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert objective(params) < 0.1 * values[0]


def test_a_line_search_needs_the_objective():
    update = Optimizer(Lbfgs(line_search=True), Constant(1.0)).build(START, 10, 1)
    with pytest.raises(UserError, match="one device"):
        update.apply(START, update.init(START), START, jnp.float32(1))


def test_a_history_has_at_least_a_pair():
    with pytest.raises(UserError, match="history=0"):
        Lbfgs(history=0)
