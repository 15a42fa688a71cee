"""Draws boxes over an image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vision_jax.visualize import colors
from vision_jax.visualize.captions import class_caption, draw_caption
from vision_jax.visualize.panels import to_rgb


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str] = (),
    scores: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Outlines each box in its class's colour, and captions it.

    Args:
      image: in a form that `to_rgb` takes.
      boxes: (n, 4) xyxy, in pixels of this image; parts outside are cut.
      labels: (n,) class numbers; a negative one is padding and is left out.
      names: the classes' names; numbers where it is empty.
      scores: (n,) in 0..1, added to the captions. The last box is drawn on top.

    Returns:
      uint8 (h, w, 3), a copy.
    """
    canvas = Image.fromarray(to_rgb(image))
    draw = ImageDraw.Draw(canvas)
    line = max(1, round(max(canvas.size) / 300))
    for number, (box, label) in enumerate(zip(np.asarray(boxes), labels, strict=True)):
        if label < 0:
            continue
        color = colors.of_class(int(label))
        x1, y1, x2, y2 = (float(side) for side in box)
        # An edge is at a pixel's border: x2 = 10 outlines up to pixel 9.
        corners = [x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)]
        draw.rectangle(corners, outline=color, width=line)
        caption = class_caption(int(label), names)
        if scores is not None:
            caption += f" {float(scores[number]):.2f}"
        draw_caption(draw, x1, y1, caption, color)
    return np.asarray(canvas)
