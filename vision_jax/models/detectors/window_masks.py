"""Windows over an image pyramid, and masks within them turned into boxes with masks.

A level of the pyramid is the image resized and surrounded by half a window of its mean colour, so
that every pixel is the middle of some window. Windows lie `stride` pixels apart there, one for each
place of a map of that stride whose convolution covers a window.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vision_jax.ops.masks import boxes_of_masks
from vision_jax.ops.resize import resize


class Level(NamedTuple):
    """A level of the pyramid of images of one size."""

    resized: tuple[int, int]  # height and width of the image there
    padded: tuple[int, int]  # with half a window and more around: multiples of the stride
    grid: tuple[int, int]  # rows and columns of windows
    scale: tuple[float, float]  # pixels there per pixel of the image (y, x)
    before: int  # pixels above and left of the image there: half a window


class Places(NamedTuple):
    """The place of each of n windows."""

    level: Array  # (n,) int32
    row: Array  # (n,) int32, of the level's grid
    column: Array  # (n,) int32


class Joined(NamedTuple):
    """The maps of all levels of a pyramid, row after row, in one array."""

    values: Array  # (b, pixels, c)
    starts: Array  # (levels,) int32, the first pixel of each level
    widths: Array  # (levels,) int32, of each level's map


def levels(
    canvas: tuple[int, int], scales: Sequence[float], size: int, stride: int
) -> tuple[Level, ...]:
    """Lays out the pyramid of images of one size, a level for each scale.

    Args:
      canvas: height and width of the images.
      scales: pixels of the level per pixel of the image.
      size: side of a window, pixels, a multiple of the stride.
      stride: pixels between windows.
    """
    found = []
    for scale in scales:
        resized = tuple(max(1, round(side * scale)) for side in canvas)
        padded = tuple(-(-(side + size) // stride) * stride for side in resized)
        grid = tuple((side - size) // stride + 1 for side in padded)
        exact = tuple(new / old for new, old in zip(resized, canvas, strict=True))
        found.append(Level(resized, padded, grid, exact, size // 2))
    return tuple(found)


def level_images(images: Float[Array, "b h w c"], level: Level) -> Float[Array, "b ho wo c"]:
    """Resizes normalised images to a level, bilinear, with zeros around: the mean colour."""
    x = resize(images, level.resized, antialias=True)
    around = [
        (level.before, whole - part - level.before)
        for whole, part in zip(level.padded, level.resized, strict=True)
    ]
    return jnp.pad(x, ((0, 0), *around, (0, 0)))


def windows(pyramid: Sequence[Level], size: int, stride: int) -> np.ndarray:
    """Returns all windows (a, 4) float32, xyxy in pixels of the images; they exceed the border."""
    boxes = []
    for level in pyramid:
        starts = [
            (np.arange(count) * stride - level.before)[:, None] / scale
            for count, scale in zip(level.grid, level.scale, strict=True)
        ]
        y, x = (
            np.concatenate([s, s + size / k], 1) for s, k in zip(starts, level.scale, strict=True)
        )
        y, x = np.broadcast_arrays(y[:, None], x[None])
        boxes.append(np.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1).reshape(-1, 4))
    return np.concatenate(boxes).astype(np.float32)


def places(pyramid: Sequence[Level]) -> Places:
    """Returns the place of each window, in the order of `windows`."""
    parts = []
    for number, level in enumerate(pyramid):
        row, column = (x.reshape(-1) for x in np.indices(level.grid))
        parts.append(np.stack([np.full_like(row, number), row, column]))
    return Places(*np.concatenate(parts, 1).astype(np.int32))


def centred_inside(boxes: Float[Array, "a 4"], sizes: Float[Array, "b 2"]) -> Bool[Array, "b a"]:
    """Says which windows have their middle on an image's content, whose height and width differ."""
    x, y = (boxes[:, 0] + boxes[:, 2])[None] / 2, (boxes[:, 1] + boxes[:, 3])[None] / 2
    return (y < sizes[:, :1]) & (x < sizes[:, 1:])


def joined(maps: Sequence[Float[Array, "b _ _ c"]]) -> Joined:
    """Puts the maps of a pyramid's levels into one array, for `cut`."""
    areas = [x.shape[1] * x.shape[2] for x in maps]
    return Joined(
        jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in maps], 1),
        jnp.asarray(np.cumsum([0, *areas[:-1]]), jnp.int32),
        jnp.asarray([x.shape[2] for x in maps], jnp.int32),
    )


def cut(
    maps: Joined, image: Int[Array, "n"], where: Places, factor: int, side: int
) -> Float[Array, "n {side} {side} c"]:
    """Cuts windows out of maps.

    Args:
      maps: of all levels of the pyramid.
      image: row of the batch, of each window.
      where: the windows.
      factor: the map's pixels between neighbouring windows.
      side: the map's pixels across a window.
    """
    step = jnp.arange(side, dtype=jnp.int32)[None]
    y, x = where.row[:, None] * factor + step, where.column[:, None] * factor + step
    start, across = (values[where.level][:, None, None] for values in (maps.starts, maps.widths))
    return maps.values[image[:, None, None], start + y[:, :, None] * across + x[:, None]]


def boxed(
    logits: Float[Array, "n s s"],
    within: Float[Array, "n 4"],
    sizes: Float[Array, "n 2"],
    threshold: float,
    side: int,
) -> tuple[Float[Array, "n 4"], Float[Array, "n {side} {side}"], Bool[Array, "n"]]:
    """Finds the boxes around windows' masks, and the masks within these.

    Args:
      logits: over the windows.
      within: the windows, xyxy in pixels.
      sizes: height and width of the content of each one's image; nothing is found beyond.
      threshold: probability from which a pixel counts.
      side: of the result.

    Returns:
      Boxes, zeros without any pixel; probabilities over them, moved so that the threshold became
      0.5; and whether there is any pixel.
    """
    count = logits.shape[-1]
    logits = logits - logit(threshold)
    cell = (within[:, 2:] - within[:, :2]) / count
    corners = boxes_of_masks(logits > 0).astype(within.dtype)
    start = jnp.tile(within[:, :2], (1, 2))
    boxes = start + corners * jnp.tile(cell, (1, 2))
    boxes = jnp.clip(boxes, 0, jnp.tile(sizes[:, ::-1], (1, 2)).astype(boxes.dtype))
    there = (boxes[:, 2:] > boxes[:, :2]).all(-1)
    boxes = jnp.where(there[:, None], boxes, 0)
    cells = (boxes - start) / jnp.tile(cell, (1, 2))
    rows, columns = (_sampled(cells[:, k], cells[:, k + 2], side, count) for k in (1, 0))
    rows, columns = rows.astype(logits.dtype), columns.astype(logits.dtype)
    partial = jnp.einsum("nis,nst->nit", rows, logits, precision=lax.Precision.HIGHEST)
    cropped = jnp.einsum("nit,njt->nij", partial, columns, precision=lax.Precision.HIGHEST)
    probabilities = 1 / (1 + jnp.exp(-cropped))
    return boxes, jnp.where(there[:, None, None], probabilities, 0), there


def logit(probability: float) -> float:
    """Returns the logit of a probability between 0 and 1."""
    return float(np.log(probability / (1 - probability)))


def _sampled(
    low: Float[Array, "n"], high: Float[Array, "n"], side: int, count: int
) -> Float[Array, "n {side} {count}"]:
    """Makes matrices that read `side` places, evenly over low..high, out of `count` cells."""
    share = (jnp.arange(side, dtype=low.dtype) + 0.5) / side
    place = low[:, None] + share[None] * (high - low)[:, None] - 0.5
    place = jnp.clip(place, 0, count - 1)[..., None]
    return jnp.maximum(1 - jnp.abs(place - jnp.arange(count, dtype=low.dtype)[None, None]), 0)
