"""Draws where the queries of a detector of sets find their boxes (Carion et al. 2020, figure 7)."""

import numpy as np
from PIL import Image, ImageDraw

from vision_jax.visualize import colors
from vision_jax.visualize.panels import panel

_SMALL = 32**2 / 480**2  # of an image's area: COCO's small objects in images of its usual size
_GREEN, _RED, _BLUE = (30, 150, 60), (210, 50, 40), (40, 80, 200)


def draw_slots(boxes: np.ndarray, most: int = 20, side: int = 120) -> np.ndarray:
    """Draws a square for each query, with a dot in the middle of each of its boxes.

    Args:
      boxes: (n, q, 4) cxcywh of n images' queries, in shares of the image.
      most: queries that are drawn, the first ones.
      side: pixels of a square.

    Returns:
      uint8 (h, w, 3). Small boxes are green, wide ones red, high ones blue.
    """
    squares = []
    for query in np.asarray(boxes, np.float64).transpose(1, 0, 2)[:most]:
        canvas = Image.new("RGB", (side, side), colors.PAPER)
        draw = ImageDraw.Draw(canvas)
        draw.rectangle([0, 0, side - 1, side - 1], outline=colors.INK)
        for x, y, width, height in query[np.isfinite(query).all(1)]:
            small = width * height < _SMALL
            color = _GREEN if small else _RED if width >= height else _BLUE
            left, top = x * side, y * side
            draw.ellipse([left - 1, top - 1, left + 1, top + 1], fill=color)
        squares.append(np.asarray(canvas))
    captions = [f"query {number}" for number in range(len(squares))]
    return panel(squares, captions, columns=min(5, len(squares)), side=side)
