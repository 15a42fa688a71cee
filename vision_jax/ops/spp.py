"""What SPP-net adds to pyramid pooling: windows of cells, their scale, Caffe's and mean pyramids.

He et al. 2014; where paper and released code differ, both are here. See `ops.spatial_pyramid_pool`
for pyramids of whole maps.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.ops.roi_pool import max_over_bins, round_half_away


def pool_cells(
    features: Float[Array, "b h w c"],
    windows: Int[Array, "b r 4"],
    levels: Sequence[int] = (6, 3, 2, 1),
    deterministic: bool = False,
) -> Float[Array, "b r _ c"]:
    """Pools windows of cells by maxima over n × n bins per level, in a row (He 2014, section 2.3).

    Bin i of n covers floor(i w / n) to ceil((i + 1) w / n), so that bins may share cells, and none
    of a window with extent is empty.

    Args:
      windows: x0, y0, x1, y1 in cells, the ends exclusive, within the map.
      deterministic: see `ops.roi_pool`.
    """
    pooled = []
    for bins in levels:
        number = jnp.arange(bins, dtype=windows.dtype)[None, None]
        edges = []
        for axis in (0, 1):
            start, end = windows[..., axis, None], windows[..., axis + 2, None]
            extent = end - start
            edges.append(start + number * extent // bins)
            edges.append(start - (-(number + 1) * extent) // bins)
        left, right, top, bottom = edges
        level = max_over_bins(features, top, bottom, left, right, deterministic)
        pooled.append(level.reshape(*windows.shape[:2], bins * bins, features.shape[-1]))
    return jnp.concatenate(pooled, 2)


def spatial_pyramid_mean(
    features: Float[Array, "b h w c"], levels: Sequence[int] = (4, 2, 1)
) -> Float[Array, "b _ c"]:
    """Pools the whole map as `ops.spatial_pyramid_pool`, but by means."""
    _, height, width, _ = features.shape
    bins = [
        features[:, _span(i, n, height)][:, :, _span(j, n, width)].mean((1, 2))
        for n in levels
        for i in range(n)
        for j in range(n)
    ]
    return jnp.stack(bins, 1)


def caffe_pyramid_level(features: Float[Array, "b h w c"], bins: int) -> Float[Array, "b _i _j c"]:
    """Pools the whole map by one level of Caffe's SPP layer, which is another function.

    Its bins do not overlap: kernel and stride are ceil(size / n), with padding on both sides, so
    that the first bin is smaller. There may be fewer bins than were asked for.

    Raises:
      ValueError: a level that Caffe refuses, where padding would fill a bin.
    """
    kernel, padding = [], []
    for size in features.shape[1:3]:
        step = -(-size // bins)
        before = (step * bins - size + 1) // 2
        if before >= step:
            raise ValueError(f"bins={bins} do not fit a map of {size} cells in Caffe's way")
        count = -(-(size + 2 * before - step) // step) + 1
        if before and (count - 1) * step >= size + before:
            count -= 1  # a last bin of padding alone
        kernel.append(step)
        padding.append((before, count * step - size - before))
    window = (1, *kernel, 1)
    lowest = -jnp.inf
    return lax.reduce_window(features, lowest, lax.max, window, window, ((0, 0), *padding, (0, 0)))


def released_window(
    boxes: Float[Array, "*n 4"],
    size: tuple[int, int],
    stride: int = 16,
    offset0: float = 21.0,
    offset: float = 6.5,
) -> Int[Array, "*n 4"]:
    """Maps boxes to cells as SPP-net's released code; the defaults are those of its ZF-5 network.

    Args:
      boxes: xyxy in pixels of the resized image, the first of which is 1; ends inclusive.
      size: rows and columns of the map.

    Returns:
      x0, y0, x1, y1 in cells, the first of which is 1; ends inclusive, never empty, in the map.
    """
    low = jnp.floor((boxes[..., :2] - offset0 + offset) / stride + 0.5) + 1
    high = jnp.ceil((boxes[..., 2:] - offset0 - offset) / stride - 0.5) + 1
    middle = jnp.trunc((low + high) / 2)
    empty = low > high
    ends = [jnp.where(empty, middle, low), jnp.where(empty, middle, high)]
    last = jnp.array(size[::-1], boxes.dtype).reshape((1,) * (boxes.ndim - 1) + (2,))
    clipped = [jnp.minimum(jnp.maximum(end, 1), last) for end in ends]
    return jnp.concatenate(clipped, -1).astype(jnp.int32)


def paper_window(boxes: Float[Array, "*n 4"], stride: int = 16) -> Int[Array, "*n 4"]:
    """Maps boxes to cells as the paper's appendix A: floor(x / s) + 1 to ceil(x / s) - 1.

    Args:
      boxes: xyxy in pixels, the first of which is 0.

    Returns:
      x0, y0, x1, y1 in cells, the first of which is 0; ends inclusive, and of small boxes before
      the beginnings.
    """
    low, high = jnp.floor(boxes[..., :2] / stride) + 1, jnp.ceil(boxes[..., 2:] / stride) - 1
    return jnp.concatenate([low, high], -1).astype(jnp.int32)


def nearest_scale(
    boxes: Float[Array, "*n 4"],
    short_side: int,
    scales: Sequence[int] = (480, 576, 688, 874, 1200),
) -> Int[Array, "*n"]:
    """Chooses the scale at which a box has about 208² pixels (the released code's rule).

    Args:
      boxes: xyxy in pixels of the original image, ends inclusive.
      short_side: of the original image.
      scales: lengths of the short side; of two that are as near the first is taken.

    Returns:
      the number of the scale of each box.
    """
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    wished = round_half_away(13 * 16 * short_side / jnp.sqrt(sides[..., 0] * sides[..., 1]))
    places = jnp.array(scales, boxes.dtype).reshape((1,) * wished.ndim + (len(scales),))
    return jnp.argmin(jnp.abs(places - wished[..., None]), -1).astype(jnp.int32)


def _span(i: int, n: int, length: int) -> slice:
    return slice(i * length // n, -(-(i + 1) * length // n))
