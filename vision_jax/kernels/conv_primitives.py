"""The convolution and its two gradients as JAX primitives, bilinear in their operands.

Each is the transpose of the others, which is all that differentiation of any order and mode needs.
How they are computed is the platform's affair: on CPU by oneDNN where it is installed, else in
the forms of `conv_cpu`; elsewhere in lax's, so that cuDNN and fusion apply.

Under vmap both operands, and the result, have an axis of runs in front.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from vision_jax.kernels import conv_cpu, conv_lax, dnnl, onednn
from vision_jax.kernels.conv_lax import Geometry

_FORWARD, _IMAGE, _KERNEL = (
    Primitive(name) for name in ("conv2d", "conv2d_image_gradient", "conv2d_kernel_gradient")
)


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """Computes the output, from images and kernel."""
    return _bind(_FORWARD, x, w, geometry)


def image_gradient(dy: Array, w: Array, geometry: Geometry) -> Array:
    """Computes the gradient at the images, from that at the output."""
    return _bind(_IMAGE, dy, w, geometry)


def kernel_gradient(dy: Array, x: Array, geometry: Geometry) -> Array:
    """Computes the gradient at the kernel, from that at the output."""
    return _bind(_KERNEL, dy, x, geometry)


def _bind(primitive: Primitive, a: Array, b: Array, geometry: Geometry) -> Array:
    """Binds a primitive to operands that vary over the same axes.

    Within shard_map, a value that is the same on all devices may meet one that is not.
    """
    axes = [jax.typeof(v).manual_axis_type.varying for v in (a, b)]
    if axes[0] != axes[1]:
        a, b = (
            lax.pcast(v, tuple((axes[0] | axes[1]) - own), to="varying")
            for v, own in zip((a, b), axes, strict=True)
        )
    return primitive.bind(a, b, geometry=geometry)


class _Operation(NamedTuple):
    """The properties that tell the three primitives apart.

    Attributes:
      primitive: the primitive.
      name: of its function in `conv_lax` and `conv_cpu`.
      kind: its kind for oneDNN.
      shape: gives the result's shape, from the geometry and the operands' shapes.
      transposes: the gradients at the first and the second operand, from that at the result, the
        other operand and the geometry.
    """

    primitive: Primitive
    name: str
    kind: int
    shape: Callable[..., tuple[int, ...]]
    transposes: tuple[Callable[..., Array], Callable[..., Array]]


def _define(operation: _Operation) -> None:
    """Registers all rules of a primitive."""
    primitive = operation.primitive
    primitive.def_abstract_eval(functools.partial(_abstract, operation))
    primitive.def_impl(functools.partial(_run, primitive))
    mlir.register_lowering(primitive, _lowering(conv_lax, operation.name))
    mlir.register_lowering(primitive, _cpu_lowering(operation), platform="cpu")
    at_first, at_second = operation.transposes
    ad.defbilinear(
        primitive,
        lambda ct, a, b, geometry: at_first(ct, b, geometry),
        lambda ct, a, b, geometry: at_second(ct, a, geometry),
    )
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)


def _abstract(
    operation: _Operation, a: ShapedArray, b: ShapedArray, geometry: Geometry
) -> ShapedArray:
    runs = a.shape[:-4]
    return a.update(shape=(*runs, *operation.shape(geometry, a.shape[-4:], b.shape[-4:])))


def _run(primitive: Primitive, a: Array, b: Array, geometry: Geometry) -> Array:
    with jax.disable_jit(False):  # or it would come back here
        return _compiled(primitive, geometry)(a, b)


@functools.cache
def _compiled(primitive: Primitive, geometry: Geometry) -> Callable[[Array, Array], Array]:
    return jax.jit(lambda a, b: primitive.bind(a, b, geometry=geometry))


def _lowering(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """Returns the lowering to a module's function, which is mapped over the axis of runs."""

    def function(a: Array, b: Array, geometry: Geometry) -> Array:
        one = functools.partial(getattr(module, name), geometry=geometry)
        return one(a, b) if a.ndim == 4 else jax.vmap(one)(a, b)

    return mlir.lower_fun(function, multiple_results=False)


def _cpu_lowering(operation: _Operation) -> Callable[..., Any]:
    """Returns the lowering to oneDNN, and to `conv_cpu` where oneDNN does not serve."""
    special = _lowering(conv_cpu, operation.name)
    call = jax.ffi.ffi_lowering(onednn.TARGET)

    def lower(ctx: mlir.LoweringRuleContext, a: Any, b: Any, geometry: Geometry) -> Any:
        first, second = ctx.avals_in
        exported = ctx.module_context.lowering_parameters.for_export  # for machines without oneDNN
        dtype = first.dtype.name
        if dtype not in dnnl.TYPES or not first.size or not second.size or exported:
            return special(ctx, a, b, geometry=geometry)
        shapes = [aval.shape for aval in (first, second, *ctx.avals_out)]
        sizes = onednn.Sizes.of(operation.kind, shapes, geometry, dtype)
        if not onednn.takes(sizes):
            return special(ctx, a, b, geometry=geometry)
        return call(ctx, a, b, sizes=np.array(sizes.pack()))

    return lower


def _batch(primitive: Primitive, operands: Any, axes: Any, geometry: Geometry) -> tuple[Array, int]:
    """Maps over an axis: more images where only they have it, else more runs."""
    runs = next(v.shape[at] for v, at in zip(operands, axes, strict=True) if at is not None)
    a, b = (
        v if at is None else jnp.moveaxis(v, at, 0) for v, at in zip(operands, axes, strict=True)
    )
    if axes[1] is None and b.ndim == 4 and primitive is not _KERNEL:
        result = _bind(primitive, a.reshape(-1, *a.shape[2:]), b, geometry)
        return result.reshape(runs, -1, *result.shape[1:]), 0
    a, b = (
        jnp.broadcast_to(v, (runs, *v.shape)) if at is None else v
        for v, at in zip((a, b), axes, strict=True)
    )
    inner = a.shape[1:-4]  # runs already
    result = _bind(primitive, *(v.reshape(-1, *v.shape[-4:]) for v in (a, b)), geometry)
    return result.reshape(runs, *inner, *result.shape[1:]), 0


_define(
    _Operation(
        _FORWARD,
        "forward",
        onednn.FORWARD,
        Geometry.output_shape,
        transposes=(image_gradient, kernel_gradient),
    )
)
_define(
    _Operation(
        _IMAGE,
        "image_gradient",
        onednn.IMAGE_GRADIENT,
        Geometry.image_shape,
        transposes=(forward, lambda ct, dy, geometry: kernel_gradient(dy, ct, geometry)),
    )
)
_define(
    _Operation(
        _KERNEL,
        "kernel_gradient",
        onednn.KERNEL_GRADIENT,
        Geometry.kernel_shape,
        transposes=(
            lambda ct, x, geometry: forward(x, ct, geometry),
            lambda ct, dy, geometry: image_gradient(dy, ct, geometry),
        ),
    )
)
