"""JAX's gather and scatter as reads and writes of whole rows, which ONNX has operations for.

The axes that are indexed, and those that indices and array have in common, become one: the number
of a row. What remains of the array are the rows.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jaxtyping import Array, Int, Shaped

TAKE_ROWS = Primitive("take_rows")
PUT_ROWS = Primitive("put_rows")
Axes = Sequence[int | np.integer]  # vmap makes NumPy's numbers of some
_Rows = Shaped[Array, "n *d"]


def gather(
    operand: Array,
    indices: Array,
    *,
    dimension_numbers: lax.GatherDimensionNumbers,
    slice_sizes: Axes,
    mode: lax.GatherScatterMode,
    fill_value: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
) -> Array:
    """Computes `lax.gather`; the last two arguments only promise something."""
    numbers = dimension_numbers
    front = (*numbers.operand_batching_dims, *numbers.start_index_map)
    rest = [axis for axis in range(operand.ndim) if axis not in front]
    cut = [slice_sizes[i] if i in rest else n for i, n in enumerate(operand.shape)]
    operand = lax.slice(operand, [0] * operand.ndim, cut)
    sizes = [slice_sizes[axis] for axis in numbers.start_index_map]
    batching = (numbers.operand_batching_dims, numbers.start_indices_batching_dims)
    row, inside = _row_numbers(operand.shape, indices, batching, numbers.start_index_map, sizes)
    found = TAKE_ROWS.bind(_as_rows(operand, front, rest), row)
    if mode == lax.GatherScatterMode.FILL_OR_DROP:
        fill = _fill(operand.dtype) if fill_value is None else fill_value
        inside = inside.reshape(*inside.shape, *[1] * (found.ndim - inside.ndim))
        found = jnp.where(inside, found, jnp.asarray(fill, operand.dtype))
    outer = indices.ndim - 1
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    place = {a: outer + i for i, a in enumerate((*numbers.start_index_map, *rest))}
    window = [axis for axis in range(operand.ndim) if axis not in dropped]
    collapsed = [place[axis] for axis in place if axis in dropped]
    found = found.transpose(*range(outer), *(place[axis] for axis in window), *collapsed)
    found = found.reshape(found.shape[: outer + len(window)])
    order, outer_axes, window_axes = [], iter(range(outer)), iter(range(outer, found.ndim))
    for axis in range(found.ndim):
        order.append(next(window_axes if axis in numbers.offset_dims else outer_axes))
    return found.transpose(order)


def scatter(
    operand: Array,
    indices: Array,
    updates: Array,
    *,
    dimension_numbers: lax.ScatterDimensionNumbers,
    mode: lax.GatherScatterMode,
    update_jaxpr: Any,
    update_consts: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    reduction: str = "none",
) -> Array:
    """Computes `lax.scatter`, or `lax.scatter_add` with reduction='add'.

    Raises:
      NotImplementedError: a part of what is not indexed is written.
    """
    numbers = dimension_numbers
    indexed, shape = numbers.scatter_dims_to_operand_dims, operand.shape
    front = (*numbers.operand_batching_dims, *indexed)
    rest = [axis for axis in range(operand.ndim) if axis not in front]
    dropped = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    window = [axis for axis in range(operand.ndim) if axis not in dropped]
    place = dict(zip(window, numbers.update_window_dims, strict=True))
    sizes = [updates.shape[place[axis]] if axis in place else 1 for axis in indexed]
    if any(axis in dropped or updates.shape[place[axis]] != shape[axis] for axis in rest):
        raise NotImplementedError("a scatter to a part of an axis that is not indexed")
    batching = (numbers.operand_batching_dims, numbers.scatter_indices_batching_dims)
    row, inside = _row_numbers(shape, indices, batching, indexed, sizes)
    count = math.prod(shape[axis] for axis in front)
    if mode == lax.GatherScatterMode.FILL_OR_DROP:  # to a row behind the last one
        inside = inside.reshape(*inside.shape, *[1] * (row.ndim - inside.ndim))
        row = jnp.where(inside, row, jnp.int32(count))
    outer = [a for a in range(updates.ndim) if a not in numbers.update_window_dims]
    parts = [place[axis] for axis in (*indexed, *rest) if axis in place]
    remaining = [shape[axis] for axis in rest]
    new = updates.transpose(*outer, *parts).reshape(-1, *remaining)
    rows = _as_rows(operand, front, rest)
    rows = jnp.concatenate([rows, jnp.zeros((1, *remaining), operand.dtype)])
    rows = PUT_ROWS.bind(rows, row.reshape(-1, 1), new, reduction=reduction)
    rows = lax.slice_in_dim(rows, 0, count).reshape([shape[axis] for axis in (*front, *rest)])
    return rows.transpose(np.argsort((*front, *rest)).tolist())


def _as_rows(operand: Array, front: Axes, rest: Axes) -> _Rows:
    rows = operand.transpose(*front, *rest)
    count = math.prod(rows.shape[: len(front)])
    return rows.reshape(count, *rows.shape[len(front) :])


def _row_numbers(
    shape: Axes,
    indices: Int[Array, "*b k"],
    batching: tuple[Axes, Axes],
    indexed: Axes,
    sizes: Axes,
) -> tuple[Int[Array, "*n"], Array]:
    """Computes the numbers of the rows that indices mean.

    Args:
      shape: of the array.
      indices: the starts of windows along the indexed axes.
      batching: the axes that array and indices have in common, in each of them.
      indexed: the array's axes.
      sizes: of the windows along these.

    Returns:
      Numbers (*b, *sizes) within the array, and which windows (*b) lay within it.
    """
    outer = indices.shape[:-1]
    grid = (*outer, *sizes)
    number, inside = jnp.zeros(grid, jnp.int32), jnp.ones(outer, bool)
    for axis, own in zip(*batching, strict=True):
        number = number * shape[axis] + lax.broadcasted_iota(jnp.int32, grid, own)
    for k, (axis, size) in enumerate(zip(indexed, sizes, strict=True)):
        start = lax.index_in_dim(indices, k, -1, keepdims=False).astype(jnp.int32)
        last = shape[axis] - size
        inside &= (start >= 0) & (start <= last)
        start = jnp.clip(start, 0, last).reshape(*outer, *[1] * len(sizes))
        offset = lax.broadcasted_iota(jnp.int32, grid, len(outer) + k)
        number = number * shape[axis] + (start + offset)
    return number, inside


def _fill(dtype: np.dtype) -> Any:
    """Returns what `lax.gather` reads beyond an array."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return np.nan
    if jnp.issubdtype(dtype, jnp.signedinteger):
        return jnp.iinfo(dtype).min
    return jnp.iinfo(dtype).max if jnp.issubdtype(dtype, jnp.unsignedinteger) else True


def _take(rows: _Rows, row: Int[Array, "*n"]) -> Array:
    return rows[row]


def _put(rows: _Rows, row: Int[Array, "m 1"], new: Array, *, reduction: str) -> _Rows:
    places = rows.at[row[:, 0]]
    return places.add(new) if reduction == "add" else places.set(new)


for _primitive, _function in ((TAKE_ROWS, _take), (PUT_ROWS, _put)):
    _primitive.def_impl(_function)
    mlir.register_lowering(_primitive, mlir.lower_fun(_function, multiple_results=False))
TAKE_ROWS.def_abstract_eval(lambda rows, row: rows.update(shape=(*row.shape, *rows.shape[1:])))
PUT_ROWS.def_abstract_eval(lambda rows, row, new, reduction: rows)
