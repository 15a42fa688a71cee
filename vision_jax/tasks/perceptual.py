"""Losses in the maps of a frozen network, and what tasks have in common that make images."""

import dataclasses
from typing import Any, ClassVar, Literal, cast

import numpy as np
from jaxtyping import Array, Float

from vision_jax.config import UserError, one_of, suggest, within
from vision_jax.ops import image as image_ops
from vision_jax.ops import style
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.tasks.descriptions import Answers
from vision_jax.tasks.segmentation import CAFFE_MEAN, CAFFE_STD
from vision_jax.tasks.task import IMAGENET_MEAN, IMAGENET_STD, ImageTask, Variables

Maps = dict[str, Any]  # (b, h, w, c) by layer
Grams = dict[str, Any]  # (b, c, c) by layer
Weighted = tuple[tuple[str, float], ...]  # layers with factors

FORMS = ("relative", "gatys", "johnson", "mean")


@dataclasses.dataclass(frozen=True)
class Perceptual:
    """A distance of images in the maps of a frozen network, a model's `backbone`.

    Attributes:
      content: (layer, factor) pairs; maps are compared there. Layers have the backbone's names.
      style: (layer, factor) pairs; the Gram matrices of maps are compared there.
      form: how one layer is measured. 'relative', squared differences over the target's squared
        size, so that factors mean the same whatever the scale of a network's maps; 'gatys', half
        and a quarter of sums of squares (Gatys et al. 2016, eq. 1 and 4); 'johnson', the mean for
        maps and the squared Frobenius norm for Gram matrices (Johnson et al. 2016, eq. 2 and 4);
        'mean', the mean for both, as in pytorch/examples.
      mean, std: per channel, of pixels scaled to 0..1; the backbone sees (x / 255 - mean) / std.

    Raises:
      UserError: another form, a negative factor, or something else than pairs.
    """

    content: Weighted = (("conv3_3", 1.0),)
    style: Weighted = (("conv1_2", 1.0), ("conv2_2", 1.0), ("conv3_3", 1.0), ("conv4_3", 1.0))
    form: str = "relative"
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD

    def __post_init__(self):
        one_of(self, form=FORMS)
        within(self, "(0, inf)", "std")
        for name, pairs in (("content", self.content), ("style", self.style)):
            if not all(len(pair) == 2 and pair[1] >= 0 for pair in pairs):
                raise UserError(f"{name}={pairs}: write pairs, such as (('conv4_2', 1.0),)")

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that are looked at."""
        return tuple(dict.fromkeys(name for name, _ in (*self.content, *self.style)))

    def maps(self, model: Any, variables: Variables, pixels: Float[Array, "b h w c"]) -> Maps:
        """Computes the maps of images, in float32 at least.

        Args:
          model: has a `backbone`, such as `models.WithLossNetwork`.
          variables: the model's.
          pixels: in 0..255, though values beyond are taken too.

        Raises:
          UserError: no backbone, or a layer that it has not.
        """
        if model.backbone is None:
            raise UserError("a loss in maps needs task.model.backbone, such as node(models.VGG)")
        own = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
        outputs = model.backbone.apply(own, image_ops.normalize(pixels, self.mean, self.std))
        for name in self.layers:
            if name not in outputs:
                hint = suggest(name, outputs)
                raise UserError(f"the loss network has no map {name!r}{hint}; see backbone.keep")
        return {name: at_least_float32(outputs[name]) for name in self.layers}

    def grams(self, maps: Maps) -> Grams:
        """Computes the Gram matrices that `style_loss` compares with."""
        return {name: style.gram_matrix(maps[name]) for name, _ in self.style}

    def content_loss(self, maps: Maps, targets: Maps) -> Float[Array, "b"]:
        """Adds up what the maps of images differ from others, times each layer's factor.

        Args:
          maps: of the images.
          targets: of one image for each, or of a single one.
        """
        form = cast(Any, "johnson" if self.form == "mean" else self.form)
        each = [w * style.content_loss(maps[n], targets[n], form) for n, w in self.content]
        return sum(each[1:], each[0])

    def style_loss(self, maps: Maps, grams: Grams) -> Float[Array, "b"]:
        """Adds up what images' Gram matrices differ from others, times each layer's factor."""
        form = cast(Literal["gatys", "johnson", "mean", "relative"], self.form)
        each = [w * style.style_loss(maps[n], grams[n], form) for n, w in self.style]
        return sum(each[1:], each[0])


@dataclasses.dataclass(frozen=True)
class MakesImages(ImageTask):
    """A network that answers with an image; tasks add the loss.

    The network takes and gives values less the mean, over the deviation; by default those of the
    papers' code, 0..255 less the channels' means.

    Attributes:
      model: images → dict with `image`, such as `models.WithLossNetwork`.
      mean, std, augment: see `ImageTask`.
    """

    mean: tuple = CAFFE_MEAN
    std: tuple = CAFFE_STD

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ("image",)

    def pixels(self, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Turns what the network makes into pixels, which may lie beyond 0..255."""
        return image_ops.denormalize(at_least_float32(images), self.mean, self.std)

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's size; see `Task.describe`. Nothing has a score."""
        height, width = np.shape(outputs["image"])[1:3]
        text = f"{width}×{height} pixels"
        count = len(outputs["image"])
        return [{"text": text, "width": width, "height": height} for _ in range(count)]
