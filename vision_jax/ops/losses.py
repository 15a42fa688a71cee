"""Losses that do not reduce: one number per prediction, so that the caller masks, weights and sums.

Every function takes a `mask` (or labels that say so) and gives exactly 0, with gradient 0, where it
is False, whatever stands there - NaN included.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vision_jax.ops import boxes as box_ops
from vision_jax.ops import triplets


def cross_entropy(
    logits: Float[Array, "*n k"],
    labels: Int[Array, "*n"],
    smoothing: float = 0.0,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes the softmax cross-entropy, in nats.

    Args:
      labels: 0..k-1; any other value (255 = void, -1 = padding) gives 0.
      smoothing: share of the probability spread evenly over all classes (Szegedy 2016, section 7).
    """
    count = logits.shape[-1]
    known = (labels >= 0) & (labels < count)
    mask = known if mask is None else known & mask
    log = jax.nn.log_softmax(_where(mask[..., None], logits), -1)
    right = jnp.take_along_axis(log, jnp.where(known, labels, 0)[..., None], -1)[..., 0]
    loss = -(1 - smoothing) * right - smoothing * log.mean(-1)
    return jnp.where(mask, loss, 0)


def soft_cross_entropy(
    logits: Float[Array, "*n k"],
    targets: Float[Array, "*n k"],
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes the cross-entropy with probabilities (mixup, distillation), in nats."""
    wide = None if mask is None else mask[..., None]
    log = jax.nn.log_softmax(_where(wide, logits), -1)
    return _masked(mask, -jnp.sum(_where(wide, targets) * log, -1))


def binary_cross_entropy(
    logits: Float[Array, "*n"], targets: Float[Array, "*n"], mask: Bool[Array, "*n"] | None = None
) -> Float[Array, "*n"]:
    """Computes the sigmoid cross-entropy with targets in [0, 1], in nats."""
    x, t = _where(mask, logits), _where(mask, targets)
    return _masked(mask, jax.nn.softplus(x) - x * t)


def balanced_cross_entropy(
    logits: Float[Array, "*b h w"],
    targets: Float[Array, "*b h w"],
    mask: Bool[Array, "*b h w"] | None = None,
) -> Float[Array, "*b h w"]:
    """Computes the class-balanced sigmoid cross-entropy of edge maps (Xie 2015, eq. 2).

    Positives weigh the image's share of negatives, negatives its share of positives.
    """
    counted = jnp.ones_like(targets) if mask is None else mask.astype(targets.dtype)
    positive = jnp.where(targets > 0.5, counted, 0)
    total = jnp.maximum(jnp.sum(counted, (-2, -1), keepdims=True), 1)
    share = jnp.sum(positive, (-2, -1), keepdims=True) / total
    weight = jnp.where(targets > 0.5, 1 - share, share)
    return weight * binary_cross_entropy(logits, targets, mask)


def sigmoid_focal(
    logits: Float[Array, "*n"],
    targets: Float[Array, "*n"],
    alpha: float = 0.25,
    gamma: float = 2.0,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes the focal loss (Lin 2017, eq. 5): (1 - p_t)^gamma times the cross-entropy.

    Args:
      targets: 0 or 1.
      alpha: weight of positives, 1 - alpha of negatives; negative means no weighting.
    """
    x, t = _where(mask, logits), _where(mask, targets)
    p = jax.nn.sigmoid(x)
    loss = binary_cross_entropy(x, t)
    if gamma != 0:  # (1 - p_t)^0 would be 0^0 at saturation, with a NaN gradient
        loss *= (p * (1 - t) + (1 - p) * t) ** gamma
    if alpha >= 0:
        loss *= alpha * t + (1 - alpha) * (1 - t)
    return _masked(mask, loss)


def smooth_l1(
    x: Float[Array, "*n"],
    y: Float[Array, "*n"],
    beta: float = 1.0,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes smooth L1: d² / (2 beta) for differences d below `beta`, d - beta / 2 beyond.

    Girshick 2015, eq. 3, has beta = 1. In terms of sigma it is 1 / sigma²: Faster R-CNN's sigma of
    3 is 1 / 9. A beta of 0 is the plain L1 distance.
    """
    d = jnp.abs(_where(mask, x) - _where(mask, y))
    if beta == 0:
        return _masked(mask, d)
    return _masked(mask, jnp.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta))


def huber(
    x: Float[Array, "*n"],
    y: Float[Array, "*n"],
    delta: float = 1.0,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes Huber's loss: `delta` times `smooth_l1`, so that it is d² / 2 near 0."""
    return delta * smooth_l1(x, y, delta, mask)


def iou_loss(
    boxes: Float[Array, "*n 4"],
    gt_boxes: Float[Array, "*n 4"],
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes 1 - IoU of xyxy boxes, in [0, 1]; no gradient where they do not overlap."""
    return _overlap_loss(box_ops.iou, boxes, gt_boxes, mask)


def giou_loss(
    boxes: Float[Array, "*n 4"],
    gt_boxes: Float[Array, "*n 4"],
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes 1 - generalized IoU, in [0, 2] (Rezatofighi 2019)."""
    return _overlap_loss(box_ops.giou, boxes, gt_boxes, mask)


def diou_loss(
    boxes: Float[Array, "*n 4"],
    gt_boxes: Float[Array, "*n 4"],
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes 1 - distance IoU, in [0, 2] (Zheng 2020, eq. 7)."""
    return _overlap_loss(box_ops.diou, boxes, gt_boxes, mask)


def ciou_loss(
    boxes: Float[Array, "*n 4"],
    gt_boxes: Float[Array, "*n 4"],
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes 1 - complete IoU (Zheng 2020, eq. 10)."""
    return _overlap_loss(box_ops.ciou, boxes, gt_boxes, mask)


def dice(
    probability: Float[Array, "*b h w"],
    targets: Float[Array, "*b h w"],
    mask: Bool[Array, "*b h w"] | None = None,
    smooth: float = 1.0,
) -> Float[Array, "*b"]:
    """Computes the Dice loss 1 - (2 |p t| + smooth) / (|p|² + |t|² + smooth) per map, in [0, 1].

    Milletari 2016, eq. 3, without the smoothing.
    """
    p, t = _where(mask, probability), _where(mask, targets)
    both = jnp.sum(p * t, (-2, -1))
    return 1 - (2 * both + smooth) / (jnp.sum(p * p + t * t, (-2, -1)) + smooth)


def triplet(
    anchor: Float[Array, "*n d"],
    positive: Float[Array, "*n d"],
    negative: Float[Array, "*n d"],
    margin: float = 0.2,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes the triplet loss max(0, |a - p|² - |a - n|² + margin) (Schroff 2015, eq. 2)."""
    wide = None if mask is None else mask[..., None]
    a, p, n = (_where(wide, x) for x in (anchor, positive, negative))
    near, far = jnp.sum((a - p) ** 2, -1), jnp.sum((a - n) ** 2, -1)
    return _masked(mask, jnp.maximum(near - far + margin, 0))


def semi_hard_triplets(
    embedding: Float[Array, "b d"],
    labels: Int[Array, "b"],
    margin: float = 0.2,
    valid: Bool[Array, "b"] | None = None,
) -> tuple[Float[Array, "b b"], Bool[Array, "b b"]]:
    """Computes the triplet losses of all anchor-positive pairs (Schroff 2015, section 3.2).

    Each pair meets its semi-hard negative: the nearest that is farther than the positive; where
    there is none, the farthest negative.

    Returns:
      Losses [anchor, positive], and which of them are of pairs that have a negative.
    """
    wide = None if valid is None else valid[:, None]
    squared = triplets.squared_distances(_where(wide, embedding))
    chosen = triplets.semi_hard_negatives(squared, labels, valid)
    negative = jnp.take_along_axis(squared, chosen.negative, 1)
    return _masked(chosen.valid, jnp.maximum(squared - negative + margin, 0)), chosen.valid


def verification(
    one: Float[Array, "*n d"],
    two: Float[Array, "*n d"],
    same: Bool[Array, "*n"],
    margin: float = 1.0,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, "*n"]:
    """Computes DeepID2's verification loss of pairs (Sun 2014, eq. 2).

    Half the squared distance of one identity's, half the square of what two identities' distance
    lacks to `margin`.
    """
    wide = None if mask is None else mask[..., None]
    squared = jnp.sum((_where(wide, one) - _where(wide, two)) ** 2, -1)
    apart = squared > 0  # the root's slope at 0 is infinite
    distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)
    lacking = jnp.maximum(margin - distance, 0)
    return _masked(mask, 0.5 * jnp.where(same, squared, lacking * lacking))


def _overlap_loss(overlap, boxes: Array, gt_boxes: Array, mask: Array | None) -> Array:
    wide = None if mask is None else mask[..., None]
    return _masked(mask, 1 - overlap(_where(wide, boxes), _where(wide, gt_boxes)))


def _where(mask: Array | None, x: Array) -> Array:
    """Puts 0 outside the mask, before anything is computed: NaN there reaches no gradient."""
    return x if mask is None else jnp.where(mask, x, 0)


def _masked(mask: Array | None, loss: Array) -> Array:
    return loss if mask is None else jnp.where(mask, loss, 0)
