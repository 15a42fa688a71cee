"""Batch norms as part of the convolutions before them, for inference.

With running statistics a batch norm is one gain and one offset per channel, which the kernel and
the bias of a convolution that nothing else reads can hold: one pass over each map less.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Literal, jaxprs_in_params
from jaxtyping import Array

from vision_jax.models.layers.blocks import FOLDED, BatchNorm, Conv, channelwise
from vision_jax.models.layers.upsampling import ConvTranspose

Path = tuple[str, ...]


def fold_norms(
    model: nn.Module, variables: dict[str, Any], *inputs: Array | jax.ShapeDtypeStruct
) -> dict[str, Any]:
    """Variables for inference with which the same `model` computes the same without batch norms.

    Norms that cannot be folded stay: those that follow no convolution (pre-activation's first in
    each block) or one whose result is read elsewhere too, group norms, norms by position. Results
    are equal but for rounding; in bfloat16 the kernels are rounded after they were scaled.

    Args:
      model: any network of this package.
      variables: its 'params' and 'batch_stats'; untouched. Statistics of folded norms are left
        out of the result, which gains the collection 'folded', one mark for each of them.
      inputs: what `model.apply` takes after the variables, or its shapes; nothing is computed.
    """
    norms: dict[Path, BatchNorm] = {}
    pairs = _pairs(model, variables, inputs, norms)
    params = flatten_dict(variables["params"])
    statistics = flatten_dict(variables.get("batch_stats", {}))
    folded = {}
    for conv, norm in pairs.items():
        scale, shift = params.pop((*norm, "scale")), params.pop((*norm, "bias"))
        mean, var = statistics.pop((*norm, "mean")), statistics.pop((*norm, "var"))
        gain = norms[norm].gain(scale, var)
        params[*conv, "kernel"] = params[*conv, "kernel"] * channelwise(gain)
        params[*conv, "bias"] = shift + (params.get((*conv, "bias"), 0) - mean) * gain
        folded[*norm, "norm"] = jnp.zeros(())
    found = {"params": params, "batch_stats": statistics, FOLDED: folded}
    return variables | {name: unflatten_dict(flat) for name, flat in found.items()}


def _pairs(model, variables, inputs, norms) -> dict[Path, Path]:
    """Convolution: the norm that is all that ever reads it, and that reads nothing else.

    The model is traced with a name on each convolution's output and each norm's input.
    """

    def name(call, args, kwargs, context):
        module, path = context.module, context.module.path
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, BatchNorm):
            norms[path] = module
            return call(checkpoint_name(args[0], "/".join(("norm", *path))), *args[1:], **kwargs)
        y = call(*args, **kwargs)
        if isinstance(module, Conv | ConvTranspose):
            y = checkpoint_name(y, "/".join(("conv", *path)))
        return y

    with nn.intercept_methods(name):
        traced = jax.make_jaxpr(model.apply)(variables, *inputs)
    reads, reads_norm = defaultdict(set), defaultdict(set)
    for conv, norm in _edges(traced.jaxpr):
        if conv is not None:
            reads[conv].add(norm)
        if norm is not None:
            reads_norm[norm].add(conv)
    return {
        conv: next(iter(readers))
        for conv, readers in reads.items()
        if len(readers) == 1 and None not in readers and reads_norm[next(iter(readers))] == {conv}
    }


def _edges(jaxpr) -> Iterator[tuple[Path | None, Path | None]]:
    """(convolution, norm) for each use of one's output and each input of the other, or None."""
    source: dict[Any, Path] = {}
    uses = Counter()
    for equation in jaxpr.eqns:
        for nested in jaxprs_in_params(equation.params):
            yield from _edges(nested)
        kind, path = _name(equation)
        if kind == "norm":
            variable = equation.invars[0]
            yield source.get(variable), path
            uses[variable] -= 1
        for variable in equation.invars:
            if not isinstance(variable, Literal):
                uses[variable] += 1
        if kind == "conv":
            source[equation.outvars[0]] = path
    for variable in jaxpr.outvars:
        if not isinstance(variable, Literal):
            uses[variable] += 1
    yield from ((path, None) for variable, path in source.items() if uses[variable])


def _name(equation) -> tuple[str | None, Path]:
    if equation.primitive.name != "name":
        return None, ()
    kind, *path = equation.params["name"].split("/")
    return kind, tuple(path)
