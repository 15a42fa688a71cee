"""Object detection: boxes with classes, and masks and keypoints where the detector has them."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.ops import image as image_ops
from vision_jax.structs import Batch, Detections, Targets
from vision_jax.tasks import augment as augmentation
from vision_jax.tasks.classification import IMAGENET_MEAN, IMAGENET_STD, initialise

_MOVES = (augmentation.Flip, augmentation.PadCrop)
# Separate streams of an example's key, so that adding an augmentation moves no other draw.
_AUGMENT, _MODEL = range(2)
_SURE = 0.5  # score from which an object is told in words


@dataclasses.dataclass(frozen=True)
class Detection:
    """A detector and how it is trained.

    A detector is a linen module with, beside its fields,

      __call__(image, sizes, targets=None, keys=None, train=False) → outputs. `sizes` (b, 2) are
        height and width of the images' content in pixels of the network's input (the rest, at the
        right and the bottom, is padding). `targets` are given where a loss is wanted; else they are
        None, or hold nothing but proposals that were made beforehand.
      loss(outputs, targets, valid) → {name: (sum, weight)}; rows with `valid` False are left out.
      detect(outputs) → Detections.
      metrics(outputs, targets, valid) → {name: (sum, count)}: optional, logged in training.
      anchors(height, width), matches(targets, height, width): optional, for pictures; see there.

    Attributes:
      model: the detector.
      mean, std: as of `Classification`.
      augment: parts of `tasks.augment` that move no pixel; training only. Flips and crops of images
        with boxes are transforms of `data`.
      weights: (name, factor) pairs for terms of the model's loss; the others have 1.
      difficult: whether objects marked difficult are trained on. Crowds never are.
      whole: whether in training the network's whole input counts as content. Needed where
        transforms put images elsewhere than at the top left, or cut them: Expand, crops, Mosaic.
    """

    model: nn.Module
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    augment: tuple = ()
    weights: tuple = ()
    difficult: bool = False
    whole: bool = False

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple] = ("detections",)

    def __post_init__(self):
        if any(isinstance(step, _MOVES) for step in self.augment):
            raise UserError("augment moves pixels but not boxes; use the transforms of `data`")
        if any(len(pair) != 2 for pair in self.weights):
            raise UserError(f"weights={self.weights}: write pairs, such as (('box', 2.0),)")

    def init(self, key: Key[Array, ""], batch: Batch) -> dict[str, Any]:
        """Fresh variables for images (and proposals) shaped like the batch's.

        See `Classification.init`.
        """
        height, width = batch.image.shape[-3:-1]
        given = None
        if batch.targets.proposals is not None:
            count = batch.targets.proposals.shape[1]
            proposals = jnp.tile(jnp.array([0, 0, width, height], jnp.float32), (1, count, 1))
            given = Targets(proposals=proposals, proposal_valid=jnp.ones((1, count), bool))
        image = jnp.zeros((1, *batch.image.shape[-3:]))
        return initialise(self.model, key, image, jnp.array([[height, width]], jnp.float32), given)

    def normalize(self, image: Array) -> Float[Array, "*b h w c"]:
        """uint8 or 0..255 float pixels → what the network sees."""
        return image_ops.normalize(image, self.mean, self.std)

    def prepare(
        self, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b ..."] | None]:
        """What the network is fed in training: augmented and normalised images, and None."""
        keys = _stream(batch, key, _AUGMENT)
        image = batch.image.astype(jnp.float32)
        return self.normalize(augmentation.apply_all(self.augment, image, keys)), None

    def sizes(self, batch: Batch, training: bool = False) -> Float[Array, "b 2"]:
        """Height and width of each image's content, in pixels of the network's input.

        Whole pixels, as the transforms round; all of the input where the batch does not say.
        `training`: for a loss, see `whole`.
        """
        whole = jnp.array(batch.image.shape[1:3], jnp.float32)
        whole = jnp.broadcast_to(whole, (batch.image.shape[0], 2))
        if batch.size is None or batch.scale is None or (training and self.whole):
            return whole
        content = jnp.minimum(jnp.round(batch.size * batch.scale), whole)
        # Rows that only fill the last batch have size 0, for which no network is made.
        return jnp.where((content > 0).all(-1, keepdims=True), content, whole)

    def targets(self, batch: Batch) -> Targets:
        """The batch's targets, without the objects that are not trained on.

        Raises:
          ValueError: a batch without boxes.
        """
        targets = batch.targets
        if targets.boxes is None or targets.labels is None or targets.valid is None:
            raise ValueError("detection needs batches with targets.boxes, labels and valid")
        valid = targets.valid & batch.valid[:, None]
        if targets.crowd is not None:
            valid &= ~targets.crowd
        if targets.difficult is not None and not self.difficult:
            valid &= ~targets.difficult
        return targets.replace(valid=valid)

    def loss(
        self, variables: dict[str, Any], batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[dict[str, tuple[Array, Array]], dict[str, Any]]:
        """The model's terms times their weights, new collections, and the model's metrics.

        See `Classification.loss`.

        Raises:
          UserError: a weight for a term that the model's loss has not.
        """
        collections = [name for name in variables if name != "params"]
        targets, sizes = self.targets(batch), self.sizes(batch, training=True)
        keys = _stream(batch, key, _MODEL)
        if train:
            image, _ = self.prepare(batch, key)
            outputs, updates = self.model.apply(
                variables, image, sizes, targets, keys, train=True, mutable=collections
            )
        else:
            updates = {name: variables[name] for name in collections}
            outputs = self.model.apply(variables, self.normalize(batch.image), sizes, targets, keys)
        terms = self.model.loss(outputs, targets, batch.valid)
        for name, factor in self.weights:
            if name not in terms:
                raise UserError(f"weights: the loss has no term {name!r}{suggest(name, terms)}")
            total, weight = terms[name]
            terms = {**terms, name: (factor * total, weight)}
        metrics = {}
        if hasattr(self.model, "metrics"):
            metrics = self.model.metrics(outputs, targets, batch.valid)
        return terms, {"collections": dict(updates), "metrics": metrics}

    def predict(self, variables: dict[str, Any], batch: Batch) -> dict[str, Any]:
        """The network's outputs in evaluation, and `detections` in pixels of its input."""
        targets, given = batch.targets, None
        if targets.proposals is not None:  # an input here, unlike the truth
            given = Targets(proposals=targets.proposals, proposal_valid=targets.proposal_valid)
        image, sizes = self.normalize(batch.image), self.sizes(batch)
        outputs = self.model.apply(variables, image, sizes, given)
        return {**outputs, "detections": self.model.detect(outputs)}

    def describe(self, outputs: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Each image's objects in JSON's types, the best first, with a `text` of one line.

        Args:
          outputs: `detections`; boxes and keypoints are told in the pixels in which they come.
          classes: their names; numbers stand in where names are missing.
        """
        found: Detections = jax.tree.map(np.asarray, outputs["detections"])
        answers = []
        for row in range(len(found.valid)):
            objects = []
            for i in np.flatnonzero(found.valid[row]).tolist():
                label, score = int(found.labels[row, i]), float(found.scores[row, i])
                one = {
                    "class": classes[label] if label < len(classes) else str(label),
                    "label": label,
                    "score": round(score, 6),
                    "box": _rounded(found.boxes[row, i]),
                }
                if found.keypoints is not None:
                    one["keypoints"] = [_rounded(point) for point in found.keypoints[row, i]]
                objects.append(one)
            sure = [one for one in objects if one["score"] >= _SURE]
            answers.append({"text": _summary(sure), "objects": objects})
        return answers


def _stream(batch: Batch, key: Key[Array, ""], number: int) -> Key[Array, "b"]:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _rounded(numbers: np.ndarray) -> list[float]:
    return [round(float(number), 2) for number in numbers]


def _summary(objects: list[dict[str, Any]], most: int = 3) -> str:
    """'star 98%, ring 71% and 2 more'."""
    first = [f"{one['class']} {one['score']:.0%}" for one in objects[:most]]
    if len(objects) > most:
        first.append(f"{len(objects) - most} more")
    return ", ".join(first) or "nothing sure"
