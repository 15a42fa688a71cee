"""Host transforms that place an image, with its boxes, masks, keypoints and semantic labels.

They serve detection and segmentation; each is `example, rng → example` on decoded examples, as in
`transforms`. Colours are RGB 0..255; the default fill is ImageNet's mean, which is about zero once
normalised. An object's `area` stays that of the original image.
"""

import dataclasses
import math

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example

Window = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels

MEAN = (124, 116, 104)


@dataclasses.dataclass(frozen=True)
class ResizeShortestEdge(Transform):
    """Resizes the short side to one of `short`, drawn uniformly, the long one in proportion.

    If the long side would exceed `max_long`, it becomes `max_long` (Ren et al. 2015, section 3.3;
    rounded down).

    Attributes:
      short: the short side of the result, pixels; several for multi-scale training.
      max_long: the largest long side of the result, pixels.
      antialias: see `geometry.resize_image`.
    """

    short: tuple[int, ...] = (800,)
    max_long: int = 1333
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        short = int(rng.choice(self.short)) if len(self.short) > 1 else self.short[0]
        small, large = sorted(example["image"].shape[:2])
        after, before = (short, small)
        if short * large > self.max_long * small:
            after, before = (self.max_long, large)
        height, width = (max(1, side * after // before) for side in example["image"].shape[:2])
        return geometry.resize(example, height, width, self.antialias)


@dataclasses.dataclass(frozen=True)
class StretchTo(Transform):
    """Resizes an image to one size whatever its proportions (Liu et al. 2016: SSD300).

    Attributes:
      size: height of the result, pixels.
      antialias: see `geometry.resize_image`.
      width: of the result, pixels; None makes a square.
    """

    size: int = 300
    antialias: bool = True
    width: int | None = None

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        return geometry.resize(example, self.size, self.width or self.size, self.antialias)


@dataclasses.dataclass(frozen=True)
class Letterbox(Transform):
    """Resizes the long side to `size`, and fills the rest of the square (Redmon's YOLO).

    The image lies at the top left, so that `Batch.scale` alone leads back to the original.

    Attributes:
      size: side of the square, pixels; the height of the result if `width` is another.
      fill: the colour of the rest.
      antialias: see `geometry.resize_image`.
      width: of the result, into which the image is fitted whole; None makes a square.
    """

    size: int = 416
    fill: tuple[int, ...] = (128, 128, 128)
    antialias: bool = True
    width: int | None = None

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        across = self.size if self.width is None else self.width
        height, width = fitting_into(example["image"].shape[:2], self.size, across)
        example = geometry.resize(example, height, width, self.antialias)
        return geometry.crop(example, 0, 0, self.size, across, self.fill)


@dataclasses.dataclass(frozen=True)
class Pad(Transform):
    """Fills an image up at the right and the bottom.

    Attributes:
      height, width: the result's size, pixels.
      fill: the colour beside the image.

    Raises (when called):
      ValueError: an image that is larger.
    """

    height: int = 1344
    width: int = 1344
    fill: tuple[int, ...] = MEAN

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        if height > self.height or width > self.width:
            raise ValueError(f"Pad: {height}×{width} exceeds {self.height}×{self.width}")
        return geometry.crop(example, 0, 0, self.height, self.width, self.fill)


@dataclasses.dataclass(frozen=True)
class Canvas(Transform):
    """Lays an image on a canvas whose sides are multiples of a number, so that few sizes occur.

    The image lies at the top left. One whose long side exceeds `max_long` is shrunk to it first; no
    image is enlarged.

    Attributes:
      max_long: the largest long side of the image on it, pixels.
      multiple: of which the canvas's sides are multiples, pixels.
      fill: the colour beside the image.
      antialias: see `geometry.resize_image`.
    """

    max_long: int = 1024
    multiple: int = 128
    fill: tuple[int, ...] = MEAN
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        if max(height, width) > self.max_long:
            height, width = fitting((height, width), self.max_long)
            example = geometry.resize(example, height, width, self.antialias)
        height, width = (side + -side % self.multiple for side in (height, width))
        return geometry.crop(example, 0, 0, height, width, self.fill)


@dataclasses.dataclass(frozen=True)
class Expand(Transform):
    """Puts an image somewhere on a larger canvas (Liu et al. 2016, section 3.6: "zoom out").

    Attributes:
      probability: probability of a larger canvas, 0..1.
      max_scale: largest ratio of the canvas's sides to the image's, uniform from 1.
      fill: the canvas's colour.
    """

    probability: float = 0.5
    max_scale: float = 4.0
    fill: tuple[int, ...] = MEAN

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        height, width = example["image"].shape[:2]
        scale = rng.uniform(1, self.max_scale)
        h, w = int(height * scale), int(width * scale)
        top, left = rng.integers(h - height + 1), rng.integers(w - width + 1)
        return geometry.crop(example, -int(top), -int(left), h, w, self.fill)


@dataclasses.dataclass(frozen=True)
class IoUCrop(Transform):
    """Cuts out a random window that overlaps an object enough (Liu et al. 2016, section 2.2).

    One of `min_ious` is drawn; then windows, until one has that IoU with at least one object.
    After `trials` failures another IoU is drawn. Objects whose centre is outside of the window go;
    the others are cut. An image without objects stays as it is.

    Attributes:
      min_ious: least IoUs; 0 takes any window, 1 the whole image.
      side: range of the window's sides, as shares of the image's, uniform.
      ratio: range of the window's width / height.
      trials: windows per drawn IoU.

    Raises:
      ValueError: `min_ious` without 1.
    """

    min_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    side: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.5, 2.0)
    trials: int = 40

    def __post_init__(self):
        if not any(iou >= 1 for iou in self.min_ious):
            raise ValueError(f"IoUCrop: min_ious={self.min_ious} lack 1.0, which always succeeds")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        boxes = example["boxes"]
        if not len(boxes):
            return example
        while True:
            min_iou = float(rng.choice(self.min_ious))
            if min_iou >= 1:
                return example
            height, width = example["image"].shape[:2]
            for _ in range(self.trials):
                window = self._draw(height, width, rng)
                if window is None:
                    continue
                inside = _centres_inside(boxes, window)
                if inside.any() and _iou(boxes[inside], window).max() >= min_iou:
                    left, top, right, bottom = window
                    example = geometry.keep(example, inside)
                    size = (bottom - top, right - left)
                    return geometry.clip(geometry.crop(example, top, left, *size, MEAN))

    def _draw(self, height: int, width: int, rng: np.random.Generator) -> Window | None:
        """Draws a window; None where its proportions are wrong."""
        w, h = (int(rng.uniform(*self.side) * side) for side in (width, height))
        if not w or not h or not self.ratio[0] <= w / h <= self.ratio[1]:
            return None
        left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        return left, top, left + w, top + h


@dataclasses.dataclass(frozen=True)
class EdgeJitter(Transform):
    """Moves each edge of the image, in or out (Darknet; Redmon et al. 2015, section 2.2).

    With the resizing to one size that follows, the image is moved, zoomed and distorted. Beyond its
    border the pixels there are repeated.

    Attributes:
      jitter: largest move, as a share of the side, uniform both ways; below 0.5.
      min_share: objects go of which along an axis no more than this share of the new side is left.

    Raises:
      UserError: another jitter.
    """

    jitter: float = 0.2
    min_share: float = 0.005

    def __post_init__(self):
        if not 0 <= self.jitter < 0.5:
            raise UserError(f"EdgeJitter: jitter={self.jitter} is not from 0 to below 0.5")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        (top, bottom), (left, right) = (self._edges(side, rng) for side in (height, width))
        window = geometry.crop(example, top, left, bottom - top, right - left, MEAN)
        rows = np.arange(top, bottom).clip(0, height - 1)
        columns = np.arange(left, right).clip(0, width - 1)
        window["image"] = example["image"][rows[:, None], columns]
        min_size = (self.min_share * (right - left), self.min_share * (bottom - top))
        return geometry.clip(window, min_size=min_size)

    def _edges(self, side: int, rng: np.random.Generator) -> tuple[int, int]:
        """Draws where the window begins and ends, in pixels of the image."""
        most = int(self.jitter * side)
        start, end = rng.integers(-most, most + 1, 2)
        return int(start), side + int(end)


@dataclasses.dataclass(frozen=True)
class RandomScale(Transform):
    """Resizes both sides by a random factor (Chen et al. 2017, section 4.1: 0.5 to 2).

    Attributes:
      factor: range of the factor, log-uniform.
      antialias: see `geometry.resize_image`.
    """

    factor: tuple[float, float] = (0.5, 2.0)
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        low, high = (math.log(end) for end in self.factor)
        factor = math.exp(rng.uniform(low, high))
        height, width = (max(1, round(side * factor)) for side in example["image"].shape[:2])
        return geometry.resize(example, height, width, self.antialias)


@dataclasses.dataclass(frozen=True)
class RandomCrop(Transform):
    """Cuts a square out at a random place, after padding all sides by `padding` pixels.

    An image that is smaller even so is filled up at the right and the bottom.

    Attributes:
      size: side of the square, pixels.
      padding: pixels on each side; 4 for CIFAR's images (He et al. 2015, section 4.2).
      min_visibility: objects go of whose box less than this share (0..1) is left.
      fill: the colour outside of the image; semantic labels are void there.
    """

    size: int = 513
    padding: int = 0
    min_visibility: float = 0.1
    fill: tuple[int, ...] = MEAN

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        room = [max(0, n + 2 * self.padding - self.size) for n in example["image"].shape[:2]]
        top, left = (int(rng.integers(n + 1)) - self.padding for n in room)
        window = geometry.crop(example, top, left, self.size, self.size, self.fill)
        return geometry.clip(window, self.min_visibility)


@dataclasses.dataclass(frozen=True)
class RandomWindow(Transform):
    """Resizes, and cuts a window of random sides out at a random place, or leaves all as it is.

    It is the augmentation of DETR (Carion et al. 2020, appendix A.4); a `ResizeShortestEdge`
    follows it.

    Attributes:
      probability: of doing anything.
      short: the short side before the cut is one of these, pixels.
      size: the least and the greatest side of the window, drawn for each by itself; an image that
        is smaller is not cut.
    """

    probability: float = 0.5
    short: tuple[int, ...] = (400, 500, 600)
    size: tuple[int, int] = (384, 600)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() >= self.probability:
            return example
        small = min(example["image"].shape[:2])
        short = int(rng.choice(self.short))
        sides = (max(1, round(side * short / small)) for side in example["image"].shape[:2])
        example = geometry.resize(example, *sides)
        least, most = self.size
        sides = example["image"].shape[:2]
        height, width = (
            int(rng.integers(least, min(side, most) + 1)) if side > least else side
            for side in sides
        )
        top = int(rng.integers(sides[0] - height + 1))
        left = int(rng.integers(sides[1] - width + 1))
        return geometry.clip(geometry.crop(example, top, left, height, width, MEAN))


def fitting(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Returns height and width with the long side `size`, in proportion, at least one pixel."""
    return fitting_into(shape, size, size)


def fitting_into(shape: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Returns the largest height and width, in proportion, within others; at least one pixel."""
    after, before = (
        (height, shape[0]) if height * shape[1] <= width * shape[0] else (width, shape[1])
    )
    high, wide = (max(1, round(side * after / before)) for side in shape)
    return high, wide


def _centres_inside(boxes: np.ndarray, window: Window) -> np.ndarray:
    """Returns (n,) bool: whether each box's centre lies in the window."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return (x > window[0]) & (y > window[1]) & (x < window[2]) & (y < window[3])


def _iou(boxes: np.ndarray, window: Window) -> np.ndarray:
    """Returns each box's IoU (n,) with the window; `ops.boxes` is for the device."""
    sides = np.minimum(boxes[:, 2:], window[2:]) - np.maximum(boxes[:, :2], window[:2])
    both = sides.clip(0).prod(1)
    area = (window[2] - window[0]) * (window[3] - window[1])
    return both / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + area - both)
