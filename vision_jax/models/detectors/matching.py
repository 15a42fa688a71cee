"""Ground truth of anchors and regions, and the random samples of them that a loss counts.

`matched_idxs` say for each anchor or region which object it answers for, as `ops.assign` numbers
them: the object's place in `targets`, `BACKGROUND` or `IGNORED`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vision_jax.models.layers import Keys
from vision_jax.ops.assign import BACKGROUND, IGNORED, match
from vision_jax.ops.sampling import sample_balanced
from vision_jax.structs import Targets

# Streams of an example's key, apart from the numbers of dropout layers.
RPN_STREAM, ROI_STREAM = 2000, 2001


def ground_truth(targets: Targets) -> tuple[Float[Array, "b m 4"], Bool[Array, "b m"]]:
    """Returns the objects' boxes and which slots hold an object; there is at least one slot."""
    gt_boxes, gt_valid = jnp.asarray(targets.boxes), jnp.asarray(targets.valid)
    if gt_boxes.shape[1]:
        return gt_boxes, gt_valid
    images = gt_boxes.shape[0]
    return jnp.zeros((images, 1, 4), gt_boxes.dtype), jnp.zeros((images, 1), bool)


def matched_gt_boxes(targets: Targets, matched_idxs: Int[Array, "b s"]) -> Float[Array, "b s 4"]:
    """Returns the box of each slot's object; any box where there is none."""
    gt_boxes, _ = ground_truth(targets)
    return jnp.take_along_axis(gt_boxes, jnp.maximum(matched_idxs, 0)[..., None], 1)


def class_targets(targets: Targets, matched_idxs: Int[Array, "b s"]) -> Int[Array, "b s"]:
    """Returns each region's class for a head with background: 0, or its object's label + 1."""
    labels = jnp.asarray(targets.labels)
    if labels.shape[1] == 0:
        return jnp.zeros_like(matched_idxs)
    matched_labels = jnp.take_along_axis(labels, jnp.maximum(matched_idxs, 0), 1)
    return jnp.where(matched_idxs >= 0, matched_labels + 1, 0).astype(jnp.int32)


def sample_matches(
    keys: Keys, stream: int, matched_idxs: Int[Array, "b a"], count: int, positive_fraction: float
) -> tuple[Int[Array, "b s"], Int[Array, "b s"]]:
    """Draws a balanced sample of every image's anchors; all of them where they are few enough.

    Args:
      keys: one per image.
      stream: tells this draw from others with the same keys.
      matched_idxs: of all anchors.
      count: anchors to draw per image.
      positive_fraction: the largest share of positives among them.

    Returns:
      The places of those drawn, positives first, and their `matched_idxs`, `IGNORED` in slots that
      no anchor could fill.

    Raises:
      ValueError: no keys where something is to be drawn.
    """
    if takes_all(matched_idxs.shape[1], count, positive_fraction):
        index = jnp.arange(matched_idxs.shape[1], dtype=jnp.int32)
        return jnp.broadcast_to(index, matched_idxs.shape), matched_idxs
    if keys is None:
        raise ValueError("sampling needs keys: one random key per example, shape (b,)")
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, stream)
    sample = jax.vmap(sample_balanced, (0, 0, None, None))(
        keys, matched_idxs, count, positive_fraction
    )
    sampled_idxs = jnp.take_along_axis(matched_idxs, sample.index, 1)
    return sample.index, jnp.where(sample.valid, sampled_idxs, IGNORED)


def sample_regions(
    boxes: Float[Array, "b p 4"],
    valid: Bool[Array, "b p"],
    targets: Targets,
    keys: Keys,
    *,
    count: int | None,
    positive_fraction: float,
    positive_iou: float,
    negative_iou: float,
    min_negative_iou: float,
    append_gt_boxes: bool,
) -> dict[str, Array]:
    """Draws the regions that a second stage's loss counts, of every image.

    Args:
      boxes, valid: proposals.
      targets: with boxes; with `append_gt_boxes` these are candidates too.
      keys: one per image.
      count: regions per image; None takes all candidates as they come.
      positive_fraction: largest share of positives among them.
      positive_iou: a region that overlaps an object so much is positive.
      negative_iou: below so much it is background, in between it does not count.
      min_negative_iou: below so little it does not count either.

    Returns:
      rois: (b, s, 4); roi_matched_idxs: (b, s), their objects.
    """
    gt_boxes, gt_valid = ground_truth(targets)
    if append_gt_boxes:
        boxes = jnp.concatenate([boxes, gt_boxes.astype(boxes.dtype)], 1)
        valid = jnp.concatenate([valid, gt_valid], 1)

    def per_image(gt_boxes: Array, gt_valid: Array, boxes: Array, valid: Array) -> Array:
        gt_boxes = gt_boxes.astype(boxes.dtype)
        idxs = match(gt_boxes, gt_valid, boxes, positive_iou, negative_iou)
        if min_negative_iou > 0:
            is_near = match(gt_boxes, gt_valid, boxes, min_negative_iou, min_negative_iou) >= 0
            idxs = jnp.where((idxs == BACKGROUND) & ~is_near, IGNORED, idxs)
        return jnp.where(valid, idxs, IGNORED)

    matched_idxs = jax.vmap(per_image)(gt_boxes, gt_valid, boxes, valid)
    if count is None:
        return {"rois": boxes, "roi_matched_idxs": matched_idxs}
    sample = keys, ROI_STREAM, matched_idxs, count, positive_fraction
    index, sampled_idxs = sample_matches(*sample)
    rois = jnp.take_along_axis(boxes, index[..., None], 1)
    return {"rois": rois, "roi_matched_idxs": sampled_idxs}


def takes_all(candidates: int, count: int, positive_fraction: float) -> bool:
    """Tells whether a sample of `count`, so many of them positive, surely holds all candidates."""
    return candidates <= int(count * positive_fraction)
