"""Repeatability of proposals: are they the same when an image has hardly changed?

Hosang et al. 2016, section 3.
"""

import numpy as np
from jaxtyping import Float

from vision_jax.evaluation.voc import pixel_iou


def repeatability(reference: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]) -> float:
    """Computes the area under the curve of recall against IoU, from 0 to 1, of matched proposals.

    It is the mean IoU of the reference's boxes with their matches.

    Args:
      reference: proposals of the image.
      others: those of the changed image, moved back to where they were.

    Returns:
      a number in 0 ... 1; nan without a reference.
    """
    return float(matched_iou(reference, others).mean()) if len(reference) else float("nan")


def matched_iou(
    reference: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, " n"]:
    """Matches boxes one to one, those with the greatest IoU first.

    Returns:
      the IoU of each box of the reference with its match, 0 without one.
    """
    iou = pixel_iou(reference.astype(np.float64), others.astype(np.float64), False)
    matched = np.zeros(len(reference))
    while iou.size:
        # Two boxes that are each other's best are matched whatever the others do.
        best = iou.argmax(1)
        rows = np.flatnonzero(
            (iou.argmax(0)[best] == np.arange(len(iou))) & (iou.max(1, initial=0) > 0)
        )
        if not len(rows):
            break
        matched[rows] = iou[rows, best[rows]]
        iou[rows] = iou[:, best[rows]] = 0
    return matched
