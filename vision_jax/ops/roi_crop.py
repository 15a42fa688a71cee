"""Regions of an image warped to one size, the input of R-CNN's network."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from vision_jax.ops.roi_pool import round_half_away


def warp_crops(
    image: Float[Array, "h w c"],
    boxes: Float[Array, "r 4"],
    size: tuple[int, int],
    context: int = 0,
    fill: Sequence[float] | None = None,
) -> Float[Array, "r {size[0]} {size[1]} c"]:
    """Stretches each box to `size` whatever its shape (Girshick 2014, appendix A), bilinear.

    Args:
      boxes: xyxy in pixels; they get no gradient. Boxes without extent give one repeated sample.
      size: height and width of the crops.
      context: pixels of the crop that show the box's surroundings on each side (R-CNN: 16 of 227).
      fill: colour (per channel) where the crop leaves the image; None repeats the border.
    """
    boxes = lax.stop_gradient(boxes)
    height, width, channels = image.shape
    weight_y, inside_y = _axis(boxes[:, 1], boxes[:, 3], size[0], context, height)
    weight_x, inside_x = _axis(boxes[:, 0], boxes[:, 2], size[1], context, width)

    def crop(weights: tuple[Array, Array]) -> Array:
        y, x = (w.astype(image.dtype) for w in weights)
        partial = jnp.einsum("ih,hwc->iwc", y, image, precision="highest")
        return jnp.einsum("iwc,jw->ijc", partial, x, precision="highest")

    crops = lax.map(crop, (weight_y, weight_x))
    if fill is None:
        return crops
    inside = inside_y[:, :, None] & inside_x[:, None]
    colour = jnp.asarray(fill, image.dtype).reshape(1, 1, 1, channels)
    return jnp.where(inside[..., None], crops, colour)


def _axis(low: Array, high: Array, size: int, context: int, length: int) -> tuple[Array, Array]:
    """Makes the weights (r, size, length) of pixels along one axis.

    Also says which samples are inside, (r, size). The box fills the middle size - 2 context pixels
    of the crop.
    """
    middle = jnp.arange(size, dtype=low.dtype)[None] + 0.5 - context
    edge = low[:, None] + middle * ((high - low) / (size - 2 * context))[:, None]
    inside = (edge >= 0) & (edge <= length)
    centre = jnp.clip(edge - 0.5, 0, length - 1)[..., None]
    pixels = jnp.arange(length, dtype=low.dtype)[None, None]
    return jnp.maximum(1 - jnp.abs(centre - pixels), 0), inside


def rcnn_windows(
    boxes: Float[Array, "r 4"],
    size: int,
    context: int,
    square: bool,
    content: Float[Array, "2"],
) -> tuple[Int[Array, "r 4"], Int[Array, "r 4"]]:
    """Finds what R-CNN's released code reads of an image for each box, and where it puts it.

    The box with its context is rounded to pixels (halves away from zero), and what of it lies in
    the image is scaled as the whole would be.

    Args:
      boxes: xyxy in pixels; they get no gradient.
      size: height and width of the crops.
      context: pixels of the crop that show the box's surroundings on each side.
      square: make the box's shorter side as long as the longer before.
      content: height and width of the image.

    Returns:
      x0, y0, x1, y1 of the window in the image, ends exclusive, and x0, y0, x1, y1 of its place in
      the crop, ends exclusive. Windows beyond the image are empty.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    limit = content[::-1][None].astype(boxes.dtype)
    if context == 0 and not square:
        start, end = jnp.floor(low).clip(0), jnp.minimum(jnp.floor(high), limit)
        placed = jnp.broadcast_to(jnp.array([[0, 0, size, size]], jnp.int32), boxes.shape)
        return jnp.concatenate([start, end], 1).astype(jnp.int32), placed
    sides = high - low
    middle = low + sides / 2 + 1  # counted from 1, as there
    if square:
        sides = jnp.broadcast_to(jnp.max(sides, 1, keepdims=True), sides.shape)
    # The divisor depends on the data: compilers turn x / constant into x * (1 / constant).
    inner = jnp.where(sides > 0, jnp.full_like(sides, 2 * (size - 2 * context)), 1)
    reach = sides * size / inner
    first, last = round_half_away(middle - reach), round_half_away(middle + reach)
    whole = last - first + 1
    before = jnp.maximum(1 - first, 0)
    start, end = jnp.maximum(first, 1), jnp.minimum(last, limit)
    extent = jnp.maximum(end - start + 1, 0)
    left = round_half_away(before * size / whole)
    placed = jnp.minimum(round_half_away(extent * size / whole), size - left)
    window = jnp.concatenate([start - 1, start - 1 + extent], 1)
    return window.astype(jnp.int32), jnp.concatenate([left, left + placed], 1).astype(jnp.int32)


def rcnn_crops(
    image: Float[Array, "h w c"],
    boxes: Float[Array, "r 4"],
    size: int = 227,
    context: int = 16,
    square: bool = False,
    content: Float[Array, "2"] | None = None,
) -> Float[Array, "r {size} {size} c"]:
    """Stretches boxes with their context to squares as R-CNN's released code (Girshick 2014).

    Bilinear without antialiasing; what lies beyond the image is 0, the mean of normalised images.
    `warp_crops` is the same idea without its rounding.

    Args:
      boxes: xyxy in pixels; they get no gradient.
      size: height and width of the crops.
      context: pixels of the crop that show the box's surroundings on each side.
      square: the tightest square around the box instead of the box (appendix A).
      content: height and width of the image where `image` is padded; None: all of it.
    """
    if content is None:
        content = jnp.array(image.shape[:2], boxes.dtype)
    window, placed = rcnn_windows(lax.stop_gradient(boxes), size, context, square, content)
    axes = [_pixels(window, placed, axis, size, image.dtype) for axis in (1, 0)]
    (top, bottom, down, rows), (left, right, across, columns) = axes
    down, across = down[:, :, None, None], across[:, None, :, None]

    def read(row: Array, column: Array) -> Array:
        return image[row[:, :, None], column[:, None]]

    upper = read(top, left) * (1 - across) + read(top, right) * across
    lower = read(bottom, left) * (1 - across) + read(bottom, right) * across
    inside = (rows[:, :, None] & columns[:, None])[..., None]
    return jnp.where(inside, upper * (1 - down) + lower * down, 0)


def _pixels(
    window: Array, placed: Array, axis: int, size: int, dtype: DTypeLike
) -> tuple[Array, Array, Array, Array]:
    """Returns both pixels (r, size) that each sample of an axis lies between, and its share.

    Also says which samples are within the place, (r, size).
    """
    first, end = window[:, axis, None], window[:, axis + 2, None]
    start, stop = placed[:, axis, None], placed[:, axis + 2, None]
    number = jnp.arange(size, dtype=jnp.int32)[None]
    count, length = jnp.maximum(stop - start, 1).astype(dtype), (end - first).astype(dtype)
    place = ((number - start).astype(dtype) + 0.5) * length / count - 0.5
    place = jnp.clip(place, 0, jnp.maximum(length - 1, 0))
    whole = jnp.floor(place)
    pixel = whole.astype(jnp.int32)
    last = jnp.maximum(end - 1, first)
    inside = (number >= start) & (number < stop) & (end > first)
    near = [jnp.minimum(first + pixel + more, last) for more in (0, 1)]
    return near[0], near[1], place - whole, inside
