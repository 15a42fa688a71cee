"""A program's choices, recorded in one precision and repeated in another.

On which side of zero a ReLU's input lies, or which pixel of a window is the largest, decides where
a gradient goes. Where values all but tie, rounding turns such choices, and the gradient jumps: it
is then to be compared with the exact gradient that makes the same choices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

Choices = list[Any]  # (…) bool, in the order of the program
_COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne"}
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def record(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Choices]:
    """What function(*arguments) returns, and its comparisons of floats, but for those in loops."""
    choices: Choices = []

    def keep(chosen: jax.Array) -> jax.Array:
        choices.append(chosen)
        return chosen

    return _evaluate(function, arguments, keep), choices


def repeat(function: Callable[..., Any], choices: Choices, *arguments: Any) -> Any:
    """What function(*arguments) returns if its comparisons come out as recorded.

    Raises:
      ValueError: it makes more or fewer.
    """
    left = list(choices)
    found = _evaluate(function, arguments, lambda chosen: left.pop(0).reshape(chosen.shape))
    if left:
        raise ValueError(f"{len(left)} of {len(choices)} choices were not asked for")
    return found


def turned(some: Choices, others: Choices) -> float:
    """The share of choices that differ."""
    count = sum(int(np.sum(a != b)) for a, b in zip(some, others, strict=True))
    return count / max(1, sum(a.size for a in some))


def _evaluate(function: Callable[..., Any], arguments: tuple, choose: Callable) -> Any:
    traced, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    found = _run(traced, jax.tree.leaves(arguments), choose)
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def _run(program: Any, inputs: list, choose: Callable) -> list:
    values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values |= zip(program.jaxpr.invars, inputs, strict=True)

    def read(v: Any) -> Any:
        return v.val if isinstance(v, core.Literal) else values[v]

    for equation in program.jaxpr.eqns:
        name, given = equation.primitive.name, [read(v) for v in equation.invars]
        if name in _CALLS:
            found = _run(equation.params[_CALLS[name]], given, choose)
        else:
            found = equation.primitive.bind(*given, **equation.params)
            found = found if equation.primitive.multiple_results else [found]
        if name in _COMPARISONS and jnp.issubdtype(jnp.result_type(given[0]), jnp.floating):
            found = [choose(*found)]
        values |= zip(equation.outvars, found, strict=True)
    return [read(v) for v in program.jaxpr.outvars]
