"""RoIAlign: bilinear samples of regions of a feature map, on one map or a pyramid.

Three exact forms. The default gathers four neighbours of every sample from one table that holds all
levels and images; on the CPU it goes through eight regions at a time, whose samples stay in cache.
Its gradient adds into that table, in any order on a GPU. With `deterministic=True` there is per
region one matrix for rows and one for columns, so that pooling and its gradient are matrix
products. An adaptive number of samples takes this form too, but on the CPU one that sums the cells
which those matrices weigh (measured on one core, 512 regions of a pyramid from 200×200×256: 0.04 s,
and 0.06 s with the gradient, instead of 0.7 and 1.8).

Boxes get no gradient (as in the reference implementations).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.kernels.chunks import CPU_CHUNK, per_chunk
from vision_jax.kernels.roi_spans import span_sums
from vision_jax.ops.position_sensitive import position_sensitive
from vision_jax.ops.roi_weights import align_matrices, axis_matrix, in_cells, neighbours


def pyramid_level(
    boxes: Float[Array, "*n 4"],
    lowest: int = 2,
    highest: int = 5,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> Int[Array, "*n"]:
    """Finds the level that each box is pooled from, counted from `lowest` (Lin 2017, eq. 1).

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
    sampling_ratio: int = 2,
    aligned: bool = True,
    deterministic: bool = False,
) -> Float[Array, "b r {size[0]} {size[1]} c"]:
    """Pools regions of one feature map by RoIAlign (He 2017, section 3).

    Args:
      boxes: xyxy, pixels of the image.
      size: bins down and across.
      scale: feature cells per pixel, 1 / stride.
      sampling_ratio: samples per bin and axis; 0 means one per started cell of a bin, which varies
        by box.
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
        sampling_ratio,
        aligned,
        deterministic,
    )


def roi_align_pyramid(
    features: Sequence[Float[Array, "b _h _w c"]],
    boxes: Float[Array, "b r 4"],
    levels: Int[Array, "b r"],
    size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = False,
    deterministic: bool = False,
) -> Float[Array, "b r {size[0]} {size[1]} c"]:
    """Pools regions by RoIAlign, each from its own level; see `pyramid_level`.

    Args:
      features: maps from fine to coarse.
      boxes, size, sampling_ratio, aligned, deterministic: see `roi_align`.
      levels: each box's place in `features`.
      scales: per level, feature cells per pixel.
    """
    boxes = lax.stop_gradient(boxes)
    if boxes.dtype.itemsize < 4:  # half precision cannot hold pixel coordinates
        boxes = boxes.astype(jnp.float32)
    if boxes.shape[1] == 0:
        return jnp.zeros((*boxes.shape[:2], *size, features[0].shape[-1]), features[0].dtype)
    if deterministic or (sampling_ratio == 0 and jax.default_backend() != "cpu"):
        return _by_matrices(features, boxes, levels, size, scales, sampling_ratio, aligned)
    if sampling_ratio == 0:
        return _by_spans(features, boxes, levels, size, scales, aligned)
    return _by_gathering(features, boxes, levels, size, scales, sampling_ratio, aligned)


def ps_roi_align(
    features: Float[Array, "b h w _"],
    boxes: Float[Array, "b r 4"],
    size: int,
    scale: float,
    sampling_ratio: int = 0,
) -> Float[Array, "b r {size} {size} _k"]:
    """Pools regions by position-sensitive RoIAlign.

    R-FCN's pooling (Dai 2016, eq. 1) with aligned bilinear samples (see `roi_align`): bin (i, j) of
    output k reads channel (k size + i) size + j. A box without extent gives 0 where
    `sampling_ratio` is 0.
    """

    boxes = lax.stop_gradient(boxes)
    start, extent = in_cells(boxes.reshape(-1, 4), scale, True)
    grid = features.shape[1:3]
    rows, columns = align_matrices(start, extent, grid, (size, size), sampling_ratio)
    return position_sensitive(features, boxes.shape[1], rows, columns)


def _per_bin(
    neighbours: Sequence[tuple[Array, Array]], sampling_ratio: int
) -> list[tuple[Array, Array]]:
    """Splits cells and weights (r, bins · sampling_ratio) by which of its bin's samples each is."""
    return [
        (x[:, i::sampling_ratio], w[:, i::sampling_ratio])
        for x, w in neighbours
        for i in range(sampling_ratio)
    ]


def _by_matrices(
    features: Sequence[Array],
    boxes: Array,
    levels: Array,
    size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Array:
    def per_image(maps: Sequence[Array], boxes: Array, levels: Array) -> Array:
        return per_chunk(lambda b, n: per_region(maps, b, n), (boxes, levels))

    def per_region(maps: Sequence[Array], boxes: Array, levels: Array) -> Array:
        total = jnp.zeros((), maps[0].dtype)
        for level, (features, scale) in enumerate(zip(maps, scales, strict=True)):
            is_here = (levels == level)[:, None, None]
            # A box of another level becomes empty, so that it cannot prolong the loop over samples.
            start, extent = in_cells(boxes, scale, aligned)
            extent = jnp.where(is_here[..., 0], extent, 0)
            rows, columns = align_matrices(start, extent, features.shape[:2], size, sampling_ratio)
            rows = jnp.where(is_here, rows, 0).astype(features.dtype)
            partial = jnp.einsum("rih,hwc->riwc", rows, features, precision="highest")
            columns = columns.astype(features.dtype)
            total += jnp.einsum("riwc,rjw->rijc", partial, columns, precision="highest")
        return total

    return jax.vmap(per_image)(tuple(features), boxes, levels)


def _by_gathering(
    features: Sequence[Array],
    boxes: Array,
    levels: Array,
    size: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Array:
    images, count, _ = boxes.shape
    dtype = boxes.dtype
    table, starts, heights, widths = _table(features, levels)

    def positions(start: Array, extent: Array, bins: int) -> Array:
        share = (jnp.arange(bins * sampling_ratio, dtype=dtype) + 0.5) / (sampling_ratio * bins)
        return start[:, None] + share[None] * extent[:, None]

    def pool(boxes: Array, levels: Array, starts: Array, height: Array, width: Array) -> Array:
        start, extent = in_cells(boxes, jnp.asarray(scales, dtype)[levels][:, None], aligned)
        height, width = height[:, None], width[:, None]
        y = positions(start[:, 1], extent[:, 1], size[0])
        x = positions(start[:, 0], extent[:, 0], size[1])
        top, bottom, above, below = neighbours(y, height.astype(dtype))
        left, right, before, after = neighbours(x, width.astype(dtype))
        rows = _per_bin(((top, above), (bottom, below)), sampling_ratio)
        columns = _per_bin(((left, before), (right, after)), sampling_ratio)
        # One term per cell that a bin reads, so that all is one loop over the result: four times
        # as fast as averaging an array of samples.
        total = jnp.zeros((), table.dtype)
        for row, row_weight in rows:
            for column, column_weight in columns:
                place = starts[:, None, None] + (row * width)[:, :, None] + column[:, None]
                weight = row_weight[:, :, None] * column_weight[:, None] / sampling_ratio**2
                total += table[place] * weight[..., None].astype(table.dtype)
        return total

    flat = (boxes.reshape(-1, 4), levels.reshape(-1), starts, heights, widths)
    chunk = CPU_CHUNK if jax.default_backend() == "cpu" else images * count
    return per_chunk(pool, flat, chunk).reshape(images, count, *size, table.shape[1])


def _by_spans(
    features: Sequence[Array],
    boxes: Array,
    levels: Array,
    size: tuple[int, int],
    scales: Sequence[float],
    aligned: bool,
) -> Array:
    """Pools with an adaptive number of samples: the form for the CPU."""
    images, count, _ = boxes.shape
    table, starts, heights, widths = _table(features, levels)
    scale = jnp.asarray(scales, boxes.dtype)[levels.reshape(-1)][:, None]
    start, extent = in_cells(boxes.reshape(-1, 4), scale, aligned)

    def weights(axis: int, bins: int, lengths: Array) -> Array:
        longest = max(x.shape[2 - axis] for x in features)
        lengths = lengths[:, None].astype(boxes.dtype)
        return axis_matrix(start[:, axis], extent[:, axis], bins, 0, lengths, longest)

    rows, columns = weights(1, size[0], heights), weights(0, size[1], widths)
    pooled = span_sums(table, rows, columns, starts[:, None, None], widths)
    return pooled.reshape(images, count, *size, table.shape[1])


def _table(features: Sequence[Array], levels: Array) -> tuple[Array, Array, Array, Array]:
    """Puts the cells of all maps into one table.

    Returns:
      The cells, (n, c); and of each region's map, (b · r,), where it begins in the table, its
      height and its width.
    """
    table = jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in features])
    heights, widths = (jnp.asarray([x.shape[i] for x in features], jnp.int32) for i in (1, 2))
    heights, widths = heights[levels], widths[levels]
    cells = [x.shape[0] * x.shape[1] * x.shape[2] for x in features]
    starts = jnp.asarray([sum(cells[:i]) for i in range(len(cells))], jnp.int32)[levels]
    starts += jnp.arange(levels.shape[0], dtype=jnp.int32)[:, None] * heights * widths
    return table, starts.reshape(-1), heights.reshape(-1), widths.reshape(-1)
