"""Classification + localization: what is in the image, and where its object or joints are.

The network regresses coordinates as offsets from the image's centre over the image's size, so 0 is
the centre and ±0.5 the borders; what leaves `predict` is in pixels of the network's input.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.config import UserError
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import objects
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.descriptions import Answers, describe_places
from vision_jax.tasks.streams import example_keys, stream
from vision_jax.tasks.task import ImageTask, Variables

GUESSES = 5  # (label, box) pairs that ILSVRC's localization error looks at


@dataclasses.dataclass(frozen=True)
class Localization(ImageTask):
    """A `models.localizer.Localizer` and how it is trained.

    Attributes:
      model: `images → dict` with `logits` (b, k) and `regression` (b, k or 1, slots, 4 or 2). As
        many slots are regressed as objects are expected: the first `slots` of the image's.
      regress: 'boxes', the image's objects; 'keypoints', the joints of its first object.
      order: which object belongs to which slot: 'given', as in the data; 'left', from the left.
      form: what is regressed of a box, 'xyxy' (edges, OverFeat) or 'cxcywh' (VGG).
      loss_form: 'l2', half the squared error, or 'smooth_l1' (Girshick 2015, eq. 3), which is
        linear beyond `beta`; each summed over a slot's coordinates.
      beta: in units of the image's size.
      class_loss_weight, box_loss_weight: factors of the two losses; with `class_loss_weight` 0, the
        boxes are trained alone (freeze the rest by `optimizer.trainable`).
      mean, std, augment: see `ImageTask`. Augmentation moves no pixel.
    """

    regress: str = "boxes"
    order: str = "given"
    form: str = "xyxy"
    loss_form: str = "l2"
    beta: float = 0.1
    class_loss_weight: float = 1.0
    box_loss_weight: float = 10.0

    def __post_init__(self):
        for name, value, known in (
            ("regress", self.regress, ("boxes", "keypoints")),
            ("order", self.order, ("given", "left")),
            ("form", self.form, ("xyxy", "cxcywh")),
            ("loss_form", self.loss_form, ("l2", "smooth_l1")),
        ):
            if value not in known:
                raise UserError(f"{name}={value!r}: use {' or '.join(known)}")
        if self.loss_form == "smooth_l1" and not self.beta > 0:
            raise UserError(f"beta={self.beta} must be above 0")
        self.refuse_moves("boxes")

    def augment_keys(self, batch: Batch, key: Key[Array, ""]) -> Key[Array, "b"]:
        """Derives the keys that augmentation draws with: the first streams, one a part."""
        return example_keys(key, batch)

    def model_keys(self, batch: Batch, key: Key[Array, ""]) -> Key[Array, "b"]:
        """Derives the keys that the network draws with: the stream after augmentation's."""
        return stream(example_keys(key, batch), len(self.augment))

    def targets(
        self, batch: Batch, slots: int
    ) -> tuple[Float[Array, "b {slots} n"], Bool[Array, "b {slots}"]]:
        """Returns the regression targets, and which slots have one.

        Args:
          batch: with `targets.boxes`, `valid`, or `targets.keypoints` (joints that are not
            labelled, visibility 0, are no targets).
          slots: number of the network's. Images with fewer objects leave the last ones empty;
            further objects of others are left out.

        Raises:
          ValueError: a batch without these targets, or with fewer joints than slots.
        """
        pixels, valid = self._coordinates(batch)
        if self.regress == "keypoints" and pixels.shape[1] < slots:
            raise ValueError(f"{slots} joints are regressed, but there are {pixels.shape[1]}")
        missing = max(0, slots - pixels.shape[1])
        pixels = jnp.pad(pixels, ((0, 0), (0, missing), (0, 0)))[:, :slots]
        valid = jnp.pad(valid, ((0, 0), (0, missing)))[:, :slots]
        return self._encode(pixels, batch), valid & batch.valid[:, None]

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'class' (per image) and 'box' (per slot that has a target).

        Class-specific regression trains the true class's row. Metric `iou` is the mean overlap of
        that row's boxes with their targets. See `Task.loss` for the arguments.
        """
        outputs, _, updates = self.forward(variables, batch, key, train)
        labels = batch.targets.label
        if labels is None:
            raise ValueError("localization needs batches with targets.label")
        regression = at_least_float32(outputs["regression"])
        rows = _of_class(regression, jnp.maximum(labels, 0)[:, None])[:, 0]
        box_targets, has_target = self.targets(batch, regression.shape[2])
        error = self._error(rows, box_targets).sum(-1)
        box_loss = self.box_loss_weight * jnp.where(has_target, error, 0).sum()
        terms = {"box": (box_loss, has_target.sum())}
        if self.class_loss_weight:
            known = batch.valid & (labels >= 0)
            entropy = optax.losses.softmax_cross_entropy_with_integer_labels(
                at_least_float32(outputs["logits"]), jnp.maximum(labels, 0)
            )
            class_loss = self.class_loss_weight * jnp.where(known, entropy, 0).sum()
            terms["class"] = (class_loss, known.sum())
        metrics = {}
        if self.regress == "boxes":
            iou = box_ops.iou(self.decode(rows, batch), self.decode(box_targets, batch))
            metrics["iou"] = (jnp.where(has_target, iou, 0).sum(), has_target.sum())
        return terms, {"collections": updates, "metrics": metrics}

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of the outputs that pictures are made from."""
        return ("logits", "boxes" if self.regress == "boxes" else "points")

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Returns the network's outputs, and in pixels of its input

        boxes (b, slots, 4) or points (b, slots, 2): of the class that is held most probable;
        guess_labels (b, g), guess_boxes (b, g, slots, 4): the g = 5 most probable classes, in
          order, each with its boxes (where boxes are regressed).
        """
        outputs = self.apply(variables, self.normalize(batch.pixels))
        guesses = min(GUESSES, outputs["logits"].shape[-1])
        _, labels = jax.lax.top_k(at_least_float32(outputs["logits"]), guesses)
        rows = _of_class(at_least_float32(outputs["regression"]), labels)
        pixels = self.decode(rows, batch)
        if self.regress == "keypoints":
            return {**outputs, "points": pixels[:, 0]}
        guess = {"guess_labels": labels, "guess_boxes": pixels}
        return {**outputs, "boxes": pixels[:, 0], **guess}

    def decode(self, regression: Float[Array, "b *s n"], batch: Batch) -> Float[Array, "b *s n"]:
        """Turns regressed numbers into pixels of the network's input: xyxy, or x and y."""
        form = self.form if self.regress == "boxes" else "xy"
        scale, centre = _frame(batch, form, regression.ndim)
        pixels = regression * scale + centre
        return box_ops.convert(pixels, form, "xyxy") if form != "xy" else pixels

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's class and its boxes or joints; see `Task.describe`.

        Below the threshold the line of text names no class.
        """
        name = "boxes" if self.regress == "boxes" else "points"
        return describe_places(outputs["logits"], name, outputs[name], classes, threshold)

    def _coordinates(self, batch: Batch) -> tuple[Float[Array, "b m n"], Bool[Array, "b m"]]:
        """Returns the images' boxes xyxy, or their first object's joints, in pixels, in order."""
        targets = batch.targets
        coordinates = targets.boxes if self.regress == "boxes" else targets.keypoints
        if coordinates is None or targets.valid is None:
            raise ValueError(
                f"localization of {self.regress} needs batches with targets.{self.regress}"
            )
        if self.regress == "keypoints":
            labelled = coordinates[:, 0, :, 2] > 0
            return coordinates[:, 0, :, :2], labelled & targets.valid[:, :1]
        if self.order == "left":
            return objects.from_left(coordinates, targets.valid)
        return coordinates, targets.valid

    def _encode(self, pixels: Float[Array, "b s n"], batch: Batch) -> Float[Array, "b s n"]:
        """Inverts `decode`."""
        form = self.form if self.regress == "boxes" else "xy"
        scale, centre = _frame(batch, form, pixels.ndim)
        if form != "xy":
            pixels = box_ops.convert(pixels, "xyxy", form)
        return (pixels - centre) / scale

    def _error(self, rows: Float[Array, "b s n"], targets: Float[Array, "b s n"]) -> Array:
        if self.loss_form == "l2":
            return optax.losses.l2_loss(rows, targets)
        return optax.losses.huber_loss(rows, targets, delta=self.beta) / self.beta


def _frame(batch: Batch, form: str, ndim: int) -> tuple[Float[Array, "*s n"], Float[Array, "*s n"]]:
    """Returns scale and origin of regressed numbers: the image's size, its centre for positions."""
    h, w = batch.pixels.shape[-3:-1]
    scale = jnp.array([w, h] if form == "xy" else [w, h, w, h], jnp.float32)
    places = jnp.array({"xy": (1, 1), "xyxy": (1, 1, 1, 1), "cxcywh": (1, 1, 0, 0)}[form])
    shape = (*(1 for _ in range(ndim - 1)), len(scale))
    return scale.reshape(shape), (scale / 2 * places).reshape(shape)


def _of_class(regression: Float[Array, "b c s n"], labels: Int[Array, "b g"]) -> Array:
    """Returns the rows (b, g, s, n) of these classes; the only one if there is just one."""
    if regression.shape[1] == 1:
        shape = (*labels.shape, *regression.shape[2:])
        return jnp.broadcast_to(regression, shape)
    return jnp.take_along_axis(regression, labels[:, :, None, None], axis=1)
