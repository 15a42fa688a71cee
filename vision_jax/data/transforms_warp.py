"""Host transforms that distort an image, with its boxes, masks, keypoints and semantic labels.

For training: a distorted image has no one scale, so `scale`, by which answers are led back to the
original, is left as it is. Places are continuous (x, y), as in `geometry`; the device forms for
images alone are in `tasks.augment`.
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry

MEAN = (124, 116, 104)
_PER_EDGE = 8  # points of a box's edge that are followed
_RADII = 2048  # of the table by which a lens is inverted


@dataclasses.dataclass(frozen=True)
class RandomAffine:
    """Translation, rotation, stretch and shear about the centre; 0 switches each off.

    Boxes become the boxes around their masks, or where there are none around their own turned
    corners, which is wider than need be.

    Attributes:
      translate: at most this share of the side, both ways, each axis by itself.
      rotate: at most so many degrees, both ways.
      stretch: each side times a factor between 1 / (1 + stretch) and 1 + stretch, log-uniform.
      shear: at most so many pixels per pixel, both ways, each axis by itself; below 1.
      visible: objects go of whose box less than this share (0..1) is left in the image.
      fill: colour of what lies outside of the image; semantic labels are void there.
    """

    translate: float = 0.1
    rotate: float = 10.0
    stretch: float = 0.1
    shear: float = 0.1
    visible: float = 0.25
    fill: tuple = MEAN

    def __post_init__(self):
        if not abs(self.shear) < 1:
            raise UserError(f"RandomAffine: shear={self.shear} would fold the image; below 1")

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        height, width = example["image"].shape[:2]
        draws = rng.uniform(-1, 1, 7)
        angle = np.deg2rad(draws[2] * self.rotate)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        slant = np.array([[1, draws[5] * self.shear], [draws[6] * self.shear, 1]])
        forth = turn @ slant @ np.diag((1 + self.stretch) ** draws[3:5])
        back = np.linalg.inv(forth)
        centre = np.array([width, height]) / 2
        moved = centre + draws[:2] * self.translate * (width, height)
        return warped(
            example,
            lambda places: (places - moved) @ back.T + centre,
            lambda places: (places - centre) @ forth.T + moved,
            self.visible,
            self.fill,
        )


@dataclasses.dataclass(frozen=True)
class RandomLens:
    """A barrel or a pincushion, as `ops.warp.lens`, of a strength uniform in [-strength, strength].

    Attributes:
      strength: below 1/3, beyond which the image would fold.
      visible, fill: as of `RandomAffine`.
    """

    strength: float = 0.2
    visible: float = 0.25
    fill: tuple = MEAN

    def __post_init__(self):
        if not abs(self.strength) < 1 / 3:
            raise UserError(f"RandomLens: strength={self.strength} would fold the image; below 1/3")

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
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

        return warped(example, back, forth, self.visible, self.fill)


Move = Callable[[np.ndarray], np.ndarray]


def warped(example: dict, back: Move, forth: Move, visible: float, fill: tuple) -> dict:
    """The example through a map of places (…, 2), in an image of the same size.

    Args:
      example: decoded.
      back: the place of the image that each place of the result shows.
      forth: the place of the result where each place of the image is shown.
      visible: share of an object's box that must be left.
      fill: colour outside of the image.
    """
    image = example["image"]
    height, width, channels = image.shape
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    # OpenCV counts from the first pixel's centre.
    across, down = np.moveaxis(back(grid) - 0.5, -1, 0).astype(np.float32)

    def remap(pixels: np.ndarray, how: int, outside: tuple | int) -> np.ndarray:
        return cv2.remap(
            pixels, across, down, how, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
        )

    color = fill if channels == len(fill) else round(sum(fill) / len(fill))
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
        moved["boxes"] = _around(example["boxes"], moved.get("masks"), forth)
    return geometry.clipped({**example, **moved}, visible)


def _around(boxes: np.ndarray, masks: np.ndarray | None, forth: Move) -> np.ndarray:
    """(n, 4) boxes around what the objects' edges became, within it around their masks."""
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
