"""The anchors of a pyramid of maps, in the forms of the published detectors."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Array, Float

from vision_jax.ops.anchors import cell_anchors, grid_anchors, original_cell_anchors

Size = tuple[int, int]  # height, width
AnchorRounding = Literal["rounded", "exact", "original"]
AnchorStride = Literal["image", "level"]


def level_anchors(
    image_size: Size,
    grids: Sequence[Size],
    strides: Sequence[int],
    anchor_sizes: Sequence[Sequence[float]],
    anchor_ratios: Sequence[float],
    anchor_rounding: AnchorRounding = "rounded",
    anchor_stride: AnchorStride = "image",
) -> tuple[Float[Array, "_ 4"], ...]:
    """Makes each level's anchors, row by row of its grid, then by ratio, then by size.

    Args:
      image_size: of the network's input, in pixels.
      grids: cells of each level, down and across.
      strides: input pixels per cell, of each level.
      anchor_sizes: the anchors' sides (square root of the area, in pixels), for each level.
      anchor_ratios: height / width, on all levels.
      anchor_rounding: where corners lie: 'rounded' to whole pixels or 'exact', around the corner of
        a cell; 'original', the first Faster R-CNN's inclusive pixels around the middle of a cell.
      anchor_stride: pixels between anchors: 'image', the image's side // cells, as in torchvision;
        'level', the level's stride.

    Returns:
      For each level the boxes xyxy, in pixels.
    """
    levels = []
    for sizes, grid, stride in zip(anchor_sizes, grids, strides, strict=True):
        step = (stride, stride)
        if anchor_stride == "image":
            step = (image_size[0] // grid[0], image_size[1] // grid[1])
        if anchor_rounding == "original":
            scales = tuple(size / stride for size in sizes)
            cell = original_cell_anchors(stride, anchor_ratios, scales)
        else:
            cell = cell_anchors(sizes, anchor_ratios, anchor_rounding == "rounded")
        levels.append(grid_anchors(np.asarray(cell), grid, step))
    return tuple(levels)
