"""Augmentation on the device, inside the compiled step: images and per-example keys → images.

These are the config-tree forms of the functions in `ops.image`. Images are float32 in 0..255; each
draw comes from the example's own key, so that it does not depend on the number of devices.
"""

import dataclasses

import jax
from jaxtyping import Array, Float, Key

from vision_jax.ops import image as image_ops


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirrors left and right with a probability (0..1)."""

    probability: float = 0.5

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        return image_ops.random_flip(image, keys, self.probability)


@dataclasses.dataclass(frozen=True)
class PadCrop:
    """Pads each side by `pad` pixels of zero, or mirrored, and crops the old size at random."""

    pad: int = 4
    mode: str = "constant"

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        return image_ops.pad_crop(image, keys, self.pad, self.mode)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation, each scaled by a factor in [1 - x, 1 + x]."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        return image_ops.color_jitter(image, keys, self.brightness, self.contrast, self.saturation)


@dataclasses.dataclass(frozen=True)
class Lighting:
    """AlexNet's PCA colour offset (section 4.1); `std` scales the principal components."""

    std: float = 0.1

    def __call__(
        self, image: Float[Array, "b h w 3"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w 3"]:
        return image_ops.pca_lighting(image, keys, self.std)


@dataclasses.dataclass(frozen=True)
class Erasing:
    """Random erasing (Zhong et al. 2017): a rectangle filled with one value (0..255)."""

    probability: float = 0.1
    fill: float = 127.5

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        return image_ops.random_erasing(image, keys, self.probability, fill=self.fill)


def apply_all(
    steps: tuple, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
) -> Float[Array, "b h w c"]:
    """Runs the augmentations in order, each on its own split of the examples' keys."""
    for number, step in enumerate(steps):
        image = step(image, jax.vmap(jax.random.fold_in, (0, None))(keys, number))
    return image
