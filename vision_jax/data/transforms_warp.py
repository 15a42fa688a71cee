"""Host transforms that distort an image, with its boxes, masks, keypoints and semantic labels.

They are for training: a distorted image has no one scale, so `scale`, by which answers are led back
to the original, is left as it is. Places are continuous (x, y), as in `geometry`; the device forms
for images alone are in `tasks.augment`.
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example
from vision_jax.data.transforms_objects import MEAN

_PER_EDGE = 8  # points of a box's edge that are followed
_RADII = 2048  # of the table by which a lens is inverted


@dataclasses.dataclass(frozen=True)
class RandomAffine(Transform):
    """Translates, rotates, stretches and shears an image about its centre; 0 switches each off.

    Boxes become the boxes around their masks, or where there are none around their own turned
    corners, which is wider than need be.

    Attributes:
      translate: at most this share of the side, both ways, each axis by itself.
      rotate: at most so many degrees, both ways.
      stretch: each side times a factor between 1 / (1 + stretch) and 1 + stretch, log-uniform.
      shear: at most so many pixels per pixel, both ways, each axis by itself; below 1.
      min_visibility: objects go of whose box less than this share (0..1) is left in the image.
      fill: the colour outside of the image; semantic labels are void there.

    Raises:
      UserError: a shear of 1 or more.
    """

    translate: float = 0.1
    rotate: float = 10.0
    stretch: float = 0.1
    shear: float = 0.1
    min_visibility: float = 0.25
    fill: tuple[int, ...] = MEAN

    def __post_init__(self):
        if not abs(self.shear) < 1:
            raise UserError(f"RandomAffine: shear={self.shear} would fold the image; below 1")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        draws = rng.uniform(-1, 1, 7)
        angle = np.deg2rad(draws[2] * self.rotate)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        slant = np.array([[1, draws[5] * self.shear], [draws[6] * self.shear, 1]])
        forth = turn @ slant @ np.diag((1 + self.stretch) ** draws[3:5])
        back = np.linalg.inv(forth)
        centre = np.array([width, height]) / 2
        moved = centre + draws[:2] * self.translate * (width, height)
        return warp(
            example,
            lambda places: (places - moved) @ back.T + centre,
            lambda places: (places - centre) @ forth.T + moved,
            self.min_visibility,
            self.fill,
        )


@dataclasses.dataclass(frozen=True)
class LensDistortion(Transform):
    """Distorts an image as a lens does, to a barrel or a pincushion; see `ops.warp.lens`.

    Attributes:
      strength: largest strength, uniform both ways; below 1/3, beyond which the image would fold.
      min_visibility, fill: see `RandomAffine`.

    Raises:
      UserError: a strength of 1/3 or more.
    """

    strength: float = 0.2
    min_visibility: float = 0.25
    fill: tuple[int, ...] = MEAN

    def __post_init__(self):
        if not abs(self.strength) < 1 / 3:
            raise UserError(
                f"LensDistortion: strength={self.strength} would fold the image; below 1/3"
            )

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        k = rng.uniform(-self.strength, self.strength)
        centre, unit = np.array([width, height]) / 2, np.hypot(width, height) / 2
        # Beyond the last radius a pincushion shows nothing.
        last = 2.0 if k >= 0 else min(2.0, (-3 * k) ** -0.5)
        radii = np.linspace(0, last, _RADII)
        sources = radii * (1 + k * radii**2)

        def back(places: np.ndarray) -> np.ndarray:
            offset = places - centre
            squared = (offset**2).sum(-1, keepdims=True) / unit**2
            return centre + offset * (1 + k * squared)

        def forth(places: np.ndarray) -> np.ndarray:
            offset = places - centre
            source = np.sqrt((offset**2).sum(-1, keepdims=True)) / unit
            bend = np.interp(source, sources, radii) / np.maximum(source, 1e-12)
            return centre + offset * np.where(source > 0, bend, 1)

        return warp(example, back, forth, self.min_visibility, self.fill)


Move = Callable[[np.ndarray], np.ndarray]


def warp(
    example: Example, back: Move, forth: Move, min_visibility: float, fill: tuple[int, ...]
) -> Example:
    """Moves an example through a map of places (…, 2), to an image of the same size.

    Args:
      example: decoded.
      back: returns the place of the image that each place of the result shows.
      forth: returns the place of the result where each place of the image is shown.
      min_visibility: share of an object's box that must be left, or the object goes.
      fill: the colour outside of the image.
    """
    image = example["image"]
    height, width = image.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    # OpenCV counts from the first pixel's centre.
    across, down = np.moveaxis(back(grid) - 0.5, -1, 0).astype(np.float32)

    def remap(pixels: np.ndarray, how: int, outside: tuple[int, ...] | int) -> np.ndarray:
        return cv2.remap(
            pixels, across, down, how, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
        )

    color = geometry.fill_color(image, fill)
    moved = {"image": remap(image, cv2.INTER_LINEAR, color).reshape(image.shape)}
    if "masks" in example:
        masks = [remap(m * np.uint8(254), cv2.INTER_LINEAR, 0) >= 127 for m in example["masks"]]
        moved["masks"] = np.asarray(masks, np.uint8).reshape(-1, height, width)
    if "segmentation" in example:
        moved["segmentation"] = remap(example["segmentation"], cv2.INTER_NEAREST, geometry.VOID)
    if "keypoints" in example:
        points = example["keypoints"].copy()
        points[..., :2] = forth(points[..., :2].astype(np.float64))
        points[points[..., 2] == 0] = 0
        moved["keypoints"] = points
    if "boxes" in example:
        moved["boxes"] = _boxes_around(example["boxes"], moved.get("masks"), forth)
    return geometry.clip({**example, **moved}, min_visibility)


def _boxes_around(boxes: np.ndarray, masks: np.ndarray | None, forth: Move) -> np.ndarray:
    """Returns boxes (n, 4) around the moved masks, or without any around the boxes' moved edges."""
    share = np.linspace(0, 1, _PER_EDGE + 1)
    x, y = (boxes[:, [i]] + share * (boxes[:, [i + 2]] - boxes[:, [i]]) for i in (0, 1))
    left, top, right, bottom = (np.broadcast_to(boxes[:, [i]], x.shape) for i in range(4))
    edges = [(x, top), (x, bottom), (left, y), (right, y)]
    places = forth(np.concatenate([np.stack(edge, -1) for edge in edges], 1).astype(np.float64))
    result = np.concatenate([places.min(1), places.max(1)], 1).astype(np.float32)
    for i, mask in enumerate(masks if masks is not None else ()):
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if len(rows):  # an object without a pixel keeps its edges, which may lie outside
            result[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return result
