"""Host transforms that place an image, with its boxes, masks, keypoints and semantic labels.

For detection and segmentation; each is `example, rng → example` on decoded examples, as in
`transforms`. Colours are RGB 0..255; the default fill is ImageNet's mean, which is about zero once
normalised. An object's `area` stays that of the original image.
"""

import dataclasses
import math

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry

MEAN = (124, 116, 104)


@dataclasses.dataclass(frozen=True)
class ResizeSides:
    """The short side becomes one of `short`, drawn uniformly, unless the long one then exceeds
    `longest`: then that becomes `longest` (Ren et al. 2015, section 3.3; rounded down).

    Attributes:
      short: pixels; several for multi-scale training.
      longest: pixels.
      antialias: see `geometry.resize`.
    """

    short: tuple = (800,)
    longest: int = 1333
    antialias: bool = True

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        short = int(rng.choice(self.short)) if len(self.short) > 1 else self.short[0]
        small, large = sorted(example["image"].shape[:2])
        wanted, whole = (short, small)
        if short * large > self.longest * small:
            wanted, whole = (self.longest, large)
        size = (max(1, side * wanted // whole) for side in example["image"].shape[:2])
        return geometry.resized(example, *size, self.antialias)


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Resized to a square whatever its proportions (Liu et al. 2016: SSD300).

    Attributes:
      size: pixels.
      antialias: see `geometry.resize`.
    """

    size: int = 300
    antialias: bool = True

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        return geometry.resized(example, self.size, self.size, self.antialias)


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """The long side becomes `size`; the rest of the square is filled (Redmon's YOLO).

    The image lies at the top left, so that `Batch.scale` alone leads back to the original.

    Attributes:
      size: pixels.
      fill: of the rest.
      antialias: see `geometry.resize`.
    """

    size: int = 416
    fill: tuple = (128, 128, 128)
    antialias: bool = True

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        size = fitting(example["image"].shape[:2], self.size)
        example = geometry.resized(example, *size, self.antialias)
        return geometry.placed(example, 0, 0, self.size, self.size, self.fill)


@dataclasses.dataclass(frozen=True)
class Pad:
    """Fills up at the right and the bottom. Raises ValueError for an image that is larger.

    Attributes:
      height, width: of the result, pixels.
      fill: colour.
    """

    height: int = 1344
    width: int = 1344
    fill: tuple = MEAN

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        height, width = example["image"].shape[:2]
        if height > self.height or width > self.width:
            raise ValueError(f"Pad: {height}×{width} exceeds {self.height}×{self.width}")
        return geometry.placed(example, 0, 0, self.height, self.width, self.fill)


@dataclasses.dataclass(frozen=True)
class Expand:
    """The image somewhere on a canvas of up to `largest` times its sides (Liu et al. 2016, section
    3.6: "zoom out").

    Attributes:
      probability: 0..1.
      largest: ratio of the sides, uniform from 1.
      fill: of the canvas.
    """

    probability: float = 0.5
    largest: float = 4.0
    fill: tuple = MEAN

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        if rng.random() >= self.probability:
            return example
        height, width = example["image"].shape[:2]
        ratio = rng.uniform(1, self.largest)
        h, w = int(height * ratio), int(width * ratio)
        top, left = rng.integers(h - height + 1), rng.integers(w - width + 1)
        return geometry.placed(example, -int(top), -int(left), h, w, self.fill)


@dataclasses.dataclass(frozen=True)
class IoUCrop:
    """A random crop that overlaps an object enough (Liu et al. 2016, section 2.2).

    One of the overlaps is drawn; then crops, until one has that IoU with at least one object.
    After `tries` failures another overlap is drawn. Objects whose centre is outside of the crop
    go; the others are cut. An image without objects stays as it is.

    Attributes:
      overlaps: least IoUs; 0 takes any crop, 1 the whole image.
      side: range of the crop's sides, as shares of the image's, uniform.
      ratio: range of the crop's width / height.
      tries: crops per drawn overlap.
    """

    overlaps: tuple = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    side: tuple = (0.3, 1.0)
    ratio: tuple = (0.5, 2.0)
    tries: int = 40

    def __post_init__(self):
        if not any(overlap >= 1 for overlap in self.overlaps):
            raise ValueError(f"IoUCrop: overlaps={self.overlaps} lack 1.0, which always succeeds")

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        boxes = example["boxes"]
        if not len(boxes):
            return example
        while True:
            least = float(rng.choice(self.overlaps))
            if least >= 1:
                return example
            for _ in range(self.tries):
                window = self._draw(*example["image"].shape[:2], rng)
                if window is None:
                    continue
                inside = _centres_inside(boxes, window)
                if inside.any() and _iou(boxes[inside], window).max() >= least:
                    left, top, right, bottom = window
                    example = geometry.kept(example, inside)
                    size = (bottom - top, right - left)
                    return geometry.clipped(geometry.placed(example, top, left, *size, MEAN))

    def _draw(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int] | None:
        """A window (xyxy, whole pixels); None where its proportions are wrong."""
        w, h = (int(rng.uniform(*self.side) * side) for side in (width, height))
        if not w or not h or not self.ratio[0] <= w / h <= self.ratio[1]:
            return None
        left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        return left, top, left + w, top + h


@dataclasses.dataclass(frozen=True)
class EdgeJitter:
    """Each edge of the image moves by itself, in or out (Darknet; Redmon et al. 2015, section 2.2).

    With the resizing to one size that follows, the image is moved, zoomed and distorted. Beyond its
    border the pixels there are repeated.

    Attributes:
      jitter: largest move, as a share of the side, uniform both ways; below 0.5.
      least: objects go of which along an axis no more than this share of the new side is left.
    """

    jitter: float = 0.2
    least: float = 0.005

    def __post_init__(self):
        if not 0 <= self.jitter < 0.5:
            raise UserError(f"EdgeJitter: jitter={self.jitter} is not from 0 to below 0.5")

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        height, width = example["image"].shape[:2]
        (top, bottom), (left, right) = (self._edges(side, rng) for side in (height, width))
        window = geometry.placed(example, top, left, bottom - top, right - left, MEAN)
        rows = np.arange(top, bottom).clip(0, height - 1)
        columns = np.arange(left, right).clip(0, width - 1)
        window["image"] = example["image"][rows[:, None], columns]
        return geometry.clipped(
            window, least=(self.least * (right - left), self.least * (bottom - top))
        )

    def _edges(self, side: int, rng: np.random.Generator) -> tuple[int, int]:
        """Where the window begins and ends, in pixels of the image."""
        most = int(self.jitter * side)
        start, end = rng.integers(-most, most + 1, 2)
        return int(start), side + int(end)


@dataclasses.dataclass(frozen=True)
class RandomScale:
    """Both sides times a random factor (Chen et al. 2017, section 4.1: 0.5 to 2).

    Attributes:
      factor: range, log-uniform.
      antialias: see `geometry.resize`.
    """

    factor: tuple = (0.5, 2.0)
    antialias: bool = True

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        low, high = (math.log(end) for end in self.factor)
        factor = math.exp(rng.uniform(low, high))
        size = (max(1, round(side * factor)) for side in example["image"].shape[:2])
        return geometry.resized(example, *size, self.antialias)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """A square cut out at a random place; a smaller image is filled up at the right and bottom.

    Attributes:
      size: pixels.
      visible: objects go of whose box less than this share (0..1) is left.
      fill: colour; semantic labels are void there.
    """

    size: int = 513
    visible: float = 0.1
    fill: tuple = MEAN

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        room = [max(0, side - self.size) for side in example["image"].shape[:2]]
        top, left = (int(rng.integers(n + 1)) for n in room)
        window = geometry.placed(example, top, left, self.size, self.size, self.fill)
        return geometry.clipped(window, self.visible)


def fitting(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Height and width with the long side `size`, in proportion and at least one pixel."""
    longest = max(shape)
    return tuple(max(1, round(side * size / longest)) for side in shape)


def _centres_inside(boxes: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return (x > window[0]) & (y > window[1]) & (x < window[2]) & (y < window[3])


def _iou(boxes: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """(n,) intersection over union of each box with the window; `ops.boxes` is for the device."""
    sides = np.minimum(boxes[:, 2:], window[2:]) - np.maximum(boxes[:, :2], window[:2])
    both = sides.clip(0).prod(1)
    area = (window[2] - window[0]) * (window[3] - window[1])
    return both / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + area - both)
