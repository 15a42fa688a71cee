"""A barrier for XLA:CPU: keeps a value in memory instead of recomputing it in every consumer.

XLA:CPU moves elementwise work into every operation that reads its result, even where the result
lies in memory already. So the sums of residual blocks are computed again from the first block of
their stage on, in every block, forward and backward: with n blocks, n²/2 sums instead of n. XLA
cannot look through the call of a foreign function, which does nothing and returns the memory that
it was given. On other platforms there is no barrier: they weigh the cost of recomputing themselves.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from vision_jax.kernels import xla_call

Tree = Any
_TARGET = "vision_jax_materialize"
_MATERIALIZE = Primitive("materialize")
_MATERIALIZE.multiple_results = True


def materialize(tree: Tree) -> Tree:
    """Stores an array, or a tree of them, so that consumers read it instead of recomputing it.

    No array of a tree is read before all of them are computed.
    """
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, _MATERIALIZE.bind(*leaves))


@jax.custom_jvp
def materialize_relu(x: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """Computes max(x, 0) and stores it, so that consumers read it instead of recomputing it.

    The derivative, 0 at 0 as that of `nn.relu`, is read off the result: backward, x is not needed.
    """
    return materialize(jnp.maximum(x, 0))


@materialize_relu.defjvp
def _materialize_relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = materialize_relu(*primals)
    return y, jnp.where(y > 0, tangents[0], 0)


@functools.cache
def _register() -> None:
    xla_call.register(_TARGET, lambda attribute, operands, results: None)


@functools.cache
def _call(count: int) -> Any:
    _register()
    return jax.ffi.ffi_lowering(_TARGET, operand_output_aliases={i: i for i in range(count)})


def _on_cpu(ctx: mlir.LoweringRuleContext, *values: Any) -> Any:
    if ctx.module_context.lowering_parameters.for_export:  # for machines without the function
        return values
    return _call(len(values))(ctx, *values)


_MATERIALIZE.def_abstract_eval(lambda *values: values)
_MATERIALIZE.def_impl(lambda *values: values)
mlir.register_lowering(_MATERIALIZE, lambda ctx, *values: values)
mlir.register_lowering(_MATERIALIZE, _on_cpu, platform="cpu")
ad.primitive_jvps[_MATERIALIZE] = lambda primals, tangents: (_MATERIALIZE.bind(*primals), tangents)
batching.primitive_batchers[_MATERIALIZE] = lambda values, axes: (_MATERIALIZE.bind(*values), axes)
