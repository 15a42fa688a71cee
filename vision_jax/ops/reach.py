"""Receptive fields, followed through a traced program.

Every value that depends on the image is followed as a map whose pixel i sees, along each of the
image's two axes, the pixels stride · i + first … stride · i + last; or all of them.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

# Operations that call one function, which is among their settings.
_CALLS = {"jit", "checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call"}
_ROWS, _COLUMNS = 1, 2  # axes of NHWC arrays


@dataclasses.dataclass(frozen=True)
class Interval:
    """Along an axis, pixel i of a map sees the image's stride · i + first to stride · i + last."""

    stride: int = 1
    first: int = 0
    last: int = 0

    def window(self, stride: int, before: int, reach: int) -> "Interval":
        """Returns it after a window of `reach` + 1 pixels at `stride`, with padding `before`."""
        first = self.first - before * self.stride
        return Interval(self.stride * stride, first, self.last + (reach - before) * self.stride)

    def spread(self, factor: int, before: int) -> "Interval":
        """Returns it after zeros between pixels and `before` of them in front.

        Pixel p of the new map, where it is not a zero, is pixel (p - before) / factor of the old
        one.
        """
        if self.stride % factor:
            raise NotImplementedError("a map with more pixels than the image")
        stride = self.stride // factor
        return Interval(stride, self.first - before * stride, self.last - before * stride)


Axis = Interval | None  # None: the whole axis


@dataclasses.dataclass(frozen=True)
class Reach:
    """The rows and columns of the image that a value's pixels see.

    Attributes:
      axes: what a pixel sees along the image's rows and columns; None is all of it.
      at: the value's own axes that run along them; None where it has none left.
      merged: where a reshape has merged both axes into one, the sizes of the axes that it is made
        of, and which of them are the rows and the columns.
    """

    axes: tuple[Axis, Axis]
    at: tuple[int | None, int | None]
    merged: tuple[tuple[int, ...], tuple[int, int]] | None = None

    @classmethod
    def of_image(cls) -> "Reach":
        """Returns the reach of the image itself, (b, h, w, c)."""
        return cls((Interval(), Interval()), (_ROWS, _COLUMNS))

    def change(self, axis: int, function: Callable[[Interval], Axis]) -> "Reach":
        """Applies `function` to the interval that runs along one of the value's axes."""
        axes = tuple(
            function(seen) if at == axis and seen is not None else seen
            for seen, at in zip(self.axes, self.at, strict=True)
        )
        if self.merged is not None and axes != self.axes:
            raise NotImplementedError("an operation along rows and columns merged into one axis")
        return Reach(axes, self.at, self.merged)

    def move(self, places: dict[int, int]) -> "Reach":
        """Moves the value's axes to new places; one that is gone was summed over, and sees all."""
        at = tuple(None if old is None else places.get(old) for old in self.at)
        axes = tuple(
            seen if new is not None else None for seen, new in zip(self.axes, at, strict=True)
        )
        return Reach(axes, at, None if at == (None, None) else self.merged)


@dataclasses.dataclass(frozen=True)
class Field:
    """The receptive field of an endpoint's pixel (i, j).

    Attributes:
      size: height and width in pixels of the image; None where the whole axis is seen.
      stride: image pixels from one pixel's field to the next one's.
      start: first row and column that pixel (0, 0) sees; negative in the padding.
    """

    size: tuple[int | None, int | None]
    stride: tuple[int, int]
    start: tuple[int, int]

    def box(self, i: int, j: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Returns the field of pixel (i, j), cut off at the image's border: xyxy."""
        edges = []
        for place, size, stride, start, limit in zip(
            (i, j), self.size, self.stride, self.start, (height, width), strict=True
        ):
            first = start + place * stride
            edges.append((0, limit) if size is None else (max(0, first), min(limit, first + size)))
        (y0, y1), (x0, x1) = edges
        return x0, y0, x1, y1


def receptive_fields(
    apply: Callable[..., Any], variables: Any, image: jax.ShapeDtypeStruct
) -> dict[str, Field]:
    """Finds the field of every map (1, h, w, c) that `apply(variables, image)` returns.

    Args:
      apply: returns a dict of arrays; it is traced, not run.
      variables: arrays or their shapes.
      image: (1, h, w, c).
    """
    traced, outputs = jax.make_jaxpr(apply, return_shape=True)(variables, image)
    inputs = [None] * len(jax.tree.leaves(variables)) + [Reach.of_image()]
    leaves = jax.tree_util.tree_flatten_with_path(outputs)[0]
    fields = {}
    for (path, leaf), seen in zip(leaves, reach(traced.jaxpr, inputs), strict=True):
        if len(leaf.shape) == 4 and seen is not None:
            rows, columns = seen.axes
            fields[jax.tree_util.keystr(path, simple=True, separator="/")] = Field(
                size=tuple(None if a is None else a.last - a.first + 1 for a in (rows, columns)),
                stride=tuple(0 if a is None else a.stride for a in (rows, columns)),
                start=tuple(0 if a is None else a.first for a in (rows, columns)),
            )
    return fields


def reach(jaxpr: core.Jaxpr, inputs: Sequence[Reach | None]) -> list[Reach | None]:
    """Follows the reach of a program's inputs to its outputs.

    Args:
      jaxpr: the program.
      inputs: the reach of each input; None for one that does not depend on the image.

    Returns:
      The reach of each output; None for one that does not depend on the image.

    Raises:
      NotImplementedError: an operation on the image that is not followed here.
    """
    seen: dict[core.Var, Reach | None] = dict(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        operands = [None if isinstance(v, core.Literal) else seen.get(v) for v in equation.invars]
        if not any(operands):
            continue
        if equation.primitive.name in _CALLS:
            (inner,) = core.jaxprs_in_params(equation.params)
            results = reach(inner, operands)
        else:
            results = [_step(equation, operands)] * len(equation.outvars)
        seen |= zip(equation.outvars, results, strict=True)
    return [None if isinstance(v, core.Literal) else seen.get(v) for v in jaxpr.outvars]


def _step(equation: Any, inputs: list[Reach | None]) -> Reach:
    """Finds the reach of one operation's result."""
    name, params = equation.primitive.name, equation.params
    rule = _RULES.get(name)
    if rule is not None:
        if inputs.count(None) != len(inputs) - 1:
            raise NotImplementedError(f"{name!r} of two values that depend on the image")
        operand = next(i for i, x in enumerate(inputs) if x is not None)
        return rule(inputs[operand], equation, operand)
    out = equation.outvars[0].aval.shape
    if name == "concatenate":
        if any(params["dimension"] in x.at for x in inputs if x):
            raise NotImplementedError("a concatenation along the image's rows or columns")
    elif not all(_repeats(v.aval.shape, out) for v in equation.invars):
        raise NotImplementedError(f"the receptive field through {name!r} is not known here")
    parts = []
    for x, value in zip(inputs, equation.invars, strict=True):
        for axis, size in enumerate(value.aval.shape if x else ()):
            if size != out[axis] and name != "concatenate":  # one pixel for all
                x = x.change(axis, lambda seen: None)
        parts += [x] if x else []
    return _union(parts)


def _repeats(shape: tuple[int, ...], out: tuple[int, ...]) -> bool:
    """Says whether an elementwise operation may take a shape: a scalar, or `out` or 1 per axis."""
    alike = len(shape) == len(out) and all(a in (1, b) for a, b in zip(shape, out, strict=True))
    return not shape or alike


def _union(parts: list[Reach]) -> Reach:
    """Returns the reach of a result that sees all that any of the operands sees."""
    axes = []
    for seen in zip(*(part.axes for part in parts), strict=True):
        if None in seen:
            axes.append(None)
        elif len({s.stride for s in seen}) > 1:
            raise NotImplementedError("maps of different strides in one operation")
        else:
            first, last = min(s.first for s in seen), max(s.last for s in seen)
            axes.append(Interval(seen[0].stride, first, last))
    # A part without the axis, such as a gate of squeeze-and-excitation, sees all of it anyway.
    at = tuple(
        next((a for a in places if a is not None), None)
        for places in zip(*(part.at for part in parts), strict=True)
    )
    return Reach(tuple(axes), at, parts[0].merged)


def _convolution(x: Reach, equation: Any, operand: int) -> Reach:
    if operand == 1:
        raise NotImplementedError("a convolution with kernels that depend on the image")
    geometry = equation.params["geometry"]
    for axis in (_ROWS, _COLUMNS):
        span = geometry.dilation[axis - 1] * (geometry.kernel[axis - 1] - 1)
        before, stride = geometry.padding[axis - 1][0], geometry.stride[axis - 1]
        x = x.change(axis, lambda seen, s=stride, b=before, r=span: seen.window(s, b, r))
    return x


def _windows(x: Reach, equation: Any, operand: int) -> Reach:
    params = equation.params
    for axis, size in enumerate(params["window_dimensions"]):
        span = params["window_dilation"][axis] * (size - 1)
        before, stride = params["padding"][axis][0], params["window_strides"][axis]
        x = x.change(axis, lambda seen, s=stride, b=before, r=span: seen.window(s, b, r))
    return x


def _pad(x: Reach, equation: Any, operand: int) -> Reach:
    for axis, (before, _, between) in enumerate(equation.params["padding_config"]):
        x = x.change(axis, lambda seen, b=int(before), f=int(between) + 1: seen.spread(f, b))
    return x


def _slice(x: Reach, equation: Any, operand: int) -> Reach:
    strides = equation.params["strides"] or [1] * equation.invars[0].aval.ndim
    for axis, (start, step) in enumerate(
        zip(equation.params["start_indices"], strides, strict=True)
    ):
        x = x.change(axis, lambda seen, b=-start, s=step: seen.window(s, b, 0))
    return x


def _reduce(x: Reach, equation: Any, operand: int) -> Reach:
    remaining = [a for a in range(equation.invars[0].aval.ndim) if a not in equation.params["axes"]]
    return x.move({old: new for new, old in enumerate(remaining)})


def _transpose(x: Reach, equation: Any, operand: int) -> Reach:
    return x.move({old: new for new, old in enumerate(equation.params["permutation"])})


def _broadcast(x: Reach, equation: Any, operand: int) -> Reach:
    return x.move(dict(enumerate(equation.params["broadcast_dimensions"])))


def _reshape(x: Reach, equation: Any, operand: int) -> Reach:
    """Follows axes whose preceding sizes multiply to the same; merged ones are remembered."""
    old, new = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    starts = {math.prod(new[:b]): b for b in range(len(new) - 1, -1, -1)}
    if x.merged is not None:
        sizes, (rows, columns) = x.merged
        b = starts.get(math.prod(old[: x.at[0]]))
        if b is not None and new[b : b + len(sizes)] == sizes:
            return Reach(x.axes, (b + rows, b + columns))
    elif None not in x.at:
        for first in range(min(x.at) + 1):
            sizes = old[first : max(x.at) + 1]
            b = starts.get(math.prod(old[:first]))
            if b is not None and len(sizes) > 1 and new[b] == math.prod(sizes):
                inside = (x.at[0] - first, x.at[1] - first)
                return Reach(x.axes, (b, b), (sizes, inside))
    places = {}
    for a, size in enumerate(old):
        for b, other in enumerate(new):
            if size == other and math.prod(old[:a]) == math.prod(new[:b]):
                places.setdefault(a, b)
    return x.move(places)


def _product_of_matrices(x: Reach, equation: Any, operand: int) -> Reach:
    """Follows a product: batch axes, then axes left of the first factor, then of the second."""
    contracted, batch = (axes[operand] for axes in equation.params["dimension_numbers"])
    other = [axes[1 - operand] for axes in equation.params["dimension_numbers"]]
    remaining = [
        a
        for a in range(equation.invars[operand].aval.ndim)
        if a not in contracted and a not in batch
    ]
    first = len(batch)
    if operand == 1:
        first += equation.invars[0].aval.ndim - len(other[0]) - len(other[1])
    places = {old: new for new, old in enumerate(batch)}
    return x.move(places | {old: first + new for new, old in enumerate(remaining)})


def _squeeze(x: Reach, equation: Any, operand: int) -> Reach:
    gone = equation.params["dimensions"]
    remaining = [a for a in range(equation.invars[0].aval.ndim) if a not in gone]
    return x.move({old: new for new, old in enumerate(remaining)})


def _split(x: Reach, equation: Any, operand: int) -> Reach:
    if equation.params["axis"] in x.at:
        raise NotImplementedError("a map split along the image's rows or columns")
    return x


_RULES: dict[str, Callable[[Reach, Any, int], Reach]] = {
    "conv2d": _convolution,
    "reduce_window_sum": _windows,
    "reduce_window_max": _windows,
    "pad": _pad,
    "slice": _slice,
    "reduce_sum": _reduce,
    "reduce_max": _reduce,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "split": _split,
    "dot_general": _product_of_matrices,
}
