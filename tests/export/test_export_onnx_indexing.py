"""Gather and scatter by rows equal JAX's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vision_jax.export import onnx_indexing

pytestmark = pytest.mark.core
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(4, 5, 6)), jnp.float32)
ROWS = jnp.array([[3, -1, 4], [0, 7, 2], [1, 1, 5], [2, 0, 9]])  # some lie beyond
DISTINCT = jnp.array([[3, 7, 4], [0, 9, 2], [1, 0, 5], [2, 0, 8]])


def window(x, start):
    return lax.dynamic_slice_in_dim(x, start, 3, axis=-1)


CASES = {
    "rows": (lambda x, i: x[i], (X[0], ROWS[0])),
    "of several axes": (lambda x, i: x[i, :, i % 6], (X, ROWS[0])),
    "elements": (lambda x, i: jnp.take_along_axis(x, i[:, :, None], 1), (X, ROWS)),
    "filled": (lambda x, i: x.at[:, i].get(mode="fill", fill_value=7), (X, ROWS[1])),
    "filled with NaN": (lambda x, i: x.at[i].get(mode="fill"), (X, ROWS[3])),
    "whole numbers": (lambda x, i: x.at[i].get(mode="fill"), (jnp.arange(5), ROWS[3])),
    "clipped": (lambda x, i: x.at[i].get(mode="clip"), (X, ROWS[3])),
    "per example": (jax.vmap(lambda x, i: x[i]), (X, ROWS)),
    "per example, last axis": (jax.vmap(lambda x, i: x[:, i]), (X, ROWS)),
    "twice per example": (jax.vmap(jax.vmap(lambda x, i: x[i], (0, None))), (X, ROWS)),
    "windows": (jax.vmap(window), (X, jnp.array([0, 2, 3, 9]))),
    "windows of one": (jax.vmap(window, (None, 0)), (X[0], jnp.array([0, 2, -3, 9]))),
    "set": (lambda x, i: x.at[i].set(x[:3] + 1, mode="drop"), (X, DISTINCT[1])),
    "set columns": (lambda x, i: x.at[:, i].set(2.0, mode="drop"), (X[0], ROWS[1])),
    "set per example": (
        jax.vmap(lambda x, i: x.at[:, i].set(x[:, :3] + 1, mode="drop")),
        (X, DISTINCT),
    ),
    "set windows": (
        jax.vmap(lambda x, s: lax.dynamic_update_slice_in_dim(x, x[:2] + 1, s, 0)),
        (X, jnp.array([0, 2, 3, 9])),
    ),
    "add": (lambda x, i: x.at[i].add(x[:3], mode="drop"), (X, ROWS[2])),
    "add per example": (jax.vmap(lambda x, i: x.at[i].add(1.0, mode="drop")), (X[0, :4], ROWS)),
}
RULES = {
    "gather": onnx_indexing.gather,
    "scatter": onnx_indexing.scatter,
    "scatter-add": functools.partial(onnx_indexing.scatter, reduction="add"),
}


def rewritten(jaxpr, consts, *inputs):
    """Runs a program with the rules in the place of the primitives; returns it and their number."""
    values, count = dict(zip(jaxpr.constvars, consts, strict=True)), 0
    values |= zip(jaxpr.invars, inputs, strict=True)
    for equation in jaxpr.eqns:
        arguments = [v.val if hasattr(v, "val") else values[v] for v in equation.invars]
        name = equation.primitive.name
        if name in RULES:
            results, count = [RULES[name](*arguments, **equation.params)], count + 1
        elif name == "jit":
            inner = equation.params["jaxpr"]
            results, more = rewritten(inner.jaxpr, inner.consts, *arguments)
            count += more
        else:
            results = equation.primitive.bind(*arguments, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
        values |= zip(equation.outvars, results, strict=True)
    return [v.val if hasattr(v, "val") else values[v] for v in jaxpr.outvars], count


@pytest.mark.parametrize("case", CASES)
def test_by_rows(case):
    function, inputs = CASES[case]
    program = jax.make_jaxpr(function)(*inputs)
    (found,), count = rewritten(program.jaxpr, program.consts, *inputs)
    assert count
    np.testing.assert_array_equal(found, function(*inputs))
