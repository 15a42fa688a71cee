"""A host transform that spoils an image: the small one that a super-resolution network is given."""

import dataclasses
from typing import Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from vision_jax.config import one_of, within
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example

Filter = Literal["bicubic", "bilinear", "area", "nearest"]
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}


@dataclasses.dataclass(frozen=True)
class Degrade(Transform):
    """Makes of an image the small one that it is to be made from again, and keeps it as the target.

    The image is blurred and made smaller: `image` becomes (h / factor, w / factor, 3), and
    `target_image` holds what it was, of which up to factor - 1 rows and columns are cut off at the
    bottom and on the right. The defaults are Johnson et al.'s (2016, section 4.2); `blur=0` is the
    bicubic degradation of most other papers, whose filter is widened as it shrinks, as MATLAB's and
    Pillow's are.

    Attributes:
      factor: large pixels per small pixel, along each axis.
      blur: standard deviation of a Gaussian, in large pixels; 0 is off.
      filter: how the image shrinks: 'bicubic', 'bilinear', 'area' or 'nearest', the last of which
        takes every `factor`-th pixel.

    Raises:
      UserError: a factor below 1, a negative blur, another filter.
      ValueError: when called, an image that is smaller than the factor, or has annotations.
    """

    factor: int = 4
    blur: float = 1.0
    filter: Filter = "bicubic"

    def __post_init__(self):
        within(self, "[1, inf)", "factor")
        within(self, "[0, inf)", "blur")
        one_of(self, filter=tuple(_FILTERS))

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        image = example["image"]
        if "boxes" in example or "segmentation" in example:
            raise ValueError("Degrade makes pixels smaller only; the example has annotations")
        height, width = (n // self.factor for n in image.shape[:2])
        if not (height and width):
            raise ValueError(f"Degrade: factor={self.factor} is larger than {image.shape[:2]}")
        target = image[: height * self.factor, : width * self.factor]
        blurred = target
        if self.blur:
            sigma = (self.blur, self.blur, 0)
            smooth = ndimage.gaussian_filter(target.astype(np.float32), sigma, mode="nearest")
            blurred = np.round(smooth).clip(0, 255).astype(np.uint8)
        small = Image.fromarray(blurred).resize((width, height), _FILTERS[self.filter])
        return {**example, "image": np.asarray(small), "target_image": target}
