"""Object detection: boxes with classes, and masks and keypoints where the detector has them."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.structs import Batch, Detections, Detector, Targets, Terms
from vision_jax.tasks.task import ImageTask, Variables, class_name

_SURE = 0.5  # score from which an object is told in the line of text


@dataclasses.dataclass(frozen=True)
class Detection(ImageTask):
    """A detector and how it is trained.

    Attributes:
      model: a `structs.Detector`.
      mean, std, augment: see `ImageTask`. Augmentation moves no pixel: flips and crops of images
        with boxes are transforms of `data`.
      loss_weights: (name, factor) pairs for terms of the model's loss; the others have 1.
      difficult: whether objects marked difficult are trained on. Crowds never are.
      whole_canvas_is_content: whether in training the network's whole input counts as content.
        Needed where transforms put images elsewhere than at the top left, or cut them: Expand,
        crops, Mosaic.
    """

    model: Detector
    loss_weights: tuple = ()
    difficult: bool = False
    whole_canvas_is_content: bool = False

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ("detections",)

    def __post_init__(self):
        self.refuse_moves("boxes")
        if any(len(pair) != 2 for pair in self.loss_weights):
            text = f"loss_weights={self.loss_weights}"
            raise UserError(f"{text}: write pairs, such as (('box', 2.0),)")

    def inputs(self, batch: Batch) -> tuple:
        """Returns arguments of the detector for one image, shaped like the batch's; see `Task`."""
        height, width = batch.pixels.shape[-3:-1]
        targets = None
        if batch.targets.proposals is not None:
            count = batch.targets.proposals.shape[1]
            proposals = jnp.tile(jnp.array([0, 0, width, height], jnp.float32), (1, count, 1))
            targets = Targets(proposals=proposals, proposal_valid=jnp.ones((1, count), bool))
        return (*super().inputs(batch), jnp.array([[height, width]], jnp.float32), targets)

    def sizes(self, batch: Batch, training: bool = False) -> Float[Array, "b 2"]:
        """Returns height and width of each image's content, in pixels of the network's input.

        Whole pixels, as the transforms round; all of the input where the batch does not say.

        Args:
          batch: with `size` and `scale`, or without.
          training: for a loss, see `whole_canvas_is_content`.
        """
        canvas = jnp.array(batch.pixels.shape[1:3], jnp.float32)
        canvas = jnp.broadcast_to(canvas, (batch.pixels.shape[0], 2))
        if batch.size is None or batch.scale is None:
            return canvas
        if training and self.whole_canvas_is_content:
            return canvas
        content = jnp.minimum(jnp.round(batch.size * batch.scale), canvas)
        # Rows that only fill the last batch have size 0, for which no network is made.
        return jnp.where((content > 0).all(-1, keepdims=True), content, canvas)

    def targets(self, batch: Batch) -> Targets:
        """Returns the batch's targets, without the objects that are not trained on.

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
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the model's terms times their weights, new collections, the model's metrics.

        See `Task.loss` for the arguments.

        Raises:
          UserError: a weight for a term that the model's loss has not.
        """
        targets, sizes = self.targets(batch), self.sizes(batch, training=True)
        outputs, _, updates = self.forward(variables, batch, key, train, sizes, targets)
        terms = self.model.loss(outputs, targets, batch.valid)
        for name, factor in self.loss_weights:
            if name not in terms:
                raise UserError(
                    f"loss_weights: the loss has no term {name!r}{suggest(name, terms)}"
                )
            total, weight = terms[name]
            terms = {**terms, name: (factor * total, weight)}
        metrics = self.model.metrics(outputs, targets, batch.valid)
        return terms, {"collections": updates, "metrics": metrics}

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        """Returns the outputs in evaluation, and `detections` in pixels of the network's input."""
        proposals = batch.targets.proposals
        targets = None
        if proposals is not None:  # an input here, unlike the truth
            targets = Targets(proposals=proposals, proposal_valid=batch.targets.proposal_valid)
        images, sizes = self.normalize(batch.pixels), self.sizes(batch)
        outputs = self.apply(variables, images, sizes, targets)
        return {**outputs, "detections": self.model.detect(outputs, sizes)}

    def describe(self, outputs: dict[str, Any], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Tells each image's objects, the best first; see `Task.describe`.

        Args:
          outputs: `detections`; boxes and keypoints are told in the pixels in which they come.
          classes: their names.
        """
        detections: Detections = jax.tree.map(np.asarray, outputs["detections"])
        answers = []
        for row in range(len(detections.valid)):
            one_image = jax.tree.map(lambda x, row=row: x[row], detections)
            objects = [
                _object(one_image, i, classes) for i in np.flatnonzero(one_image.valid).tolist()
            ]
            sure = [one for one in objects if one["score"] >= _SURE]
            answers.append({"text": _summary(sure), "objects": objects})
        return answers


def _object(detections: Detections, i: int, classes: tuple[str, ...]) -> dict[str, Any]:
    """Tells detection `i` of one image in JSON's types."""
    label = int(detections.labels[i])
    told = {
        "class": class_name(classes, label),
        "label": label,
        "score": round(float(detections.scores[i]), 6),
        "box": _rounded(detections.boxes[i]),
    }
    if detections.keypoints is not None:
        told["keypoints"] = [_rounded(point) for point in detections.keypoints[i]]
    return told


def _rounded(numbers: np.ndarray) -> list[float]:
    return [round(float(number), 2) for number in numbers]


def _summary(objects: list[dict[str, Any]], most: int = 3) -> str:
    """Names the first objects, such as 'star 98%, ring 71% and 2 more'."""
    first = [f"{one['class']} {one['score']:.0%}" for one in objects[:most]]
    if len(objects) > most:
        first.append(f"{len(objects) - most} more")
    return ", ".join(first) or "nothing sure"
