"""Programs of networks, run with another ReLU or with something added to one of their maps.

A network is traced, and its program run again step by step, so that every network can be looked
into as it is: nothing in its code has to know of it. Loops of the program (`lax.scan` and its kin)
are run as they are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array, Float

from vision_jax.config import UserError, suggest

Function = Callable[..., Any]
Elementwise = Callable[[Float[Array, "*d"]], Float[Array, "*d"]]
Outputs = dict[str, Any]
Program = Any  # of `jax.make_jaxpr`, whose class newer versions of JAX call by another name
_INLINED = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}


def with_relu(function: Function, relu: Elementwise) -> Function:
    """Returns the function with every ReLU replaced, also those that end in a bound (ReLU6).

    Args:
      function: of arrays.
      relu: takes the place of max(x, 0); its own derivative counts.

    Raises:
      UserError: when the function is called, if it has no ReLU.
    """

    def replaced(*arguments: Any) -> Any:
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        if not _has_relu(program.jaxpr):
            raise UserError("the network has no ReLU whose backward pass could be another")
        outputs = _Run(relu=relu)(program, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return replaced


def with_addition(
    network: Callable[[Float[Array, "b h w c"]], Outputs],
    endpoint: str,
    addition: Float[Array, "b i j d"],
) -> Callable[[Float[Array, "b h w c"]], Outputs]:
    """Returns the network with something added to one of its maps, before that is read on.

    The derivative by the addition is that by the map, which no argument of the network is.

    Args:
      network: images to a dict of arrays.
      endpoint: the map's name among them.
      addition: what is added.

    Raises:
      UserError: when the network is called, if it has no such endpoint.
    """

    def changed(images: Float[Array, "b h w c"]) -> Outputs:
        program, shapes = jax.make_jaxpr(network, return_shape=True)(images)
        names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
        if endpoint not in names:
            raise UserError(f"endpoint {endpoint!r} is no map{suggest(endpoint, names)}")
        target = program.jaxpr.outvars[names.index(endpoint)]
        outputs = _Run(addition=addition)(program, [images], target)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)

    return changed


@dataclasses.dataclass(frozen=True)
class _Run:
    """Runs a program, with changes."""

    relu: Elementwise | None = None
    addition: Array | None = None

    def __call__(
        self, program: Program, inputs: list[Any], target: core.Var | None = None
    ) -> list[Any]:
        """Returns the program's outputs; `target` is the value that something is added to."""
        values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
        values |= zip(program.jaxpr.invars, inputs, strict=True)

        def read(v: Any) -> Any:
            return v.val if isinstance(v, core.Literal) else values[v]

        for equation in program.jaxpr.eqns:
            results = self._step(equation, [read(v) for v in equation.invars], target)
            values |= zip(equation.outvars, results, strict=True)
        return [read(v) for v in program.jaxpr.outvars]

    def _step(self, equation: Any, inputs: list[Any], target: core.Var | None) -> list[Any]:
        """Returns the results of one operation."""
        name = equation.primitive.name
        is_target = any(v is target for v in equation.outvars)
        inner = equation.params[_INLINED[name]] if name in _INLINED else None
        if name == "jit" or (inner is not None and self.relu and _has_relu(inner.jaxpr)):
            place = equation.outvars.index(target) if is_target else None
            return self(inner, inputs, None if place is None else inner.jaxpr.outvars[place])
        if self.relu is not None and _is_relu(equation):
            results = [self.relu(inputs[0])]
        else:
            params = equation.primitive.get_bind_params(equation.params)
            results = equation.primitive.bind(*inputs, **params)
            results = results if equation.primitive.multiple_results else [results]
        if is_target:
            return [
                x + self.addition if v is target else x
                for v, x in zip(equation.outvars, results, strict=True)
            ]
        return results


def _is_relu(equation: Any) -> bool:
    """Says whether an operation is max(x, 0) of floats."""
    if equation.primitive.name != "max":
        return False
    x, least = equation.invars
    is_zero = isinstance(least, core.Literal) and np.ndim(least.val) == 0 and least.val == 0
    return is_zero and jnp.issubdtype(x.aval.dtype, jnp.floating)


def _has_relu(jaxpr: Any) -> bool:
    """Says whether there is a ReLU in a program, or in what it calls."""
    return any(
        _is_relu(equation)
        or (
            equation.primitive.name in _INLINED
            and _has_relu(equation.params[_INLINED[equation.primitive.name]].jaxpr)
        )
        for equation in jaxpr.eqns
    )
