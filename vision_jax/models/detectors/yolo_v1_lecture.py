"""YOLO v1 as it is drawn in lectures (Stanford CS231n): `YOLOv1(formulation='lecture')`.

Each cell refines its base boxes by (dx, dy, dh, dw), gives each a confidence, and scores classes
that include background, the last one.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.detectors.yolo import Predictions
from vision_jax.ops import assign
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses as loss_ops

_UNWEIGHTED = (1.0, 1.0, 1.0, 1.0)


def decode(
    box_deltas: Float[Array, "b a 4"], base_boxes: Float[Array, "a 4"]
) -> Float[Array, "b a 4"]:
    """Returns the boxes, xyxy in pixels, that (dx, dy, dh, dw) make of the base boxes."""
    dx, dy, dh, dw = jnp.moveaxis(box_deltas, -1, 0)
    deltas = jnp.stack([dx, dy, dw, dh], -1)
    return jax.vmap(lambda d: box_ops.decode(d, base_boxes, _UNWEIGHTED))(deltas)


def scores(
    class_logits: Float[Array, "*n classes"], objectness_logits: Float[Array, "*n boxes"]
) -> tuple[Float[Array, "*n _"], Float[Array, "*n boxes"]]:
    """Returns class probabilities without the background's, and confidences."""
    return nn.softmax(class_logits)[..., :-1], nn.sigmoid(objectness_logits)


def losses(
    predictions: Predictions,
    base_boxes: Float[Array, "s s n 4"],
    base_sides: Float[Array, "n 2"],
    cell_idxs: Int[Array, "s s"],
    gt_boxes: Float[Array, "m 4"],
    gt_labels: Int[Array, "m"],
) -> dict[str, Float[Array, ""]]:
    """Computes one image's unweighted terms: smooth L1 for boxes, cross-entropies.

    The base box whose shape is nearest has the object; a cell without one is background.

    Args:
      predictions: `class_logits` (s, s, classes + 1), `objectness_logits` (s, s, n) and
        `box_deltas` (s, s, n, 4).
      base_boxes: xyxy in pixels, in every cell.
      base_sides: their widths and heights in pixels.
      cell_idxs: each cell's object, or `assign.BACKGROUND`.
      gt_boxes, gt_labels: the objects, at least one slot.
    """
    has_object = cell_idxs >= 0
    matched_idxs = jnp.maximum(cell_idxs, 0)
    matched_gt_boxes = jnp.broadcast_to(gt_boxes[matched_idxs][:, :, None], base_boxes.shape)
    gt_sides = matched_gt_boxes[:, :, 0, 2:] - matched_gt_boxes[:, :, 0, :2]
    nearest = assign.best_prior(gt_sides.reshape(-1, 2), base_sides).reshape(cell_idxs.shape)
    is_nearest = jnp.arange(len(base_sides))[None, None] == nearest[..., None]
    positive = is_nearest & has_object[..., None]

    tx, ty, tw, th = jnp.moveaxis(box_ops.encode(matched_gt_boxes, base_boxes, _UNWEIGHTED), -1, 0)
    box_targets = jnp.stack([tx, ty, th, tw], -1)
    box_mask = jnp.repeat(positive[..., None], 4, -1)
    background = predictions.class_logits.shape[-1] - 1
    class_targets = jnp.where(has_object, gt_labels[matched_idxs], background)
    objectness, entropy = predictions.objectness_logits, loss_ops.binary_cross_entropy
    return {
        "box": loss_ops.smooth_l1(predictions.box_deltas, box_targets, 1.0, box_mask).sum(),
        "object": entropy(objectness, jnp.ones_like(objectness), positive).sum(),
        "noobject": entropy(objectness, jnp.zeros_like(objectness), ~positive).sum(),
        "class": loss_ops.cross_entropy(predictions.class_logits, class_targets).sum(),
    }
