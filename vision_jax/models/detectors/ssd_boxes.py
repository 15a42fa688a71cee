"""The places of SSD's default boxes: the paper's, the lecture's, TensorFlow's."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.ops.anchors import Number, Size, cell_boxes, lecture_boxes, ssd_boxes

SIX_RATIOS = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
SEVEN_RATIOS = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
# Smallest sides as shares of the image, and the one after the last. The files that came with the
# paper: evenly spaced but for the first, which is smaller.
VOC_300 = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)
COCO_300 = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
VOC_512 = (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05)
COCO_512 = (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06)
STRIDES_300 = (8, 16, 32, 64, 100, 300)
STRIDES_512 = (8, 16, 32, 64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class DefaultBoxes:
    """The paper's boxes (section 2.2): two squares, and two boxes for each ratio beside 1.

    Attributes:
      scales: sides as shares of the image, one more than maps.
      ratios: per map, those beside 1.
      strides: pixels between cells of each map; None spreads each map's cells over the image.
      clip: what is cut at the image: 'none' (Caffe's files), 'sides' (torchvision), or 'all',
        centres too (ssd.pytorch for VOC).
    """

    scales: tuple[Number, ...] = VOC_300
    ratios: tuple[tuple[Number, ...], ...] = SIX_RATIOS
    strides: tuple[int, ...] | None = STRIDES_300
    clip: str = "none"

    def __post_init__(self):
        if self.clip not in ("none", "sides", "all"):
            raise UserError(f"clip={self.clip!r} of default boxes - known: none, sides, all")
        if len(self.scales) != len(self.ratios) + 1:
            raise UserError(
                f"default boxes: {len(self.scales)} scales for {len(self.ratios)} maps; one more "
                "scale than maps is needed"
            )

    @property
    def boxes_per_cell(self) -> tuple[int, ...]:
        """Default boxes per cell, of each map."""
        return tuple(2 + 2 * len(extra) for extra in self.ratios)

    def __call__(self, image: Size, grids: list[Size], dtype: DTypeLike) -> Float[Array, "a 4"]:
        """Makes the boxes, xyxy in pixels: maps in order, row-major, a cell's boxes innermost."""
        sides, centres = self.clip != "none", self.clip == "all"
        return ssd_boxes(
            self.scales, self.ratios, image, grids, self.strides, sides, centres, dtype
        )


@dataclasses.dataclass(frozen=True)
class LectureBoxes:
    """The lecture's boxes: n sizes with the first of m ratios, the first size with the others.

    Attributes:
      sizes: per map, shares of the image's height.
      ratios: width / height, the same for all maps.
    """

    sizes: tuple[tuple[Number, ...], ...] = (
        (0.2, 0.272),
        (0.37, 0.447),
        (0.54, 0.619),
        (0.71, 0.79),
        (0.88, 0.961),
    )
    ratios: tuple[Number, ...] = (1.0, 2.0, 0.5)

    @property
    def boxes_per_cell(self) -> tuple[int, ...]:
        """Default boxes per cell, of each map."""
        return tuple(len(sizes) + len(self.ratios) - 1 for sizes in self.sizes)

    def __call__(self, image: Size, grids: list[Size], dtype: DTypeLike) -> Float[Array, "a 4"]:
        """Makes the boxes, xyxy in pixels: maps in order, row-major, a cell's boxes innermost."""
        maps = zip(self.sizes, grids, strict=True)
        boxes = [lecture_boxes(sizes, self.ratios, image, grid) for sizes, grid in maps]
        return jnp.concatenate(boxes).astype(dtype)


@dataclasses.dataclass(frozen=True)
class TensorFlowBoxes:
    """The boxes of TensorFlow's object detection API, `create_ssd_anchors`.

    A cell has a square of its map's side, one between that and the next map's, and the side in all
    ratios, in the order of face-api's file. The first map, which has most cells, has but three: a
    square of half the side, and the first two ratios.

    Attributes:
      scales: sides as shares of the image's shorter side, one more than maps.
      ratios: width / height, those beside 1.
    """

    scales: tuple[Number, ...] = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
    ratios: tuple[Number, ...] = (2.0, 0.5, 3.0, 0.3333)

    @property
    def boxes_per_cell(self) -> tuple[int, ...]:
        """Default boxes per cell, of each map."""
        return (3, *(len(self.ratios) + 2,) * (len(self.scales) - 2))

    def __call__(self, image: Size, grids: list[Size], dtype: DTypeLike) -> Float[Array, "a 4"]:
        """Makes the boxes, xyxy in pixels: maps in order, row-major, a cell's boxes innermost."""
        boxes = []
        for k, grid in enumerate(grids):
            side, following = self.scales[k : k + 2]
            squares = [side, (side * following) ** 0.5] if k else [side / 2]
            pairs = [(square, 1.0) for square in squares]
            pairs += [(side, ratio) for ratio in (self.ratios if k else self.ratios[:2])]
            sides, ratios = np.asarray(pairs, np.float32).T
            sides = sides * min(image)
            boxes.append(cell_boxes(sides * np.sqrt(ratios), sides / np.sqrt(ratios), image, grid))
        return jnp.concatenate(boxes).astype(dtype)
