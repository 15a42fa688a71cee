"""Augmentation on the device, inside the compiled step: images and per-example keys → images.

These are the config-tree forms of the functions in `ops.image`, `ops.warp` and
`ops.trivial_augment`. Images are float32 in 0..255; each draw comes from the example's own key, so
that it does not depend on the number of devices. They move pixels alone: for images with boxes,
masks or keypoints there are the host transforms `data.RandomAffine` and `data.LensDistortion`.
"""

import dataclasses
from typing import cast, get_args

from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.ops import image as image_ops
from vision_jax.ops import warp
from vision_jax.ops.trivial_augment import trivial_augment
from vision_jax.tasks.streams import stream

Images = Float[Array, "b h w c"]
Keys = Key[Array, "b"]


@dataclasses.dataclass(frozen=True)
class Flip:
    """A mirror of left and right, applied with a probability (0..1)."""

    probability: float = 0.5

    def __call__(self, images: Images, keys: Keys) -> Images:
        return image_ops.random_flip(images, keys, self.probability)


@dataclasses.dataclass(frozen=True)
class PadCrop:
    """A random crop of the old size, after padding each side by `pad` pixels.

    `mode` is 'constant' (zeros) or 'reflect' (mirrored).
    """

    pad: int = 4
    mode: str = "constant"

    def __call__(self, images: Images, keys: Keys) -> Images:
        return image_ops.pad_crop(images, keys, self.pad, self.mode)


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """A change of brightness, contrast and saturation, each by a factor in [1 - x, 1 + x]."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    def __call__(self, images: Images, keys: Keys) -> Images:
        return image_ops.color_jitter(images, keys, self.brightness, self.contrast, self.saturation)


@dataclasses.dataclass(frozen=True)
class Lighting:
    """The PCA colour offset of AlexNet (section 4.1); `std` scales the principal components."""

    std: float = 0.1

    def __call__(self, images: Images, keys: Keys) -> Images:
        return image_ops.pca_lighting(images, keys, self.std)


@dataclasses.dataclass(frozen=True)
class Erasing:
    """A rectangle that is filled with one value, 0..255 (random erasing, Zhong et al. 2017)."""

    probability: float = 0.1
    fill: float = 127.5

    def __call__(self, images: Images, keys: Keys) -> Images:
        return image_ops.random_erasing(images, keys, self.probability, fill=self.fill)


@dataclasses.dataclass(frozen=True)
class Affine:
    """A random translation, rotation, stretch and shear; 0 switches one off.

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

    def __call__(self, images: Images, keys: Keys) -> Images:
        strengths = (self.translate, self.rotate, self.stretch, self.shear)
        method = cast(warp.Method, self.method)
        return warp.random_affine(images, keys, *strengths, method, self.fill)


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

    def __call__(self, images: Images, keys: Keys) -> Images:
        return warp.random_lens(images, keys, self.strength, fill=self.fill)


@dataclasses.dataclass(frozen=True)
class TrivialAugment:
    """One operation of random kind and strength per image, in the wide space (Müller 2021).

    `method` is 'bilinear' or 'nearest', `fill` (0..255) what lies outside of the image.
    """

    method: str = "bilinear"
    fill: float = 0.0

    def __post_init__(self):
        _check_method(self)

    def __call__(self, images: Images, keys: Keys) -> Images:
        return trivial_augment(images, keys, cast(warp.Method, self.method), self.fill)


# Those after which boxes, masks and label maps of the old images would lie beside the objects.
MOVES = (Flip, PadCrop, Affine, LensDistortion, TrivialAugment)


def apply_all(steps: tuple, images: Images, keys: Keys) -> Images:
    """Runs the augmentations in order, each on its own stream of the examples' keys."""
    for number, step in enumerate(steps):
        images = step(images, stream(keys, number))
    return images


def _check_method(part: Affine | TrivialAugment) -> None:
    known = get_args(warp.Method)
    if part.method not in known:
        hint = suggest(part.method, known)
        raise UserError(f"{type(part).__name__}: method {part.method!r}{hint}")
