"""Objectness by superpixel straddling (Alexe, Deselaers and Ferrari 2012, section 2.4).

An object's box holds superpixels wholly or not at all; a box that cuts through them is none. It is
the strongest single cue of that paper; the others, and their combination, are not here.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, UInt8

from vision_jax.proposals.graph import graph_segments
from vision_jax.proposals.windows import grid, suppressed


@dataclasses.dataclass(frozen=True)
class SuperpixelStraddling:
    """The settings of objectness by superpixels.

    Attributes:
      k, min_size: of the segmentation, see `proposals.graph_segments`.
      alpha, max_aspect, min_area: of the windows that are tried, see `windows.grid`.
      beta: see `windows.suppressed`.
      count: boxes, at most.
    """

    k: float = 100.0
    min_size: int = 20
    alpha: float = 0.65
    max_aspect: float = 3.0
    min_area: float = 400.0
    beta: float = 0.75
    count: int = 1000

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes boxes, xyxy within the image, the best first; of equals the order is drawn."""
        height, width = rgb.shape[:2]
        labels = graph_segments(rgb, self.k, min_size=self.min_size)
        boxes = grid(height, width, self.alpha, self.min_area, self.max_aspect)
        whole = np.array([[0, 0, width, height]])
        boxes = np.unique(np.concatenate([boxes + np.array([0, 0, 1, 1]), whole]), axis=0)
        scores = straddling(labels, boxes)
        chance = np.random.default_rng(seed).random(len(boxes))
        boxes = boxes[np.lexsort([chance, -scores])].astype(np.float64)
        return boxes[suppressed(boxes, self.beta, self.count)]


def straddling(
    labels: Int[np.ndarray, "h w"], boxes: Int[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
    """Returns how little boxes cut through superpixels: 1 - Σ min(|s in w|, |s out of w|) / |w|.

    Args:
      labels: the superpixel of each pixel, from 0.
      boxes: xyxy in whole pixels with exclusive ends, none empty.
    """
    x0, y0, x1, y1 = boxes.T
    cut = np.zeros(len(boxes), np.int64)
    for number, size in enumerate(np.bincount(labels.ravel()).tolist()):
        sums = np.pad((labels == number).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        within = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        cut += np.minimum(within, size - within)
    return 1 - cut / ((x1 - x0) * (y1 - y0))
