"""Host transforms of images: decoded example → example, with the record's own random generator.

`image` is uint8 (h, w, c). `Resize`, `CenterCrop` and `RandomFlip` take boxes, masks, keypoints and
semantic labels along; the others move pixels only, so they refuse examples that have any. What is
cheap on the device (flip of a batch, jitter, normalisation) is in `ops.image`.
"""

import dataclasses
import math

import numpy as np

from vision_jax.data import geometry
from vision_jax.data.geometry import BLACK, resize_image
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example

_PLACED = ("boxes", "keypoints", "rle", "masks", "segmentation")


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Resizes a crop of random area and shape to a square (Szegedy et al. 2014, section 6).

    It follows torchvision: ten draws, and where none fits, the largest central crop in `ratio`.

    Attributes:
      size: side of the result, pixels.
      area: range of the crop's share of the image, uniform.
      ratio: range of the crop's width / height, log-uniform.
      antialias: see `geometry.resize_image`; False for speed.
    """

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = _pixels(example, self)
        top, left, height, width = self.box(image.shape[0], image.shape[1], rng)
        crop = image[top : top + height, left : left + width]
        return {**example, "image": resize_image(crop, self.size, self.size, self.antialias)}

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draws top, left, height and width of the crop of an image of that size, in pixels."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            pixels = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
                return int(top), int(left), h, w
        h, w = height, width
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        return (height - h) // 2, (width - w) // 2, h, w


@dataclasses.dataclass(frozen=True)
class ScaleJitterCrop(Transform):
    """Resizes the short side to a random length, then cuts a random square.

    He et al. 2015, section 3.4, after Simonyan & Zisserman 2014, section 3.1. The crop is cut out
    first, at the original scale (its side rounded to whole pixels), and only it is resized.

    Attributes:
      size: side of the result, pixels.
      short: range of the resized image's short side, uniform whole pixels, ends included.
      antialias: see `geometry.resize_image`; False for speed.
    """

    size: int = 224
    short: tuple[int, int] = (256, 480)
    antialias: bool = True

    def __post_init__(self):
        if self.short[0] < self.size:
            raise ValueError(f"ScaleJitterCrop: short={self.short} is smaller than {self.size}")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = _pixels(example, self)
        short = rng.integers(self.short[0], self.short[1] + 1)
        side = max(1, round(min(image.shape[:2]) * self.size / short))
        top, left = (rng.integers(n - side + 1) for n in image.shape[:2])
        crop = image[top : top + side, left : left + side]
        return {**example, "image": resize_image(crop, self.size, self.size, self.antialias)}


@dataclasses.dataclass(frozen=True)
class Resize(Transform):
    """Resizes the short side to `size`, the long one in proportion (rounded down, as torchvision).

    Attributes:
      size: the short side of the result, pixels.
      antialias: see `geometry.resize_image`; False for speed.
    """

    size: int = 256
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = _short_side(example["image"], self.size)
        return geometry.resize(example, height, width, self.antialias)


@dataclasses.dataclass(frozen=True)
class CenterCrop(Transform):
    """Cuts out the central square.

    Attributes:
      size: side of the result, pixels.

    Raises (when called):
      ValueError: an image that is smaller.
    """

    size: int = 224

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        height, width = example["image"].shape[:2]
        if min(height, width) < self.size:
            raise ValueError(f"CenterCrop: size={self.size} is larger than {height}×{width}")
        # Rounded as torchvision does, to compare with its published accuracies.
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return geometry.clip(geometry.crop(example, top, left, self.size, self.size, BLACK))


@dataclasses.dataclass(frozen=True)
class RandomFlip(Transform):
    """Mirrors an example, left for right.

    Attributes:
      probability: 0..1.
      mirror: for examples with keypoints, which keypoint takes each one's place, such as
        `coco_json.KEYPOINT_MIRROR`: a left eye in the mirror is a right one.
    """

    probability: float = 0.5
    mirror: tuple[int, ...] = ()

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if rng.random() < self.probability:
            return geometry.flip(example, self.mirror)
        return example


@dataclasses.dataclass(frozen=True)
class MultiCrop(Transform):
    """Cuts out the ten-crop test's views at several scales: an image (crops, size, size, c).

    Krizhevsky et al. 2012, section 4.1: the four corners and the centre, then their mirror images;
    for each length that the short side is resized to.

    Attributes:
      size: side of each crop, pixels.
      shorts: the short side's lengths, pixels.
      antialias: see `geometry.resize_image`; False for speed.
    """

    size: int = 224
    shorts: tuple[int, ...] = (256,)
    antialias: bool = True

    def __post_init__(self):
        if min(self.shorts) < self.size:
            raise ValueError(f"MultiCrop: shorts={self.shorts} go below size={self.size}")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = _pixels(example, self)
        crops = []
        for short in self.shorts:
            height, width = _short_side(image, short)
            scaled = resize_image(image, height, width, self.antialias)
            bottom, right = (n - self.size for n in scaled.shape[:2])
            corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
            places = [*corners, (round(bottom / 2), round(right / 2))]
            five = [scaled[y : y + self.size, x : x + self.size] for y, x in places]
            crops += five + [crop[:, ::-1] for crop in five]
        return {**example, "image": np.stack(crops)}


def _pixels(example: Example, transform: Transform) -> np.ndarray:
    """Returns the image; raises ValueError where something else would have to move along."""
    placed = [key for key in _PLACED if key in example]
    if placed:
        name = type(transform).__name__
        raise ValueError(f"{name} moves pixels only; the example also has {', '.join(placed)}")
    return example["image"]


def _short_side(image: np.ndarray, size: int) -> tuple[int, int]:
    """Returns height and width of the image with the short side `size`, rounded down."""
    height, width = image.shape[:2]
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size
