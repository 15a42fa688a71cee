"""Sums of a map's cells over regions' bins, where a bin's cells are few of the map's.

Adaptive RoIAlign and position-sensitive pooling come down to this on a CPU. Both directions go
through eight regions at a time, and through as many cells per bin as the largest of these regions
needs, so that no bound has to be known beforehand. (Reverse mode only: `jax.jvp` finds no rule.)
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.kernels.chunks import CPU_CHUNK, per_chunk, split

Weights = tuple[Array, Array, Array, Array]  # rows, columns, starts, widths


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def span_sums(
    table: Float[Array, "n c"],
    rows: Float[Array, "r i h"],
    columns: Float[Array, "r j w"],
    starts: Int[Array, "r #i #j"],
    widths: Int[Array, "r"],
    step: int = 1,
) -> Float[Array, "r i j c"]:
    """Computes Σ rows[r, i, y] · columns[r, j, x] · cell (y, x) of region r's map.

    Args:
      table: the cells of all maps, row after row.
      rows, columns: weights, which get no gradient; those of a bin are 0 but for neighbours.
      starts: where each region's map begins in the table; or each of its bins'.
      widths: of each region's map, how far below a row of the table the next row of cells is.
      step: how far below the next cell of a row is.
    """

    def pool(*weights: Array) -> Array:
        total = jnp.zeros((*weights[0].shape[:2], columns.shape[1], table.shape[1]), _wide(table))

        def add(places: Array, share: Array, total: Array) -> Array:
            return total + table[places].astype(total.dtype) * share.astype(total.dtype)

        return _over_cells(weights, step, add, total).astype(table.dtype)

    return per_chunk(pool, (rows, columns, starts, widths), CPU_CHUNK)


def _forward(
    table: Array, rows: Array, columns: Array, starts: Array, widths: Array, step: int
) -> tuple[Array, tuple]:
    weights = rows, columns, starts, widths
    # The empty slice tells the table's dtype, whose values the gradient does not need.
    return span_sums(table, *weights, step), (weights, table.shape, table[:0])


def _backward(step: int, residuals: tuple, gradient: Array) -> tuple[Array | None, ...]:
    weights, shape, like = residuals

    def chunk(total: Array, part: tuple[Array, ...]) -> tuple[Array, None]:
        bin_gradients = part[0].astype(total.dtype)

        def add(places: Array, share: Array, total: Array) -> Array:
            return total.at[places].add(bin_gradients * share.astype(total.dtype))

        return _over_cells(part[1:], step, add, total), None

    start = jnp.zeros(shape, _wide(like))
    total, _ = lax.scan(chunk, start, split((gradient, *weights), CPU_CHUNK))
    return total.astype(like.dtype), None, None, None, None


span_sums.defvjp(_forward, _backward)


def _over_cells(weights: Weights, step: int, add, total: Array) -> Array:
    """Calls `add(places, shares, total)` for the first, second, … cell of every bin.

    places (r, i, j) are row numbers of the table, shares (r, i, j, 1) the cells' weights; each call
    returns the next one's `total`, and the last one's is the result.
    """
    rows, columns, starts, widths = weights
    (top, down), (left, across) = _span(rows), _span(columns)
    down, across = jnp.max(down, initial=0), jnp.max(across, initial=1)

    def one_more(state: tuple[Array, Array]) -> tuple[Array, Array]:
        number, total = state
        row, column = top + number // across, left + number % across
        share = _weight(rows, row)[:, :, None] * _weight(columns, column)[:, None]
        place = starts + (row * widths[:, None])[:, :, None] + step * column[:, None]
        # Beyond a bin's own cells there may be nothing of its map.
        return number + 1, add(jnp.where(share != 0, place, 0), share[..., None], total)

    def is_left(state: tuple[Array, Array]) -> Array:
        return state[0] < down * across

    return lax.while_loop(is_left, one_more, (jnp.zeros((), jnp.int32), total))[1]


def _span(weights: Array) -> tuple[Array, Array]:
    """Finds each bin's first cell, (r, bins), and how many there are up to its last one."""
    used = weights != 0
    first = used.argmax(-1).astype(jnp.int32)
    last = weights.shape[-1] - 1 - used[..., ::-1].argmax(-1).astype(jnp.int32)
    return first, jnp.where(used.any(-1), last - first + 1, 0)


def _weight(weights: Array, cell: Array) -> Array:
    """Picks each bin's weight of one cell, (r, bins) of (r, bins, cells); 0 beyond the last one."""
    return jnp.take_along_axis(weights, cell[..., None], -1, mode="fill", fill_value=0)[..., 0]


def _wide(x: Array) -> np.dtype:
    """Returns the dtype to sum up in: sums of many terms are no matter for half precision."""
    return jnp.dtype(jnp.float32) if x.dtype.itemsize < 4 else x.dtype
