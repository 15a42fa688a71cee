"""Object detection: boxes with classes, and masks and keypoints where the detector has them."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.structs import Batch, Detector, Targets, Terms
from vision_jax.tasks.descriptions import Answers, describe_objects
from vision_jax.tasks.task import ImageTask, Variables


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

    def __post_init__(self):
        self.refuse_moves("boxes")
        if any(len(pair) != 2 for pair in self.loss_weights):
            text = f"loss_weights={self.loss_weights}"
            raise UserError(f"{text}: write pairs, such as (('box', 2.0),)")

    @property
    def shown(self) -> tuple[str, ...]:
        """Outputs that a run's pictures are made from."""
        return ("detections", *self.model.shown)

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

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's objects, the best first; see `Task.describe`.

        Args:
          outputs: `detections`; boxes and keypoints are told in the pixels in which they come.
          classes: their names.
          threshold: the least score of an object that is told. Without one all objects are told,
            and the line of text names those of at least 0.5.
        """
        return describe_objects(outputs["detections"], classes, threshold)
