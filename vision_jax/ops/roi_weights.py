"""The cells of a map that the bins of regions read in RoIAlign, and their weights."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def align_matrices(
    start: Float[Array, "r 2"],
    extent: Float[Array, "r 2"],
    grid: tuple[int, int],
    size: tuple[int, int],
    sampling_ratio: int,
) -> tuple[Float[Array, "r {size[0]} {grid[0]}"], Float[Array, "r {size[1]} {grid[1]}"]]:
    """Makes the weights of rows in each bin of each box, and of columns.

    They are those of averaged bilinear interpolation.

    Args:
      start, extent: x, y and width, height in cells, cell (0, 0) centred on the origin.
      grid: rows and columns of the map.
      size: bins down and across.
      sampling_ratio: see `roi_align`.
    """
    rows = axis_matrix(start[:, 1], extent[:, 1], size[0], sampling_ratio, grid[0], grid[0])
    columns = axis_matrix(start[:, 0], extent[:, 0], size[1], sampling_ratio, grid[1], grid[1])
    return rows, columns


def in_cells(boxes: Array, scale: Array | float, aligned: bool) -> tuple[Array, Array]:
    """Converts boxes to corners x, y and sides w, h in feature cells.

    Cell (0, 0) is centred on the origin.
    """
    boxes = boxes * scale
    start, extent = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    return (start - 0.5, extent) if aligned else (start, jnp.maximum(extent, 1))


def neighbours(position: Array, length: Array | int) -> tuple[Array, Array, Array, Array]:
    """Finds the two cells next to each position on an axis, and their weights.

    The weights are 0 far outside the map.

    Returns:
      Both cells, then both weights.
    """
    inside = (position >= -1) & (position <= length)
    position = jnp.clip(position, 0, length - 1)
    low = jnp.floor(position)
    share = position - low
    first = low.astype(jnp.int32)
    last = jnp.asarray(length - 1).astype(jnp.int32)
    zero = jnp.zeros_like(share)
    return (
        first,
        jnp.minimum(first + 1, last),
        jnp.where(inside, 1 - share, zero),
        jnp.where(inside, share, zero),
    )


def axis_matrix(
    start: Array, extent: Array, bins: int, sampling_ratio: int, length: Array | int, longest: int
) -> Array:
    """Makes the matrices (r, bins, longest) that average linear interpolations along one axis.

    Args:
      length: cells of the axis; they may differ from region to region, (r, 1).
      longest: cells of the longest axis.
    """
    step = extent[:, None] / bins
    begin = start[:, None] + jnp.arange(bins, dtype=start.dtype)[None] * step
    cells = jnp.arange(longest, dtype=jnp.int32)[None, None]
    count = (
        jnp.ceil(extent / bins)[:, None]
        if sampling_ratio == 0
        else jnp.full_like(step, sampling_ratio)
    )

    def add(i: Array, total: Array) -> Array:
        position = begin + (i + 0.5) * step / jnp.maximum(count, 1)
        first, second, low, high = (x[..., None] for x in neighbours(position, length))
        here = jnp.where(cells == first, low, 0) + jnp.where(cells == second, high, 0)
        return total + jnp.where((i < count)[..., None], here, 0)

    total = jnp.zeros((start.shape[0], bins, longest), start.dtype)
    if sampling_ratio:
        for i in range(sampling_ratio):
            total = add(jnp.asarray(i, start.dtype), total)
    else:
        # NaN and infinite boxes would never end; nothing of a map lies beyond its length anyway.
        most = jnp.max(jnp.where(jnp.isfinite(count), count, 0), initial=0)
        _, total = lax.while_loop(
            lambda state: state[0] < most,
            lambda state: (state[0] + 1, add(*state)),
            (jnp.zeros((), start.dtype), total),
        )
    return total / jnp.maximum(count, 1)[..., None]
