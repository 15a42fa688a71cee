"""Semantic segmentation: a class for every pixel."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from vision_jax.config import UserError
from vision_jax.ops import losses
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.descriptions import Answers, describe_pixels
from vision_jax.tasks.multi_scale import MultiScale
from vision_jax.tasks.task import ImageTask, Variables

# What the networks of Caffe see, as `mean` and `std`: 0..255 less the mean. Theirs are BGR; ours
# are RGB, which the first layer's weights make up for.
CAFFE_MEAN = (122.67892 / 255, 116.66877 / 255, 104.00699 / 255)
CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)


@dataclasses.dataclass(frozen=True)
class Segmentation(ImageTask):
    """A segmenter and how it is trained.

    Labels are `targets.segmentation` (b, h, w); pixels with a value outside 0..k-1, such as 255,
    are void: they count for nothing, whatever the network makes of them.

    Attributes:
      model: `images → dict` with `logits` (b, h, w, k) at the images' size, and `aux_logits`, a
        tuple of the like, where the paper has them.
      normalize_loss: 'pixels', the mean over all pixels that are not void; or 'sum', the sum over
        an image's pixels, averaged over images (Long 2015's unnormalised loss, whose learning
        rates are about 1e-10).
      class_weights: a factor for the pixels of each class, () for none; see `median_frequency`.
        The mean stays one over the number of pixels.
      aux_weight: weight of each auxiliary head's loss.
      test: how `predict` looks at whole images, a `MultiScale`; None is once, as they are.
      mean, std, augment: see `ImageTask`, and `CAFFE_MEAN`. Augmentation moves no pixel: flips,
        crops and scales are transforms of `data`.
    """

    normalize_loss: str = "pixels"
    class_weights: tuple = ()
    aux_weight: float = 0.5
    test: MultiScale | None = None

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ("segmentation",)

    def __post_init__(self):
        if self.normalize_loss not in ("pixels", "sum"):
            raise UserError(f"normalize_loss={self.normalize_loss!r}: use 'pixels' or 'sum'")
        self.refuse_moves("labels")

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'pixel', 'aux1', …; new collections; metric `pixel_accuracy`.

        See `Task.loss` for the arguments.

        Raises:
          ValueError: a batch without `targets.segmentation`, or one of another size than the
            logits; class weights that are not one per class.
        """
        outputs, _, updates = self.forward(variables, batch, key, train)
        logits = outputs["logits"]
        labels = self._labels(batch, logits)
        known = (labels >= 0).sum()
        weight = known if self.normalize_loss == "pixels" else batch.valid.sum()
        terms = {"pixel": (self._cross_entropy(logits, labels), weight)}
        for number, aux in enumerate(outputs.get("aux_logits", ()), start=1):
            terms[f"aux{number}"] = (self.aux_weight * self._cross_entropy(aux, labels), weight)
        right = (jnp.argmax(logits, -1) == labels).sum()
        metrics = {"pixel_accuracy": (right, known)}
        return terms, {"collections": updates, "metrics": metrics}

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        """Returns the outputs in evaluation, and `segmentation` (b, h, w) int32, 0..k-1.

        With `test`, `logits` are the logarithms of mean probabilities, maybe at another size, and
        the network's other outputs, which are of one scale, are left out.
        """
        images = self.normalize(batch.pixels)
        if self.test is None:
            outputs = self.apply(variables, images)
        else:
            network = lambda x: self.apply(variables, x)["logits"]  # noqa: E731
            outputs = {"logits": self.test(network, images, batch)}
        classes = jnp.argmax(outputs["logits"], -1).astype(jnp.int32)
        return {**outputs, "segmentation": classes}

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's classes and their shares of its pixels; see `Task.describe`.

        Args:
          outputs: `segmentation` (b, h, w).
          classes: their names.
          threshold: unused, since a pixel has a class and no score.
        """
        return describe_pixels(outputs["segmentation"], classes)

    def _labels(self, batch: Batch, logits: Float[Array, "b h w k"]) -> Int[Array, "b h w"]:
        """Returns the true classes, -1 for void and for rows that only fill the batch."""
        labels = batch.targets.segmentation
        if labels is None:
            raise ValueError("segmentation needs batches with targets.segmentation")
        if labels.shape != logits.shape[:-1]:
            raise ValueError(f"logits {logits.shape} do not fit labels {labels.shape}")
        known = (labels >= 0) & (labels < logits.shape[-1]) & batch.valid[:, None, None]
        return jnp.where(known, labels, -1)

    def _cross_entropy(
        self, logits: Float[Array, "b h w k"], labels: Int[Array, "b h w"]
    ) -> Float[Array, ""]:
        """Sums over pixels."""
        entropy = losses.cross_entropy(at_least_float32(logits), labels)
        if self.class_weights:
            if len(self.class_weights) != logits.shape[-1]:
                raise ValueError(
                    f"{len(self.class_weights)} class_weights for {logits.shape[-1]} classes"
                )
            factors = jnp.asarray(self.class_weights, entropy.dtype)
            entropy = entropy * factors[jnp.maximum(labels, 0)]
        return entropy.sum()


def median_frequency(segmentations: Iterable[np.ndarray], num_classes: int) -> tuple[float, ...]:
    """Computes Eigen & Fergus's class weights (2014, arXiv:1411.4734), which SegNet trains with.

    A class's frequency is its share of the pixels, void ones left out, of the images in which it
    is; its weight is the median of the frequencies over its own. A class that is nowhere weighs 0.

    Args:
      segmentations: label maps (h, w) of the training set.
      num_classes: labels 0..num_classes-1 count.
    """
    pixels, pixels_of_images = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for labels in segmentations:
        flat = np.asarray(labels).ravel()
        known = flat[(flat >= 0) & (flat < num_classes)]
        counts = np.bincount(known, minlength=num_classes)
        pixels += counts
        pixels_of_images += np.where(counts > 0, known.size, 0)
    present = pixels > 0
    if not present.any():
        return (0.0,) * num_classes
    frequency = pixels[present] / pixels_of_images[present]
    weights = np.zeros(num_classes)
    weights[present] = np.median(frequency) / frequency
    return tuple(weights.tolist())
