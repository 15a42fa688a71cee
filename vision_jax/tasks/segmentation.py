"""Semantic segmentation: a class for every pixel."""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from vision_jax.config import UserError
from vision_jax.ops import image as image_ops
from vision_jax.ops import losses
from vision_jax.structs import Batch
from vision_jax.tasks import augment as augmentation
from vision_jax.tasks.classification import IMAGENET_MEAN, IMAGENET_STD, initialise
from vision_jax.tasks.multi_scale import MultiScale

# What the networks of Caffe see, as `mean` and `std`: 0..255 less the mean. Theirs are BGR; ours
# are RGB, which the first layer's weights make up for.
CAFFE_MEAN = (122.67892 / 255, 116.66877 / 255, 104.00699 / 255)
CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)

_MOVES = (augmentation.Flip, augmentation.PadCrop)
# Separate streams of an example's key, so that adding an augmentation moves no other draw.
_AUGMENT, _MODEL = range(2)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """A segmenter and how it is trained.

    Labels are `targets.segmentation` (b, h, w); pixels with a value outside 0..k-1, such as 255,
    are void: they count for nothing, whatever the network makes of them.

    Attributes:
      model: `image → dict` with `logits` (b, h, w, k) at the image's size, and `aux_logits`, a
        tuple of the like, where the paper has them.
      mean, std: as of `Classification`; see `CAFFE_MEAN`.
      augment: parts of `tasks.augment` that move no pixel; training only. Flips, crops and scales
        are transforms of `data`.
      normalize_loss: 'pixels', the mean over all pixels that are not void; or 'sum', the sum over
        an image's pixels, averaged over images (Long 2015's unnormalised loss, whose learning
        rates are about 1e-10).
      class_weights: a factor for the pixels of each class, () for none; see `median_frequency`.
        The mean stays one over the number of pixels.
      aux_weight: weight of each auxiliary head's loss.
      test: how `predict` looks at whole images, a `MultiScale`; None is once, as they are.
    """

    model: nn.Module
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    augment: tuple = ()
    normalize_loss: str = "pixels"
    class_weights: tuple = ()
    aux_weight: float = 0.5
    test: MultiScale | None = None

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple] = ("segmentation",)

    def __post_init__(self):
        if self.normalize_loss not in ("pixels", "sum"):
            raise UserError(f"normalize_loss={self.normalize_loss!r}: use 'pixels' or 'sum'")
        if any(isinstance(step, _MOVES) for step in self.augment):
            raise UserError("augment moves pixels but not labels; use the transforms of `data`")

    def init(self, key: Key[Array, ""], batch: Batch) -> dict[str, Any]:
        """Fresh variables for images shaped like the batch's; see `Classification.init`."""
        return initialise(self.model, key, jnp.zeros((1, *batch.image.shape[-3:])))

    def normalize(self, image: Array) -> Float[Array, "*b h w c"]:
        """uint8 or 0..255 float pixels → what the network sees."""
        return image_ops.normalize(image, self.mean, self.std)

    def prepare(
        self, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b ..."] | None]:
        """What the network is fed in training: augmented and normalised images, and None."""
        image = batch.image.astype(jnp.float32)
        keys = _stream(batch, key, _AUGMENT)
        return self.normalize(augmentation.apply_all(self.augment, image, keys)), None

    def loss(
        self, variables: dict[str, Any], batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[dict[str, tuple[Array, Array]], dict[str, Any]]:
        """Sums and weights of 'pixel' and 'aux1', …; new collections; metric `pixel_accuracy`.

        Raises:
          ValueError: a batch without `targets.segmentation`, or one of another size than the
            logits; class weights that are not one per class.
        """
        names = [name for name in variables if name != "params"]
        if train:
            image, _ = self.prepare(batch, key)
            keys = _stream(batch, key, _MODEL)
            outputs, updates = self.model.apply(
                variables, image, train=True, keys=keys, mutable=names
            )
        else:
            updates = {name: variables[name] for name in names}
            outputs = self.model.apply(variables, self.normalize(batch.image))
        logits = outputs["logits"]
        labels = self._labels(batch, logits)
        known = (labels >= 0).sum()
        weight = known if self.normalize_loss == "pixels" else batch.valid.sum()
        terms = {"pixel": (self._cross_entropy(logits, labels), weight)}
        for number, aux in enumerate(outputs.get("aux_logits", ()), start=1):
            terms[f"aux{number}"] = (self.aux_weight * self._cross_entropy(aux, labels), weight)
        right = (jnp.argmax(logits, -1) == labels).sum()
        metrics = {"pixel_accuracy": (right, known)}
        return terms, {"collections": dict(updates), "metrics": metrics}

    def predict(self, variables: dict[str, Any], batch: Batch) -> dict[str, Any]:
        """The network's outputs in evaluation, and `segmentation` (b, h, w) int32, 0..k-1.

        With `test`, `logits` are the logarithms of mean probabilities, maybe at another size, and
        the network's other outputs, which are of one scale, are left out.
        """
        image = self.normalize(batch.image)
        if self.test is None:
            outputs = self.model.apply(variables, image)
        else:
            network = lambda x: self.model.apply(variables, x)["logits"]  # noqa: E731
            outputs = {"logits": self.test(network, image, batch)}
        classes = jnp.argmax(outputs["logits"], -1).astype(jnp.int32)
        return {**outputs, "segmentation": classes}

    def describe(self, outputs: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Each image's answer in JSON's types, with a `text` of one line for its picture.

        Args:
          outputs: `segmentation` (b, h, w).
          classes: their names; numbers stand in where names are missing.
        """
        answers = []
        for labels in np.asarray(outputs["segmentation"]):
            counts = collections.Counter(labels.ravel().tolist())
            found = [
                {
                    "class": classes[label] if label < len(classes) else str(label),
                    "label": label,
                    "share": round(count / labels.size, 6),
                }
                for label, count in counts.most_common()
            ]
            text = ", ".join(f"{one['class']} {one['share']:.0%}" for one in found[:3])
            answers.append({"text": text, "classes": found})
        return answers

    def _labels(self, batch: Batch, logits: Float[Array, "b h w k"]) -> Int[Array, "b h w"]:
        """The true classes, -1 for void and for rows that only fill the batch."""
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
        """The sum over pixels."""
        wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        entropy = losses.cross_entropy(wide, labels)
        if self.class_weights:
            if len(self.class_weights) != logits.shape[-1]:
                raise ValueError(
                    f"{len(self.class_weights)} class_weights for {logits.shape[-1]} classes"
                )
            factors = jnp.asarray(self.class_weights, entropy.dtype)
            entropy = entropy * factors[jnp.maximum(labels, 0)]
        return entropy.sum()


def median_frequency(segmentations: Iterable[np.ndarray], num_classes: int) -> tuple[float, ...]:
    """Class weights of Eigen & Fergus (2014, arXiv:1411.4734), which SegNet trains with.

    A class's frequency is its share of the pixels, void ones left out, of the images in which it
    is; its weight is the median of the frequencies over its own. A class that is nowhere weighs 0.

    Args:
      segmentations: label maps (h, w) of the training set.
      num_classes: labels 0..num_classes-1 count.
    """
    pixels, room = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for labels in segmentations:
        flat = np.asarray(labels).ravel()
        known = flat[(flat >= 0) & (flat < num_classes)]
        counts = np.bincount(known, minlength=num_classes)
        pixels += counts
        room += np.where(counts > 0, known.size, 0)
    there = pixels > 0
    if not there.any():
        return (0.0,) * num_classes
    frequency = pixels[there] / room[there]
    weights = np.zeros(num_classes)
    weights[there] = np.median(frequency) / frequency
    return tuple(weights.tolist())


def _stream(batch: Batch, key: Key[Array, ""], number: int) -> Key[Array, "b"]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
