"""Super-resolution: the large image that a small one was made from."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, within
from vision_jax.ops import similarity
from vision_jax.ops.resize import resize
from vision_jax.ops.style import total_variation
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.perceptual import MakesImages, Perceptual
from vision_jax.tasks.task import Variables

Pixels = Float[Array, "b h w 3"]
_WINDOW = 11  # pixels of SSIM's window: smaller images have none


@dataclasses.dataclass(frozen=True)
class SuperResolution(MakesImages):
    """A network that makes images larger, and how it is trained (Johnson et al. 2016, section 4.2).

    Batches have `targets.target_image`, as `data.Degrade` makes it. Terms of the loss, each a mean
    over images: 'pixel', the mean squared difference of pixels in 0..1; 'feature', the distance of
    the maps of a frozen network, which needs trainable=('network/.*',) of the optimizer;
    'variation', the total variation per value.

    Attributes:
      model: a `models.WithLossNetwork` of a network such as `models.JohnsonSuperResolution`; for
        the pixel loss alone its backbone may be None.
      loss_in: in which maps images are compared; only its content layers count.
      pixel_weight, feature_weight: factors of the terms; 0 is off.
      variation: factor of the total variation; 0 is off.
      residual: the network makes what is added to the bicubic enlargement, in place of the image
        (Kim et al. 2016, arXiv:1511.04587), which learns in minutes; the paper's makes the image.
      border: rows and columns that are cut off each side before measuring; None is the factor.
      mean, std, augment: see `MakesImages`. Augmentation would leave the targets behind.

    Raises:
      UserError: a negative factor, no term at all, or an augmentation.
    """

    loss_in: Perceptual = Perceptual(content=(("conv2_2", 1.0),), style=())
    pixel_weight: float = 1.0
    feature_weight: float = 0.0
    variation: float = 0.0
    residual: bool = False
    border: int | None = None

    def __post_init__(self):
        within(self, "[0, inf)", "pixel_weight", "feature_weight", "variation", "border")
        if not (self.pixel_weight or self.feature_weight):
            raise UserError("pixel_weight=0.0 and feature_weight=0.0: set one of them above 0")
        if self.augment:
            raise UserError("augment would change the images and not what is to be made of them")

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'pixel', 'feature' and 'variation', and new collections.

        The metric `psnr` is that of all channels; see `Task.loss` for the arguments.

        Raises:
          UserError: targets of another size than what the network makes.
        """
        outputs, _, updates = self.forward(variables, batch, key, train)
        made, target = self._made(outputs["image"], batch), _target(batch)
        _check_sizes(made, target)
        squared = lax.square((made - target) / 255).mean((1, 2, 3))
        losses = {}
        if self.pixel_weight:
            losses["pixel"] = self.pixel_weight * squared
        if self.feature_weight:
            losses["feature"] = self.feature_weight * self._distance(variables, made, target)
        if self.variation:
            losses["variation"] = self.variation * total_variation(made / 255)
        weight = batch.valid.astype(jnp.float32)
        # `where` and not a product alone: a padded row may hold inf or nan.
        terms: Terms = {
            name: (jnp.where(weight > 0, value, 0).sum(), weight.sum())
            for name, value in losses.items()
        }
        decibels = -10 * jnp.log10(jnp.maximum(lax.stop_gradient(squared), 1e-10))
        metrics: Terms = {"psnr": (jnp.where(weight > 0, decibels, 0).sum(), weight.sum())}
        return terms, {"collections": updates, "metrics": metrics}

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        """Returns `image` (b, h, w, 3), pixels in 0..255.

        With targets there are also, each (b,): `psnr` and `ssim` on the luma of rounded pixels,
        `feature_distance` where there is a loss network, and the same of bicubic enlargement under
        `bicubic_psnr`, ….
        """
        images = self.apply(variables, self.normalize(batch.pixels))["image"]
        made = jnp.clip(self._made(images, batch), 0, 255)
        if batch.targets.target_image is None:
            return {"image": made}
        target = _target(batch)
        _check_sizes(made, target)
        height, width = target.shape[1:3]
        bicubic = enlarged(jnp.asarray(batch.pixels, jnp.float32), (height, width))
        outputs = {"image": made, **self._measured(variables, made, target, batch)}
        peer = self._measured(variables, bicubic, target, batch)
        return outputs | {f"bicubic_{name}": value for name, value in peer.items()}

    def _made(self, images: Float[Array, "b h w 3"], batch: Batch) -> Pixels:
        """Turns what the network makes into pixels."""
        made = self.pixels(images)
        if not self.residual:
            return made
        zero = self.pixels(jnp.zeros((1, 1, 1, 3), made.dtype))
        height, width = made.shape[1:3]
        return made - zero + enlarged(jnp.asarray(batch.pixels, made.dtype), (height, width))

    def _measured(
        self, variables: Variables, made: Pixels, target: Pixels, batch: Batch
    ) -> dict[str, Float[Array, "b"]]:
        """Measures how near images come to their targets."""
        factor = target.shape[1] // batch.pixels.shape[1]
        cut = factor if self.border is None else self.border
        inner = slice(cut, -cut or None)
        one, two = (similarity.luma(jnp.round(x))[:, inner, inner] for x in (made, target))
        measured = {"psnr": similarity.psnr(one, two)}
        if min(one.shape[1:3]) >= _WINDOW:
            measured["ssim"] = similarity.ssim(one, two)
        if self.model.backbone is not None and self.loss_in.content:
            measured["feature_distance"] = self._distance(variables, made, target)
        return measured

    def _distance(self, variables: Variables, made: Pixels, target: Pixels) -> Float[Array, "b"]:
        """Computes the distance of images in the loss network's maps."""
        maps = (self.loss_in.maps(self.model, variables, x) for x in (made, target))
        return self.loss_in.content_loss(*maps)


def enlarged(images: Float[Array, "b h w 3"], size: tuple[int, int]) -> Float[Array, "b ho wo 3"]:
    """Enlarges images bicubically (a = -0.5, as Pillow and MATLAB), clipped to 0..255."""
    return jnp.clip(resize(images, size, "bicubic", antialias=True), 0, 255)


def _target(batch: Batch) -> Pixels:
    """Returns the images that are to be made, in 0..255."""
    if batch.targets.target_image is None:
        raise ValueError("super-resolution needs batches with targets.target_image: data.Degrade")
    return jnp.asarray(batch.targets.target_image, jnp.float32)


def _check_sizes(made: Pixels, target: Float[Array, "b ho wo 3"]) -> None:
    """Refuses a network that makes another size than the targets'."""
    if made.shape != target.shape:
        sizes = ("×".join(map(str, x.shape[1:3])) for x in (made, target))
        raise UserError(
            "the network makes {} pixels, the targets have {}: task.model.network.factor and "
            "the factor of data.Degrade must be the same".format(*sizes)
        )
