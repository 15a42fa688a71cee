"""The cost of a network, layer by layer, for any network: read from its traced program.

Nothing is run. Every convolution and matrix product in the program is counted under the module (or
`jax.named_scope`) that it was written in.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.extend.core import jaxprs_in_params

OUTSIDE = "."  # the path of operations that are in no module or scope


@dataclasses.dataclass(frozen=True)
class Layer:
    """The cost of one innermost module or named scope.

    Attributes:
      path: names of the modules that it lies in, such as 'backbone/conv1/conv'.
      output: shape of the last array computed in it.
      parameters: number of values in its parameters.
      multiply_adds: those of its convolutions and matrix products; nothing else counts.
      activation_bytes: size of its output, in the dtype that it has.
    """

    path: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """The cost of a network: its layers in order of first use, and their sums."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        return sum(layer.activation_bytes for layer in self.layers)

    def grouped(self, depth: int) -> "Summary":
        """Adds up the layers whose paths begin with the same `depth` names."""
        groups: dict[str, Layer] = {}
        for layer in self.layers:
            path = "/".join(layer.path.split("/")[:depth])
            before = groups.get(path, Layer(path, (), 0, 0, 0))
            groups[path] = Layer(
                path,
                layer.output or before.output,
                before.parameters + layer.parameters,
                before.multiply_adds + layer.multiply_adds,
                before.activation_bytes + layer.activation_bytes,
            )
        return Summary(tuple(groups.values()))

    def __str__(self) -> str:
        """Returns a table in plain text."""
        rows = [("layer", "output", "parameters", "multiply-adds", "activation bytes")]
        rows += [
            (
                layer.path,
                "x".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}",
                f"{layer.activation_bytes:,}",
            )
            for layer in self.layers
        ]
        totals = (self.parameters, self.multiply_adds, self.activation_bytes)
        rows.append(("total", "", *(f"{value:,}" for value in totals)))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = []
        for row in rows:
            left = [row[i].ljust(widths[i]) for i in (0, 1)]
            right = [row[i].rjust(widths[i]) for i in (2, 3, 4)]
            lines.append("  ".join(left + right))
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summarize(model: nn.Module, *inputs: Any) -> Summary:
    """Counts the layers and costs of `model.apply(variables, *inputs)`, without running it.

    Args:
      model: any linen module.
      *inputs: arrays or `jax.ShapeDtypeStruct`s, an image (1, h, w, 3) for a classifier.
    """
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    program = jax.make_jaxpr(model.apply)(variables, *inputs)
    scopes: dict[str, _Scope] = {}
    _add_equations(program.jaxpr, "", 1, scopes)
    parameters = _parameters(variables.get("params", {}))
    for path in parameters:
        scopes.setdefault(path, _Scope())
    outer = {path[:i] for path in scopes for i, letter in enumerate(path) if letter == "/"}
    layers = [
        Layer(path, scope.output, parameters.get(path, 0), scope.multiply_adds, scope.bytes)
        for path, scope in scopes.items()
        if path not in {OUTSIDE, *outer} or path in parameters or scope.multiply_adds
    ]
    return Summary(tuple(layers))


@dataclasses.dataclass
class _Scope:
    output: tuple[int, ...] = ()
    bytes: int = 0
    multiply_adds: int = 0


def _add_equations(program, prefix, times, scopes):
    """Adds the equations of a jaxpr, and of those inside it, to `scopes`."""
    for equation in program.eqns:
        path = _path(prefix, str(equation.source_info.name_stack))
        inner = list(jaxprs_in_params(equation.params))
        repeats = times * equation.params.get("length", 1)  # of a scan
        for sub in inner:
            _add_equations(sub, path, repeats, scopes)
        if not equation.outvars:  # what nobody reads was dropped from a part of the program
            continue
        scope = scopes.setdefault(path or OUTSIDE, _Scope())
        if not inner:
            scope.multiply_adds += times * _multiply_adds(equation)
        aval = equation.outvars[0].aval
        if aval.shape and path:
            scope.output = aval.shape
            scope.bytes = aval.size * np.dtype(aval.dtype).itemsize


def _path(prefix, stack):
    """Returns the modules in a name stack: no class of the network, methods, transformations."""
    names = stack.split("/") if stack else []
    network = names[0].partition(".")[0] if names and not prefix else None
    path = prefix.split("/") if prefix else []
    for name in names if prefix else names[1:]:
        module, _, method = name.partition(".")
        again = method and module in (network, *path[-1:])
        if module and "(" not in name and not again:  # none in "...qd,...kd->...qk"
            path.append(module)
    return "/".join(path)


def _multiply_adds(equation):
    """Counts the multiply-adds of one equation."""
    shapes = [v.aval.shape for v in equation.invars]
    out = equation.outvars[0].aval.shape
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(out) * math.prod(shapes[0][i] for i in contracted)
    if equation.primitive.name == "conv2d":
        return math.prod(out) * math.prod(shapes[1][:3])
    if equation.primitive.name == "conv2d_image_gradient":  # a transposed convolution
        return math.prod(shapes[0]) * math.prod(shapes[1][:3])
    return 0


def _parameters(tree, path=()):
    """Counts the values that each module holds itself, by its path."""
    counts = {}
    count = sum(math.prod(v.shape) for v in tree.values() if not isinstance(v, dict))
    if count:
        counts["/".join(path) or OUTSIDE] = count
    for name, value in tree.items():
        if isinstance(value, dict):
            counts |= _parameters(value, (*path, name))
    return counts
