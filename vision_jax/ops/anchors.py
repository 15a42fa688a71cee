"""Anchor boxes: the fixed candidates that detectors classify and refine.

All are functions of static sizes, computed in float32 with NumPy (constants under `jit`), in
row-major order of the grid, then of the boxes within a cell. Boxes are `xyxy` in pixels.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from vision_jax.ops import boxes

Size = tuple[int, int]  # height, width
Number = int | float


def cell_anchors(
    sizes: Sequence[Number], ratios: Sequence[Number], rounded: bool = True
) -> Float[np.ndarray, "a 4"]:
    """Computes a cell's boxes around (0, 0), of area size² and height / width = ratio.

    FPN (Lin 2017, section 4.1). Order: for each ratio, all sizes.

    Args:
      sizes: pixels.
      ratios: height / width.
      rounded: round corners to whole pixels, as published weights expect.
    """
    size = np.asarray(sizes, np.float32)
    root = np.sqrt(np.asarray(ratios, np.float32))
    width = ((1 / root)[:, None] * size[None]).reshape(-1)
    height = (root[:, None] * size[None]).reshape(-1)
    cell = np.stack([-width, -height, width, height], 1) / np.float32(2)
    return np.round(cell) if rounded else cell


def original_cell_anchors(
    base: int = 16,
    ratios: Sequence[Number] = (0.5, 1.0, 2.0),
    scales: Sequence[Number] = (8, 16, 32),
) -> Float[np.ndarray, "a 4"]:
    """Computes the cell of the first Faster R-CNN (Ren 2015): inclusive pixels around its middle.

    The middle is (base - 1) / 2. For 16, (0.5, 1, 2), (8, 16, 32) the first box is
    [-84, -40, 99, 55]. Sides are rounded to whole pixels before they are scaled. Order: for each
    ratio, all scales.
    """
    width = np.round(np.sqrt(base * base / np.asarray(ratios, np.float64)))
    height = np.round(width * np.asarray(ratios, np.float64))
    scale = np.asarray(scales, np.float64)
    width, height = (np.outer(side, scale).reshape(-1) for side in (width, height))
    centre = (base - 1) / 2
    low = [centre - (width - 1) / 2, centre - (height - 1) / 2]
    high = [centre + (width - 1) / 2, centre + (height - 1) / 2]
    return np.stack(low + high, 1).astype(np.float32)


def grid_anchors(
    cell: Float[np.ndarray, "a 4"], grid: Size, stride: Size
) -> Float[Array, "{grid[0]}*{grid[1]}*a 4"]:
    """Repeats the boxes of `cell` at every cell of a grid.

    Args:
      cell: boxes around the top left corner of a cell.
      grid: cells down and across.
      stride: pixels per cell, down and across.
    """
    y = np.arange(grid[0], dtype=np.float32) * np.float32(stride[0])
    x = np.arange(grid[1], dtype=np.float32) * np.float32(stride[1])
    y, x = np.meshgrid(y, x, indexing="ij")
    corner = np.stack([x, y, x, y], -1)[:, :, None]
    return jnp.asarray((corner + cell[None, None]).reshape(-1, 4))


def pyramid_anchors(
    sizes: Sequence[Sequence[Number]],
    ratios: Sequence[Sequence[Number]],
    image: Size,
    grids: Sequence[Size],
    rounded: bool = True,
) -> tuple[Float[Array, "_ 4"], ...]:
    """Computes the anchors of FPN and RetinaNet, one array per level.

    Args:
      sizes, ratios: per level, see `cell_anchors`.
      image: height and width in pixels; a level's stride is image // grid, as in torchvision.
      grids: per level, cells down and across.
      rounded: see `cell_anchors`.
    """
    return tuple(
        grid_anchors(cell_anchors(s, r, rounded), g, (image[0] // g[0], image[1] // g[1]))
        for s, r, g in zip(sizes, ratios, grids, strict=True)
    )


def ssd_scales(levels: int, lowest: float = 0.2, highest: float = 0.9) -> tuple[float, ...]:
    """Computes box sides as shares of the image, evenly spaced (Liu 2016, eq. 4).

    There is one more than levels: the last level's geometric mean takes 1.
    """
    step = (highest - lowest) / (levels - 1) if levels > 1 else 0.0
    return (*(lowest + step * k for k in range(levels)), 1.0)


def ssd_boxes(
    scales: Sequence[Number],
    ratios: Sequence[Sequence[Number]],
    image: Size,
    grids: Sequence[Size],
    strides: Sequence[int] | None = None,
    clip_sides: bool = True,
    clip_centres: bool = False,
    dtype: DTypeLike = np.float32,
) -> Float[Array, "_ 4"]:
    """Computes SSD's default boxes (Liu 2016, section 2.2) of all levels, in one array.

    Args:
      scales, ratios, image, grids, strides, clip_sides, clip_centres: see `ssd_shares`.
      dtype: of the corners, which are computed from shares in float32.
    """
    shares = ssd_shares(scales, ratios, image, grids, strides, clip_sides, clip_centres)
    centre, side = shares[:, :2].astype(dtype), shares[:, 2:].astype(dtype)
    half = np.asarray(0.5, dtype) * side
    pixels = np.asarray([image[1], image[0], image[1], image[0]], dtype)
    return jnp.asarray(np.concatenate([centre - half, centre + half], -1) * pixels)


def ssd_shares(
    scales: Sequence[Number],
    ratios: Sequence[Sequence[Number]],
    image: Size,
    grids: Sequence[Size],
    strides: Sequence[int] | None = None,
    clip_sides: bool = True,
    clip_centres: bool = False,
) -> Float[np.ndarray, "_ 4"]:
    """Computes SSD's default boxes as centre x, y, width, height in shares of the image, float32.

    A cell of level k has the square s_k, the square sqrt(s_k s_k+1), and for each ratio r the
    boxes s_k (sqrt r, 1 / sqrt r) and s_k (1 / sqrt r, sqrt r).

    Args:
      scales: one more than levels, shares of the image.
      ratios: per level, those beside 1.
      image: height and width in pixels.
      grids: per level, cells down and across.
      strides: pixels per cell; None means that the grid just covers the image.
      clip_sides: cut widths and heights (not positions) at the image's.
      clip_centres: keep centres in the image too, which a grid of strides may leave.
    """
    levels = []
    for k, (grid, extra) in enumerate(zip(grids, ratios, strict=True)):
        small, between = scales[k], np.sqrt(scales[k] * scales[k + 1])
        sides = [(small, small), (between, between)]
        for ratio in extra:
            wide, narrow = small * np.sqrt(ratio), small / np.sqrt(ratio)
            sides += [(wide, narrow), (narrow, wide)]
        sides = np.clip(sides, 0, 1) if clip_sides else np.asarray(sides)
        cells = [side / strides[k] for side in image] if strides else grid  # in the whole image
        y, x = ((np.arange(n) + 0.5) / count for n, count in zip(grid, cells, strict=True))
        centre = np.stack(np.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 1, 2)
        centre = np.clip(centre, 0, 1) if clip_centres else centre
        shape = (len(centre), len(sides), 2)
        boxes = [np.broadcast_to(part, shape) for part in (centre, sides)]
        levels.append(np.concatenate(boxes, -1).reshape(-1, 4).astype(np.float32))
    return np.concatenate(levels)


def lecture_boxes(
    sizes: Sequence[Number], ratios: Sequence[Number], image: Size, grid: Size
) -> Float[Array, "{grid[0]}*{grid[1]}*{len(sizes)+len(ratios)-1} 4"]:
    """Computes n + m - 1 boxes at every cell's centre: all sizes, and all ratios of the first size.

    Order: (s1, r1) ... (sn, r1), (s1, r2) ... (s1, rm). A box (s, r) has height s h / sqrt r and
    width s h sqrt r for an image of height h (pixels), so that r is its width / height on any image
    (Zhang, Dive into Deep Learning, 14.4).
    """
    pairs = [(s, ratios[0]) for s in sizes] + [(sizes[0], r) for r in ratios[1:]]
    size, ratio = np.asarray(pairs, np.float32).T
    height, width = size * image[0] / np.sqrt(ratio), size * image[0] * np.sqrt(ratio)
    return cell_boxes(width, height, image, grid)


def cell_boxes(
    width: Float[np.ndarray, "n"], height: Float[np.ndarray, "n"], image: Size, grid: Size
) -> Float[Array, "{grid[0]}*{grid[1]}*n 4"]:
    """Computes boxes of n sizes in pixels at every cell's centre, sizes innermost, xyxy."""
    cell = np.stack([-width, -height, width, height], 1) / 2
    stride = image[0] / grid[0], image[1] / grid[1]
    y, x = np.meshgrid(
        (np.arange(grid[0]) + 0.5) * stride[0],
        (np.arange(grid[1]) + 0.5) * stride[1],
        indexing="ij",
    )
    centre = np.stack([x, y, x, y], -1)[:, :, None]
    return jnp.asarray((centre + cell[None, None]).reshape(-1, 4).astype(np.float32))


def yolo_cells(grid: Size, priors: int) -> Float[Array, "{grid[0]}*{grid[1]}*{priors} 2"]:
    """Returns column and row of each YOLO box's cell, priors innermost, for `boxes.decode_yolo`."""
    y, x = np.meshgrid(np.arange(grid[0]), np.arange(grid[1]), indexing="ij")
    cells = np.stack([x, y], -1).reshape(-1, 1, 2).repeat(priors, 1)
    return jnp.asarray(cells.reshape(-1, 2).astype(np.float32))


def shape_iou(a: Float[Array, "n 2"], b: Float[Array, "m 2"]) -> Float[Array, "n m"]:
    """Computes the IoU of boxes (width, height) laid on one centre, for all pairs."""
    corners = [jnp.concatenate([jnp.zeros_like(sides), sides], -1) for sides in (a, b)]
    return boxes.pairwise(boxes.iou, *corners)


def kmeans_priors(
    key: Key[Array, ""], sides: Float[Array, "n 2"], count: int, steps: int = 100
) -> tuple[Float[Array, "{count} 2"], Int[Array, "n"]]:
    """Finds YOLO's priors by k-means on box shapes with distance 1 - IoU (Redmon 2016, section 2).

    Args:
      key: draws the first centres among the boxes.
      sides: width and height of the ground truth, in pixels, of the training images as resized.
      count: number of priors.
      steps: rounds; a centre without members stays where it is.

    Returns:
      Priors by increasing area, and each box's prior. The mean of `shape_iou` with the best prior
      is the paper's figure of merit.
    """

    def nearest(centres: Array) -> Array:
        return jnp.argmax(shape_iou(sides, centres), 1)

    def step(_: Array, centres: Array) -> Array:
        member = jax.nn.one_hot(nearest(centres), count, dtype=sides.dtype, axis=0)
        size = member.sum(1, keepdims=True)
        return jnp.where(size > 0, member @ sides / jnp.maximum(size, 1), centres)

    first = sides[jax.random.choice(key, sides.shape[0], (count,), replace=False)]
    centres = lax.fori_loop(0, steps, step, first)
    centres = centres[jnp.argsort(centres[:, 0] * centres[:, 1])]
    return centres, nearest(centres)
