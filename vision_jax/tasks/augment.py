"""Augmentation on the device, inside the compiled step: images and per-example keys → images.

These are the config-tree forms of the functions in `ops.image`, `ops.warp` and
`ops.trivial_augment`. Images are float32 in 0..255; each draw comes from the example's own key, so
that it does not depend on the number of devices. They move pixels alone: for images with boxes,
masks or keypoints there are the host transforms `data.RandomAffine` and `data.RandomLens`.
"""

import dataclasses
from typing import get_args

import jax
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.ops import image as image_ops
from vision_jax.ops import warp
from vision_jax.ops.trivial_augment import trivial_augment


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


@dataclasses.dataclass(frozen=True)
class Affine:
    """Translation, rotation, stretch and shear, each at random; 0 switches one off.

    Attributes:
      translate: at most this share of the side, both ways, each axis by itself.
      rotate: at most so many degrees, both ways.
      stretch: each side times a factor between 1 / (1 + stretch) and 1 + stretch, log-uniform.
      shear: at most so many pixels per pixel, both ways, each axis by itself; below 1.
      method: 'bilinear' or 'nearest'.
      fill: value (0..255) of what lies outside of the image.
    """

    translate: float = 0.1
    rotate: float = 15.0
    stretch: float = 0.1
    shear: float = 0.1
    method: str = "bilinear"
    fill: float = 127.5

    def __post_init__(self):
        _check_method(self)
        if not abs(self.shear) < 1:
            raise UserError(f"Affine: shear={self.shear} would fold the image; keep it below 1")

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        strengths = (self.translate, self.rotate, self.stretch, self.shear)
        return warp.random_affine(image, keys, *strengths, self.method, self.fill)


@dataclasses.dataclass(frozen=True)
class LensDistortion:
    """A barrel or a pincushion: radial distortion with |k| of at most `strength` (`warp.lens`)."""

    strength: float = 0.2
    fill: float = 127.5

    def __post_init__(self):
        if not abs(self.strength) < 1 / 3:
            raise UserError(
                f"LensDistortion: strength={self.strength} would fold the image; keep it below 1/3"
            )

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        return warp.random_lens(image, keys, self.strength, fill=self.fill)


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """One operation of random kind and strength per image, in the wide space (Müller 2021).

    `method` is 'bilinear' or 'nearest', `fill` (0..255) what lies outside of the image.
    """

    method: str = "bilinear"
    fill: float = 0.0

    def __post_init__(self):
        _check_method(self)

    def __call__(
        self, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
    ) -> Float[Array, "b h w c"]:
        return trivial_augment(image, keys, self.method, self.fill)


def apply_all(
    steps: tuple, image: Float[Array, "b h w c"], keys: Key[Array, "b"]
) -> Float[Array, "b h w c"]:
    """Runs the augmentations in order, each on its own split of the examples' keys."""
    for number, step in enumerate(steps):
        image = step(image, jax.vmap(jax.random.fold_in, (0, None))(keys, number))
    return image


def _check_method(part: Affine | TrivialAugment) -> None:
    known = get_args(warp.Method)
    if part.method not in known:
        hint = suggest(part.method, known)
        raise UserError(f"{type(part).__name__}: method {part.method!r}{hint}")
