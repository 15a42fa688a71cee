"""Host transforms of colour, which leave boxes and masks where they are."""

import dataclasses

import cv2
import numpy as np

from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example


@dataclasses.dataclass(frozen=True)
class PhotometricDistortion(Transform):
    """SSD's jitter of colours (Liu et al. 2016, section 2.2, after Howard 2013).

    The order is Caffe SSD's: brightness; contrast, before or after the two that follow, as a coin
    says; saturation; hue; then perhaps the channels in another order. Each happens independently.

    Attributes:
      brightness: largest change, in units of 1/255.
      contrast, saturation: ranges of the factors, uniform.
      hue: largest turn, degrees.
      probability: probability of each of the four, 0..1.
      shuffle: probability that the channels are reordered.
    """

    brightness: float = 32.0
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 18.0
    probability: float = 0.5
    shuffle: float = 0.0

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        # All draws come first, so that each is the same whatever the others are.
        does = rng.random(4) < self.probability
        shift = rng.uniform(-self.brightness, self.brightness)
        contrast, saturation = rng.uniform(*self.contrast), rng.uniform(*self.saturation)
        turn, late = rng.uniform(-self.hue, self.hue), rng.random() < 0.5
        reorder, order = rng.random() < self.shuffle, rng.permutation(3)
        image = example["image"]
        if does.any():
            pixels = image.astype(np.float32)
            if does[0]:
                pixels += np.float32(shift)
            if does[1] and not late:
                pixels *= np.float32(contrast)
            if does[2] or does[3]:
                pixels = _in_hsv(pixels, saturation if does[2] else 1.0, turn if does[3] else 0.0)
            if does[1] and late:
                pixels *= np.float32(contrast)
            image = np.rint(pixels.clip(0, 255)).astype(np.uint8)
        if reorder:
            image = np.ascontiguousarray(image[:, :, order])
        return {**example, "image": image}


@dataclasses.dataclass(frozen=True)
class HsvJitter(Transform):
    """Darknet's jitter of hue, saturation and value (Redmon et al. 2015, section 2.2).

    Attributes:
      hue: largest turn, degrees; uniform both ways.
      saturation, value: largest factors, uniform from 1, or by a coin their inverses.
    """

    hue: float = 36.0
    saturation: float = 1.5
    value: float = 1.5

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        turn = rng.uniform(-self.hue, self.hue)
        factors = rng.uniform(1, (self.saturation, self.value))
        factors = np.where(rng.random(2) < 0.5, factors, 1 / factors)
        pixels = example["image"].astype(np.float32) / np.float32(255)
        hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + np.float32(turn)) % 360
        # A saturation above 1 makes colours beyond the range, which are cut only then.
        hsv[..., 1:] *= factors.astype(np.float32)
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
        return {**example, "image": np.rint(pixels.clip(0, 255)).astype(np.uint8)}


def _in_hsv(pixels: np.ndarray, factor: float, turn: float) -> np.ndarray:
    """Multiplies saturation by `factor` and turns the hue (degrees) of float32 RGB (h, w, 3)."""
    hsv = cv2.cvtColor(pixels.clip(0, 255) / np.float32(255), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + np.float32(turn)) % 360
    hsv[..., 1] = (hsv[..., 1] * np.float32(factor)).clip(0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)
