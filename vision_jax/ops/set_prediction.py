"""Set prediction (DETR, Carion et al. 2020, section 3.1): queries that answer for one object each.

Everything is of one image; use `vmap`. Boxes are `cxcywh` in units of the image's sides. A query
has one logit for each of k classes and a last one for "no object". Losses do not reduce: their sums
are divided by those over all images, and devices, which the caller alone knows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses
from vision_jax.ops.assign import BACKGROUND, match_hungarian


class SetLosses(NamedTuple):
    """The losses of one image's queries, q of them; 0 where a query answers for no object.

    DETR's losses are sum(classes) / sum(class_weights), and sum(boxes) and sum(giou) over the
    number of objects of the whole batch, which is at least 1.
    """

    classes: Array  # (q,) cross-entropy times its weight, nats; of all queries
    class_weights: Array  # (q,)
    boxes: Array  # (q,) L1 distance, summed over the four coordinates
    giou: Array  # (q,) 1 - GIoU


class SetDetections(NamedTuple):
    """The detections of one image, one per query and in the queries' order."""

    boxes: Array  # (q, 4) xyxy, pixels
    scores: Array  # (q,)
    labels: Array  # (q,) int32


def matching_cost(
    class_logits: Float[Array, "q k"],
    boxes: Float[Array, "q 4"],
    gt_boxes: Float[Array, "g 4"],
    gt_labels: Int[Array, "g"],
    class_cost: float = 1.0,
    box_cost: float = 5.0,
    giou_cost: float = 2.0,
) -> Float[Array, "q g"]:
    """Computes the cost of giving objects to queries (section 3.1, eq. 1).

    It is the weighted sum of minus the probability of the object's class, the L1 distance of the
    boxes and minus their GIoU. Padded objects, of label -1, have a cost without meaning.
    """
    probability = jax.nn.softmax(class_logits, -1)[:, jnp.maximum(gt_labels, 0)]
    distance = jnp.abs(boxes[:, None] - gt_boxes[None]).sum(-1)
    corners, gt_corners = (box_ops.convert(b, "cxcywh", "xyxy") for b in (boxes, gt_boxes))
    overlap = box_ops.pairwise(box_ops.giou, corners, gt_corners)
    return box_cost * distance - class_cost * probability - giou_cost * overlap


def match_set(cost: Float[Array, "q g"], gt_valid: Bool[Array, "g"]) -> Int[Array, "q"]:
    """Finds the object of each query in the cheapest one-to-one matching, else `BACKGROUND`.

    Args:
      cost: see `matching_cost`; no gradient passes.
      gt_valid: False on padding. Of more objects than queries, as many as queries are matched.
    """
    queries, count = cost.shape
    if queries == 0 or count == 0:
        return jnp.full(queries, BACKGROUND, jnp.int32)
    if count > queries:  # more queries, whose cost is such that nobody prefers them
        counted = jnp.where(gt_valid[None], jax.lax.stop_gradient(cost), 0)
        beyond = counted.max() + queries * (counted.max() - counted.min()) + 1
        cost = jnp.pad(cost, ((0, count - queries), (0, 0)), constant_values=0)
        cost = jnp.where(jnp.arange(count)[:, None] < queries, cost, beyond)
    query = match_hungarian(cost, gt_valid)
    query = jnp.where(query == BACKGROUND, queries, query)  # beyond the end, so dropped
    numbers = jnp.arange(count, dtype=jnp.int32)
    return jnp.full(queries, BACKGROUND, jnp.int32).at[query].set(numbers, mode="drop")


def set_losses(
    class_logits: Float[Array, "q k"],
    boxes: Float[Array, "q 4"],
    gt_boxes: Float[Array, "g 4"],
    gt_labels: Int[Array, "g"],
    matched_idxs: Int[Array, "q"],
    no_object_weight: float = 0.1,
) -> SetLosses:
    """Computes the losses of one image's queries with their objects (section 3.1, eq. 2).

    Args:
      class_logits: of k - 1 classes, and of no object.
      gt_labels: 0..k-2, -1 on padding.
      matched_idxs: see `match_set`.
      no_object_weight: of the class loss of queries without an object.
    """
    positive = matched_idxs >= 0
    last = class_logits.shape[-1] - 1
    if gt_labels.shape[0] == 0:  # nothing to gather from
        gt_labels, gt_boxes = jnp.zeros(1, jnp.int32), jnp.zeros((1, 4), boxes.dtype)
    owner = jnp.maximum(matched_idxs, 0)
    labels = jnp.where(positive, gt_labels[owner], last)
    weights = jnp.where(positive, 1, no_object_weight).astype(class_logits.dtype)
    wide = jnp.broadcast_to(positive[:, None], boxes.shape)
    target = gt_boxes[owner].astype(boxes.dtype)
    corners, gt_corners = (box_ops.convert(b, "cxcywh", "xyxy") for b in (boxes, target))
    return SetLosses(
        classes=weights * losses.cross_entropy(class_logits, labels),
        class_weights=weights,
        boxes=losses.smooth_l1(boxes, target, 0.0, wide).sum(-1),
        giou=losses.giou_loss(corners, gt_corners, positive),
    )


def mask_dice_loss(
    logits: Float[Array, "*n h w"], targets: Float[Array, "*n h w"], smooth: float = 1.0
) -> Float[Array, "*n"]:
    """Computes 1 - (2 |p t| + smooth) / (|p| + |t| + smooth) per mask, in [0, 1] (section 4.4).

    `losses.dice` has the squares of the probabilities p in the denominator, this one has not.

    Args:
      targets: 0 or 1.
    """
    probability = jax.nn.sigmoid(logits)
    both = jnp.sum(probability * targets, (-2, -1))
    return 1 - (2 * both + smooth) / (jnp.sum(probability + targets, (-2, -1)) + smooth)


def cardinality_error(
    class_logits: Float[Array, "q k"], gt_valid: Bool[Array, "g"]
) -> Int[Array, ""]:
    """Counts by how many the queries that are no "no object" differ from the objects.

    It is a number to look at; no gradient passes.
    """
    found = jnp.sum(jnp.argmax(class_logits, -1) != class_logits.shape[-1] - 1, dtype=jnp.int32)
    return jnp.abs(found - jnp.sum(gt_valid, dtype=jnp.int32))


def decode_set(
    class_logits: Float[Array, "q k"], boxes: Float[Array, "q 4"], size: Float[Array, "2"]
) -> SetDetections:
    """Reads one detection from each query: its best class but "no object"; nothing is suppressed.

    Args:
      size: height and width of the image that boxes are relative to, in pixels.
    """
    probability = jax.nn.softmax(class_logits, -1)[:, :-1]
    scale = jnp.stack([size[1], size[0], size[1], size[0]]).astype(boxes.dtype)
    return SetDetections(
        boxes=box_ops.convert(boxes, "cxcywh", "xyxy") * scale[None],
        scores=probability.max(-1),
        labels=probability.argmax(-1).astype(jnp.int32),
    )
