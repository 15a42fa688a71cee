"""RoIAlign: bilinear samples of regions of a feature map, on one map or a pyramid.

Two exact forms. The default gathers four neighbours of every sample from one table that holds all
levels and images; on the CPU it goes through eight regions at a time, whose samples stay in cache.
Its gradient adds into that table, in any order on a GPU. `deterministic=True`, and an adaptive
number of samples, take the other form: per region one matrix for rows and one for columns, so that
pooling and its gradient are matrix products.

Boxes get no gradient (as in the reference implementations).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

CPU_CHUNK = 8  # regions per step: more would leave the cache (measured: 8 beats 32 by up to 3x)
MATRIX_CHUNK = 64  # regions per step of the matrix form: bounds its memory


def pyramid_level(
    boxes: Float[Array, "*n 4"],
    lowest: int = 2,
    highest: int = 5,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> Int[Array, "*n"]:
    """Which level a box is pooled from, counted from `lowest` (Lin 2017, eq. 1).

    floor(canonical_level + log2(sqrt(area) / canonical_size)), kept within the pyramid. Boxes
    without extent go to the lowest.
    """
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    area = lax.stop_gradient(sides[..., 0] * sides[..., 1])
    area = jnp.where(area > 0, area, 1e-12)
    # The small number keeps a box of exactly the canonical size from falling a level by rounding.
    level = jnp.floor(canonical_level + jnp.log2(jnp.sqrt(area) / canonical_size) + 1e-6)
    return jnp.clip(level, lowest, highest).astype(jnp.int32) - lowest


def roi_align(
    features: Float[Array, "b h w c"],
    boxes: Float[Array, "b r 4"],
    size: tuple[int, int],
    scale: float,
    samples: int = 2,
    aligned: bool = True,
    deterministic: bool = False,
) -> Float[Array, "b r {size[0]} {size[1]} c"]:
    """RoIAlign (He 2017, section 3) on one feature map.

    Args:
      boxes: xyxy, pixels of the image.
      size: bins down and across.
      scale: feature cells per pixel, 1 / stride.
      samples: per bin and axis; 0 means one per started cell of a bin, which varies by box.
      aligned: shift by half a cell, so that cell (0, 0) is sampled at its centre. False is the
        first published version (torchvision's detectors): no shift, boxes at least one cell wide.
      deterministic: the form whose gradient does not depend on the order of sums.
    """
    return roi_align_pyramid(
        (features,),
        boxes,
        jnp.zeros(boxes.shape[:2], jnp.int32),
        size,
        (scale,),
        samples,
        aligned,
        deterministic,
    )


def roi_align_pyramid(
    features: Sequence[Float[Array, "b _h _w c"]],
    boxes: Float[Array, "b r 4"],
    levels: Int[Array, "b r"],
    size: tuple[int, int],
    scales: Sequence[float],
    samples: int = 2,
    aligned: bool = False,
    deterministic: bool = False,
) -> Float[Array, "b r {size[0]} {size[1]} c"]:
    """RoIAlign with each box pooled from its own level; see `pyramid_level` and `roi_align`.

    Args:
      features: maps from fine to coarse.
      levels: each box's place in `features`.
      scales: per level, feature cells per pixel.
    """
    boxes = lax.stop_gradient(boxes)
    if boxes.dtype.itemsize < 4:  # half precision cannot hold pixel coordinates
        boxes = boxes.astype(jnp.float32)
    if boxes.shape[1] == 0:
        return jnp.zeros((*boxes.shape[:2], *size, features[0].shape[-1]), features[0].dtype)
    if samples == 0 or deterministic:
        return _by_matrices(features, boxes, levels, size, scales, samples, aligned)
    return _by_gathering(features, boxes, levels, size, scales, samples, aligned)


def ps_roi_align(
    features: Float[Array, "b h w _"],
    boxes: Float[Array, "b r 4"],
    size: int,
    scale: float,
    samples: int = 0,
) -> Float[Array, "b r {size} {size} _k"]:
    """Position-sensitive RoIAlign: bin (i, j) of output k reads channel (k size + i) size + j.

    R-FCN's pooling (Dai 2016, eq. 1) with aligned bilinear samples (see `roi_align`). A box
    without extent gives 0 where `samples` is 0.
    """

    def image(features: Array, boxes: Array) -> Array:
        return per_chunk(lambda boxes: region(features, boxes), (boxes,))

    def region(features: Array, boxes: Array) -> Array:
        start, extent = _in_cells(boxes, scale, True)
        rows, columns = align_matrices(start, extent, features.shape[:2], (size, size), samples)
        return position_sensitive(features, rows, columns)

    return jax.vmap(image)(features, lax.stop_gradient(boxes))


def position_sensitive(
    features: Float[Array, "h w c"], rows: Float[Array, "r k h"], columns: Float[Array, "r k w"]
) -> Float[Array, "r k k _"]:
    """Weighted sums over cells, bin (i, j) from its own maps, for `ps_roi_align` and its like."""
    height, width, channels = features.shape
    size = rows.shape[1]
    maps = features.reshape(height, width, channels // size**2, size, size)
    rows, columns = rows.astype(features.dtype), columns.astype(features.dtype)
    partial = jnp.einsum("rih,hwcij->rwcij", rows, maps, precision="highest")
    return jnp.einsum("rwcij,rjw->rijc", partial, columns, precision="highest")


def align_matrices(
    start: Float[Array, "r 2"],
    extent: Float[Array, "r 2"],
    grid: tuple[int, int],
    size: tuple[int, int],
    samples: int,
) -> tuple[Float[Array, "r {size[0]} {grid[0]}"], Float[Array, "r {size[1]} {grid[1]}"]]:
    """Per box the weights of rows in each bin, and of columns: averaged bilinear interpolation.

    Args:
      start, extent: x, y and width, height in cells, cell (0, 0) centred on the origin.
      grid: rows and columns of the map.
      samples: see `roi_align`.
    """
    rows = _axis_matrix(start[:, 1], extent[:, 1], size[0], samples, grid[0])
    columns = _axis_matrix(start[:, 0], extent[:, 0], size[1], samples, grid[1])
    return rows, columns


def per_chunk(function, arguments: tuple[Array, ...], chunk: int = MATRIX_CHUNK) -> Array:
    """`function` over leading axes, `chunk` rows at a time, one chunk after the other."""
    count = arguments[0].shape[0]
    if count <= chunk:
        return function(*arguments)
    steps = -(-count // chunk)

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, steps * chunk - count)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(steps, chunk, *x.shape[1:])

    result = lax.map(lambda part: function(*part), tuple(split(x) for x in arguments))
    return result.reshape(steps * chunk, *result.shape[2:])[:count]


def _in_cells(boxes: Array, scale: Array | float, aligned: bool) -> tuple[Array, Array]:
    """Corners x, y and sides w, h in feature cells, cell (0, 0) centred on the origin."""
    boxes = boxes * scale
    start, extent = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    return (start - 0.5, extent) if aligned else (start, jnp.maximum(extent, 1))


def _neighbours(position: Array, length: Array | int) -> tuple[Array, Array, Array, Array]:
    """The two cells next to a position on an axis and their weights; 0 far outside the map."""
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


def _per_bin(neighbours: Sequence[tuple[Array, Array]], samples: int) -> list[tuple[Array, Array]]:
    """(r, bins · samples) cells and weights, by which of its bin's samples each is."""
    return [(x[:, i::samples], w[:, i::samples]) for x, w in neighbours for i in range(samples)]


def _axis_matrix(start: Array, extent: Array, bins: int, samples: int, length: int) -> Array:
    """(r, bins, length): each bin's average of linear interpolations along one axis."""
    step = extent[:, None] / bins
    begin = start[:, None] + jnp.arange(bins, dtype=start.dtype)[None] * step
    cells = jnp.arange(length, dtype=jnp.int32)[None, None]
    count = jnp.ceil(extent / bins)[:, None] if samples == 0 else jnp.full_like(step, samples)

    def add(i: Array, total: Array) -> Array:
        position = begin + (i + 0.5) * step / jnp.maximum(count, 1)
        first, second, low, high = (x[..., None] for x in _neighbours(position, length))
        here = jnp.where(cells == first, low, 0) + jnp.where(cells == second, high, 0)
        return total + jnp.where((i < count)[..., None], here, 0)

    total = jnp.zeros((start.shape[0], bins, length), start.dtype)
    if samples:
        for i in range(samples):
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


def _by_matrices(
    features: Sequence[Array],
    boxes: Array,
    levels: Array,
    size: tuple[int, int],
    scales: Sequence[float],
    samples: int,
    aligned: bool,
) -> Array:
    def image(maps: Sequence[Array], boxes: Array, levels: Array) -> Array:
        return per_chunk(lambda b, n: region(maps, b, n), (boxes, levels))

    def region(maps: Sequence[Array], boxes: Array, levels: Array) -> Array:
        total = jnp.zeros((), maps[0].dtype)
        for level, (features, scale) in enumerate(zip(maps, scales, strict=True)):
            mine = (levels == level)[:, None, None]
            # A box of another level becomes empty, so that it cannot prolong the loop over samples.
            start, extent = _in_cells(boxes, scale, aligned)
            extent = jnp.where(mine[..., 0], extent, 0)
            rows, columns = align_matrices(start, extent, features.shape[:2], size, samples)
            rows = jnp.where(mine, rows, 0).astype(features.dtype)
            partial = jnp.einsum("rih,hwc->riwc", rows, features, precision="highest")
            columns = columns.astype(features.dtype)
            total += jnp.einsum("riwc,rjw->rijc", partial, columns, precision="highest")
        return total

    return jax.vmap(image)(tuple(features), boxes, levels)


def _by_gathering(
    features: Sequence[Array],
    boxes: Array,
    levels: Array,
    size: tuple[int, int],
    scales: Sequence[float],
    samples: int,
    aligned: bool,
) -> Array:
    images, count, _ = boxes.shape
    channels, kind = features[0].shape[-1], boxes.dtype
    table = jnp.concatenate([x.reshape(-1, channels) for x in features])
    heights, widths = (jnp.asarray([x.shape[i] for x in features], jnp.int32) for i in (1, 2))
    starts, total = [], 0
    for x in features:
        starts.append(total)
        total += x.shape[0] * x.shape[1] * x.shape[2]
    starts = jnp.asarray(starts, jnp.int32)[levels]
    image = jnp.arange(images, dtype=jnp.int32)[:, None]
    starts += image * heights[levels] * widths[levels]

    def positions(start: Array, extent: Array, bins: int) -> Array:
        share = (jnp.arange(bins * samples, dtype=kind) + 0.5) / (samples * bins)
        return start[:, None] + share[None] * extent[:, None]

    def pool(boxes: Array, levels: Array, starts: Array) -> Array:
        start, extent = _in_cells(boxes, jnp.asarray(scales, kind)[levels][:, None], aligned)
        height, width = heights[levels][:, None], widths[levels][:, None]
        y = positions(start[:, 1], extent[:, 1], size[0])
        x = positions(start[:, 0], extent[:, 0], size[1])
        top, bottom, above, below = _neighbours(y, height.astype(kind))
        left, right, before, after = _neighbours(x, width.astype(kind))
        rows = _per_bin(((top, above), (bottom, below)), samples)
        columns = _per_bin(((left, before), (right, after)), samples)
        # One term per cell that a bin reads, so that all is one loop over the result: four times
        # as fast as averaging an array of samples.
        total = jnp.zeros((), table.dtype)
        for row, row_weight in rows:
            for column, column_weight in columns:
                place = starts[:, None, None] + (row * width)[:, :, None] + column[:, None]
                weight = row_weight[:, :, None] * column_weight[:, None] / samples**2
                total += table[place] * weight[..., None].astype(table.dtype)
        return total

    flat = (boxes.reshape(-1, 4), levels.reshape(-1), starts.reshape(-1))
    chunk = CPU_CHUNK if jax.default_backend() == "cpu" else images * count
    return per_chunk(pool, flat, chunk).reshape(images, count, *size, channels)
