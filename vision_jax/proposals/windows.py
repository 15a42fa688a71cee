"""Windows that scored methods have in common: where they are tried, and which of them stay."""

import numpy as np
from jaxtyping import Int, Num

_BLOCK = 256  # boxes that are compared with all that stay at once


def grid(
    height: int, width: int, alpha: float, min_area: float, max_aspect: float
) -> Int[np.ndarray, "_n 4"]:
    """Lays windows over an image, so that next ones have an IoU of alpha (Zitnick 2014, 3.3).

    Args:
      height, width: of the image, in pixels.
      alpha: above 0, below 1.
      min_area: of the smallest windows, in pixels.
      max_aspect: of the longest ones, at least 1.

    Returns:
      xyxy in pixels of the first and the last column and row: the ends belong to the window. Those
      that hang over the image are cut.
    """
    scale, aspect = np.sqrt(1 / alpha), (1 + alpha) / (2 * alpha)
    shift = (1 - alpha) / (1 + alpha)
    smallest = np.sqrt(min_area)
    sizes = max(0, int(np.ceil(np.log(max(height, width) / smallest) / np.log(scale))))
    aspects = int(np.log(max_aspect) / np.log(aspect * aspect))
    parts = [np.zeros((0, 4), np.int64)]
    for size in range(sizes):
        for number in range(-aspects, aspects + 1):
            side, ratio = smallest * scale**size, aspect**number
            high, wide = int(side / ratio), int(side * ratio)
            down, right = (max(2, int(length * shift)) for length in (high, wide))
            left, top = np.meshgrid(
                np.arange(0, width - wide + right, right),
                np.arange(0, height - high + down, down),
                indexing="ij",
            )
            parts.append(np.stack([left, top, left + wide, top + high], -1).reshape(-1, 4))
    return np.concatenate(parts).clip(0, [width - 1, height - 1] * 2)


def iou(boxes: Num[np.ndarray, "n 4"], others: Num[np.ndarray, "m 4"]) -> np.ndarray:
    """Returns the IoU of boxes with others, all xyxy with exclusive ends: (n, m) float64."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    both = (high - low).clip(0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, others)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-12)


def suppressed(
    boxes: Num[np.ndarray, "n 4"], beta: float, most: int, eta: float = 1.0
) -> Int[np.ndarray, " _k"]:
    """Returns the numbers of the boxes that stay when each suppresses later ones like it.

    Args:
      boxes: xyxy with exclusive ends, the best first.
      beta: greatest IoU with any that stays before it.
      most: boxes that stay.
      eta: factor of beta after each box that stays, as long as beta is above a half.
    """
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        near = iou(block, boxes[kept]).max(1, initial=0)
        among = iou(block, block)
        stays = np.zeros(len(block), bool)
        for row in range(len(block)):
            if max(near[row], among[row].max(initial=0, where=stays)) > beta:
                continue
            if len(kept) == most:
                return np.array(kept, np.int64)
            stays[row] = True
            kept.append(start + row)
            if eta < 1 and beta > 0.5:
                beta *= eta
    return np.array(kept, np.int64)
