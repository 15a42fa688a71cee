"""Instance masks and keypoint heat maps: cut out of images as targets, put back as predictions.

Boxes differ in size, arrays must not: every resizing is a product with a matrix per axis, whose
rows depend on the box (as in `roi_align`). Boxes get no gradient.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vision_jax.kernels.chunks import per_chunk
from vision_jax.ops.roi_weights import align_matrices

CROP_CHUNK = 8  # whole masks held at a time while cropping
CANVAS = 128  # pixels; sides of what `paste_on_host` pastes onto are multiples of it


def crop_masks(
    masks: Float[Array, "g h w"] | Bool[Array, "g h w"],
    boxes: Float[Array, "r 4"],
    mask_idxs: Int[Array, "r"],
    size: tuple[int, int],
) -> Float[Array, "r {size[0]} {size[1]}"]:
    """Crops masks to boxes as Mask R-CNN's targets: shares in [0, 1] of each bin.

    RoIAlign of the mask itself (He 2017, section 3), with its first version's conventions: no
    shift by half a pixel and as many samples as started pixels; not made binary again.

    Args:
      mask_idxs: for each box the number of its mask.
    """
    dtype = boxes.dtype

    def crop(boxes: Array, mask_idxs: Array) -> Array:
        start, extent = boxes[:, :2], jnp.maximum(boxes[:, 2:] - boxes[:, :2], 1)
        rows, columns = align_matrices(start, extent, masks.shape[1:], size, 0)
        partial = jnp.einsum(
            "rih,rhw->riw", rows, masks[mask_idxs].astype(dtype), precision="highest"
        )
        return jnp.einsum("riw,rjw->rij", partial, columns, precision="highest")

    if boxes.shape[0] == 0 or masks.shape[0] == 0:
        return jnp.zeros((boxes.shape[0], *size), dtype)
    return per_chunk(crop, (lax.stop_gradient(boxes), mask_idxs), CROP_CHUNK)


def paste_masks(
    masks: Float[Array, "n s s"], boxes: Float[Array, "n 4"], height: int, width: int
) -> Float[Array, "n {height} {width}"]:
    """Pastes predicted masks at their place in the image (Detectron): probabilities, 0 outside.

    The mask is padded by a pixel, its box grown alike and cut to whole pixels; the caller compares
    with 0.5. Boxes without extent cover one pixel.
    """
    side = masks.shape[-1] + 2
    padded = jnp.pad(masks, ((0, 0), (1, 1), (1, 1)))
    low, high = boxes[:, :2], boxes[:, 2:]
    half = (high - low) * 0.5 * (side / (side - 2))
    middle = (low + high) * 0.5
    low, high = jnp.trunc(middle - half), jnp.trunc(middle + half)
    rows = _linear(low[:, 1], high[:, 1], height, side)
    columns = _linear(low[:, 0], high[:, 0], width, side)
    partial = jnp.einsum("nhs,nst->nht", rows, padded, precision="highest")
    return jnp.einsum("nht,nwt->nhw", partial, columns, precision="highest")


def paste_on_host(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int
) -> Iterator[np.ndarray]:
    """Pastes predicted masks as `paste_masks` does, one after the other, for images of many sizes.

    They go onto a canvas whose sides are multiples of `CANVAS`, and are cut: few programs serve any
    number of masks and any size.

    Args:
      masks: (n, s, s) probabilities.
      boxes: (n, 4) xyxy, pixels.

    Yields:
      float32 (height, width) of each mask.
    """
    rows, columns = (-(-side // CANVAS) * CANVAS for side in (height, width))
    for mask, box in zip(np.float32(masks), np.float32(boxes), strict=True):
        canvas = _paste(jnp.asarray(mask[None]), jnp.asarray(box[None]), rows, columns)
        yield np.asarray(canvas)[0, :height, :width]


_paste = jax.jit(paste_masks, static_argnums=(2, 3))


class HeatmapTarget(NamedTuple):
    """The cells in which keypoints fall in their boxes' heat maps."""

    cell: Array  # (r, k) int32, row * size + column; 0 where not valid
    valid: Array  # (r, k) bool, visible and within the box


def keypoint_targets(
    points: Float[Array, "r k 3"], boxes: Float[Array, "r 4"], size: int
) -> HeatmapTarget:
    """Finds the cell of each keypoint (x, y, visibility) in a size × size map over its box.

    A point exactly on the right or lower edge belongs to the last cell (He 2017, section 5).
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    scale = size / jnp.where(sides > 0, sides, 1)
    xy = points[..., :2]
    cell = jnp.floor((xy - boxes[:, None, :2]) * scale[:, None])
    cell = jnp.where(xy == boxes[:, None, 2:], size - 1, cell)
    inside = jnp.all((cell >= 0) & (cell < size), -1) & jnp.all(sides > 0, -1)[:, None]
    valid = inside & (points[..., 2] > 0)
    cell = jnp.where(valid[..., None], cell, 0).astype(jnp.int32)
    return HeatmapTarget(cell[..., 1] * size + cell[..., 0], valid)


def decode_heatmaps(
    maps: Float[Array, "r s s k"], boxes: Float[Array, "r 4"], max_side: int
) -> Float[Array, "r k 3"]:
    """Finds keypoints x, y (pixels) and score at the peaks of heat maps (He 2017, section 5).

    Each map is resized to its box in whole pixels, bicubic; the score is the value at the peak.

    Args:
      max_side: no box side may be longer (pixels); the image's longer side always serves.
    """
    boxes = lax.stop_gradient(boxes)
    sides = jnp.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    pixels = jnp.ceil(sides)
    # Each box is resized within the smallest of these squares that holds it.
    squares = sorted({-(-max_side // share) for share in (1, 2, 4, 8)})

    def per_box(length: int, heat: Array, box: Array, side: Array, count: Array) -> Array:
        number = jnp.arange(length, dtype=boxes.dtype)
        columns = _cubic(count[0], length, heat.shape[1]).astype(heat.dtype)
        rows = _cubic(count[1], length, heat.shape[0]).astype(heat.dtype)
        partial = jnp.einsum("hs,stk->htk", rows, heat, precision="highest")
        full = jnp.einsum("htk,wt->khw", partial, columns, precision="highest")
        inside = (number < count[1])[:, None] & (number < count[0])[None]
        flat = jnp.where(inside[None], full, -jnp.inf).reshape(full.shape[0], -1)
        peak = jnp.argmax(flat, 1)
        cell = jnp.stack([peak % length, peak // length], -1).astype(box.dtype)
        xy = (cell + 0.5) * (side / count)[None] + box[None, :2]
        score = jnp.take_along_axis(flat, peak[:, None], 1)
        return jnp.concatenate([xy, score.astype(xy.dtype)], 1)

    branches = [functools.partial(per_box, length) for length in squares]

    def in_smallest(inputs: tuple[Array, ...]) -> Array:
        longest = inputs[3].max()
        number = sum((longest > length).astype(jnp.int32) for length in squares[:-1])
        return lax.switch(number, branches, *inputs)

    return lax.map(in_smallest, (maps, boxes, sides, pixels))


def _linear(low: Array, high: Array, length: int, side: int) -> Array:
    """Makes matrices (n, length, side) that resize `side` cells to pixels low..high, bilinear.

    Both ends are included.
    """
    pixel = jnp.arange(length, dtype=low.dtype)[None]
    low, high = low[:, None], high[:, None]
    count = jnp.maximum(high - low + 1, 1)
    source = jnp.maximum((pixel - low + 0.5) * (side / count) - 0.5, 0)
    source = jnp.minimum(source, side - 1)[..., None]
    cells = jnp.arange(side, dtype=low.dtype)[None, None]
    weight = jnp.maximum(1 - jnp.abs(source - cells), 0)
    inside = (pixel >= low) & (pixel < low + count)
    return jnp.where(inside[..., None], weight, 0)


def _cubic(count: Array, length: int, side: int) -> Array:
    """Makes the matrix (length, side) that resizes `side` cells to `count` pixels, as torch does.

    It is bicubic.
    """
    source = (jnp.arange(length, dtype=count.dtype) + 0.5) * (side / count) - 0.5
    first = jnp.floor(source)
    share = source - first
    a = -0.75

    def near(x: Array) -> Array:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Array) -> Array:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    taps = (far(share + 1), near(share), near(1 - share), far(2 - share))
    cells = jnp.arange(side, dtype=count.dtype)[None]
    total = jnp.zeros((length, side), count.dtype)
    for i, tap in enumerate(taps):
        cell = jnp.clip(first + (i - 1), 0, side - 1)[:, None]
        total += jnp.where(cells == cell, tap[:, None], 0)
    return total


def boxes_of_masks(masks: Bool[Array, "*n h w"]) -> Float[Array, "*n 4"]:
    """Finds the tightest xyxy box around each mask, pixels; zeros for an empty mask."""
    corners = []
    for axis in (-1, -2):
        seen = jnp.any(masks, -2 if axis == -1 else -1)
        length = seen.shape[-1]
        first = jnp.argmax(seen, -1)
        last = length - jnp.argmax(jnp.flip(seen, -1), -1)
        some = jnp.any(seen, -1)
        corners.append((jnp.where(some, first, 0), jnp.where(some, last, 0)))
    (x0, x1), (y0, y1) = corners
    return jnp.stack([x0, y0, x1, y1], -1).astype(jax.dtypes.canonicalize_dtype(float))
