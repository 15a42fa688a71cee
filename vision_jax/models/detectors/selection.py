"""The last step of detectors that score every class for every box."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.models.detectors.detector import Sizes
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.nms import nms_classes
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
