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

from vision_jax.models.layers import FOLDED, BatchNorm, Conv, ConvTranspose, channelwise

Path = tuple[str, ...]


def fold_norms(model: nn.Module, variables: dict[str, Any], *inputs: Any) -> dict[str, Any]:
    """Returns variables with which `model` computes the same in inference without batch norms.

    Norms that cannot be folded stay: those that follow no convolution (pre-activation's first in
    each block) or one whose result is read elsewhere too, group norms, norms by position. Results
    are equal but for rounding; in bfloat16 the kernels are rounded after they were scaled.

    Args:
      model: any network of this package.
      variables: its 'params' and 'batch_stats'; untouched. Statistics of folded norms are left
        out of the result, which gains the collection 'folded', one mark for each of them.
      *inputs: the arguments of `model.apply` after the variables, or their shapes; the network is
        traced and nothing is computed.
    """
    norm_of_conv, norms = _pairs(model, variables, inputs)
    params = flatten_dict(variables["params"])
    statistics = flatten_dict(variables.get("batch_stats", {}))
    folded = {}
    for conv, norm in norm_of_conv.items():
        scale, shift = (jnp.asarray(params.pop((*norm, name))) for name in ("scale", "bias"))
        mean, var = (jnp.asarray(statistics.pop((*norm, name))) for name in ("mean", "var"))
        gain = norms[norm].gain(scale, var)
        params[*conv, "kernel"] = params[*conv, "kernel"] * channelwise(gain)
        params[*conv, "bias"] = shift + (params.get((*conv, "bias"), 0) - mean) * gain
        folded[*norm, "norm"] = jnp.zeros(())
    collections = {"params": params, "batch_stats": statistics, FOLDED: folded}
    return variables | {name: unflatten_dict(flat) for name, flat in collections.items()}


def _pairs(model, variables, inputs) -> tuple[dict[Path, Path], dict[Path, BatchNorm]]:
    """Finds the convolutions that only one norm reads, where that norm reads nothing else.

    The model is traced with a name on each convolution's output and each norm's input.

    Returns:
      The norm's path by the convolution's, and all norms by path.
    """
    norms: dict[Path, BatchNorm] = {}

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
    readers, inputs_of_norm = defaultdict(set), defaultdict(set)
    for conv, norm in _edges(traced.jaxpr):
        if conv is not None:
            readers[conv].add(norm)
        if norm is not None:
            inputs_of_norm[norm].add(conv)
    only_reader = {conv: next(iter(some)) for conv, some in readers.items() if len(some) == 1}
    return {c: n for c, n in only_reader.items() if inputs_of_norm.get(n) == {c}}, norms


def _edges(jaxpr) -> Iterator[tuple[Path | None, Path | None]]:
    """Yields (convolution, norm) for each use of one's output and each input of the other.

    Either is None where a convolution is read by something else, or a norm reads something else.
    """
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
    """Returns the kind, 'conv' or 'norm', and the path that an equation is named by."""
    if equation.primitive.name != "name":
        return None, ()
    kind, *path = equation.params["name"].split("/")
    return kind, tuple(path)
