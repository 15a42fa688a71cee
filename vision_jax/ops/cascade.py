"""Operations between the stages of a cascade of face detectors (Zhang et al. 2016, MTCNN).

Boxes are xyxy in pixels, but here x1 and y1 are the last pixels of a box, as in the cascade's
original Matlab code: a side is x1 - x0 + 1. The functions follow that code and its ports exactly,
since their roundings decide which faces are found.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from vision_jax.ops.nms import Selection, settle

# Of normalised windows, in units of 128 grey levels: how far they depart from 0, and the deviation
# that halves it, which keeps a flat window's noise from being blown up.
DEVIATION, LEAST_DEVIATION = 0.375, 0.0625


def square_boxes(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Widens each box to a square around its centre, with the longer side, x1 - x0 or y1 - y0."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    width, height = x1 - x0, y1 - y0
    side = jnp.maximum(width, height)
    x0, y0 = x0 + width * 0.5 - side * 0.5, y0 + height * 0.5 - side * 0.5
    return jnp.stack([x0, y0, x0 + side, y0 + side], -1)


def refine_boxes(
    boxes: Float[Array, "*n 4"], deltas: Float[Array, "*n 4"], extra: int = 1
) -> Float[Array, "*n 4"]:
    """Moves each corner by a share of the box's sides.

    Args:
      boxes: xyxy, pixels.
      deltas: of x0, y0, x1, y1, in sides of the box.
      extra: added to x1 - x0 and y1 - y0: 1, or 0 as after the first stage.
    """
    sides = boxes[..., 2:] - boxes[..., :2] + extra
    return boxes + deltas * jnp.concatenate([sides, sides], -1)


def encode_corners(
    gt_boxes: Float[Array, "*n 4"], boxes: Float[Array, "*n 4"]
) -> Float[Array, "*n 4"]:
    """Computes the deltas with which `refine_boxes` turns boxes into others, its inverse.

    A box without extent counts as one pixel wide.
    """
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2] + 1, 1)
    return (gt_boxes - boxes) / jnp.concatenate([sides, sides], -1)


def pixel_spans(
    boxes: Float[Array, "*n 4"], height: Int[Array, "*#n"] | int, width: Int[Array, "*#n"] | int
) -> Int[Array, "*n 4"]:
    """Finds the pixels of boxes within an image: y0, y1, x0, x1, each from the start to the end.

    Coordinates are cut towards zero and count pixels from 1, so that rows y0 - 1 up to, not
    including, y1 of an array are the box's. A box beside the image has y1 < y0 or x1 < x0.
    """
    x0, y0, x1, y1 = (jnp.trunc(boxes[..., i]).astype(jnp.int32) for i in range(4))
    x0, y0 = jnp.maximum(x0, 1), jnp.maximum(y0, 1)
    x1, y1 = jnp.minimum(x1, width), jnp.minimum(y1, height)
    return jnp.stack([y0, y1, x0, x1], -1)


def summed_areas(pixels: UInt32[Array, "h w c"]) -> UInt32[Array, "h+1 w+1 c"]:
    """Computes the sums over all rectangles from the top left corner.

    Sums beyond 2³² wrap round, and so do their differences: the sum over a rectangle is exact
    whenever it is below 2³² itself.
    """
    sums = _running_sums(_running_sums(pixels, 0), 1)
    return jnp.pad(sums, ((1, 0), (1, 0), (0, 0)))


def _running_sums(x: UInt32[Array, "h w c"], axis: int) -> UInt32[Array, "h w c"]:
    if jax.default_backend() != "cpu":
        return jnp.cumsum(x, axis, dtype=jnp.uint32)

    def step(total: Array, line: Array) -> tuple[Array, Array]:
        return total + line, total + line

    lines = jnp.moveaxis(x, axis, 0)  # one by one: measured, four times as fast as `cumsum`
    return jnp.moveaxis(lax.scan(step, jnp.zeros_like(lines[0]), lines)[1], 0, axis)


def area_resize(
    areas: UInt32[Array, "h w c"],
    span: Int[Array, "4"],
    size: tuple[int, int],
    result: Int[Array, "2"] | None = None,
) -> Float[Array, "{size[0]} {size[1]} c"]:
    """Resizes a rectangle of an image by means over bins, as torch's `area` interpolation does.

    Bin i of n covers floor(i h / n) up to, not including, ceil((i + 1) h / n): bins overlap where n
    does not divide h, and repeat pixels where n > h.

    Args:
      areas: the image's `summed_areas`.
      span: the rectangle's y0, y1, x0, x1 as of `pixel_spans`; zeros come of an empty one.
      size: rows and columns of the result's array.
      result: rows and columns of the result where they are fewer; what lies beyond means nothing.
    """
    ends = (span[0] - 1, span[1]), (span[2] - 1, span[3])
    counts = size if result is None else (result[0], result[1])
    bins = [_bins(*end, count, n) for end, count, n in zip(ends, counts, size, strict=True)]
    (top, bottom), (left, right) = bins
    top, bottom, left, right = top[:, None], bottom[:, None], left[None], right[None]
    # Four corners are read of each bin: whole rows would be read in vain where a crop is small.
    sums = areas[bottom, right] - areas[top, right] - areas[bottom, left] + areas[top, left]
    number = (bottom - top) * (right - left)
    empty = (number <= 0)[..., None]
    mean = sums.astype(jnp.float32) / jnp.maximum(number, 1).astype(jnp.float32)[..., None]
    return jnp.where(empty, 0, mean)


def area_crops(
    areas: UInt32[Array, "b h w c"],
    content: Int[Array, "b 2"],
    boxes: Float[Array, "b n 4"],
    side: int,
) -> Float[Array, "b n {side} {side} c"]:
    """Cuts boxes out of images and resizes each to a square, see `pixel_spans`, `area_resize`.

    Args:
      areas: each image's `summed_areas`.
      content: height and width of each image, beyond which nothing is cut.
      boxes: xyxy, pixels.
      side: of the crops.
    """

    def crop(areas, content, boxes):
        spans = pixel_spans(boxes, content[0], content[1])
        return jax.vmap(lambda span: area_resize(areas, span, (side, side)))(spans)

    return jax.vmap(crop)(areas, content, boxes)


def suppress_inclusive(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n"],
    threshold: float,
    valid: Bool[Array, "n"],
    of_smaller: bool = False,
) -> Selection:
    """Selects boxes by greedy suppression, where a side is x1 - x0 + 1.

    For at most a few hundred boxes: all pairs are compared.

    Args:
      boxes: xyxy, pixels.
      scores: of each; equal ones in order of place.
      threshold: boxes whose overlap with a kept one is greater go.
      valid: False on padding.
      of_smaller: the overlap is the shared area over the smaller one, not over the union.
    """
    order = jnp.argsort(-jnp.where(valid, scores, -jnp.inf))
    boxes, present = boxes[order], valid[order]
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = jnp.minimum(high[:, None], high[None]) - jnp.maximum(low[:, None], low[None]) + 1
    shared = jnp.prod(jnp.maximum(sides, 0), -1)
    area = jnp.prod(high - low + 1, -1)
    a, b = area[:, None], area[None]
    overlap = shared / (jnp.minimum(a, b) if of_smaller else a + b - shared)
    number = jnp.arange(boxes.shape[0])
    earlier = number[:, None] < number[None]
    kept = settle(present, (overlap > threshold) & earlier)
    first = jnp.argsort(~kept)  # stable: kept boxes by falling score, then the rest
    kept = kept[first]
    index = jnp.where(kept, order[first], 0).astype(jnp.int32)
    return Selection(index, jnp.where(kept, scores[index], 0), kept)


def hard_examples(loss: Float[Array, "n"], valid: Bool[Array, "n"], share: float = 0.7) -> Array:
    """Chooses the examples of greatest loss: bool (n,), floor(share · valid ones) of them True.

    Online hard example mining of the cascade's paper, section 2.3.
    """
    count = jnp.floor(share * valid.sum().astype(jnp.float32)).astype(jnp.int32)
    ranked = jnp.argsort(-jnp.where(valid, lax.stop_gradient(loss), -jnp.inf))
    return valid & (jnp.argsort(ranked) < count)


def _bins(start: Array, stop: Array, count: Array | int, size: int) -> tuple[Array, Array]:
    """Returns where each bin starts and ends, (size,); bins beyond `count` repeat the last."""
    length = jnp.maximum(stop - start, 0)
    place = jnp.minimum(jnp.arange(size, dtype=jnp.int32), jnp.asarray(count, jnp.int32) - 1)
    count = jnp.maximum(jnp.asarray(count, jnp.int32), 1)
    start = jnp.maximum(start, 0)
    return start + place * length // count, start - (-(place + 1) * length // count)


def face_windows(
    scores: Float[Array, "h w"], deltas: Float[Array, "h w 4"], scale: float, threshold: float
) -> tuple[Float[Array, "h*w 9"], Bool[Array, "h*w"]]:
    """Finds the windows of 12×12 pixels whose score reaches a threshold, in the image's pixels.

    Args:
      scores: of each place of a map of stride 2.
      deltas: of each.
      scale: of the map's image, pixels per pixel of the original.
      threshold: the least score.

    Returns:
      (x0, y0, x1, y1, score, deltas) by rows, and which of them count.
    """
    height, width = scores.shape
    x, y = (_window_edges(n, scale) for n in (width, height))
    corners = [
        jnp.broadcast_to(edge[None] if axis else edge[:, None], scores.shape)
        for edge, axis in ((x[0], 1), (y[0], 0), (x[1], 1), (y[1], 0))
    ]
    boxes = jnp.stack(corners, -1).astype(scores.dtype)
    rows = jnp.concatenate([boxes, scores[..., None], deltas], -1)
    return rows.reshape(-1, 9), (scores >= threshold).reshape(-1)


def _window_edges(count: int, scale: float) -> tuple[Array, Array]:
    """Returns the first and the last pixel of each window, floored in float32 as the ports do.

    Constants of the program: a compiler that multiplied by 1 / scale would floor otherwise.
    """
    place = 2 * np.arange(count, dtype=np.float32)
    low, high = (np.floor((place + edge) / np.float32(scale)) for edge in (1, 12))
    return jnp.asarray(low), jnp.asarray(high)


def normalize_windows(windows: Float[Array, "n s s c"]) -> Float[Array, "n s s c"]:
    """Takes each window's light away: its channels' means, and how far it departs from them.

    As Viola and Jones normalise what their cascade sees. Windows are (pixel - 127.5) / 128; the
    result departs from 0 as much as they do on average, a flat window's noise much less.
    """
    centred = windows - windows.mean((1, 2), keepdims=True)
    deviation = jnp.sqrt(jnp.square(centred).mean((1, 2, 3), keepdims=True))
    return centred * (DEVIATION / (deviation + LEAST_DEVIATION))
