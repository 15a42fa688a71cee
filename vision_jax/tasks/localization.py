"""Classification + localization: what is in the image, and where its object or joints are.

The network regresses coordinates as offsets from the image's centre over the image's size, so 0 is
the centre and ±0.5 the borders; what leaves `predict` is in pixels of the network's input.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.config import UserError
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import image as image_ops
from vision_jax.ops import objects
from vision_jax.structs import Batch
from vision_jax.tasks import augment as augmentation
from vision_jax.tasks.classification import IMAGENET_MEAN, IMAGENET_STD, initialise

GUESSES = 5  # (label, box) pairs that ILSVRC's localization error looks at
_MOVES = (augmentation.Flip, augmentation.PadCrop)


@dataclasses.dataclass(frozen=True)
class Localization:
    """A `models.localizer.Localizer` and how it is trained.

    Attributes:
      model: `image → dict` with `logits` (b, k) and `regression` (b, k or 1, slots, 4 or 2). As
        many slots are regressed as objects are expected: the first `slots` of the image's.
      mean, std: as of `Classification`.
      augment: parts of `tasks.augment` that move no pixel; training only.
      regress: 'boxes', the image's objects; 'keypoints', the joints of its first object.
      order: which object belongs to which slot: 'given', as in the data; 'left', from the left.
      form: what is regressed of a box, 'xyxy' (edges, OverFeat) or 'cxcywh' (VGG).
      loss_form: 'l2', half the squared error, or 'smooth_l1' (Girshick 2015, eq. 3), which is
        linear beyond `beta`; each summed over a slot's coordinates.
      beta: in units of the image's size.
      class_weight, box_weight: of the two losses; with `class_weight` 0, the boxes are trained
        alone (freeze the rest by `optimizer.trainable`).
    """

    model: nn.Module
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    augment: tuple = ()
    regress: str = "boxes"
    order: str = "given"
    form: str = "xyxy"
    loss_form: str = "l2"
    beta: float = 0.1
    class_weight: float = 1.0
    box_weight: float = 10.0

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple] = ("logits",)

    def __post_init__(self):
        for name, known in (
            ("regress", ("boxes", "keypoints")),
            ("order", ("given", "left")),
            ("form", ("xyxy", "cxcywh")),
            ("loss_form", ("l2", "smooth_l1")),
        ):
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)!r}: use {' or '.join(known)}")
        if self.loss_form == "smooth_l1" and not self.beta > 0:
            raise UserError(f"beta={self.beta} must be above 0")
        if any(isinstance(step, _MOVES) for step in self.augment):
            raise UserError("augment moves pixels but not boxes; use the transforms of `data`")

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
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
        image = batch.image.astype(jnp.float32)
        return self.normalize(augmentation.apply_all(self.augment, image, keys)), None

    def targets(
        self, batch: Batch, slots: int
    ) -> tuple[Float[Array, "b {slots} n"], Bool[Array, "b {slots}"]]:
        """What is regressed, and which slots there is something to regress in.

        Args:
          batch: with `targets.boxes`, `valid`, or `targets.keypoints` (joints that are not
            labelled, visibility 0, are no targets).
          slots: of the network. Images with fewer objects leave the last ones empty; further
            objects of others are left out.

        Raises:
          ValueError: a batch without these targets, or with fewer joints than slots.
        """
        found, valid = self._coordinates(batch)
        if self.regress == "keypoints" and found.shape[1] < slots:
            raise ValueError(f"{slots} joints are regressed, but there are {found.shape[1]}")
        missing = max(0, slots - found.shape[1])
        found = jnp.pad(found, ((0, 0), (0, missing), (0, 0)))[:, :slots]
        valid = jnp.pad(valid, ((0, 0), (0, missing)))[:, :slots]
        return self._encode(found, batch), valid & batch.valid[:, None]

    def loss(
        self, variables: dict[str, Any], batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[dict[str, tuple[Array, Array]], dict[str, Any]]:
        """Sums and weights of 'class' (per image) and 'box' (per slot that has a target).

        Class-specific regression trains the true class's row. Metric `iou` is the mean overlap of
        that row's boxes with their targets.
        """
        collections = [name for name in variables if name != "params"]
        if train:
            image, _ = self.prepare(batch, key)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys, len(self.augment))
            outputs, updates = self.model.apply(
                variables, image, train=True, keys=keys, mutable=collections
            )
        else:
            updates = {name: variables[name] for name in collections}
            outputs = self.model.apply(variables, self.normalize(batch.image))
        label = batch.targets.label
        wide = _wide(outputs["regression"])
        rows = _of_class(wide, jnp.maximum(label, 0)[:, None])[:, 0]
        target, has = self.targets(batch, wide.shape[2])
        error = self._error(rows, target).sum(-1)
        terms = {"box": (self.box_weight * jnp.where(has, error, 0).sum(), has.sum())}
        if self.class_weight:
            known = batch.valid & (label >= 0)
            entropy = optax.losses.softmax_cross_entropy_with_integer_labels(
                _wide(outputs["logits"]), jnp.maximum(label, 0)
            )
            terms["class"] = (self.class_weight * jnp.where(known, entropy, 0).sum(), known.sum())
        metrics = {}
        if self.regress == "boxes":
            iou = box_ops.iou(self.decode(rows, batch), self.decode(target, batch))
            metrics["iou"] = (jnp.where(has, iou, 0).sum(), has.sum())
        return terms, {"collections": dict(updates), "metrics": metrics}

    def predict(self, variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        """The network's outputs, and in pixels of its input

        boxes (b, slots, 4) or points (b, slots, 2): of the class that is held most probable;
        guess_labels (b, g), guess_boxes (b, g, slots, 4): the g = 5 most probable classes, in
          order, each with its boxes (where boxes are regressed).
        """
        outputs = self.model.apply(variables, self.normalize(batch.image))
        guesses = min(GUESSES, outputs["logits"].shape[-1])
        _, labels = jax.lax.top_k(_wide(outputs["logits"]), guesses)
        found = self.decode(_of_class(_wide(outputs["regression"]), labels), batch)
        if self.regress == "keypoints":
            return {**outputs, "points": found[:, 0]}
        guess = {"guess_labels": labels, "guess_boxes": found}
        return {**outputs, "boxes": found[:, 0], **guess}

    def decode(self, regression: Float[Array, "b *s n"], batch: Batch) -> Float[Array, "b *s n"]:
        """Regressed numbers → pixels of the network's input: xyxy, or x and y."""
        form = self.form if self.regress == "boxes" else "xy"
        scale, centre = _frame(batch, form, regression.ndim)
        pixels = regression * scale + centre
        return box_ops.convert(pixels, form, "xyxy") if form != "xy" else pixels

    def describe(self, outputs: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Each image's answer in JSON's types, with a `text` of one line for its picture."""
        scores = jax.nn.softmax(_wide(jnp.asarray(outputs["logits"])))
        name = "boxes" if self.regress == "boxes" else "points"
        answers = []
        for row, label in enumerate(jnp.argmax(scores, -1).tolist()):
            text = classes[label] if label < len(classes) else str(label)
            share = float(scores[row, label])
            places = [[round(float(v), 2) for v in place] for place in outputs[name][row]]
            answers.append(
                {
                    "text": f"{text} {share:.0%}",
                    "class": text,
                    "label": label,
                    "probability": round(share, 6),
                    name: places,
                }
            )
        return answers

    def _coordinates(self, batch: Batch) -> tuple[Float[Array, "b m n"], Bool[Array, "b m"]]:
        """The image's boxes xyxy, or its first object's joints, in pixels, in order."""
        wanted = batch.targets.boxes if self.regress == "boxes" else batch.targets.keypoints
        if wanted is None:
            raise ValueError(
                f"localization of {self.regress} needs batches with targets.{self.regress}"
            )
        if self.regress == "keypoints":
            return wanted[:, 0, :, :2], (wanted[:, 0, :, 2] > 0) & batch.targets.valid[:, :1]
        if self.order == "left":
            return objects.from_left(wanted, batch.targets.valid)
        return wanted, batch.targets.valid

    def _encode(self, pixels: Float[Array, "b s n"], batch: Batch) -> Float[Array, "b s n"]:
        """The inverse of `decode`."""
        form = self.form if self.regress == "boxes" else "xy"
        scale, centre = _frame(batch, form, pixels.ndim)
        if form != "xy":
            pixels = box_ops.convert(pixels, "xyxy", form)
        return (pixels - centre) / scale

    def _error(self, found: Float[Array, "b s n"], target: Float[Array, "b s n"]) -> Array:
        if self.loss_form == "l2":
            return optax.losses.l2_loss(found, target)
        return optax.losses.huber_loss(found, target, delta=self.beta) / self.beta


def _frame(batch: Batch, form: str, ndim: int) -> tuple[Float[Array, "*s n"], Float[Array, "*s n"]]:
    """Scale and origin of regressed numbers: the image's size, and its centre for positions."""
    h, w = batch.image.shape[-3:-1]
    scale = jnp.array([w, h] if form == "xy" else [w, h, w, h], jnp.float32)
    places = jnp.array({"xy": (1, 1), "xyxy": (1, 1, 1, 1), "cxcywh": (1, 1, 0, 0)}[form])
    shape = (*(1 for _ in range(ndim - 1)), len(scale))
    return scale.reshape(shape), (scale / 2 * places).reshape(shape)


def _of_class(regression: Float[Array, "b c s n"], labels: Int[Array, "b g"]) -> Array:
    """The rows (b, g, s, n) of these classes; the only one if there is just one."""
    if regression.shape[1] == 1:
        shape = (*labels.shape, *regression.shape[2:])
        return jnp.broadcast_to(regression, shape)
    return jnp.take_along_axis(regression, labels[:, :, None, None], axis=1)


def _wide(x: Array) -> Array:
    """As float32, or wider if it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
