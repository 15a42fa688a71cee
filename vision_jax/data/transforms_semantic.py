"""Host transforms of images with semantic labels; see `transforms_objects` for the conventions."""

import dataclasses

import cv2
import numpy as np

from vision_jax.data import geometry
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example
from vision_jax.data.transforms_objects import MEAN


@dataclasses.dataclass(frozen=True)
class OriginalLabels(Transform):
    """Applies transforms to the image alone, and keeps the original's semantic labels.

    For evaluation at the original size: `tasks.MultiScale(original=True)` brings answers there.

    Attributes:
      transforms: transforms of the image, one after the other; they may resize it and fill it up
        at the right and the bottom.
      height, width: size of the labels' array, pixels; its rest is void.

    Raises (when called):
      ValueError: an image larger than height × width.
    """

    transforms: tuple[Transform, ...]
    height: int = 512
    width: int = 512

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        moved = {key: value for key, value in example.items() if key != "segmentation"}
        for transform in self.transforms:
            moved = transform(moved, rng)
        if "segmentation" not in example:  # an image to predict
            return moved
        labels = example["segmentation"]
        height, width = labels.shape
        if height > self.height or width > self.width:
            raise ValueError(f"OriginalLabels: {height}×{width} exceeds {self.height}×{self.width}")
        segmentation = np.full((self.height, self.width), geometry.VOID, np.uint8)
        segmentation[:height, :width] = labels
        return {**moved, "segmentation": segmentation}


@dataclasses.dataclass(frozen=True)
class RandomRotation(Transform):
    """Turns an image by 0, 90, 180 or 270 degrees, for images that have no up and down.

    Raises (when called):
      ValueError: an example with boxes, masks or keypoints, which it does not turn.
    """

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        for key in ("boxes", "masks", "keypoints"):
            if key in example:
                raise ValueError(f"RandomRotation turns images and semantic labels, not {key}")
        quarters = int(rng.integers(4))
        moved: Example = {
            key: np.ascontiguousarray(np.rot90(example[key], quarters))
            for key in ("image", "segmentation")
            if key in example
        }
        for key in ("size", "scale"):
            if key in example and quarters % 2:
                moved[key] = example[key][::-1]
        return {**example, **moved}


@dataclasses.dataclass(frozen=True)
class ObjectCrop(Transform):
    """Cuts out a square around one object; the other classes' pixels become background.

    These are the easy examples of DeconvNet's first stage (Noh et al. 2015, section 4.2), where the
    object is in the middle and of one size. Which pixels are one object, semantic labels do not
    say: here they are a connected region of one class, drawn uniformly among those that are large
    enough. An image without any is taken as a whole.

    Attributes:
      size: side of the result, pixels.
      context: side of the square over the region's longer side.
      min_pixels: least size of a region.
      fill: the colour outside of the image, where labels are void.
      antialias: see `geometry.resize_image`.
    """

    size: int = 224
    context: float = 1.2
    min_pixels: int = 100
    fill: tuple[int, ...] = MEAN
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        labels = example["segmentation"]
        boxes = regions(labels, self.min_pixels)
        left, top, (bottom, right) = 0, 0, labels.shape
        side = max(right, bottom)
        if boxes:
            left, top, right, bottom, label = boxes[int(rng.integers(len(boxes)))]
            side = max(1, round(max(right - left, bottom - top) * self.context))
            others = (labels != label) & (labels != geometry.VOID)
            example = {**example, "segmentation": np.where(others, np.uint8(0), labels)}
        y, x = (top + bottom - side) // 2, (left + right - side) // 2
        window = geometry.crop(example, y, x, side, side, self.fill)
        return geometry.resize(window, self.size, self.size, self.antialias)


def regions(labels: np.ndarray, min_pixels: int) -> list[tuple[int, int, int, int, int]]:
    """Finds connected regions (over corners too) of classes above 0 that are not void.

    Args:
      labels: (h, w) uint8.
      min_pixels: least size of a region, or it is left out.

    Returns:
      (left, top, right, bottom, label) of each: xyxy in pixels.
    """
    boxes = []
    for label in np.unique(labels):
        if label in (0, geometry.VOID):
            continue
        _, _, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        for x, y, width, height, area in stats[1:].tolist():
            if area >= min_pixels:
                boxes.append((x, y, x + width, y + height, int(label)))
    return boxes
