"""Mean and variance over a batch of maps, in as few passes over memory as a platform allows.

E[x²] - E[x]² needs one look at x, but cancels where the mean is many deviations away from zero.
With a pixel of x as the origin it does not; XLA:CPU, though, reduces by a library that takes arrays
alone, so that x with another origin is first written to memory. There the plain difference serves,
unless a channel shows that it cancels: then the mean is the origin.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_MOMENTS = Primitive("moments")
_MOMENTS.multiple_results = True
_AXES = (-4, -3, -2)
# Largest mean² over variance for which the plain difference serves, whose rounding error is some
# eps · mean².
_FAR = 64.0


def moments(x: Float[Array, "b h w c"]) -> tuple[Float[Array, "c"], Float[Array, "c"]]:
    """Computes each channel's mean and biased variance, which is at least 0.

    It can be differentiated any number of times, also under `vmap`.

    Args:
      x: at least one pixel; float32 or float64, as are the results.
    """
    mean, var = _MOMENTS.bind(x)
    return mean, var


def _about(x: Array, origin: Array) -> tuple[Array, Array]:
    """Computes the moments from differences to `origin`, one value per channel."""
    shifted = x - _spread(origin)
    shift = shifted.mean(_AXES)
    var = jnp.maximum(lax.square(shifted).mean(_AXES) - lax.square(shift), 0)
    return origin + shift, var


def _about_a_pixel(x: Array) -> tuple[Array, Array]:
    return _about(x, x[..., 0, 0, 0, :])


def _by_case(x: Array) -> tuple[Array, Array]:
    """Computes the moments by the plain difference, or about the mean where that would cancel."""
    mean = x.mean(_AXES)
    var = lax.square(x).mean(_AXES) - lax.square(mean)
    near = (lax.square(mean) <= _FAR * var).all()
    return lax.cond(near, lambda: (mean, var), lambda: _about(x, mean))


def _spread(vector: Array) -> Array:
    """Gives a per-channel vector the axes of images."""
    return jnp.expand_dims(vector, _AXES)


def _shapes(x: ShapedArray) -> tuple[ShapedArray, ShapedArray]:
    per_channel = x.update(shape=(*x.shape[:-4], x.shape[-1]))
    return per_channel, per_channel


def _jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x,), (dx,) = primals, tangents
    mean, var = _MOMENTS.bind(x)
    if isinstance(dx, ad.Zero):
        return (mean, var), (ad.Zero.from_primal_value(mean), ad.Zero.from_primal_value(var))
    change = 2 * ((x - _spread(mean)) * dx).mean(_AXES)
    return (mean, var), (dx.mean(_AXES), change)


def _batch(operands: Any, axes: Any) -> tuple[Any, Any]:
    """Puts the runs in front: all of them decide together, so that a branch stays one."""
    return _MOMENTS.bind(jnp.moveaxis(operands[0], axes[0], 0)), (0, 0)


_run = jax.jit(lambda x: _MOMENTS.bind(x))


def _eagerly(x: Array) -> Any:
    with jax.disable_jit(False):  # or it would come back here
        return _run(x)


_MOMENTS.def_abstract_eval(_shapes)
_MOMENTS.def_impl(_eagerly)
mlir.register_lowering(_MOMENTS, mlir.lower_fun(_about_a_pixel, multiple_results=True))
mlir.register_lowering(_MOMENTS, mlir.lower_fun(_by_case, multiple_results=True), platform="cpu")
ad.primitive_jvps[_MOMENTS] = _jvp
batching.primitive_batchers[_MOMENTS] = _batch
