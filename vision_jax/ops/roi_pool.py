"""RoIPool and its kin: maxima and means over whole cells of a feature map.

The maximum over a rectangle is the maximum of four overlapping rectangles whose sides are powers
of two. All those of one size form a map as large as the features (a sparse table), so that a bin
costs four reads, whatever its size. Where values tie, the gradient is shared among them (the
reference gives it to the first).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.kernels.chunks import CPU_CHUNK, per_chunk
from vision_jax.ops.position_sensitive import position_sensitive


def roi_pool(
    features: Float[Array, "b h w c"],
    boxes: Float[Array, "b r 4"],
    size: tuple[int, int],
    scale: float,
    deterministic: bool = False,
) -> Float[Array, "b r {size[0]} {size[1]} c"]:
    """Pools regions of a feature map by RoIPool (Girshick 2015, section 2.1).

    Corners are rounded to cells, halves away from zero as in C; the last cell belongs to the box,
    which is at least one cell wide. Bins may share cells. An empty bin (outside the map) is 0.

    Args:
      boxes: xyxy, pixels of the image; they get no gradient.
      size: bins down and across.
      scale: feature cells per pixel, 1 / stride.
      deterministic: the (slow) form whose gradient does not depend on the order of sums.
    """
    cells = round_half_away(lax.stop_gradient(boxes) * scale)
    first, extent = cells[..., :2], jnp.maximum(cells[..., 2:] - cells[..., :2] + 1, 1)
    left, right = _bins(first[..., 0], extent[..., 0], size[1], features.shape[2])
    top, bottom = _bins(first[..., 1], extent[..., 1], size[0], features.shape[1])
    return max_over_bins(features, top, bottom, left, right, deterministic)


def spp_windows(
    features: Float[Array, "b h w c"],
    boxes: Float[Array, "b r 4"],
    levels: Sequence[int] = (6, 3, 2, 1),
    stride: int = 16,
    deterministic: bool = False,
) -> Float[Array, "b r _ c"]:
    """Pools windows by spatial pyramid pooling (He 2014, appendix A): bins of all levels in a row.

    A window's corners map to floor(x / stride) + 1 and ceil(x / stride) - 1; bin i of n covers
    floor((i - 1) w / n) to ceil(i w / n).
    """
    boxes = lax.stop_gradient(boxes)
    first = jnp.floor(boxes[..., :2] / stride) + 1
    extent = jnp.maximum(jnp.ceil(boxes[..., 2:] / stride) - first, 1)
    pooled = []
    for bins in levels:
        left, right = _bins(first[..., 0], extent[..., 0], bins, features.shape[2])
        top, bottom = _bins(first[..., 1], extent[..., 1], bins, features.shape[1])
        level = max_over_bins(features, top, bottom, left, right, deterministic)
        pooled.append(level.reshape(*boxes.shape[:2], bins * bins, -1))
    return jnp.concatenate(pooled, 2)


def spatial_pyramid_pool(
    features: Float[Array, "b h w c"], levels: Sequence[int] = (6, 3, 2, 1)
) -> Float[Array, "b _ c"]:
    """Pools the whole map: maxima over n × n bins per level, in a row (He 2014, section 2.3)."""
    _, height, width, _ = features.shape
    bins = [
        features[:, i * height // n : -(-(i + 1) * height // n)][
            :, :, j * width // n : -(-(j + 1) * width // n)
        ].max((1, 2))
        for n in levels
        for i in range(n)
        for j in range(n)
    ]
    return jnp.stack(bins, 1)


def ps_roi_pool(
    features: Float[Array, "b h w _"],
    boxes: Float[Array, "b r 4"],
    size: int,
    scale: float,
    torchvision_edges: bool = False,
) -> Float[Array, "b r {size} {size} _k"]:
    """Pools regions by position-sensitive RoIPool (Dai 2016, eq. 1): means; an empty bin is 0.

    Bin (i, j) of output k reads channel (k size + i) size + j. Corners are rounded as in
    `roi_pool`, but the last cell does not belong to the box.

    Args:
      torchvision_edges: as torchvision does, leave the map's last row and column out of every
        bin, but not out of the gradient. Only for comparison with it.
    """

    regions = boxes.shape[1]
    boxes = lax.stop_gradient(boxes).reshape(-1, 4)
    cells = round_half_away(boxes * scale)
    extent = jnp.maximum(cells[:, 2:] - cells[:, :2], 1)

    def weights(cut: int) -> list[Array]:
        matrices = []
        for axis, length in ((1, features.shape[1]), (0, features.shape[2])):
            start, end = _bins(cells[:, axis], extent[:, axis], size, length - cut)
            matrices.append(shares(start, end, length, boxes.dtype))
        return matrices

    pooled = position_sensitive(features, regions, *weights(0))
    if not torchvision_edges:
        return pooled
    inner = position_sensitive(features, regions, *weights(1))
    return pooled + lax.stop_gradient(inner - pooled)


def shares(
    start: Int[Array, "r n"], end: Int[Array, "r n"], length: int, dtype: jnp.dtype
) -> Float[Array, "r n {length}"]:
    """Returns each cell's share of the mean over each bin's cells, start <= cell < end."""
    cell = jnp.arange(length, dtype=jnp.int32)[None, None]
    inside = (cell >= start[..., None]) & (cell < end[..., None])
    return inside.astype(dtype) / jnp.maximum(end - start, 1).astype(dtype)[..., None]


def round_half_away(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Rounds as C's roundf: halves away from zero (jnp.round takes them to the even neighbour)."""
    whole = jnp.trunc(x)
    return whole + jnp.where(jnp.abs(x - whole) >= 0.5, jnp.sign(x), 0)


def max_over_bins(
    features: Float[Array, "b h w c"],
    top: Int[Array, "b r p"],
    bottom: Int[Array, "b r p"],
    left: Int[Array, "b r q"],
    right: Int[Array, "b r q"],
    deterministic: bool = False,
) -> Float[Array, "b r p q c"]:
    """Takes maxima over rows top <= y < bottom and columns left <= x < right; 0 if there are none.

    Args:
      top, bottom, left, right: of each region's bins, in cells.
      deterministic: see `roi_pool`.
    """
    if top.shape[1] == 0:
        return jnp.zeros((*top.shape, left.shape[2], features.shape[-1]), features.dtype)
    if deterministic:
        return jax.vmap(_max_by_masks)(features, top, bottom, left, right)
    height, width = features.shape[1:3]
    # Bins of a box within the map are at most so large. A larger one is legal, and pays for it.
    common = (
        _doublings(-(-height // top.shape[2]) + 1),
        _doublings(-(-width // left.shape[2]) + 1),
    )
    rare = (_doublings(height), _doublings(width))
    common = (min(common[0], rare[0]), min(common[1], rare[1]))
    arguments = (features, top, bottom, left, right)
    if common == rare:
        return _max_by_table(*arguments, *rare)
    fits = (jnp.max(bottom - top) < 2 << common[0]) & (jnp.max(right - left) < 2 << common[1])
    return lax.cond(
        fits,
        lambda *x: _max_by_table(*x, *common),
        lambda *x: _max_by_table(*x, *rare),
        *arguments,
    )


def _bins(start: Array, extent: Array, bins: int, limit: int) -> tuple[Array, Array]:
    """Finds the first cell of each bin and the cell after its last, (..., bins), in 0..limit.

    In floats and with a true division, as the reference: compilers turn x / constant into
    x * (1 / constant), and floor and ceil then move by one. So the divisor depends on the data.
    """
    step = extent / jnp.where(extent > 0, jnp.full_like(extent, bins), 1)
    number = jnp.arange(bins, dtype=extent.dtype).reshape((1,) * extent.ndim + (bins,))
    low = jnp.floor(number * step[..., None]) + start[..., None]
    high = jnp.ceil((number + 1) * step[..., None]) + start[..., None]
    return tuple(jnp.clip(x, 0, limit).astype(jnp.int32) for x in (low, high))


def _doublings(length: int) -> int:
    """Returns the exponent of the largest power of two that is at most `length`."""
    return max(length, 1).bit_length() - 1


def _max_by_table(
    features: Array, top: Array, bottom: Array, left: Array, right: Array, tall: int, wide: int
) -> Array:
    """Pools bins of up to 2^(tall+1) - 1 rows and 2^(wide+1) - 1 columns by a sparse table."""
    images, height, width, channels = features.shape
    table = jnp.stack(
        [m for rows in _windows(features, 1, tall) for m in _windows(rows, 2, wide)]
    ).reshape(-1, channels)
    image = jnp.arange(images, dtype=jnp.int32)[:, None]
    image = jnp.broadcast_to(image, top.shape[:2]).reshape(-1)

    def level(extent: Array, most: int) -> Array:
        powers = jnp.arange(1, most + 1, dtype=jnp.int32).reshape((1,) * extent.ndim + (most,))
        return jnp.sum(extent[..., None] >= (1 << powers), -1, dtype=jnp.int32)

    def pool(image: Array, top: Array, bottom: Array, left: Array, right: Array) -> Array:
        row, column = level(bottom - top, tall), level(right - left, wide)
        layer = row[:, :, None] * (wide + 1) + column[:, None]
        base = (layer * images + image[:, None, None]) * (height * width)
        best = None
        for y in (top, jnp.maximum(bottom - (1 << row), 0)):
            for x in (left, jnp.maximum(right - (1 << column), 0)):
                y, x = jnp.minimum(y, height - 1), jnp.minimum(x, width - 1)
                maxima = table[base + (y * width)[:, :, None] + x[:, None]]
                best = maxima if best is None else jnp.maximum(best, maxima)
        empty = (bottom <= top)[:, :, None] | (right <= left)[:, None]
        return jnp.where(empty[..., None], 0, best)

    flat = [x.reshape(-1, x.shape[2]) for x in (top, bottom, left, right)]
    chunk = CPU_CHUNK if jax.default_backend() == "cpu" else image.shape[0]
    pooled = per_chunk(pool, (image, *flat), chunk)
    return pooled.reshape(*top.shape, left.shape[2], channels)


def _windows(x: Array, axis: int, most: int) -> list[Array]:
    """Takes maxima over 1, 2, 4 ... 2^most cells from each cell on, up to the end of the axis."""
    maps = [x]
    for power in range(most):
        last, step = maps[-1], 1 << power
        shifted = lax.slice_in_dim(last, min(step, x.shape[axis]), None, axis=axis)
        fill = [(0, 0)] * x.ndim
        fill[axis] = (0, x.shape[axis] - shifted.shape[axis])
        maps.append(jnp.maximum(last, jnp.pad(shifted, fill, constant_values=-jnp.inf)))
    return maps


def _max_by_masks(features: Array, top: Array, bottom: Array, left: Array, right: Array) -> Array:
    """Pools one image, region by region, by masked maxima over rows, then columns; no scatter."""
    rows, columns = (jnp.arange(n, dtype=jnp.int32)[None] for n in features.shape[:2])

    def per_region(bins: tuple[Array, ...]) -> Array:
        top, bottom, left, right = (x[:, None] for x in bins)
        inside = ((rows >= top) & (rows < bottom))[:, :, None, None]
        partial = jnp.where(inside, features[None], -jnp.inf).max(1)
        inside = ((columns >= left) & (columns < right))[None, :, :, None]
        best = jnp.where(inside, partial[:, None], -jnp.inf).max(2)
        empty = (bottom <= top)[:, None] | (right <= left)[None]
        return jnp.where(empty, 0, best)

    return lax.map(per_region, (top, bottom, left, right))
