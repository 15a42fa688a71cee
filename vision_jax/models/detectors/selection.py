"""The last step of detectors that score every class for every box."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from vision_jax.models.detectors.detector import Outputs, Sizes
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.nms import nms, nms_classes
from vision_jax.structs import Detections


def select_detections(
    boxes: Float[Array, "b a 4"],
    scores: Float[Array, "b a classes"],
    sizes: Sizes,
    score_threshold: float,
    nms_threshold: float,
    pre_nms_top_k: int | None,
    max_detections: int,
) -> Detections:
    """Selects the best (box, class) pairs of each image after non-maximum suppression by class.

    Args:
      boxes: xyxy in pixels; they are cut at the image's content.
      scores: 0..1, of each class.
      sizes: height and width of the content.
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      pre_nms_top_k: boxes per class that enter the suppression; None is all.
      max_detections: slots per image.
    """

    def per_image(boxes, scores, size):
        boxes = box_ops.clip(boxes, size[0], size[1])
        pairs = nms_classes(
            boxes, scores, nms_threshold, max_detections, pre_nms_top_k, score_threshold
        )
        boxes = jnp.where(pairs.valid[:, None], boxes[pairs.index], 0)
        return Detections(boxes, pairs.score, pairs.label, pairs.valid)

    return jax.vmap(per_image)(boxes, scores, sizes)


def select_regions(
    boxes: Float[Array, "b r _ 4"],
    scores: Float[Array, "b r classes"],
    valid: Bool[Array, "b r"],
    sizes: Sizes,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    min_size: float,
) -> Detections:
    """Selects the best (region, class) pairs of each image after NMS by class.

    Args:
      boxes: xyxy in pixels, for each class or one for all; they are cut at the image's content.
      scores: of each class.
      valid: which regions there are.
      sizes: height and width of the content.
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      max_detections: slots per image.
      min_size: smallest side of a box, in pixels.
    """

    def per_image(boxes: Array, scores: Array, valid: Array, size: Array) -> Detections:
        boxes = box_ops.clip(boxes, size[0], size[1])
        scores = jnp.where(box_ops.large_enough(boxes, min_size), scores, -jnp.inf)
        boxes = jnp.broadcast_to(boxes, (*scores.shape, 4))
        limits = nms_threshold, max_detections, None, score_threshold
        selected = nms_classes(boxes, scores, *limits, valid)
        boxes = boxes[selected.index, jnp.maximum(selected.label, 0)]
        boxes = jnp.where(selected.valid[:, None], boxes, 0)
        return Detections(boxes, selected.score, selected.label, selected.valid)

    return jax.vmap(per_image)(boxes, scores, valid, sizes.astype(boxes.dtype))


def select_by_level(
    scores: Float[Array, "b a classes"],
    outputs: Outputs,
    counts: Sequence[int],
    sizes: Sizes,
    decode: Callable[[Array, Array], Array],
    score_threshold: float,
    nms_threshold: float,
    pre_nms_top_k: int,
    max_detections: int,
) -> Detections:
    """Selects the best (anchor, class) pairs of each level, and of these what NMS by class leaves.

    Args:
      scores: 0..1, of each class.
      outputs: `box_deltas` (b, a, 4) and `anchors` (a, 4).
      counts: anchors of each level, one level after the other.
      sizes: height and width of the images' content, at which boxes are cut.
      decode: (deltas, anchors) → boxes, xyxy in pixels; only the best are decoded.
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      pre_nms_top_k: pairs per level that enter the suppression.
      max_detections: slots per image.
    """

    def best_pairs(scores, deltas, anchors, size):
        # The best pairs belong to the anchors with the best pairs: sorting those alone is cheap.
        anchor = lax.top_k(jnp.max(scores, 1), min(pre_nms_top_k, len(scores)))[1]
        anchor = jnp.sort(anchor)  # so that equal scores keep the anchors' order
        pairs = scores[anchor].reshape(-1)
        score, pair = lax.top_k(pairs, min(pre_nms_top_k, len(pairs)))
        anchor, label = anchor[pair // scores.shape[1]], pair % scores.shape[1]
        boxes = decode(deltas[anchor], anchors[anchor])
        return box_ops.clip(boxes, size[0], size[1]), score, label

    def suppress(boxes, scores, labels):
        limits = nms_threshold, max_detections, labels, scores > score_threshold
        selection = nms(boxes, scores, *limits)
        index, valid = selection.index, selection.valid
        boxes = jnp.where(valid[:, None], boxes[index], 0)
        return Detections(boxes, selection.score, jnp.where(valid, labels[index], -1), valid)

    ends = np.cumsum(counts)[:-1].tolist()
    scores, deltas = (jnp.split(x, ends, 1) for x in (scores, outputs["box_deltas"]))
    of_levels = zip(scores, deltas, jnp.split(outputs["anchors"], ends), strict=True)
    best = jax.vmap(best_pairs, (0, 0, None, 0))
    levels = [best(*level, sizes) for level in of_levels]
    pairs = (jnp.concatenate(values, 1) for values in zip(*levels, strict=True))
    return jax.vmap(suppress)(*pairs)
