"""Host augmentation: decoded example → example, with the record's own random generator.

`image` is uint8 (h, w, c). These transforms move pixels only, so they refuse examples with boxes or
masks. What is cheap on the device (flip of a batch, jitter, normalisation) is in `ops.image`.
"""

import dataclasses
import math

import cv2
import numpy as np
from PIL import Image

_PLACED = ("boxes", "keypoints", "rle", "segmentation")


def resize(image: np.ndarray, height: int, width: int, antialias: bool = True) -> np.ndarray:
    """A uint8 image (h, w, 1 or 3) in another size, bilinear.

    With `antialias` a side that shrinks is filtered by a triangle as wide as the step (Pillow's
    bilinear, bit for bit): what torchvision's recipes train and test with. Without, each result
    pixel mixes its four neighbours only, as tf.image.resize does: 0.06 ms of CPU instead of 0.53
    from 300×300 to 224×224, with some aliasing. (OpenCV's INTER_AREA takes 0.39 ms and aliases
    more than Pillow.)
    """
    if (height, width) == image.shape[:2]:
        return image
    if antialias:
        flat = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
        small = np.asarray(flat.resize((width, height), Image.Resampling.BILINEAR))
    else:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return small.reshape(height, width, image.shape[2])


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
        image = _pixels(example, self)
        return {**example, "image": resize(image, *_short_side(image, self.size), self.antialias)}


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """The central square. Raises ValueError for an image that is smaller."""

    size: int = 224

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = _pixels(example, self)
        height, width = image.shape[:2]
        if min(height, width) < self.size:
            raise ValueError(f"CenterCrop: size={self.size} is larger than {height}×{width}")
        # Rounded as torchvision does, to compare with its published accuracies.
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return {**example, "image": image[top : top + self.size, left : left + self.size]}


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors left and right with a probability (0..1)."""

    probability: float = 0.5

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        image = _pixels(example, self)
        if rng.random() < self.probability:
            # Not image[:, ::-1]: numpy copies that into the batch three bytes at a time.
            image = cv2.flip(image, 1).reshape(image.shape)
        return {**example, "image": image}


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
