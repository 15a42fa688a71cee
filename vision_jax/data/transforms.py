"""Host augmentation: decoded example → example, with the record's own random generator.

`image` is uint8 (h, w, c). `Resize`, `CenterCrop` and `RandomFlip` take boxes, masks, keypoints and
semantic labels along; the others move pixels only, so they refuse examples that have any. What is
cheap on the device (flip of a batch, jitter, normalisation) is in `ops.image`.
"""

import dataclasses
import math

import numpy as np

from vision_jax.data import geometry
from vision_jax.data.geometry import resize

_PLACED = ("boxes", "keypoints", "rle", "masks", "segmentation")
_BLACK = (0, 0, 0)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A crop of random area and shape, resized to a square (Szegedy et al. 2014, section 6).

    As in torchvision: ten draws, and where none fits, the largest central crop within `ratio`.

    Attributes:
      size: side of the result, pixels.
      area: range of the crop's share of the image, uniform.
      ratio: range of its width / height, log-uniform.
      antialias: see `resize`; False for speed.
    """

    size: int = 224
    area: tuple = (0.08, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    antialias: bool = True

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = _pixels(example, self)
        top, left, height, width = self.box(*image.shape[:2], rng)
        crop = image[top : top + height, left : left + width]
        return {**example, "image": resize(crop, self.size, self.size, self.antialias)}

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """top, left, height and width of the crop of an image of that size."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            pixels = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < w <= width and 0 < h <= height:
                return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w
        h, w = height, width
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        return (height - h) // 2, (width - w) // 2, h, w


@dataclasses.dataclass(frozen=True)
class ScaleJitterCrop:
    """The short side resized to a random length, then a random square crop.

    He et al. 2015, section 3.4, after Simonyan & Zisserman 2014, section 3.1. The crop is cut out
    first, at the original scale (its side rounded to whole pixels), and only it is resized.

    Attributes:
      size: side of the result, pixels.
      short: range of the resized image's short side, uniform whole numbers, ends included.
      antialias: see `resize`; False for speed.
    """

    size: int = 224
    short: tuple = (256, 480)
    antialias: bool = True

    def __post_init__(self):
        if self.short[0] < self.size:
            raise ValueError(f"ScaleJitterCrop: short={self.short} is smaller than {self.size}")

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = _pixels(example, self)
        short = rng.integers(self.short[0], self.short[1] + 1)
        side = max(1, round(min(image.shape[:2]) * self.size / short))
        top, left = (rng.integers(n - side + 1) for n in image.shape[:2])
        crop = image[top : top + side, left : left + side]
        return {**example, "image": resize(crop, self.size, self.size, self.antialias)}


@dataclasses.dataclass(frozen=True)
class Resize:
    """The short side becomes `size`, the long one in proportion (rounded down, as torchvision).

    Attributes:
      size: pixels.
      antialias: see `resize`; False for speed.
    """

    size: int = 256
    antialias: bool = True

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        size = _short_side(example["image"], self.size)
        return geometry.resized(example, *size, self.antialias)


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """The central square. Raises ValueError for an image that is smaller."""

    size: int = 224

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        height, width = example["image"].shape[:2]
        if min(height, width) < self.size:
            raise ValueError(f"CenterCrop: size={self.size} is larger than {height}×{width}")
        # Rounded as torchvision does, to compare with its published accuracies.
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        window = geometry.placed(example, top, left, self.size, self.size, _BLACK)
        return geometry.clipped(window)


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors left and right.

    Attributes:
      probability: 0..1.
      mirror: for examples with keypoints, which keypoint takes each one's place, such as
        `coco_json.KEYPOINT_MIRROR`: a left eye in the mirror is a right one.
    """

    probability: float = 0.5
    mirror: tuple = ()

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        if rng.random() < self.probability:
            return geometry.flipped(example, self.mirror)
        return example


@dataclasses.dataclass(frozen=True)
class PadCrop:
    """Pads every side by `pad` zeros and cuts the old size out at a random place."""

    pad: int = 4

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = _pixels(example, self)
        height, width = image.shape[:2]
        padded = np.pad(image, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)))
        top, left = rng.integers(2 * self.pad + 1, size=2)
        return {**example, "image": padded[top : top + height, left : left + width]}


@dataclasses.dataclass(frozen=True)
class MultiCrop:
    """The ten-crop test at several scales: the image becomes (crops, size, size, c).

    Krizhevsky et al. 2012, section 4.1: the four corners and the centre, then their mirror images;
    for each length that the short side is resized to.

    Attributes:
      size: side of each crop, pixels.
      shorts: the lengths.
      antialias: see `resize`; False for speed.
    """

    size: int = 224
    shorts: tuple = (256,)
    antialias: bool = True

    def __post_init__(self):
        if min(self.shorts) < self.size:
            raise ValueError(f"MultiCrop: shorts={self.shorts} go below size={self.size}")

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = _pixels(example, self)
        crops = []
        for short in self.shorts:
            scaled = resize(image, *_short_side(image, short), self.antialias)
            bottom, right = (n - self.size for n in scaled.shape[:2])
            corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
            places = [*corners, (round(bottom / 2), round(right / 2))]
            five = [scaled[y : y + self.size, x : x + self.size] for y, x in places]
            crops += five + [crop[:, ::-1] for crop in five]
        return {**example, "image": np.stack(crops)}


def _pixels(example: dict, transform: object) -> np.ndarray:
    placed = [key for key in _PLACED if key in example]
    if placed:
        name = type(transform).__name__
        raise ValueError(f"{name} moves pixels only; the example also has {', '.join(placed)}")
    return example["image"]


def _short_side(image: np.ndarray, size: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size
