"""Image classification: one label per image (softmax) or any number of them (sigmoid)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, within
from vision_jax.ops import image as image_ops
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.descriptions import Answers, describe_classes
from vision_jax.tasks.streams import example_keys, stream
from vision_jax.tasks.task import ImageTask, Prepared, Variables


@dataclasses.dataclass(frozen=True)
class Classification(ImageTask):
    """A classifier and how it is trained.

    Attributes:
      model: `images → dict` with `logits` (b, k), and `aux_logits` where the paper has them.
      smoothing: label smoothing ε. `smoothing_form` 'uniform' gives ε/n to every class
        (Szegedy et al. 2015, section 7), 'others' ε/(n-1) to each wrong one (He et al. 2018).
      mixup, cutmix: α of the Beta distribution from which λ is drawn per pair of neighbours; 0
        is off, 1 makes λ uniform (Zhang et al. 2017; Yun et al. 2019). With both, a fair coin
        per pair decides.
      multilabel: sigmoid and binary cross-entropy instead of softmax; labels are (b, k) in 0..1.
      aux_weight: weight of each auxiliary head's loss.
      mean, std, augment: see `ImageTask`.
    """

    smoothing: float = 0.0
    smoothing_form: str = "uniform"
    mixup: float = 0.0
    cutmix: float = 0.0
    multilabel: bool = False
    aux_weight: float = 0.3

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ("logits",)

    def __post_init__(self):
        if self.smoothing_form not in ("uniform", "others"):
            raise UserError(f"smoothing_form {self.smoothing_form!r}: use 'uniform' or 'others'")
        if self.smoothing and self.multilabel:
            raise UserError("smoothing is for softmax classification; set it to 0 with multilabel")
        within(self, "[0, 1)", "smoothing")
        within(self, "[0, inf)", "mixup", "cutmix", "aux_weight")

    def model_keys(self, batch: Batch, key: Key[Array, ""]) -> Key[Array, "b"]:
        """Derives the keys that the network draws with; stream 1 is for mixing."""
        return stream(example_keys(key, batch), 2)

    def prepare(self, batch: Batch, key: Key[Array, ""]) -> Prepared:
        """Augments, mixes and normalises the images for training.

        Returns:
          The images, and the per-example weights λ with which each takes its own label, the rest
          going to its neighbour's; None without mixing.
        """
        images, lam = self.augmented(batch, key), None
        if self.mixup or self.cutmix:
            keys = stream(example_keys(key, batch), 1)
            images, lam = image_ops.mix(images, keys, self.mixup, self.cutmix)
        return self.normalize(images), lam

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'class', 'aux1', …, new collections, and the metric `top1`.

        The batch's labels are (b,) int32, or (b, k) float32; see `Task.loss` for the rest.
        """
        outputs, lam, updates = self.forward(variables, batch, key, train)
        labels = self._labels(batch, outputs["logits"].shape[-1], lam)
        weight = batch.valid.astype(jnp.float32)
        terms = {"class": _masked(self._cross_entropy(outputs["logits"], labels), weight)}
        for number, logits in enumerate(outputs.get("aux_logits", ())):
            total, count = _masked(self._cross_entropy(logits, labels), weight)
            terms[f"aux{number + 1}"] = (self.aux_weight * total, count)
        metrics = {}
        if not self.multilabel:
            right = jnp.argmax(outputs["logits"], -1) == jnp.argmax(labels, -1)
            metrics["top1"] = _masked(right.astype(jnp.float32), weight)
        return terms, {"collections": updates, "metrics": metrics}

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Returns the network's outputs in evaluation.

        A batch of several crops per image, (b, crops, h, w, c), gives one answer per image: the
        crops' probabilities averaged (Krizhevsky et al. 2012, section 4.1), as logits again.
        """
        images = self.normalize(batch.pixels)
        if images.ndim == 4:
            return self.apply(variables, images)
        count, crops = images.shape[:2]
        logits = self.apply(variables, images.reshape(-1, *images.shape[2:]))["logits"]
        activation = jax.nn.log_sigmoid if self.multilabel else jax.nn.log_softmax
        logs = activation(logits.astype(jnp.float32)).reshape(count, crops, -1)
        mean = jax.nn.logsumexp(logs, axis=1) - jnp.log(crops)
        return {"logits": _logit(mean) if self.multilabel else mean}

    def describe(
        self, outputs: dict[str, Array], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's most probable classes, at most five; see `Task.describe`.

        Args:
          outputs: `logits` (b, k) from `predict`.
          classes: their names.
          threshold: the least probability of a class that is told.
        """
        return describe_classes(outputs["logits"], classes, threshold, self.multilabel)

    def _labels(self, batch: Batch, classes: int, lam: Array | None) -> Float[Array, "b k"]:
        labels = batch.targets.label
        if labels is None:
            raise ValueError("classification needs batches with targets.label")
        if labels.ndim == 1:
            # -1 marks a missing label; its row is all zero and its example is not valid.
            labels = jax.nn.one_hot(labels, classes)
            if self.smoothing:
                labels = smooth(labels, self.smoothing, self.smoothing_form)
        if lam is not None:
            lam = lam[:, None]
            labels = lam * labels + (1 - lam) * image_ops.neighbours(labels)
        return labels

    def _cross_entropy(
        self, logits: Float[Array, "b k"], labels: Float[Array, "b k"]
    ) -> Float[Array, "b"]:
        logits = at_least_float32(logits)
        if self.multilabel:
            return optax.losses.sigmoid_binary_cross_entropy(logits, labels).sum(-1)
        return optax.losses.softmax_cross_entropy(logits, labels)


def smooth(
    one_hot: Float[Array, "b k"], epsilon: float, form: str = "uniform"
) -> Float[Array, "b k"]:
    """Smooths labels by ε = `epsilon` in 0..1; see `Classification` for the forms."""
    classes = one_hot.shape[-1]
    if form == "uniform":
        return one_hot * (1 - epsilon) + epsilon / classes
    return one_hot * (1 - epsilon) + (1 - one_hot) * epsilon / (classes - 1)


def _masked(value: Float[Array, "b"], weight: Float[Array, "b"]) -> tuple[Array, Array]:
    # `where` and not a product alone: a padded row may hold inf or nan.
    return jnp.where(weight > 0, value, 0).sum(), weight.sum()


def _logit(log_probability: Float[Array, "b k"]) -> Float[Array, "b k"]:
    return log_probability - jnp.log1p(-jnp.exp(jnp.minimum(log_probability, -1e-7)))
