"""Values that are computed once.

XLA:CPU moves elementwise work into every operation that reads its result, even where the result
lies in memory already. So the sums of residual blocks are computed again from the first block of
their stage on, in every block, forward and backward: with n blocks, n²/2 sums instead of n. A call
of a foreign function, which does nothing and returns the memory that it was given, is what XLA
cannot look through. Other platforms weigh what recomputing costs by themselves.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Shaped

from vision_jax.ops import xla_call

_TARGET = "vision_jax_stored"
_STORED = Primitive("stored")


def stored(x: Shaped[Array, "*d"]) -> Shaped[Array, "*d"]:
    """x, which nothing that reads it computes again."""
    return _STORED.bind(x)


@jax.custom_jvp
def stored_relu(x: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """max(x, 0), which nothing that reads it computes again.

    Its derivative, 0 at 0 as `nn.relu`'s, is read off the result: backward, x is not needed.
    """
    return stored(jnp.maximum(x, 0))


@stored_relu.defjvp
def _stored_relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = stored_relu(*primals)
    return y, jnp.where(y > 0, tangents[0], 0)


@functools.cache
def _call() -> Any:
    xla_call.register(_TARGET, lambda attribute, operands, results: None)
    return jax.ffi.ffi_lowering(_TARGET, operand_output_aliases={0: 0})


def _on_cpu(ctx: mlir.LoweringRuleContext, x: Any) -> Any:
    if ctx.module_context.lowering_parameters.for_export:  # for machines without the function
        return [x]
    return _call()(ctx, x)


_STORED.def_abstract_eval(lambda x: x)
_STORED.def_impl(lambda x: x)
mlir.register_lowering(_STORED, lambda ctx, x: [x])
mlir.register_lowering(_STORED, _on_cpu, platform="cpu")
ad.primitive_jvps[_STORED] = lambda primals, tangents: (_STORED.bind(*primals), *tangents)
batching.defvectorized(_STORED)
