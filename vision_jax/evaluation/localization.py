"""Metrics of localization: of one object or a fixed number of them, and of joints.

They read the outputs of `tasks.Localization.predict`: `boxes` (b, s, 4), `guess_labels` (b, g) and
`guess_boxes` (b, g, s, 4), or `points` (b, s, 2), in pixels of the network's input. The s-th
predicted box belongs to the s-th object of the image; objects beyond the predicted ones, and slots
without an object, count for nothing.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vision_jax.config import UserError
from vision_jax.evaluation.metric import RatioMetric
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import objects
from vision_jax.structs import Batch


@dataclass(frozen=True)
class BoxIoU(RatioMetric):
    """The mean IoU of predicted boxes with their objects, `iou`, and the share above a threshold.

    The share is called `iou<threshold>`, such as `iou0.5`.

    Attributes:
      threshold: 0..1; reaching it counts.
      order: which object belongs to which slot, 'given' or 'left'; see `tasks.Localization`.

    Raises:
      UserError: another order.
    """

    threshold: float = 0.5
    order: str = "given"

    def __post_init__(self):
        if self.order not in ("given", "left"):
            raise UserError(f"order={self.order!r}: use given or left")

    def names(self) -> tuple[str, ...]:
        return ("iou", f"iou{self.threshold:g}")

    def update(self, outputs: dict, batch: Batch) -> dict[str, tuple]:
        truth, valid = batch.targets.boxes, batch.targets.valid & batch.valid[:, None]
        if self.order == "left":
            truth, valid = objects.from_left(truth, valid)
        slots = min(truth.shape[1], outputs["boxes"].shape[1])
        valid, truth = valid[:, :slots], truth[:, :slots]
        iou = box_ops.iou(outputs["boxes"][:, :slots], truth)
        count = valid.sum(dtype=jnp.int32)
        above = (valid & (iou >= self.threshold)).sum(dtype=jnp.float32)
        total = jnp.where(valid, iou, 0).sum(dtype=jnp.float32)
        return dict(zip(self.names(), ((total, count), (above, count)), strict=True))


@dataclass(frozen=True)
class LocalizationError(RatioMetric):
    """ILSVRC's localization and classification errors: shares of images, 0..1.

    Of an image's at most five guesses, each a label and a box, one must have the image's class and
    overlap an object of that class by at least one half (Russakovsky et al. 2015, section 4.2):
    `localization_error`. `classification_error` forgets the boxes. Each also for the first guess
    alone, `localization_error1` and `classification_error1`. The guesses' first slot is judged.

    Attributes:
      threshold: least IoU.
      guesses: number of guesses that count.
    """

    threshold: float = 0.5
    guesses: int = 5

    def names(self) -> tuple[str, ...]:
        kinds = ("localization_error", "classification_error")
        return tuple(f"{kind}{first}" for kind in kinds for first in ("", "1"))

    def update(self, outputs: dict, batch: Batch) -> dict[str, tuple]:
        targets = batch.targets
        labels = outputs["guess_labels"][:, : self.guesses]
        boxes = outputs["guess_boxes"][:, : self.guesses, 0]
        right_class = labels == targets.label[:, None]
        of_class = targets.valid & (targets.labels == targets.label[:, None])
        iou = box_ops.iou(boxes[:, :, None], targets.boxes[:, None])
        reached = (iou >= self.threshold) & of_class[:, None]
        right_box = right_class & reached.any(-1)
        counted = batch.valid & (targets.label >= 0)
        errors = {}
        for name, right in (("localization", right_box), ("classification", right_class)):
            errors[f"{name}_error"] = _wrong(right, counted)
            errors[f"{name}_error1"] = _wrong(right[:, :1], counted)
        return errors


@dataclass(frozen=True)
class Joints(RatioMetric):
    """The mean distance of joints, `joint_distance`, and their share that is near, `pck`.

    Distances are in pixels. A joint is near within `threshold` times the longer side of the
    object's box (Yang & Ramanan 2013). The labelled joints of the image's first object are judged.

    Attributes:
      threshold: share of the box's longer side.
    """

    threshold: float = 0.1

    def names(self) -> tuple[str, ...]:
        return ("joint_distance", "pck")

    def update(self, outputs: dict, batch: Batch) -> dict[str, tuple]:
        targets, points = batch.targets, outputs["points"]
        truth = targets.keypoints[:, 0, : points.shape[1]]
        labelled = (truth[..., 2] > 0) & targets.valid[:, :1] & batch.valid[:, None]
        distance = jnp.sqrt(jnp.square(points - truth[..., :2]).sum(-1))
        sides = targets.boxes[:, 0, 2:] - targets.boxes[:, 0, :2]
        near = distance <= self.threshold * sides.max(-1)[:, None]
        count = labelled.sum(dtype=jnp.int32)
        total = jnp.where(labelled, distance, 0).sum(dtype=jnp.float32)
        within = (labelled & near).sum(dtype=jnp.float32)
        return {"joint_distance": (total, count), "pck": (within, count)}


def _wrong(right: Bool[Array, "b g"], counted: Bool[Array, "b"]) -> tuple[Float[Array, ""], Array]:
    """Counts (images without a right guess, images), both among those in `counted`."""
    missed = counted & ~right.any(-1)
    return missed.sum(dtype=jnp.float32), counted.sum(dtype=jnp.int32)
